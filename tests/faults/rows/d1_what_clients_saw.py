"""D1: what clients saw, over HTTP, under mixed faults: judged by the checker, which shares no code with the server.

A cycle is one database: clients ask until they have done so many operations (commands decided and reads
answered), while one harm after the other is done; then the checker judges the whole log, and the audit the
books. One in ten requests is a retry, one in twenty the id of another command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.faults import harms
from tests.faults.audit import audit
from tests.faults.ground import ground
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.rows.c3_both_and_stops import Stops
from tests.faults.siege import Harm, Siege, keep

OPERATIONS: Final = 25_000
CONNECTIONS: Final = 48
PER_S: Final = 8_000.0
BETWEEN_S: Final = (0.2, 1.2)
"""How long nothing is done to them."""


def all_harms(siege: Siege) -> list[Harm]:
    """What may be done, each as often as it stands here."""
    stops = Stops(siege)
    return [
        harms.kill_server,
        harms.kill_server,
        harms.kill_postmaster,
        harms.kill_writer_backend,
        harms.kill_wal_writer,
        harms.end_writer_session,
        harms.kill_both,
        harms.freeze,
        stops.stop_and_start,
        stops.roll,
    ]


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """The cycles."""
    async with ground(asked.directory, planted=asked.planted) as place:
        siege = Siege(place, asked, per_s=PER_S, connections=CONNECTIONS)
        kinds = all_harms(siege)
        with contextlib.closing(siege):
            for number in asked.numbers:
                await siege.begin(number)
                yield await cycle(siege, number, kinds)


async def cycle(siege: Siege, number: int, kinds: list[Harm]) -> Cycle:
    """One database's worth."""
    assert siege.load is not None and siege.log is not None
    chance = siege.asked.chance(number)
    done: list[str] = []
    counted = await siege.ground.count()
    siege.load.start()
    try:
        while siege.log.counts["operations"] < OPERATIONS:
            await asyncio.sleep(chance.uniform(*BETWEEN_S))
            await siege.ground.count()
            harm = chance.choice(kinds)
            done.append(harm.__name__)
            await harm(siege.ground, chance)
        violations = await siege.load.finish()
        await siege.load.look()
        counted = await siege.ground.count() - counted
    finally:
        await siege.load.abandon()
    notes: dict[str, Any] = {"harms": len(done), "harms_done": done} | counted
    violations += await audit(siege.ground, siege.log)
    violations += await siege.judge(notes)
    notes |= {name: siege.log.counts[name] for name in ("answered", "unknown", "status_422")}
    if violations:
        keep(siege.ground, siege.log, f"{number}-of-seed-{siege.asked.seed}")
    return Cycle(number, siege.log.counts["operations"], violations, notes)


ROW: Final = Row(
    id="D1",
    what="what clients saw under mixed faults, judged by a checker of its own",
    unit="operations",
    passes="strictly serializable, idempotent; every answer is what the model says",
    submission=4,
    campaign=400,
    run=run,
)
