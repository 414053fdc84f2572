"""C6: fdatasync fails or stalls under the writer's commit; the disk of the WAL, or of the data, is full.

The data and the WAL lie on two small disks of their own. Guarded here: an error of a sync ends in PostgreSQL's
PANIC, after which the "failed" commit may be there; on a full disk nothing goes on, until there is room again.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from tests.faults import harms, mounts, tracing
from tests.faults.ground import Ground, ground
from tests.faults.mounts import fill, make_room, small_disk
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import PASSES, Siege, cycles
from tests.faults.tracing import tampered

DATA_MIB: Final = 1_024
WAL_MIB: Final = 448
"""What the tests' PostgreSQL keeps of WAL, and some files more."""
HIT_TIMEOUT_S: Final = 5.0
STALLS_S: Final = (0.3, 1.0, 3.0, 5.0)
"""The longest is longer than the server lets its clients wait."""
FULL_S: Final = (0.5, 2.0)
FULL_TIMEOUT_S: Final = 60.0
LOOK_S: Final = 0.02
SWITCH: Final = "SELECT pg_switch_wal()"
SYNC: Final = "fdatasync"


class Storage:
    """The harms, with the two disks."""

    def __init__(self, data: Path, wal: Path) -> None:
        self.data, self.wal = data, wal

    async def sync_fails(self, place: Ground, chance: Random) -> dict[str, Any]:
        """The first fdatasync of the writer's backend fails: PostgreSQL ends all sessions and recovers."""
        del chance
        process_id = await harms.find(place, harms.WRITER)
        async with tampered(process_id, SYNC, "error=EIO:when=1") as tracer:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tracer.wait(), HIT_TIMEOUT_S)
            hit = tracer.returncode is not None
        assert hit, "no fdatasync was seen"
        return await self.well(place)

    async def sync_stalls(self, place: Ground, chance: Random) -> dict[str, Any]:
        """Each fdatasync of the writer's backend takes its time, and then succeeds."""
        seconds = chance.choice(STALLS_S)
        process_id = await harms.find(place, harms.WRITER)
        async with tampered(process_id, SYNC, f"delay_enter={int(seconds * 1e6)}"):
            await asyncio.sleep(seconds * 1.5)
        await harms.back(place)
        return {"stalled_s": seconds}

    async def data_full(self, place: Ground, chance: Random) -> dict[str, Any]:
        """No room where the tables are; PostgreSQL lives, appends fail."""
        began = time.monotonic()
        filled = await asyncio.to_thread(fill, self.data)
        try:
            await self.until_refused(place)
            await asyncio.sleep(chance.choice(FULL_S))
        finally:
            make_room(self.data)
        return {"filled_bytes_max": filled, "full_s_max": round(time.monotonic() - began, 3)} | await self.well(place)

    async def wal_full(self, place: Ground, chance: Random) -> dict[str, Any]:
        """No room where the WAL is: PostgreSQL panics, and cannot recover before there is room."""
        began = time.monotonic()
        filled = await asyncio.to_thread(fill, self.wal)
        try:
            async with asyncio.timeout(FULL_TIMEOUT_S):
                # What is left of files that exist is used up, by what runs and by us.
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    async with place.connected() as connection:
                        while True:
                            await connection.execute(SWITCH)
            await asyncio.sleep(chance.choice(FULL_S))
        finally:
            make_room(self.wal)
        return {"filled_bytes_max": filled, "full_s_max": round(time.monotonic() - began, 3)} | await self.well(place)

    async def until_refused(self, place: Ground) -> None:
        """The server has noticed."""
        async with asyncio.timeout(FULL_TIMEOUT_S):
            while await asyncio.to_thread(place.server.answers, "/readyz"):
                await asyncio.sleep(LOOK_S)

    async def well(self, place: Ground) -> dict[str, Any]:
        """PostgreSQL takes connections, started again if it gave up; the server serves. How long that took."""
        began, starts = time.monotonic(), 0
        async with asyncio.timeout(FULL_TIMEOUT_S):
            while True:
                if place.cluster.has_died():
                    await place.start_postgres()
                    starts += 1
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    async with place.connected():
                        break
                await asyncio.sleep(LOOK_S)
        await harms.back(place)
        return {"postgres_starts": starts, "back_s_max": round(time.monotonic() - began, 3)}


async def move_wal(place: Ground, to: Path) -> None:
    """Put PostgreSQL's WAL where it has a disk of its own."""
    cluster = place.cluster
    await cluster.stop()
    await asyncio.to_thread(shutil.copytree, cluster.wal_dir, to, symlinks=True, dirs_exist_ok=True)
    account = cluster.account
    for path in (to, *to.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if account is not None:
            shutil.chown(path, account.user_id, account.group_id)
    shutil.rmtree(cluster.wal_dir)
    cluster.wal_dir.symlink_to(to)
    await cluster.start()


def missing() -> str | None:
    """What this machine lacks for it."""
    return mounts.missing() or tracing.missing()


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One kind of trouble a cycle, in turn."""
    with small_disk(asked.directory / "data", DATA_MIB) as data, small_disk(asked.directory / "wal", WAL_MIB) as wal:
        async with ground(asked.directory, planted=asked.planted, postgres_in=data) as place:
            await move_wal(place, wal / "pg_wal")
            storage = Storage(data, wal)
            kinds = [storage.sync_fails, storage.data_full, storage.sync_stalls, storage.wal_full]
            async with contextlib.aclosing(cycles(Siege(place, asked), kinds)) as every:
                async for cycle in every:
                    yield cycle


ROW: Final = Row(
    id="C6",
    what="fdatasync fails or stalls; the disk of the WAL or of the data is full",
    unit="troubles",
    passes=f"{PASSES}; goes on once there is room",
    submission=12,
    campaign=800,
    run=run,
    needs=missing,
)
