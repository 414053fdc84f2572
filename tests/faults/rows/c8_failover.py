"""C8: failover to a synchronous standby under load: the primary dies, or is cut off, or an operator cancels its wait.

Guarded here: what was acknowledged before is on the new primary, and what was not is resolved there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

from tests.faults import harms
from tests.faults.ground import LOOK_S, Ground
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.pair import Pair, missing, pair
from tests.faults.siege import PASSES, Siege, cycles

WAITING: Final = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pyledger writer %' AND wait_event = 'SyncRep'
"""
WAIT_TIMEOUT_S: Final = 10.0
ISOLATED_S: Final = (0.0, 0.3)
UNHEARD_S: Final = 0.3


class Failover:
    """The harms, with the pair."""

    def __init__(self, nodes: Pair) -> None:
        self.nodes = nodes

    async def primary_dies(self, place: Ground, chance: Random) -> dict[str, Any]:
        """All its processes, at once."""
        await self.nodes.isolate()
        await self.nodes.crash()
        return await self.promoted(place, chance)

    async def primary_cut_off(self, place: Ground, chance: Random) -> dict[str, Any]:
        """It lives, but its servers cannot reach it; it is shot only after its standby was promoted."""
        await self.nodes.isolate()
        await asyncio.sleep(chance.uniform(*ISOLATED_S))
        return await self.promoted(place, chance)

    async def wait_cancelled(self, place: Ground, chance: Random) -> dict[str, Any]:
        """The standby hears nothing; the wait for it is cancelled: PostgreSQL says "committed", with a warning.

        Then the primary dies, and with it what only it had."""
        self.nodes.link.freeze()
        async with place.connected() as connection, asyncio.timeout(WAIT_TIMEOUT_S):
            while (process_id := await connection.fetchval(WAITING)) is None:
                await asyncio.sleep(LOOK_S)
            await connection.execute("SELECT pg_cancel_backend($1)", process_id)
        await asyncio.sleep(UNHEARD_S)
        await self.nodes.isolate()
        await self.nodes.crash()
        return await self.promoted(place, chance)

    async def promoted(self, place: Ground, chance: Random) -> dict[str, Any]:
        """The standby takes over, and gets a standby of its own."""
        strict = chance.random() < 0.5
        seconds = await self.nodes.promote(strict=strict)
        await self.nodes.follow(synchronous=True)
        await harms.back(place)
        return {"strict": int(strict), "promoted_s_max": round(seconds, 3)}


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One failover a cycle, back and forth."""
    async with pair(asked) as nodes:
        await nodes.follow(synchronous=True)
        failover = Failover(nodes)
        kinds = [failover.primary_dies, failover.wait_cancelled, failover.primary_cut_off]
        async with contextlib.aclosing(cycles(Siege(nodes.place, asked), kinds)) as every:
            async for cycle in every:
                yield cycle


ROW: Final = Row(
    id="C8",
    what="failover to a synchronous standby under load",
    unit="failovers",
    passes=PASSES,
    submission=1,
    campaign=100,
    run=run,
    needs=missing,
)
