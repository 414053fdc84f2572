"""The embedded PostgreSQL as a whole: owned, started, prepared, watched over, stopped.

Guards: whoever gets a connection string from here gets a database that is durable and that nobody else
starts or stops meanwhile. A PostgreSQL left behind by a killed server is stopped cleanly before a new
one starts; one that dies while we serve is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from pyledger import sql
from pyledger.embedded import owner, processes, sizing, wal
from pyledger.embedded.binaries import find_binaries, reachable
from pyledger.embedded.cluster import Cluster
from pyledger.embedded.nouns import (
    LOCK_WAIT_S,
    OWNER_ROLE,
    POLL_S,
    RESTART_BACKOFF_FIRST_S,
    RESTART_BACKOFF_MAX_S,
    SERVER_ROLE,
    WAL_PREMAKE_AGAIN_MIB,
    WAL_PREMAKE_AGAIN_S,
    WAL_PREMAKE_FIRST_S,
    EmbeddedError,
    Place,
)
from pyledger.settings import Settings

log = logging.getLogger("pyledger.embedded")

QUERIES: Final = sql.load("pyledger.embedded")
WATCH_INTERVAL_S: Final = 0.1
"""How soon a death is noticed."""
LOG_LOOKS: Final = 600
"""Every so many looks, a minute, the log is trimmed."""


@dataclass(frozen=True, slots=True)
class Connectable:
    """A database that can be connected to now: as its owner, who migrates, and as the server."""

    owner_dsn: str
    server_dsn: str
    version: str
    embedded: bool


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(settings) as database:` owns, starts and in the end stops PostgreSQL.

    Raises `EmbeddedError` if it cannot. `purpose` is "serve" or "command"; a command is waited for."""

    def __init__(self, settings: Settings, *, purpose: str = owner.SERVE) -> None:
        self._settings = settings
        self._purpose = purpose
        self._cluster: Cluster | None = None
        self._lock: owner.Lock | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.restarts = 0
        """How often PostgreSQL had to be started again since."""

    @property
    def cluster(self) -> Cluster:
        """The cluster, once entered."""
        assert self._cluster is not None, "used outside of async with"
        return self._cluster

    async def __aenter__(self) -> Connectable:
        try:
            return await self._open()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self._close()
            raise EmbeddedError(f"the embedded PostgreSQL cannot be used: {error}") from error
        except BaseException:
            await self._close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _open(self) -> Connectable:
        binaries = await asyncio.to_thread(find_binaries, self._settings.postgres_bin)
        place = Place(self._settings.data_dir, binaries.major)
        account = owner.account_for(place)
        owner.make_data_dir(place, account)
        self._lock = owner.Lock(place)
        await self._lock.take(self._purpose)
        binaries = await asyncio.to_thread(reachable, binaries, account, place.data_dir)
        self._cluster = cluster = Cluster(place, binaries, account)
        if await processes.stop_orphans(cluster.directory):
            log.warning("stopped the PostgreSQL that an earlier server left behind")
        is_new = await cluster.create()
        if is_new:
            log.info("made a PostgreSQL %s in %s", binaries.version, cluster.directory)
        room_mib = self._wal_room_mib(cluster)
        cluster.configure(self._configuration(cluster, room_mib))
        if self._purpose == owner.SERVE:
            if is_new:
                await _premake(cluster, room_mib, WAL_PREMAKE_FIRST_S)
            else:
                await _premake(cluster, min(room_mib, WAL_PREMAKE_AGAIN_MIB), WAL_PREMAKE_AGAIN_S)
        await cluster.start()
        await self._prepare(cluster)
        self._watcher = asyncio.create_task(self._watch(cluster), name="watch embedded PostgreSQL")
        return Connectable(place.dsn(OWNER_ROLE), place.dsn(SERVER_ROLE), binaries.version, embedded=True)

    def _wal_room_mib(self, cluster: Cluster) -> int:
        wal_bytes = len(wal.wal_names(cluster.wal_dir)) * sizing.WAL_FILE_MIB * sizing.MIB
        return sizing.wal_mib(self._settings.wal_mib_max, shutil.disk_usage(cluster.wal_dir).free, wal_bytes)

    def _configuration(self, cluster: Cluster, room_mib: int) -> dict[str, str]:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return sizing.configuration(memory_bytes, room_mib, str(cluster.place.socket_dir))

    async def _prepare(self, cluster: Cluster) -> None:
        connection = await asyncpg.connect(cluster.place.dsn(OWNER_ROLE, "postgres"))
        try:
            if await connection.fetchval(QUERIES["count_database"]) == 0:
                await connection.execute(QUERIES["create_database"])
            await connection.execute(QUERIES["create_roles"])
        finally:
            await connection.close()

    async def _watch(self, cluster: Cluster) -> None:
        """Start PostgreSQL again whenever it has died. Meanwhile the writer says 503 and reconnects."""
        looks, backoff_s, down = 0, RESTART_BACKOFF_FIRST_S, False
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            looks += 1
            if looks % LOG_LOOKS == 0:
                cluster.trim_log()
            # One that failed to start leaves no process behind: `down` is what remembers it.
            down = down or cluster.has_died()
            if not down:
                continue
            log.error("PostgreSQL died; starting it again")
            try:
                await cluster.stop()
                await processes.stop_orphans(cluster.directory)
                await cluster.start()
            except (EmbeddedError, OSError, subprocess.SubprocessError) as error:
                log.error("PostgreSQL does not start, trying again: %s", error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, RESTART_BACKOFF_MAX_S)
            else:
                self.restarts += 1
                down = False
                backoff_s = RESTART_BACKOFF_FIRST_S

    async def _close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        if self._cluster is not None:
            await self._cluster.stop()
        if self._lock is not None:
            self._lock.release()


