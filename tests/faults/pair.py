"""A primary, a standby that follows it, and the controller that promotes: what an operator's tools do.

Servers reach the primary through one address, `front`, and the standby reaches it through `link`; both are
proxies of ours. Guarded here: never do two of them take commits under the address, and a primary that was given
up is dead before the next standby is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg

from pyledger.embedded import owner, processes, sizing
from pyledger.embedded.binaries import find_binaries
from pyledger.embedded.cluster import Cluster
from pyledger.embedded.nouns import OWNER_ROLE, SOCKET_PORT, EmbeddedError, Place
from tests.faults.ground import LOOK_S, Ground
from tests.faults.nouns import Run
from tests.faults.proxy import Proxy
from tests.support.clusters import DEFAULT_VERSION, MEMORY_BYTES, SERVER, WAL_MIB, Database, Postgres
from tests.support.process import ServerProcess

STANDBY: Final = "standby"
WAIT_S: Final = 60.0
REPLICATION: Final = """
SELECT sync_state, replay_lsn >= pg_current_wal_lsn() AS caught_up FROM pg_stat_replication
WHERE application_name = 'standby' AND state = 'streaming'
"""
LIVES: Final = frozenset({"ready", "standby"})


def missing() -> str | None:
    """Why there can be no standby here; None if there can."""
    with contextlib.suppress(EmbeddedError):
        if (find_binaries().bin_dir / "pg_basebackup").exists():
            return None
    return "there is no pg_basebackup beside PostgreSQL"


class FrontedGround(Ground):
    """A ground whose servers know PostgreSQL by one address, whoever is the primary."""

    front: Proxy

    async def start_server(self, *, ready: bool = True, url: str = "", **settings: object) -> ServerProcess:
        """As on any ground, by that address."""
        assert self.database is not None and not url
        url = f"postgresql://{SERVER}@127.0.0.1:{self.front.port}/{self.database.name}?sslmode=disable"
        return await super().start_server(ready=ready, url=url, **settings)


class Pair:
    """The two of them. `standby` follows the cluster of the ground, which is the primary."""

    def __init__(self, place: FrontedGround, link: Proxy) -> None:
        self.place, self.link = place, link
        self.standby: Cluster | None = None
        self._numbers = itertools.count(1)

    async def follow(self, *, synchronous: bool) -> None:
        """Make a new standby of the primary, from a base backup, and wait until it has all that there is."""
        primary = self.place.cluster
        self.link.target = socket_of(primary)
        data = self.place.directory / f"node-{next(self._numbers)}"
        place = Place(data, primary.place.major)
        owner.make_data_dir(place, primary.account)
        self.standby = Cluster(place, primary.binaries, primary.account, durable=False)
        await asyncio.to_thread(base_backup, primary, self.standby)
        conninfo = f"host=127.0.0.1 port={self.link.port} user={OWNER_ROLE} application_name={STANDBY} sslmode=disable"
        configure(self.standby, primary_conninfo=conninfo, hot_standby="on", wal_retrieve_retry_interval="100ms")
        (place.cluster_dir / "standby.signal").touch(mode=0o600)
        owner.give(place.cluster_dir / "standby.signal", primary.account)
        await start_standby(self.standby)
        await self.demand(synchronous=synchronous)
        await self.until_followed("sync" if synchronous else "async")

    async def demand(self, *, synchronous: bool) -> None:
        """Whether the primary waits for its standby with each commit."""
        configure(self.place.cluster, synchronous_standby_names="*" if synchronous else "")
        async with self.place.connected() as connection:
            await connection.execute("SELECT pg_reload_conf()")

    async def until_followed(self, state: str) -> None:
        """The standby is in this state and has replayed everything."""
        async with asyncio.timeout(WAIT_S), self.place.connected() as connection:
            while True:
                row = await connection.fetchrow(REPLICATION)
                if row is not None and row["sync_state"] == state and row["caught_up"]:
                    return
                await asyncio.sleep(LOOK_S)

    async def isolate(self) -> None:
        """The network takes the primary away from its servers. It lives on, and knows nothing of it."""
        self.place.front.away = True
        await self.place.front.cut_all()

    async def crash(self) -> None:
        """The primary's machine is gone, all processes at once."""
        cluster = self.place.cluster
        assert cluster.process is not None
        while found := await asyncio.to_thread(processes.processes_on, cluster.directory):
            for process_id in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            await asyncio.sleep(LOOK_S)
        cluster.process.wait()
        cluster.process = None

    async def promote(self, *, strict: bool = False) -> float:
        """The standby becomes the primary, under the same address; how many seconds that took.

        What the link still holds back is lost. A strict primary waits for its next standby from the first
        commit on."""
        began = time.monotonic()
        promoted, self.standby = self.standby, None
        assert promoted is not None and self.place.database is not None
        await self.link.cut_all()
        self.link.thaw()
        configure(promoted, synchronous_standby_names="*" if strict else "")
        postgres = Postgres(promoted)
        connection = await asyncpg.connect(postgres.admin_dsn())
        await connection.execute("SELECT pg_reload_conf()")
        assert await connection.fetchval("SELECT pg_promote()"), "the standby was not promoted"
        connection.terminate()
        gone = self.place.cluster
        self.place.database = Database(postgres, self.place.database.name)
        self.place.clusters.running[DEFAULT_VERSION] = postgres
        if gone.process is not None:
            await self._end(gone)
        self.place.front.target = socket_of(promoted)
        self.place.front.away = False
        await asyncio.to_thread(shutil.rmtree, gone.place.data_dir, ignore_errors=True)
        return time.monotonic() - began

    async def _end(self, cluster: Cluster) -> None:
        """Shoot the node in the head, before anybody believes the other one."""
        assert cluster.process is not None
        cluster.process.kill()
        cluster.process.wait()
        await processes.stop_orphans(cluster.directory)
        cluster.process = None

    async def close(self) -> None:
        """Stop the standby."""
        if self.standby is not None and self.standby.process is not None:
            await self._end(self.standby)


