"""What the harm is done to: a PostgreSQL of its own, a database in it, servers on that, and two tenants' keys.

Guarded here: real parts only, nothing set that production would not set (fsync is on), and whatever was
started is stopped, also when a cycle fails half-way. A server that has ended is never asked to stop again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from pyledger import identity
from pyledger.embedded import processes
from pyledger.embedded.cluster import Cluster
from tests.faults.nouns import Violated
from tests.faults.results import ROOT
from tests.support.clusters import DEFAULT_VERSION, Clusters, Database
from tests.support.process import ServerProcess

TENANTS: Final = ("north", "south")
"""Two, with the same ids in both, so that nothing of one can hide in the other."""
READY_TIMEOUT_S: Final = 60.0
ORPHANS_TIMEOUT_S: Final = 60.0
LOOK_S: Final = 0.01
LOOK_TIMEOUT_S: Final = 5.0
COUNTED: Final = ("batches", "batches_ahead")
"""What servers say that they have committed, and how much of it they had sent before its turn."""
QUICK: Final[dict[str, object]] = {
    "checkpoint_interval_s": 1,  # so that kills meet checkpoints, and restarts have something to replay
    "window_ids": 8_190,  # so that old ids are looked up
    "ahead_rows_min": 1,  # so that batches are sent ahead, by a second session
    "answer_timeout_ms": 4_000,
    "lease_ms": 2_000,
}
"""Settings that make rare things frequent; each is within what `pyledger serve` takes."""


@dataclass
class Ground:
    """One PostgreSQL with one database at a time, and the servers on it."""

    directory: Path
    settings: dict[str, object] = field(default_factory=dict)
    planted: str = ""
    version: int = DEFAULT_VERSION
    postgres_in: Path | None = None
    """Where PostgreSQL keeps its data, if not in the same directory."""
    keys: dict[str, str] = field(default_factory=dict, init=False)
    """The API key of each tenant, by name."""
    tenants: dict[str, int] = field(default_factory=dict, init=False)
    """The number of each tenant in the journal."""
    servers: list[ServerProcess] = field(default_factory=list, init=False)
    """Those of this database, in the order of their start; the last one should serve."""

    counted: dict[int, Counter[str]] = field(default_factory=dict, init=False)
    """What each server's process has counted until it was last asked."""

    def __post_init__(self) -> None:
        self.clusters = Clusters(self.postgres_in or self.directory)
        self.database: Database | None = None
        self._numbers = itertools.count(1)

    @property
    def cluster(self) -> Cluster:
        """PostgreSQL."""
        assert self.database is not None
        return self.database.postgres.cluster

    @property
    def server(self) -> ServerProcess:
        """The server that was started last."""
        return self.servers[-1]

    async def open_books(self) -> Database:
        """A fresh database with its two tenants; the one before it and its servers are dropped."""
        await self.drop_books()
        self.database = await self.clusters.make_database(self.version)
        async with self.connected() as connection:
            for name in TENANTS:
                made = await identity.create_key(connection, name, "faults")
                self.keys[name], self.tenants[name] = made.key, made.tenant
        return self.database

    async def drop_books(self) -> None:
        """Kill what serves the database, and drop it."""
        await self.kill_servers()
        if self.database is not None:
            await self.clusters.drop_database(self.database)
            self.database = None

    async def start_server(self, *, ready: bool = True, url: str = "", **settings: object) -> ServerProcess:
        """One more server on the database; `url` where something stands between it and PostgreSQL."""
        server = self.launch_server(url=url, **settings)
        await self.serving(server, "/readyz" if ready else "/healthz")
        return server

    def launch_server(self, *, url: str = "", **settings: object) -> ServerProcess:
        """The same, without waiting for anything."""
        assert self.database is not None
        given = {**QUICK, **self.settings, **settings, "database_url": url or self.database.server_dsn}
        log_file = self.directory / f"server-{next(self._numbers)}.log"
        server = ServerProcess(given, log_file, arguments=())
        if self.planted:
            server.launcher, server.directory = ("-m", "tests.faults.planted", self.planted), str(ROOT)
        self.servers.append(server)
        server.launch()
        return server

    async def start_again(self, server: ServerProcess) -> None:
        """Start a server that has ended, at its old address."""
        server.launch()
        await self.serving(server)

    async def serving(self, server: ServerProcess | None = None, path: str = "/readyz") -> None:
        """Wait until a server says that it is ready."""
        one = server or self.server

        def ready() -> bool:
            self.look_after(one)
            return one.answers(path)

        await self.until(ready, "the server is not ready")

    def look_after(self, server: ServerProcess) -> None:
        """Raise `Violated` if a server has ended that nobody has ended."""
        assert server.process is not None
        code = server.process.poll()
        if code is not None:
            raise Violated(f"the server has ended with {code}\n{self.said()}")

    async def until(self, condition: Any, what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait for something; it must come."""
        deadline = time.monotonic() + timeout_s
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                raise Violated(f"{what} after {timeout_s:.0f} s\n{self.said()}")
            await asyncio.sleep(LOOK_S)

    async def count(self) -> Counter[str]:
        """What all servers together have counted, as far as is known: one that is killed has not told its last."""
        for server in self.servers:
            with contextlib.suppress(OSError):
                self.counted[server.pid] = await asyncio.to_thread(counters, server.url)
        return sum(self.counted.values(), Counter[str]())

    def said(self) -> str:
        """The last words of the servers, for whoever has to find out."""
        return "\n".join(server.log()[-2_000:] for server in self.servers[-2:] if server.log_file.exists())

    @contextlib.asynccontextmanager
    async def connected(self, **settings: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection of the superuser."""
        assert self.database is not None
        connection = await asyncpg.connect(self.database.admin_dsn, server_settings=settings)
        try:
            yield connection
        finally:
            connection.terminate()

    async def start_postgres(self) -> None:
        """Start a PostgreSQL that has died, once its last process is gone; its lock file stays PostgreSQL's."""
        cluster = self.cluster
        if cluster.process is not None:
            # Only when it is gone for sure can it have no further children.
            await asyncio.to_thread(cluster.process.wait, ORPHANS_TIMEOUT_S)
            cluster.process = None
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while await asyncio.to_thread(processes.processes_on, cluster.directory):
            assert time.monotonic() < deadline, "processes of the dead PostgreSQL do not end"
            await asyncio.sleep(LOOK_S)
        await cluster.start()

    async def kill_servers(self) -> None:
        """Kill whatever still runs, frozen or not."""
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                os.kill(server.pid, signal.SIGKILL)
                await asyncio.to_thread(server.process.wait)
        self.servers.clear()

    async def close(self) -> None:
        """Stop everything."""
        await self.kill_servers()
        if self.database is not None and self.cluster.has_died():
            self.cluster.process = None
        await self.clusters.stop()


def counters(url: str) -> Counter[str]:
    """What a server counts. Raises `OSError` if it does not say."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=LOOK_TIMEOUT_S) as answer:
        said = answer.read().decode()
    found = {name: re.search(rf"^pyledger_{name}_total (\S+)$", said, re.MULTILINE) for name in COUNTED}
    return Counter({name: int(float(value[1])) for name, value in found.items() if value})


@contextlib.asynccontextmanager
async def ground(
    directory: Path, *, planted: str = "", postgres_in: Path | None = None, **settings: object
) -> AsyncIterator[Ground]:
    """A ground for one row's run, with a fresh database and no server yet."""
    made = Ground(directory, settings, planted, postgres_in=postgres_in)
    try:
        await made.open_books()
        yield made
    finally:
        await made.close()
