"""The baselines that free the figures of the machine's mood: measured in the same run, on the same machine.

Guarded here: each baseline writes with the same PostgreSQL and settings as the ledger, in a database of its own
that is dropped afterwards; and those over HTTP get the ledger's own requests, key included. The raw append has one
session and sends batch after batch, where the ledger's writer has two that take turns, one sending while the other
commits: it is what one session can do, not what PostgreSQL can at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

from benchmarks import engine, tied
from benchmarks.bodies import account_id
from benchmarks.load import drive
from benchmarks.lock_and_update import SCHEMA
from benchmarks.nouns import BATCH_TRANSFERS, Measured, Plan
from benchmarks.processes import cpu_s
from benchmarks.proof import QUERIES
from benchmarks.service import Service, free_port, stop
from benchmarks.summary import percentiles, summarize
from pyledger.ledger.store import Session

if TYPE_CHECKING:
    from pyledger._rust import Applied

CHUNK_BATCHES: Final = 122
"""Batches made ahead of the clock at a time: a million rows, a quarter of a gigabyte."""

BATCH_ROWS_MAX: Final = 8_190
PLAIN_CONNECTIONS: Final = 20
"""Connections of the plain form, one transaction a request: what pgledger's benchmark uses."""

HEAD_BYTES: Final = 190
"""Of the ledger's answer to a single; a test holds the echo's to it."""
SINGLE_BODY_BYTES: Final = 592
"""Of the body after it, where no single of W1 was measured in the run before: what W1 had in the kept runs."""

_START_TIMEOUT_S: Final = 20.0

Tell = Callable[[str, int], None]


def body_bytes(measured: Measured) -> int:
    """Of the body of the ledger's answer to these singles."""
    return max(1, measured.answer_bytes - HEAD_BYTES)


