"""B1: takeover and commit against a simulated PostgreSQL, in histories full of trouble.

Late commits, lost replies, cancelled waits, crashes, failovers with and without the tail, stalled standbys,
zombies, and up to three writers; the protocols are the product's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from tests.faults.nouns import Cycle, Row, Run
from tests.faults.simulation.judge import judge
from tests.faults.simulation.server import Server
from tests.faults.simulation.world import World

HISTORIES = 1_000
"""Of one cycle."""


def history(seed: int, number: int, server: type[Server] = Server) -> list[str]:
    """Live through one history; what was wrong with it."""
    world = World(random.Random(f"{seed}/{number}"), server)
    world.run()
    return judge(world)


def cycle(seed: int, number: int) -> Cycle:
    """A thousand histories."""
    violations = []
    for each in range(number * HISTORIES, (number + 1) * HISTORIES):
        violations += [f"history {each}: {violation}" for violation in history(seed, each)]
    return Cycle(number, HISTORIES, violations)


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """Cycle after cycle."""
    for number in asked.numbers:
        yield await asyncio.to_thread(cycle, asked.seed, number)


ROW = Row(
    id="B1",
    what="takeover and commit against a simulated PostgreSQL",
    unit="histories",
    submission=20,
    campaign=200,
    passes="acknowledged is in the surviving log, one batch a sequence, no stale read, progress after healing",
    run=run,
)
