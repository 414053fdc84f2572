"""F1: hours at half of peak: memory and p99 stay what they are, and nothing is wrong with the books.

Peak is what the same clients get from this server on this machine when nothing holds them back. Memory counts
beyond what new accounts and open holds may cost; the first third of a soak is for warming up.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Final

from tests.faults.audit import acknowledged, audit
from tests.faults.ground import ground
from tests.faults.load import Load, Log
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import Siege, keep
from tests.faults.watching import Look, watched

SOAK_S: Final = {"submission": 60, "campaign": 9_000}
"""A check-in's is long enough for what is forgotten to be freed, not for a leak that is slow."""
PEAK_S: Final = 6.0
WINDOW_S: Final = 4.0
"""Of one p99; short enough for a dozen of them in the smallest soak, so that each third has a median of five."""
PROVE_S: Final = 60.0
"""How often what was acknowledged is looked up and forgotten: the harness's memory is bounded too."""
EACH_BYTES_MAX: Final = 200
"""An account, an open hold."""
GROWTH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Between the second third and the last, of whatever length."""
P99_TIMES_MAX: Final = 2.0
P99_SLACK_MS: Final = 10.0
"""What a busy machine may add to a p99 of a few milliseconds."""


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One soak a cycle, on books of its own."""
    async with ground(asked.directory, planted=asked.planted) as place:
        siege = Siege(place, asked, per_s=math.inf)
        for number in asked.numbers:
            yield await soak(siege, number, SOAK_S[asked.size])


async def soak(siege: Siege, number: int, seconds: float) -> Cycle:
    """Peak, then half of it for so long."""
    place = siege.ground
    await siege.begin(number)
    assert siege.load is not None and siege.log is not None
    load, log = siege.load, siege.log
    load.per_s = math.inf
    peak = await peak_per_s(load, log)
    load.per_s = peak / 2
    log.took_ns = []
    p99_ms: list[float] = []
    wrong: list[str] = []
    before = log.counts.copy()
    load.start()
    try:
        async with watched(place.server) as watch:
            for window in range(1, round(seconds / WINDOW_S) + 1):
                await asyncio.sleep(WINDOW_S)
                took, log.took_ns = sorted(log.took_ns), []
                p99_ms.append(took[len(took) * 99 // 100] / 1e6 if took else math.inf)
                if window % (PROVE_S // WINDOW_S) == 0:
                    told, log.told = log.told, {}
                    wrong += await acknowledged(place, told)
            wrong += await load.finish()
    finally:
        await load.abandon()
    wrong += await audit(place, log)
    wrong += memory(watch.looks) + patience(p99_ms)
    rest = {name: log.counts[name] - before[name] for name in ("operations", "answered", "unknown", "status_503")}
    if rest["unknown"] or rest["status_503"]:
        wrong.append(f"at half of peak {rest['status_503']} were refused and {rest['unknown']} are unknown")
    if wrong:
        keep(place, log, f"{number}-of-seed-{siege.asked.seed}")
    notes = {
        "peak_per_s_max": round(peak), "soak_per_s_max": round(rest["operations"] / seconds),
        "p99_ms_max": round(max(p99_ms), 1), "p99_ms_median_max": round(median(p99_ms), 1),
        "resident_mib_max": max(look.resident_bytes for look in watch.looks) >> 20,
    }  # fmt: skip
    return Cycle(number, round(seconds), wrong, notes | rest)


async def peak_per_s(load: Load, log: Log) -> float:
    """Operations a second when every client asks as fast as it is answered."""
    before = log.counts["operations"]
    load.start()
    try:
        await asyncio.sleep(PEAK_S)
        done = log.counts["operations"] - before
        unlearnt = await load.finish()
    finally:
        await load.abandon()
    assert done and not unlearnt, f"{done} operations at peak, {unlearnt}"
    return done / PEAK_S


def memory(looks: Sequence[Look]) -> list[str]:
    """It is flat, but for what is held more."""
    third = len(looks) // 3
    middle, last = looks[third : 2 * third], looks[2 * third :]
    grown = median(look.resident_bytes for look in last) - median(look.resident_bytes for look in middle)
    held = last[-1].accounts + last[-1].holds - middle[0].accounts - middle[0].holds
    allowed = GROWTH_BYTES_MAX + max(0, held) * EACH_BYTES_MAX
    return [f"memory grew by {grown / 1024:,.0f} KiB, {allowed >> 10:,} KiB are allowed"] if grown > allowed else []


def patience(p99_ms: Sequence[float]) -> list[str]:
    """Answers do not get slower."""
    third = len(p99_ms) // 3
    before, after = median(p99_ms[third : 2 * third]), median(p99_ms[2 * third :])
    slower = after > before * P99_TIMES_MAX + P99_SLACK_MS
    return [f"the p99 went from {before:.1f} to {after:.1f} ms"] if slower else []


ROW: Final = Row(
    id="F1",
    what="a soak at half of peak",
    unit="seconds",
    passes="memory flat, p99 flat, nothing refused, 0 acknowledged lost, the chain verifies",
    submission=1,
    campaign=3,
    run=run,
    cycle_timeout_s=4 * 3_600.0,
)
