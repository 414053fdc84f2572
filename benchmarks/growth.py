"""The same traffic on little and on much: what growth costs in rate, and in the latency of singles at a steady pace.

Guarded here: both books live in one server, and the large ones are proven as a whole when all pieces are written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from benchmarks.nouns import BATCH_TRANSFERS, Case, Measured, Size
from benchmarks.workloads import Planner

SMALL_ROWS: Final = 1_000_000
PIECES: Final = 10
"""The large books are written in so many runs, each of which the generator can hold in memory."""
STEADY_PER_S: Final = 5_000.0
STEADY_REQUESTS: Final = 50_000
ROOM: Final = 1.2
"""Accounts that the server may hold, over those of the large books."""

RunCase = Callable[[Case], Awaitable[Measured]]


def settings(size: Size) -> dict[str, object]:
    """What the server needs for the large books."""
    return {"accounts_max": max(1_000_000, int(size.grown_accounts * ROOM))}


async def measure(planner: Planner, run: RunCase) -> dict[str, float]:
    """Fill both books, and drive both alike."""
    size = planner.size
    small_rows = min(SMALL_ROWS, size.grown_rows // 5)
    small = planner.batches("growth", "growth_small", f"{small_rows:,} rows, 10,000 accounts", small_rows, "binary")
    title = f"{size.grown_rows:,} rows over {size.grown_accounts:,} accounts"
    large = planner.batches("growth", "growth_load", title, size.grown_rows, "binary", accounts=size.grown_accounts)
    found = {"accounts": float(size.grown_accounts), "rows": float(size.grown_rows)}
    await run(small)
    await _drive(planner, run, small, "small", small_rows, found)
    for piece in range(PIECES):
        part = _again(planner, large, f"growth_load_{piece}", large.plan.requests // PIECES)
        await run(replace(part, proven=False))
    await _drive(planner, run, replace(large, proven=False), "large", small_rows, found)
    return found


async def _drive(planner: Planner, run: RunCase, case: Case, name: str, rows: int, found: dict[str, float]) -> None:
    rate = await run(_again(planner, case, f"growth_{name}_rate", max(1, rows // BATCH_TRANSFERS)))
    steady = replace(
        planner.singles("growth", "", "", 256).plan,
        case=f"growth_{name}_steady",
        ledger=case.plan.ledger,
        accounts=case.plan.accounts,
        first_account=case.plan.first_account,
        requests=min(STEADY_REQUESTS, rows // 10),
        offered_per_s=STEADY_PER_S,
    )
    found[f"{name}_per_s"] = rate.per_s
    found[f"{name}_p99_ms"] = (await run(replace(case, plan=steady, proven=True))).latency_ms["99"]


def ratios(found: dict[str, float]) -> dict[str, float]:
    """Large against small."""
    return {
        "growth_rate_ratio": round(found["large_per_s"] / found["small_per_s"], 4),
        "growth_p99_ratio": round(found["large_p99_ms"] / found["small_p99_ms"], 4),
    }


def _again(planner: Planner, case: Case, name: str, requests: int) -> Case:
    """More traffic on the same ledger and accounts."""
    return replace(case, plan=replace(case.plan, case=name, requests=max(1, requests), seed=next(planner.seeds)))
