"""One server process from start to exit code.

Guards: the address is taken first, so that `/healthz` and `/readyz` answer while the database starts, while
another server owns the head and while the journal is replayed; a stop answers what was taken before it lets
go of the head; and the exit code says why it ended: 0 stopped, 1 a bug, 2 refused to start, 3 fenced, 4
halted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import uvloop

import pyledger
from pyledger.embedded import EmbeddedError, EmbeddedPostgres
from pyledger.identity import KeyStore, ensure_tenant
from pyledger.ledger import Database, Exit, Ledger, LedgerError
from pyledger.server import openapi
from pyledger.server.access import DEV_TENANT_NAME, DevAccess, KeyAccess, dev_principal
from pyledger.server.answers import Answers
from pyledger.server.host import CannotServe, Host, bind, check_certificate, raise_file_limit
from pyledger.server.limits import BODY_BYTES_A_ROW, Bodies
from pyledger.server.memory import keep_one_arena
from pyledger.server.metrics import Metrics
from pyledger.server.router import Application
from pyledger.server.service import STOPPING, FeedBounds, Service
from pyledger.settings import BadSetting, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger("pyledger.server")

EXIT_BUG: Final = 1
STATE_LOOK_S: Final = 0.1
"""How often the state is looked at, to tell the operator when it changes."""

GARBAGE_OBJECTS: Final = 100_000
"""New objects after which cycles are looked for, some tens of MB. A request makes no cycles, and Python's own
700 cost a tenth to a fifth of the time of single transfers."""

ENDED_DRAIN_S: Final = 2.0
"""A fenced or halted server has at most so long to tell those who wait that their outcome is unknown."""


def main() -> int:
    """`python -m pyledger.server`."""
    try:
        settings = Settings.load()
    except BadSetting as error:
        return _refuse(error)
    return serve(settings)


def serve(settings: Settings) -> int:
    """Serve until told to stop; the exit code."""
    _log_to_stderr(settings.log_level)
    keep_one_arena()
    try:
        settings.refuse_insecure()
        check_certificate(settings)
        connections_max = raise_file_limit(settings.connections_max)
        dataclasses.replace(settings, connections_max=connections_max).refuse_crowded()
        with contextlib.closing(bind(settings.host, settings.port)) as listener:
            return uvloop.run(_serve(settings, Host(listener, settings, connections_max), connections_max))
    except (BadSetting, CannotServe, EmbeddedError, LedgerError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return Exit.CLEAN


async def _serve(settings: Settings, host: Host, connections_max: int) -> int:
    process = Process(settings, host, connections_max)
    try:
        return await process.run()
    finally:
        await host.stop()


@dataclass
class Process:
    """What lives as long as the process does."""

    settings: Settings
    host: Host
    connections_max: int

    def __post_init__(self) -> None:
        settings = self.settings
        self.database: Database | None = None
        self.ending = asyncio.Event()
        self.store = KeyStore(self._connect_for_keys, settings.key_refresh_s)
        self.dev = DevAccess()
        self.bodies = Bodies(
            single_bytes_max=settings.single_body_bytes_max,
            batch_bytes_max=settings.body_bytes_max,
            room_bytes=settings.queue_rows_max * BODY_BYTES_A_ROW,
            timeout_s=settings.body_timeout_ms / 1_000,
            batch_rows_max=settings.batch_rows_max,
            json_depth_max=settings.json_depth_max,
        )
        self.answers = Answers(settings.answer_timeout_ms / 1_000)
        self.metrics = Metrics(pyledger.__version__)
        self.service = Service(
            authenticator=self.dev if settings.dev else KeyAccess(self.store),
            bodies=self.bodies,
            answers=self.answers,
            metrics=self.metrics,
            page_rows_max=settings.page_rows_max,
            feed=FeedBounds(settings.feed_readers_max, settings.feed_wait_s),
        )
        self.service.shard = settings.shard
        self.service.openapi = openapi.encode(pyledger.__version__)
        self.service.metrics_open_on_loopback = not settings.behind_tls_proxy
        self.metrics.watch(self.service)
        self.application = Application(self.service, self.connections_max)
        self.deadline_s: float | None = None
        """When a stop that was asked for gives up, by the monotonic clock."""

    async def run(self) -> int:
        """Serve until told to stop or until the ledger ends; the exit code."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self.bodies.clock.start()
        self.answers.start()
        serving = self.host.start(self.application)
        _say(f"pyledger {pyledger.__version__} listens on {_url(self.settings, self.host.port)}")
        living = asyncio.create_task(self._live(), name="pyledger-life")
        told = asyncio.create_task(stop.wait(), name="pyledger-stop")
        telling = asyncio.create_task(self._tell_states(), name="pyledger-states")
        try:
            await asyncio.wait({serving, living, told}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                log.error("the HTTP server ended by itself")
                await self._end(living)
                return EXIT_BUG
            if told.done():
                await self._end(living)
            return await living
        except asyncio.CancelledError:
            if living.cancelled():
                return Exit.CLEAN
            raise
        finally:
            for task in (told, telling):
                task.cancel()
            self.bodies.clock.stop()
            self.answers.stop()

    async def _live(self) -> int:
        """Database, keys, ledger: opened in this order, closed in the other."""
        async with self._opened_database() as database:
            self.database = database
            self.store.start()
            try:
                return await self._until_ended(await Ledger.open(self.settings, database), database)
            finally:
                await self.store.close()

    async def _until_ended(self, ledger: Ledger, database: Database) -> int:
        """Show the ledger to clients until it ends by itself or is told to; then close it, once."""
        ended = asyncio.create_task(ledger.ended(), name="pyledger-ended")
        told = asyncio.create_task(self.ending.wait(), name="pyledger-ending")
        try:
            ledger.stats.listeners.append(self.metrics.observe_batch)
            if self.settings.dev:
                self.dev.principal = dev_principal(await _dev_tenant(database))
            self.service.ledger = ledger
            await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                # Fenced or halted: those who wait were told that their outcome is unknown.
                await self._drain(ENDED_DRAIN_S)
        finally:
            told.cancel()
            await ledger.close(None if self.deadline_s is None else self.deadline_s - time.monotonic())
        return int(await ended)

    async def _end(self, living: asyncio.Task[int]) -> None:
        """Answer what was taken, then let go of the head."""
        log.info("stopping: answering what was taken")
        self.service.stopping = True
        self.deadline_s = time.monotonic() + self.settings.drain_timeout_s
        await self._drain(self.settings.drain_timeout_s)
        if self.service.ledger is None:
            living.cancel()
        else:
            self.ending.set()
        await asyncio.wait({living})

    async def _drain(self, timeout_s: float) -> None:
        if self.service.ledger is not None:
            self.service.ledger.reads.feed.close()
        try:
            await asyncio.wait_for(self.application.idle(), timeout_s)
        except TimeoutError:
            log.warning("%d requests are still open after %.0f s", self.application.in_flight, timeout_s)

    @contextlib.asynccontextmanager
    async def _opened_database(self) -> AsyncIterator[Database]:
        settings = self.settings
        if not settings.embedded:
            yield Database(settings.database_url, settings.owner_url or None)
            return
        async with EmbeddedPostgres(settings) as database:
            yield Database(database.server_dsn, database.owner_dsn, embedded=True)

    async def _connect_for_keys(self) -> asyncpg.Connection[Any]:
        if self.database is None:
            raise ConnectionError("the database is not open yet")
        return await asyncpg.connect(self.database.url, server_settings={"application_name": "pyledger keys"})

    async def _tell_states(self) -> None:
        """Say what the server is doing whenever that changes."""
        told = ""
        while True:
            state = self.service.state
            if state != told:
                told = state
                if state == "serving":
                    _settle_garbage()
                    _greet(self.settings, self.host.port)
                elif state != STOPPING:
                    log.info("%s", state)
            await asyncio.sleep(STATE_LOOK_S)


def _settle_garbage() -> None:
    """What start-up made stays; it is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


async def _dev_tenant(database: Database) -> int:
    """The number of the tenant that a server without keys serves, made if there is none."""
    try:
        connection = await asyncpg.connect(database.owner_url or database.url)
        try:
            return await ensure_tenant(connection, DEV_TENANT_NAME)
        finally:
            await connection.close()
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotServe(
            "--dev needs PYLEDGER_OWNER_URL the first time: the writing role may not add the tenant dev"
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise CannotServe(f"PostgreSQL went away while the tenant dev was made: {error}") from error


def _url(settings: Settings, port: int) -> str:
    return f"{settings.url.rpartition(':')[0]}:{port}"


def _greet(settings: Settings, port: int) -> None:
    url = _url(settings, port)
    key = "" if settings.dev else ' -H "Authorization: Bearer $PYLEDGER_KEY"'
    body = """'{"id": 1, "asset": "EUR", "exponent": 2}'"""
    _say(f"pyledger serves on {url}")
    _say(f"  docs  {url}/docs")
    if not settings.dev:
        _say("  key   pyledger key create --help")
    _say(f"  try   curl -s {url}/v1/ledgers{key} -H 'Content-Type: application/json' -d {body}")


def _say(line: str) -> None:
    """To the operator, whatever the log level is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    # At each start it tells which of its plugins it has.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"pyledger: {error}\n")
    return Exit.REFUSED
