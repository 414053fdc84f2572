"""How long a start takes: a checkpoint of many accounts, many rows past it, and a server that was killed.

Guarded here: the server that is timed finds what a crash leaves behind; nothing was stopped cleanly.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import service as services
from benchmarks.nouns import Case, Size
from benchmarks.proof import QUERIES
from benchmarks.run import Runner
from benchmarks.workloads import Planner

NO_CHECKPOINTS: Final[dict[str, object]] = {"checkpoint_interval_s": 86_400, "checkpoint_rows": 100_000_000}


async def measure(directory: Path, size: Size, ledger: int, tell: Callable[[str, int], None]) -> dict[str, float]:
    """Seconds from the start of the process to a yes from /readyz."""
    case = Planner(size, ledger).batches(
        "start", "start", "rows past the checkpoint", size.start_rows, "binary", accounts=size.start_accounts
    )
    service = await services.start(directory, premake_wal=False)
    seconds = clean_s = 0.0
    try:
        runner = Runner(service, directory, tell)
        tell("accounts", 0)
        await runner.run(_short(case))
        for settings, number in ((NO_CHECKPOINTS, signal.SIGTERM), ({}, signal.SIGKILL)):
            tell("restart", 0)
            await service.database.close()
            service.database = None
            assert service.process is not None
            await asyncio.to_thread(services.stop, service.process, number)
            service.settings = {**service.settings, **settings}
            services.launch(service)
            seconds = await services.ready(service)
            await service.connect()
            if settings:
                clean_s = seconds
                await runner.run(replace(case, plan=replace(case.plan, seed=case.plan.seed + 1)))
        head = await service.database.fetchrow(QUERIES["batches_past_checkpoint"])
    finally:
        await service.close()
    return {
        "start_s": seconds,
        "start_clean_s": clean_s,
        "accounts": size.start_accounts,
        "rows_past_the_checkpoint": case.plan.transfers,
        "batches_past_the_checkpoint_after": head["batches"],
    }


def _short(case: Case) -> Case:
    """The same ledger and accounts with a single request, which is proven with those that follow."""
    return replace(case, proven=False, plan=replace(case.plan, case="start_first", requests=1))
