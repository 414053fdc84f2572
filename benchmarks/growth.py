"""The same traffic on little and on much: what growth costs in rate, and in the latency of singles at a steady pace.

Guarded here: the books have a server each, both up all the time, and are driven by turns, each time once the machine is
at rest; the large ones are proven as a whole when all is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import median
from typing import Final

from benchmarks.nouns import BATCH_TRANSFERS, Case, Measured, Size
from benchmarks.processes import machine_cpu_s
from benchmarks.workloads import Planner

SMALL_ROWS: Final = 1_000_000
PIECES: Final = 10
"""The large books are written in so many runs, each of which the generator can hold in memory."""
STEADY_PER_S: Final = 5_000.0
STEADY_REQUESTS: Final = 50_000
ROOM: Final = 1.2
"""Accounts that the server may hold, over those of the large books."""

TURNS: Final = (("small", "large"), ("large", "small"), ("small", "large"))
"""Which books are driven when: the hours of a machine differ, and so do its minutes."""
REST_S_MAX: Final = 120.0
_REST_LOOK_S: Final = 2.0
_REST_SHARE: Final = 0.2

RunCase = Callable[[Case], Awaitable[Measured]]


def settings(size: Size) -> dict[str, object]:
    """What the server needs for the large books."""
    return {"accounts_max": max(1_000_000, int(size.grown_accounts * ROOM))}


async def measure(
    planner: Planner, on_large: RunCase, on_small: RunCase, *, rest_s_max: float = REST_S_MAX
) -> dict[str, float]:
    """Fill both books, each on a server of its own, and drive them by turns: the medians of each."""
    size = planner.size
    small_rows = min(SMALL_ROWS, size.grown_rows // 5)
    title = f"{size.grown_rows:,} rows over {size.grown_accounts:,} accounts"
    large = planner.batches("growth", "growth_load", title, size.grown_rows, "binary", accounts=size.grown_accounts)
    small = planner.batches("growth", "growth_small", f"{small_rows:,} rows, 10,000 accounts", small_rows, "binary")
    for piece in range(PIECES):
        part = _again(planner, large, f"growth_load_{piece}", large.plan.requests // PIECES)
        await on_large(replace(part, proven=False))
    await on_small(small)
    books = {"large": (on_large, replace(large, proven=False)), "small": (on_small, small)}
    per_s: dict[str, list[float]] = {name: [] for name in books}
    p99_ms: dict[str, list[float]] = {name: [] for name in books}
    for turn, order in enumerate(TURNS):
        for name in order:
            run, case = books[name]
            rate = _again(planner, case, f"growth_{name}_rate_{turn}", max(1, small_rows // BATCH_TRANSFERS))
            await _rest(rest_s_max)
            per_s[name].append((await run(rate)).per_s)
        for name in order:
            run, case = books[name]
            steady = _steady(planner, case, f"growth_{name}_steady_{turn}", min(STEADY_REQUESTS, small_rows // 10))
            await _rest(rest_s_max)
            last = turn == len(TURNS) - 1
            p99_ms[name].append((await run(replace(steady, proven=case.proven or last))).latency_ms["99"])
    found = {"accounts": float(size.grown_accounts), "rows": float(size.grown_rows)}
    for name in books:
        found |= {f"{name}_per_s": median(per_s[name]), f"{name}_p99_ms": median(p99_ms[name])}
    return found


async def _rest(s_max: float) -> None:
    """Wait until the machine is at rest: what the run before left to do is not the next one's."""
    until_s = time.monotonic() + s_max
    used_s = machine_cpu_s()
    while used_s is not None and time.monotonic() < until_s:
        await asyncio.sleep(_REST_LOOK_S)
        before_s, used_s = used_s, machine_cpu_s() or used_s
        if used_s - before_s < _REST_SHARE * _REST_LOOK_S:
            return


def _steady(planner: Planner, case: Case, name: str, requests: int) -> Case:
    """Singles on the same books at a steady pace."""
    plan = replace(
        planner.singles("growth", "", "", 256).plan,
        case=name,
        ledger=case.plan.ledger,
        accounts=case.plan.accounts,
        first_account=case.plan.first_account,
        requests=requests,
        offered_per_s=STEADY_PER_S,
    )
    return replace(case, plan=plan)


def ratios(found: dict[str, float]) -> dict[str, float]:
    """Large against small."""
    return {
        "growth_rate_ratio": round(found["large_per_s"] / found["small_per_s"], 4),
        "growth_p99_ratio": round(found["large_p99_ms"] / found["small_p99_ms"], 4),
    }


def _again(planner: Planner, case: Case, name: str, requests: int) -> Case:
    """More traffic on the same ledger and accounts."""
    return replace(case, plan=replace(case.plan, case=name, requests=max(1, requests), seed=next(planner.seeds)))
