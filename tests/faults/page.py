"""The tables of docs/RELIABILITY.md: `python -m tests.faults --table` writes them.

Guarded here: no figure of the page is typed in. What was found comes from docs/reliability.jsonl, the rows and the
planted bugs from the code, and a test holds the page to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tests.faults import registry, results
from tests.faults.nouns import Result, Row, Verdict
from tests.faults.planted import core, protocol, server

PAGE: Final = results.ROOT / "docs" / "RELIABILITY.md"


def figures(rows: Iterable[Row], kept: list[Result]) -> str:
    """Each row with the sum of its kept results."""
    lines = [
        "| | what is done | cycles | done | violations | s a cycle | dates | commits | seeds |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for row in rows:
        of_row = [result for result in kept if result.row == row.id]
        mine = [result for result in of_row if result.verdict is not Verdict.NOT_RUN]
        if not mine:
            why = f"not run: {of_row[-1].reason}" if of_row else "none yet"
            lines.append(f"| {row.id} | {row.what} | {why} | | | | | | |")
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


def _figures() -> str:
    return figures(registry.rows().values(), results.kept())


def _rows() -> str:
    """Every row, with when it passes and how it is run."""
    lines = ["| | passes when | as a campaign |", "| --- | --- | --- |"]
    for row in registry.rows().values():
        command = f"python -m tests.faults {row.id} --cycles {row.campaign}"
        lines.append(f"| {row.id} | {row.passes} | `{command}` |")
    return "\n".join(lines)


def _planted() -> str:
    """Every planted bug, with the row that sees it and how soon."""
    lines = ["| bug | what it is | seen by, within |", "| --- | --- | --- |"]
    for bug in (*core.BUGS, *protocol.BUGS, *server.BUGS):
        too = f"; A1, {core.A1_CYCLES} cycles" if bug in core.BUGS and bug.name not in core.UNSEEN_BY_A1 else ""
        seen = f"{bug.row}, {bug.within:,} {bug.unit}{too}"
        lines.append(f"| `{bug.name}` | {bug.what[0].upper()}{bug.what[1:]} | {seen} |")
    return "\n".join(lines)


TABLES: Final[dict[str, Callable[[], str]]] = {"results": _figures, "rows": _rows, "planted": _planted}


def with_tables(page: str) -> str:
    """The page with its tables as they must be."""
    for name, make in TABLES.items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert begin and end, f"the page has no place for the table {name}"
        page = f"{before}{begin}{make()}\n{end}{after}"
    return page


def write(path: Path = PAGE) -> None:
    """Write them."""
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