def socket_of(cluster: Cluster) -> str:
    """The path of a cluster's socket."""
    return str(cluster.place.socket_dir / f".s.PGSQL.{SOCKET_PORT}")


def configure(cluster: Cluster, **more: str) -> None:
    """The configuration of the tests' PostgreSQL, and more."""
    settings = sizing.configuration(MEMORY_BYTES, WAL_MIB, str(cluster.place.socket_dir))
    cluster.configure(settings | {"max_connections": "200", "huge_pages": "off"} | more)


def base_backup(primary: Cluster, standby: Cluster) -> None:
    """Copy the primary while it runs."""
    target = standby.place.cluster_dir
    command: list[str | Path] = [find_binaries().bin_dir / "pg_basebackup", "--pgdata", target, "--no-sync"]
    command += ["--host", primary.place.socket_dir, "--port", str(SOCKET_PORT), "--username", OWNER_ROLE]
    command += ["--checkpoint", "fast", "--wal-method", "stream"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
            owner.give(path, standby.account)


async def start_standby(cluster: Cluster) -> None:
    """Start it and wait until it takes connections; it never says that it is ready, for it takes no commits."""
    owner.make_private_dir(cluster.place.socket_dir, cluster.account)
    with cluster.place.log_file.open("ab") as log:
        command = [str(cluster.binaries.bin_dir / "postgres"), "-D", str(cluster.directory)]
        cluster.process = cluster._popen(command, log)
    deadline = time.monotonic() + WAIT_S
    while True:
        lines = processes.read_postmaster_file(cluster.directory)
        if len(lines) >= 8 and lines[0].strip() == str(cluster.process.pid) and lines[7].strip() in LIVES:
            return
        assert cluster.process.poll() is None and time.monotonic() < deadline, cluster.place.log_file.read_text()
        await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def pair(asked: Run, **settings: Any) -> AsyncIterator[Pair]:
    """A ground with a fresh database whose PostgreSQL can fail over; no standby yet."""
    place = FrontedGround(asked.directory, settings, asked.planted, postgres_in=asked.directory / "first")
    link = Proxy("")
    made = Pair(place, link)
    try:
        await place.open_books()
        async with Proxy(socket_of(place.cluster)) as front, link:
            place.front = front
            yield made
            await place.kill_servers()
    finally:
        await made.close()
        await place.close()
