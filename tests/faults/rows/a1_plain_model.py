"""A1: the engine against the plain model in Python (tests/model), random histories by seed, a process a core.

The steps and invariants are those of tests/model/test_engine.py without Hypothesis around them: the same
outcomes and balances, conservation by ledger, limits, holds, a decline or a retry that changes nothing, an undo
without a trace, the same bytes for each retry, and restarts from what is stored.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from pyledger._rust import Corrupt
from tests.faults import cargo
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.planted.extension import load
from tests.model.test_engine import long_run

OPERATIONS: Final = 50_000
"""Of one cycle, at least. Ten of them fit into a check-in, not a million operations: Python is the slow half."""
SAID_CHARACTERS_MAX: Final = 600


def histories(seed: str, operations: int) -> tuple[int, list[str]]:
    """History after history in this process; how many operations they had, and what differed."""
    done = number = 0
    while done < operations:
        try:
            pair = long_run(random.Random(f"{seed}/{number}"))
        except (AssertionError, Corrupt) as error:
            return done, [f"history {seed}/{number}: {' '.join(str(error).split())[:SAID_CHARACTERS_MAX]}"]
        done += sum(len(sent) for sent in pair.choose.sent.values())
        number += 1
    return done, []


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """As many processes as cores, each with its share of a cycle."""
    workers = os.cpu_count() or 1
    loop = asyncio.get_running_loop()
    # A panic of the engine ends its process, and that is what must be noticed.
    plant, bug = (load, (asked.planted,)) if asked.planted else (None, ())
    if asked.planted:
        await asyncio.to_thread(cargo.extension)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), plant, bug) as pool:
        for number in asked.numbers:
            seeds = [f"{asked.seed}/{number}/{worker}" for worker in range(workers)]
            share = OPERATIONS // workers
            try:
                said = await asyncio.gather(*(loop.run_in_executor(pool, histories, seed, share) for seed in seeds))
            except BrokenProcessPool:
                yield Cycle(number, 0, [f"the engine ended its process in one of {seeds}"])
                return
            yield Cycle(number, sum(done for done, _ in said), [line for _, lines in said for line in lines])


ROW: Final = Row(
    id="A1",
    what="the plain model in Python against the engine",
    unit="operations",
    passes="0 differences, every invariant after every step",
    submission=10,
    campaign=400,
    run=run,
)
