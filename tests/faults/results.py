"""Where results go: a file of lines for each run, and the kept ones that the published table is made of.

Guarded here: no figure of the table is typed in. A kept result says its date, commit and seed; one from a
checkout with uncommitted changes, or with a planted bug, is never kept as evidence.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.report import commit
from tests.faults.nouns import Cycle, Result, Row, Verdict

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = Path(__file__).with_name("out")
KEPT: Final = ROOT / "docs" / "reliability.jsonl"
PAGE: Final = ROOT / "docs" / "RELIABILITY.md"
BEGIN: Final = "<!-- results -->"
END: Final = "<!-- /results -->"


def about() -> dict[str, Any]:
    """When this is, and of which version of the code."""
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **commit(ROOT)}


def cycle_line(row: Row, seed: int, cycle: Cycle, seconds: float) -> dict[str, Any]:
    """One cycle, with all that it takes to run it again."""
    return {
        "row": row.id, "seed": seed, "cycle": cycle.number, "done": cycle.done, "seconds": round(seconds, 3),
        "violations": cycle.violations, **({"notes": cycle.notes} if cycle.notes else {}),
    }  # fmt: skip


def result_line(result: Result) -> dict[str, Any]:
    """The sum of a run; what is empty is left out."""
    line = dataclasses.asdict(result) | {"verdict": result.verdict.value, "seconds": round(result.seconds, 1)}
    return {name: value for name, value in line.items() if value not in ("", [], {}, False)}


def from_line(line: dict[str, Any]) -> Result:
    """A kept result again."""
    return Result(**{**line, "verdict": Verdict(line["verdict"])})


def keep(result: Result) -> bool:
    """Add a result to the kept ones; false if it is no evidence."""
    if result.changed or result.planted or result.verdict in (Verdict.NOT_RUN, Verdict.BROKEN):
        return False
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result_line(result)) + "\n")
    return True


def kept() -> list[Result]:
    """All kept results, oldest first."""
    if not KEPT.exists():
        return []
    return [from_line(json.loads(line)) for line in KEPT.read_text("utf-8").splitlines()]


def table(rows: Iterable[Row], results: list[Result]) -> str:
    """The published table: each row with the sum of its kept results."""
    lines = [
        "| | what is done | cycles | done | violations | s a cycle | dates | commits | seeds |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for row in rows:
        mine = [result for result in results if result.row == row.id]
        if not mine:
            lines.append(f"| {row.id} | {row.what} | none yet | | | | | | |")
            continue
        cycles = sum(result.cycles for result in mine)
        cells = (
            row.id,
            row.what,
            f"{cycles:,}",
            f"{sum(result.done for result in mine):,} {row.unit}",
            f"{sum(result.violations_count for result in mine):,}",
            f"{sum(result.seconds for result in mine) / max(1, cycles):.1f}",
            _span([result.date[:10] for result in mine]),
            _span([result.commit[:9] for result in mine]),
            ", ".join(str(seed) for seed in dict.fromkeys(result.seed for result in mine)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _span(values: list[str]) -> str:
    return values[0] if len(set(values)) == 1 else f"{values[0]} to {values[-1]}"


def with_table(page: str, made: str) -> str:
    """The page with this table in its place."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    assert found and closed, f"the page has no {BEGIN} and {END}"
    return f"{before}{BEGIN}\n{made}\n{END}{after}"
