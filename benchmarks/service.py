"""The server under test: a real `pyledger serve` with its own PostgreSQL, or one that a URL names.

Guarded here: the server is started by its public command line, with access on, a data directory of its own
on a real disk, and nothing set that production would not set; and it is stopped whatever happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from benchmarks import tied
from benchmarks.bodies import Envelope
from benchmarks.processes import cpu_s, tree_cpu_s
from benchmarks.proof import QUERIES
from benchmarks.wire import Caller

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 120.0
LAUNCHER: Final = ("pyledger.cli",)
WAL_PREMAKE_S: Final = 30.0
"""A server that has run for a day has written all of its WAL files once; a new one is given this long."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine's side of a run at one moment."""

    server_cpu_s: float | None
    postgres_cpu_s: float | None
    wal_bytes: int
    journal_bytes: int


@dataclass(slots=True)
class Service:
    """A server that answers: where it is, as whom to ask it, and how to look at its database."""

    url: str
    key: str
    owner_dsn: str
    process: subprocess.Popen[bytes] | None = None
    directory: Path | None = None
    settings: dict[str, object] = field(default_factory=dict)
    launcher: tuple[str, ...] = LAUNCHER
    """The module that is the server's command line, and words before its own."""
    postgres_id: int | None = None
    database: Any = None

    @property
    def envelope(self) -> Envelope:
        """What goes around a body on its way there."""
        return Envelope(urlsplit(self.url).netloc, self.key)

    def caller(self) -> Caller:
        """A connection for setting up and proving."""
        return Caller(self.url)

    def database_dsn(self, name: str) -> str:
        """Another database of the same PostgreSQL."""
        parts = urlsplit(self.owner_dsn)
        return (
            parts._replace(path=f"/{name}").geturl()
            if parts.netloc.rstrip("@") != parts.netloc
            else (f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else ""))
        )

    async def connect(self) -> None:
        """Open the connection that looks at the database, and find its processes."""
        self.database = await asyncpg.connect(self.owner_dsn)
        directory = Path(await self.database.fetchval(QUERIES["data_directory"]))
        try:
            self.postgres_id = int((directory / "postmaster.pid").read_text("ascii").splitlines()[0])
        except OSError:
            self.postgres_id = None

    async def read(self) -> Reading:
        """CPU, WAL and disk as of now."""
        server = cpu_s(self.process.pid) if self.process is not None else None
        postgres = tree_cpu_s(self.postgres_id) if self.postgres_id is not None else None
        return Reading(
            server,
            postgres,
            await self.database.fetchval(QUERIES["wal_bytes"]),
            await self.database.fetchval(QUERIES["journal_bytes"]),
        )

    async def mark_ns(self) -> int:
        """The time of the last committed row."""
        return int(await self.database.fetchval(QUERIES["mark_ns"]))

    async def rows_unsealed(self) -> int:
        """Rows in partitions of the journal that have no seal yet."""
        return int(await self.database.fetchval(QUERIES["rows_unsealed"]))

    async def settle(self) -> None:
        """What PostgreSQL has still to do for sealed partitions, at once instead of in the next minutes."""
        for row in await self.database.fetch(QUERIES["unfrozen"]):
            await self.database.execute(QUERIES["freeze"].format(name=row["name"]))
        if self.process is not None:  # of another's server we may not
            await self.database.execute(QUERIES["checkpoint"])

    async def configuration(self) -> dict[str, str]:
        """PostgreSQL's settings that a figure depends on."""
        return {row["name"]: row["value"] for row in await self.database.fetch(QUERIES["configuration"])}

    async def close(self) -> None:
        """Let go of a server that is not ours; stop and remove one that is."""
        try:
            if self.database is not None:
                await self.database.close()
                self.database = None
        finally:
            if self.process is not None:
                # Whoever is cancelled in here does not wait for the thread; the end of the event loop does.
                await asyncio.to_thread(stop, self.process)
                await self._stop_postgres()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _stop_postgres(self) -> None:
        """Of a server that was killed. One that stopped has stopped it already."""
        from pyledger.embedded.processes import stop_orphans

        data = Path(str(self.settings["data_dir"]))
        for found in data.glob("*/postmaster.pid"):  # noqa: ASYNC240 - one name, at the end
            await stop_orphans(found.parent)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: dict[str, object]) -> dict[str, str]:
    """Ours, without what other settings may stand in it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYLEDGER_")}
    return inherited | {f"PYLEDGER_{name.upper()}": str(value) for name, value in settings.items()}


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Stop a process of ours and wait for its end."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def command(*arguments: str, launcher: tuple[str, ...] = LAUNCHER) -> list[str]:
    """The public command line, of the Python that runs us."""
    return [sys.executable, "-m", *launcher, *arguments]


async def start(
    directory: Path,
    settings: Mapping[str, object] | None = None,
    *,
    premake_wal: bool = True,
    launcher: tuple[str, ...] = LAUNCHER,
) -> Service:
    """Start a server in this directory, wait until it serves, and make a key for it."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything is measured
    port = free_port()
    every = {"data_dir": directory / "data", "port": port, "log_level": "warning", **(settings or {})}
    service = Service(f"http://127.0.0.1:{port}", "", "", directory=directory, settings=every, launcher=launcher)
    launch(service)
    try:
        await ready(service)
        service.key = await asyncio.to_thread(_make_key, every)
        service.owner_dsn = _owner_dsn(every)
        await service.connect()
        if premake_wal:
            await _premake_wal(service)
    except BaseException:
        await service.close()
        raise
    return service


def launch(service: Service) -> None:
    """Start the server's process."""
    assert service.directory is not None
    with (service.directory / "server.log").open("ab") as log:
        service.process = subprocess.Popen(
            tied.command(*command("serve", launcher=service.launcher)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(service.settings),
            start_new_session=True,
        )


async def ready(service: Service) -> float:
    """Wait until /readyz says yes; returns the seconds that it took."""
    began, request = time.monotonic(), Envelope("127.0.0.1", "").get("/readyz")
    assert service.process is not None
    assert service.directory is not None
    while True:
        caller = service.caller()
        try:
            status, _ = await caller.call(request)
            if status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        finally:
            caller.close()
        if service.process.poll() is not None or time.monotonic() > began + START_TIMEOUT_S:
            log = (service.directory / "server.log").read_text("utf-8", "replace")
            raise RuntimeError(f"the server did not start:\n{log[-2_000:]}")
        await asyncio.sleep(0.02)


def _make_key(settings: dict[str, object]) -> str:
    """A key that may do everything the workloads do, for a tenant of its own."""
    made = subprocess.run(
        command("key", "create", "--tenant", "benchmarks", "--name", "benchmarks", "--json"),
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError(f"pyledger key create: {made.stderr.strip() or made.stdout.strip()}")
    return str(json.loads(made.stdout)["key"])


def _owner_dsn(settings: dict[str, object]) -> str:
    from pyledger.embedded import find_running
    from pyledger.settings import Settings

    found = find_running(Settings.load(environment(settings)))
    if found is None:
        raise RuntimeError("the server runs, but its PostgreSQL is not found")
    return found.owner_dsn


async def _premake_wal(service: Service) -> None:
    """Write WAL until all files that PostgreSQL keeps were written once, and hand them back for reuse."""
    deadline = time.monotonic() + WAL_PREMAKE_S
    missing = await service.database.fetchval(QUERIES["wal_files_missing"])
    for turn in range(missing):
        await service.database.execute(QUERIES["fill_wal_file"].replace("$1", str(turn)))
        if time.monotonic() > deadline:
            break
    await service.database.execute(QUERIES["checkpoint"])
