"""Where results go: a file of lines for each run, and the kept ones that the published table is made of.

Guarded here: a kept result says its date, commit and seed; one from a checkout with uncommitted changes, of
anything but what is kept, with an extension that is older than its source, or with a planted bug, is never kept
as evidence.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.report import commit
from tests.faults.nouns import Cycle, Result, Row, Verdict

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = Path(__file__).with_name("out")
KEPT: Final = ROOT / "docs" / "reliability.jsonl"
BUILT_OF: Final = ("rust_ext/core/src", "rust_ext/py/src", "Cargo.toml", "Cargo.lock")
BESIDES: Final = ("docs/reliability.jsonl", "docs/RELIABILITY.md")


def about() -> dict[str, Any]:
    """When this is, and of which version of the code."""
    found = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **commit(ROOT, *BESIDES)}
    return found | {"changed": found["changed"] or not is_built()}


def is_built(extension: Path | None = None) -> bool:
    """Whether the extension is younger than the last commit of what it is built of: an older one is of another
    version, whatever the checkout is at."""
    command = ["git", "log", "-1", "--format=%ct", "--", *BUILT_OF]
    changed_s = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = extension or next((ROOT / "pyledger").glob("_rust*.so"), None)
    return found is not None and bool(changed_s) and found.stat().st_mtime >= int(changed_s)


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
    """Add a result to the kept ones, also why a row could not be run; false if it is no evidence."""
    if result.changed or result.planted or result.verdict is Verdict.BROKEN:
        return False
    with KEPT.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result_line(result)) + "\n")
    return True


def kept() -> list[Result]:
    """All kept results, oldest first."""
    if not KEPT.exists():
        return []
    return [from_line(json.loads(line)) for line in KEPT.read_text("utf-8").splitlines()]