@contextlib.asynccontextmanager
async def scratch_database(service: Service, name: str) -> AsyncIterator[str]:
    """A database of our own in the server's PostgreSQL; yields how to connect to it."""
    await service.database.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await service.database.execute(f"CREATE DATABASE {name}")
    try:
        yield service.database_dsn(name)
    finally:
        await service.database.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Appender:
    """Appends the journal's own rows to a database of its own: as the writer does, and as plainly as can be."""

    def __init__(self, service: Service, session: Session, connection: Any) -> None:
        self._service = service
        self._session = session
        self._connection = connection
        self._books = engine.Books(accounts=10_000)
        self.copy_bytes_per_row = 0.0

    async def open(self) -> None:
        """Give the scratch database its shard, its partitions, its accounts, and a table without anything."""
        await self._session.open_shard()
        await self._session.make_partitions(time.time_ns(), 2)
        await self._connection.execute(QUERIES["plain_table"])
        for made in self._books.opening:
            await self._append(made)

    async def append(
        self, transfers: int, per_request: int, tell: Tell, *, plain: bool = False
    ) -> tuple[Measured, Measured]:
        """Append transfers in batches of a size; rows are made ahead, while the clock stands still.

        The second is the same rows again by a plain COPY into a plain table, nothing else; empty unless asked for."""
        ceiling = Measured("append_ceiling", "baseline", "raw append: COPY and head", per_request=per_request)
        bare = Measured("plain_copy", "baseline", "plain COPY into a plain table", per_request=per_request)
        taken: dict[str, list[float]] = {ceiling.case: [], bare.case: []}
        ways: list[tuple[Measured, Send]] = [(ceiling, self._append), *([(bare, self._copy)] if plain else [])]
        batches, copied = -(-transfers // per_request), 0
        while len(taken[ceiling.case]) < batches:
            left = batches - len(taken[ceiling.case])
            some = self._books.batches(min(CHUNK_BATCHES, left), per_request=per_request)
            copied += sum(len(each.copy) for each in some)
            for measured, send in ways:
                taken[measured.case] += await self._send(some, measured, send)
            tell("append", ceiling.accepted)
        for measured, _ in ways:
            measured.seconds = sum(taken[measured.case])
            measured.per_s = measured.accepted / measured.seconds
            measured.requests, measured.connections = batches, 1
            measured.latency_ms = percentiles(taken[measured.case])
        self.copy_bytes_per_row = copied / ceiling.accepted
        return ceiling, bare

    async def _send(self, some: list[engine.Made], measured: Measured, send: Send) -> list[float]:
        before, latencies = await self._service.read(), []
        for made in some:
            began = time.perf_counter()
            await send(made)
            latencies.append(time.perf_counter() - began)
        after, rows = await self._service.read(), sum(each.rows for each in some)
        wal = (measured.wal_bytes_per_transfer or 0.0) * measured.accepted + after.wal_bytes - before.wal_bytes
        measured.accepted += rows
        measured.wal_bytes_per_transfer = wal / measured.accepted
        if before.postgres_cpu_s is not None and after.postgres_cpu_s is not None:
            spent_s = after.postgres_cpu_s - before.postgres_cpu_s
            measured.postgres_cpu_s = round((measured.postgres_cpu_s or 0.0) + spent_s, 2)
        return latencies

    async def _append(self, made: engine.Made) -> None:
        await self._session.append(0, cast("Applied", made))

    async def _copy(self, made: engine.Made) -> None:
        await self._connection.copy_to_table("plain", source=memoryview(made.copy), format="binary")


Send = Callable[[engine.Made], Awaitable[None]]


@contextlib.asynccontextmanager
async def appender(service: Service) -> AsyncIterator[Appender]:
    """An appender on one session of the writer's kind, of which the writer has two that take turns."""
    from pyledger.ledger.migrate import upgrade

    async with scratch_database(service, "pyledger_bench_append") as dsn:
        await upgrade(dsn)
        session, connection = await Session.open(dsn, 0), await asyncpg.connect(dsn)
        try:
            found = Appender(service, session, connection)
            await found.open()
            yield found
        finally:
            await connection.close()
            await session.close()


async def append_ceiling(service: Service, transfers: int, tell: Tell) -> Measured:
    """The journal's own rows in full batches, by COPY with the compare-and-set of the head: no engine, no HTTP."""
    async with appender(service) as found:
        return (await found.append(transfers, BATCH_TRANSFERS, tell))[0]


@contextlib.asynccontextmanager
async def _process(scratch: Path, module: str, port: int, *arguments: str) -> AsyncIterator[tuple[str, int]]:
    """One of our own servers in a process of its own; yields its URL and process id."""
    url = f"http://127.0.0.1:{port}"
    with (scratch / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - a fork, before anything is measured
            tied.command(sys.executable, "-m", f"benchmarks.{module}", *arguments),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    text = (scratch / f"{module}.log").read_text("utf-8", "replace")
                    raise RuntimeError(f"the baseline {module} did not start:\n{text[-2_000:]}") from None
                await asyncio.sleep(0.05)
        yield url, process.pid
    finally:
        await asyncio.to_thread(stop, process)


async def echo(plan: Plan, key: str, scratch: Path, answer_bytes: int, tell: Tell) -> Measured:
    """The same requests against a handler that only reads them and answers as many bytes as the ledger.

    The key is sent and not looked at; `answer_bytes` is of a body, without its head."""
    port = free_port()
    async with _process(scratch, "echo", port, str(port), str(answer_bytes)) as (url, process_id):
        before_s = cpu_s(process_id)
        outcomes, _ = await drive(plan, url, key, scratch, tell)
        after_s = cpu_s(process_id)
    measured = summarize(plan, outcomes, "baseline", "echo on the same Granian")
    if before_s is not None and after_s is not None:
        measured.server_cpu_s = round(after_s - before_s, 2)
    return measured


async def lock_and_update(
    service: Service, plan: Plan, scratch: Path, answer_bytes: int, tell: Tell, *, grouped: bool
) -> Measured:
    """The same requests against the set-based lock-and-update ledger in SQL, with or without group commit."""
    rows, connections = (BATCH_ROWS_MAX, 1) if grouped else (1, PLAIN_CONNECTIONS)
    async with scratch_database(service, "pyledger_bench_sql") as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute(SCHEMA.read_text("utf-8"))
        await connection.copy_records_to_table(
            "account",
            columns=("id",),
            records=[
                (account_id(plan.first_account, each).to_bytes(16, "big").hex(),) for each in range(plan.accounts)
            ],
        )
        await connection.execute("VACUUM ANALYZE account")
        port = free_port()
        arguments = (dsn, str(port), str(rows), str(connections), str(answer_bytes))
        async with _process(scratch, "lock_and_update", port, *arguments) as (url, process_id):
            before = await service.read()
            outcomes, _ = await drive(plan, url, service.key, scratch, tell)
            after, spent_s = await service.read(), cpu_s(process_id)
        title = "lock-and-update SQL, " + ("group commit" if grouped else "one transaction a request")
        measured = summarize(plan, outcomes, "baseline", title)
        measured.server_cpu_s = spent_s
        if before.postgres_cpu_s is not None and after.postgres_cpu_s is not None:
            measured.postgres_cpu_s = round(after.postgres_cpu_s - before.postgres_cpu_s, 2)
        measured.wal_bytes_per_transfer = round((after.wal_bytes - before.wal_bytes) / max(1, measured.accepted), 1)
        stored, unequal = await connection.fetchrow(QUERIES["baseline_books"])
        assert stored >= measured.accepted, "the baseline lost transfers that it acknowledged"
        assert unequal == 0, "the baseline's debits are not its credits"
        await connection.close()
    return measured
