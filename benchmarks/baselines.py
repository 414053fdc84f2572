"""The baselines that free the figures of the machine's mood: measured in the same run, on the same machine.

Guarded here: each baseline writes with the same PostgreSQL and settings as the ledger, in a database of its
own that is dropped afterwards; and none of them is given less than the ledger has.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks import engine
from benchmarks.bodies import account_id
from benchmarks.load import drive
from benchmarks.lock_and_update import SCHEMA
from benchmarks.nouns import BATCH_TRANSFERS, Measured, Plan
from benchmarks.processes import cpu_s
from benchmarks.proof import QUERIES
from benchmarks.service import Service, free_port, stop
from benchmarks.summary import percentiles, summarize

CHUNK_BATCHES: Final = 122
"""Batches made ahead of the clock at a time: a million rows, a quarter of a gigabyte."""

BATCH_ROWS_MAX: Final = 8_190
PLAIN_CONNECTIONS: Final = 20
"""Connections of the plain form, one transaction a request: what pgledger's benchmark uses."""

_START_TIMEOUT_S: Final = 20.0

Tell = Callable[[str, int], None]


@contextlib.asynccontextmanager
async def scratch_database(service: Service, name: str) -> AsyncIterator[str]:
    """A database of our own in the server's PostgreSQL; yields how to connect to it."""
    await service.database.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await service.database.execute(f"CREATE DATABASE {name}")
    try:
        yield service.database_dsn(name)
    finally:
        await service.database.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def append_ceiling(service: Service, transfers: int, tell: Tell) -> Measured:
    """The journal's own rows, by COPY with the compare-and-set of the head: no engine, no HTTP.

    One connection, as the writer has; rows are made ahead, a chunk at a time, while the clock stands still."""
    from pyledger.ledger.migrate import upgrade
    from pyledger.ledger.store import Session

    measured = Measured("append_ceiling", "baseline", "raw append: COPY and head", per_request=BATCH_TRANSFERS)
    async with scratch_database(service, "pyledger_bench_append") as dsn:
        await upgrade(dsn)
        session = await Session.open(dsn, 0)
        await session.open_shard()
        await session.make_partitions(time.time_ns(), 2)
        books = engine.Books(accounts=10_000)
        for applied in books.opening:
            await session.append(0, applied)
        wal = await service.database.fetchval(QUERIES["wal_bytes"])
        batches = -(-transfers // BATCH_TRANSFERS)
        latencies: list[float] = []
        while len(latencies) < batches:
            some = books.batches(min(CHUNK_BATCHES, batches - len(latencies)))
            for applied in some:
                began = time.perf_counter()
                await session.append(0, applied)
                latencies.append(time.perf_counter() - began)
            measured.accepted += sum(each.rows for each in some)
            tell("append", measured.accepted)
        measured.seconds = sum(latencies)
        measured.per_s = measured.accepted / measured.seconds
        measured.requests, measured.connections = batches, 1
        measured.latency_ms = percentiles(latencies)
        measured.wal_bytes_per_transfer = (
            await service.database.fetchval(QUERIES["wal_bytes"]) - wal
        ) / measured.accepted
        await session.close()
    return measured


@contextlib.asynccontextmanager
async def _process(scratch: Path, module: str, port: int, *arguments: str) -> AsyncIterator[tuple[str, int]]:
    """One of our own servers in a process of its own; yields its URL and process id."""
    url = f"http://127.0.0.1:{port}"
    with (scratch / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - a fork, before anything is measured
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
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


async def echo(plan: Plan, scratch: Path, answer_bytes: int, tell: Tell) -> Measured:
    """The same requests against a handler that only reads them and answers as many bytes as the ledger."""
    port = free_port()
    async with _process(scratch, "echo", port, str(port), str(answer_bytes)) as (url, process_id):
        outcomes, _ = await drive(plan, url, "", scratch, tell)
        spent_s = cpu_s(process_id)
    measured = summarize(plan, outcomes, "baseline", "echo on the same Granian")
    measured.server_cpu_s = spent_s
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
            outcomes, _ = await drive(plan, url, "", scratch, tell)
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
