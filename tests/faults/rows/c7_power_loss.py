"""C7: the power fails under load, and what was not synced is gone, but for what got through by luck.

PostgreSQL's whole directory lies on a file system of our own, tests/faults/amnesia. Sometimes the power fails for
PostgreSQL alone and the server lives on, as when they are two machines; sometimes a checkpoint is being written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

import asyncpg

from pyledger.embedded import processes
from pyledger.embedded.nouns import EmbeddedError
from tests.faults import harms
from tests.faults.amnesia.mounted import Amnesia, missing
from tests.faults.ground import Ground, ground
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import PASSES, Siege, cycles

KEPT: Final = (0.0, 0.0, 0.5, 0.9)
"""How likely it is that something that was not synced is there all the same."""
CHECKPOINT_SHARE: Final = 0.5
CHECKPOINT_BEFORE_S: Final = 0.2
LOG_LINES: Final = 20
BOTH_SHARE: Final = 0.5
"""How often the server is on the machine whose power fails."""


class PowerLoss:
    """The harm; the disk is its own."""

    def __init__(self, disk: Amnesia) -> None:
        self.disk = disk
        self.wrong: list[str] = []
        """What must not happen and did, since it was last taken."""

    async def power_loss(self, place: Ground, chance: Random) -> dict[str, Any]:
        """The disk is gone, then every process that had its data there; then power comes back."""
        both = chance.random() < BOTH_SHARE
        checkpoint = None
        if chance.random() < CHECKPOINT_SHARE:
            checkpoint = asyncio.create_task(self._checkpoint(place))
            await asyncio.sleep(chance.uniform(0, CHECKPOINT_BEFORE_S))
        syncs = (await self.disk.count())["syncs"]
        await self.disk.power_off()
        if both:
            await harms.killed(place)
        await asyncio.to_thread(kill_postgres, place)
        if checkpoint is not None:
            await checkpoint
        lost = await self.disk.lose(chance.randrange(2**31), chance.choice(KEPT))
        await self.disk.power_on()
        began = time.monotonic()
        await self._start(place)
        notes = {**lost, "syncs_max": syncs, "postgres_s_max": round(time.monotonic() - began, 3), "both": int(both)}
        if both:
            return notes | await harms.again(place)
        await harms.back(place)
        return notes

    async def _start(self, place: Ground) -> None:
        """What recovery cannot do is PostgreSQL's fault or the disk's; with its words one can tell."""
        try:
            await place.start_postgres()
        except EmbeddedError:
            said = place.cluster.place.log_file.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
            self.wrong.append("PostgreSQL did not start at the first attempt:\n" + "\n".join(said))
            await place.start_postgres()

    async def _checkpoint(self, place: Ground) -> None:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with place.connected() as connection:
                await connection.execute("CHECKPOINT")


def kill_postgres(place: Ground) -> None:
    """All of its processes, at once."""
    for process_id in processes.processes_on(place.cluster.directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One loss of power a cycle, all on one disk."""
    async with (
        Amnesia(asked.directory / "disk") as disk,
        ground(asked.directory, planted=asked.planted, postgres_in=disk.path / "data") as place,
    ):
        await disk.settle()
        harm = PowerLoss(disk)
        async with contextlib.aclosing(cycles(Siege(place, asked), [harm.power_loss])) as every:
            async for cycle in every:
                cycle.violations.extend(harm.wrong)
                harm.wrong.clear()
                yield cycle


ROW: Final = Row(
    id="C7",
    what="power loss: PostgreSQL on a file system that forgets what was not synced",
    unit="losses",
    passes=PASSES,
    submission=3,
    campaign=300,
    run=run,
    needs=missing,
)
