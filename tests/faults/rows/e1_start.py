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


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One size a cycle."""
    for number in asked.numbers:
        count = MILLION if number == 0 else 10 * MILLION
        size = replace(FULL, start_accounts=count, start_rows=count)
        found = await restart.measure(asked.directory / str(number), size, 1, lambda *_: None)
        replay_s = max(0.001, found["start_s"] - found["start_clean_s"])
        per_s = found["rows_past_the_checkpoint"] / replay_s
        violations = []
        if found["start_s"] > LIMITS_S[count]:
            violations.append(f"{count:,} accounts and rows: {found['start_s']:.1f} s, {LIMITS_S[count]} are allowed")
        if per_s < ROWS_PER_S_MIN:
            violations.append(f"{count:,} rows are replayed at {per_s:,.0f} a second, {ROWS_PER_S_MIN:,} is the least")
        name = f"{count // MILLION}m"
        notes = {
            f"start_{name}_s_max": round(found["start_s"], 2),
            f"start_clean_{name}_s_max": round(found["start_clean_s"], 2),
            f"replay_{name}_per_s_max": round(per_s),
        }
        yield Cycle(number, 1, violations, notes)


ROW: Final = Row(
    id="E1",
    what="a start after kill -9: 1 M accounts and 1 M rows to replay; 10 M and 10 M",
    unit="starts",
    passes="at most 5 s and 45 s; replay at 1 M rows a second or more",
    submission=1,
    campaign=2,
    run=run,
    cycle_timeout_s=1_800,
)