async def _premake(cluster: Cluster, wanted_mib: int, timeout_s: float) -> None:
    """Make WAL ahead in a thread, and be sure that it has ended even if we are told to stop meanwhile."""
    enough = threading.Event()
    making = asyncio.ensure_future(
        asyncio.to_thread(wal.premake, cluster.wal_dir, wanted_mib, timeout_s, cluster.account, enough)
    )
    try:
        await asyncio.shield(making)
    except OSError as error:
        # Only speed is lost; whether there is room to start is PostgreSQL's own business.
        log.warning("no WAL could be made ahead: %s", error)
    finally:
        enough.set()
        await asyncio.wait({making})


def find_running(settings: Settings) -> Connectable | None:
    """The embedded PostgreSQL of a server that runs now, or None."""
    binaries = find_binaries(settings.postgres_bin)
    place = Place(settings.data_dir, binaries.major)
    if not owner.Lock(place).holder().startswith(owner.SERVE):
        return None
    process_id = processes.postmaster_id(place.cluster_dir)
    if process_id is None or not processes.postmaster_is_ready(place.cluster_dir, process_id):
        return None
    return Connectable(place.dsn(OWNER_ROLE), place.dsn(SERVER_ROLE), binaries.version, embedded=True)


@contextlib.asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Connectable]:
    """For a command: the named database, else that of the server that runs, else our own for a while."""
    if not settings.embedded:
        yield Connectable(settings.owner_url or settings.database_url, settings.database_url, "", embedded=False)
        return
    running = await _running_soon(settings)
    if running is not None:
        yield running
        return
    async with EmbeddedPostgres(settings, purpose=owner.COMMAND) as database:
        yield database


async def _running_soon(settings: Settings) -> Connectable | None:
    """A server that is just starting holds the lock before PostgreSQL is ready."""
    deadline = time.monotonic() + LOCK_WAIT_S
    place = Place(settings.data_dir, 0)
    while True:
        running = find_running(settings)
        starting = owner.Lock(place).holder().startswith(owner.SERVE)
        if running is not None or not starting or time.monotonic() > deadline:
            return running
        await asyncio.sleep(POLL_S)
