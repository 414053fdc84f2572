"""E1: how long a start takes after kill -9: accounts in the checkpoint, rows of the journal past it.

The first cycle is the smaller size, every further one the larger: ten million accounts and ten million rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from benchmarks import restart
from benchmarks.nouns import FULL
from tests.faults.nouns import Cycle, Row, Run

MILLION: Final = 1_000_000
LIMITS_S: Final = {MILLION: 5.0, 10 * MILLION: 45.0}
ROWS_PER_S_MIN: Final = MILLION
"""Of replay alone: what the start after the crash takes longer than the one with nothing to replay."""
SLACK: Final = {"submission": 3.0, "campaign": 1.0}
"""So many times slower passes. A check-in runs on any machine, beside anything: with the test suite on the same two
cores a start was seen to take 6.2 s instead of 4.6, and replay to be half as fast."""
TRIES: Final = 2
"""Before a start counts as slow: whatever else the machine does only makes it slower."""


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One size a cycle, measured again if it was slow."""
    for number in asked.numbers:
        count = MILLION if number == 0 else 10 * MILLION
        size = replace(FULL, start_accounts=count, start_rows=count)
        for turn in range(TRIES):
            found = await restart.measure(asked.directory / f"{number}-{turn}", size, 1, lambda *_: None)
            violations, notes = judged(count, found, SLACK[asked.size])
            if not violations:
                break
        yield Cycle(number, 1, violations, notes | {"tries": turn + 1})


def judged(count: int, found: dict[str, float], slack: float) -> tuple[list[str], dict[str, float]]:
    """What is too slow, and the figures."""
    per_s = found["rows_past_the_checkpoint"] / max(0.001, found["start_s"] - found["start_clean_s"])
    limit_s, per_s_min = LIMITS_S[count] * slack, ROWS_PER_S_MIN / slack
    violations = []
    if found["start_s"] > limit_s:
        violations.append(f"{count:,} accounts and rows: {found['start_s']:.1f} s, {limit_s:.0f} are allowed")
    if per_s < per_s_min:
        violations.append(f"{count:,} rows are replayed at {per_s:,.0f} a second, {per_s_min:,.0f} is the least")
    name = f"{count // MILLION}m"
    return violations, {
        f"start_{name}_s_max": round(found["start_s"], 2),
        f"start_clean_{name}_s_max": round(found["start_clean_s"], 2),
        f"replay_{name}_per_s_max": round(per_s),
    }


ROW: Final = Row(
    id="E1",
    what="a start after kill -9: 1 M accounts and 1 M rows to replay; 10 M and 10 M",
    unit="starts",
    passes="at most 5 s and 45 s; replay at 1 M rows a second or more; a check-in may take three times as long",
    submission=1,
    campaign=2,
    run=run,
    cycle_timeout_s=1_800,
)
