"""What the tests of the ledger room share: commands, ledgers that close themselves, and a wire that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from pyledger import _rust
from pyledger.ledger import Database, Ledger
from pyledger.ledger.check import Finding, check
from pyledger.ledger.connections import copy_through, stream_copy
from pyledger.ledger.proofs import SigningKey
from pyledger.ledger.proofs.outside import place
from pyledger.settings import Settings
from tests.support.clusters import Database as TestDatabase

TENANT = 7


def new_id() -> str:
    """A UUIDv7 of now."""
    ms = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)))


def open_book(number: int = 1, tenant: int = TENANT) -> _rust.Commands:
    return _rust.decode_ledger(json.dumps({"id": number, "asset": "EUR", "exponent": 2}).encode(), tenant)


def open_accounts(ids: list[str], tenant: int = TENANT, **fields: Any) -> _rust.Commands:
    accounts = [{"id": each, "ledger": 1, "code": 1, **fields} for each in ids]
    return _rust.decode_accounts(json.dumps({"accounts": accounts}).encode(), tenant)


def fields(debit: str, credit: str, amount: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "debit_account_id": debit,
        "credit_account_id": credit,
        "amount": str(amount),
        "ledger": 1,
        "code": 1,
        **more,
    }


def transfer(debit: str, credit: str, amount: int = 1, *, tenant: int = TENANT, **more: Any) -> _rust.Commands:
    return _rust.decode_transfer(json.dumps(fields(debit, credit, amount, **more)).encode(), tenant, None)


def transfers(rows: list[dict[str, Any]], tenant: int = TENANT) -> _rust.Commands:
    return _rust.decode_transfers(json.dumps({"transfers": rows}).encode(), tenant)


def resolve(action: Any, target: str, tenant: int = TENANT, **more: Any) -> _rust.Commands:
    body = json.dumps({"id": new_id(), **more}).encode()
    return _rust.decode_resolution(body, tenant, action, target, None)


def new_engine(**limits: int) -> _rust.Engine:
    bounds = {"ledgers_max": 100, "accounts_max": 2_000_000, "holds_max": 100_000, "window_ids": 100_000}
    return _rust.Engine(0, **(bounds | limits), seed=1)


def ledger_settings(**given: Any) -> Settings:
    small = {"accounts_max": 2_000_000, "holds_max": 100_000, "window_ids": 100_000, "drain_timeout_s": 10}
    return Settings(**(small | given))


@contextlib.asynccontextmanager
async def opened(
    database: TestDatabase,
    *,
    url: str = "",
    wall_ns: Callable[[], int] = time.time_ns,
    wait: bool = True,
    **settings: Any,
) -> AsyncIterator[Ledger]:
    """A ledger on a test's database; closed at the end."""
    where = Database(url or database.server_dsn)
    ledger = await Ledger.open(ledger_settings(**settings), where, wall_ns=wall_ns)
    try:
        if wait:
            await asyncio.wait_for(ledger.serving(), 30)
        yield ledger
    finally:
        await ledger.close()


async def make_accounts(ledger: Ledger, count: int = 2, **more: Any) -> list[str]:
    """Open ledger 1 and accounts in it."""
    assert (await ledger.writer.submit(open_book())).outcome == "accepted"
    ids = [new_id() for _ in range(count)]
    reply = json.loads((await ledger.writer.submit(open_accounts(ids, **more))).body)
    assert reply["accepted"] == count, reply
    return ids


async def posted(ledger: Ledger, account: str, tenant: int = TENANT) -> int:
    """An account's posted balance, current."""
    body = await ledger.reads.account(tenant, account)
    assert body is not None
    return int(json.loads(body)["balances"]["posted"])


async def run_as_admin(database: TestDatabase, statement: str, *arguments: object) -> Any:
    """One statement as the superuser, behind the ledger's back and past its triggers; the first value."""
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


async def copy_of(database: TestDatabase, query: str, *arguments: object) -> bytes:
    """The rows of a query, as one binary COPY stream."""
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        pieces: list[bytes] = []
        await stream_copy(connection, query, *arguments, take=pieces.append)
        return b"".join(pieces)
    finally:
        await connection.close()


async def findings(database: TestDatabase, outside: Path | None = None, key: str = "") -> list[Finding]:
    """What `check` finds; `outside` is where checkpoints are kept, `key` the file of a key that it knows."""
    kept = place(str(outside or ""), 0)
    known = [SigningKey.load(Path(key)).public] if key else []
    reports = [report async for report in check(database.owner_dsn, 0, new_engine, kept, known)]
    return [report for report in reports if isinstance(report, Finding)]


def let_pass(ledger: Ledger, duration_ns: int) -> None:
    """Set the ledger's clock ahead of everybody's, and the wall with it, so that it is not set back."""
    clock = ledger._clock
    wall_ns = clock.wall_ns
    clock._ahead_ns += duration_ns
    clock.wall_ns = lambda: wall_ns() + duration_ns


async def until(true: Callable[[], Any], timeout_s: float = 15) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.01)


def writer_pid(ledger: Ledger) -> int:
    """The process id of the PostgreSQL backend that the writer talks to."""
    assert ledger._committer is not None
    return int(ledger._committer.session._connection.get_server_pid())


async def crash(ledger: Ledger) -> None:
    """End it as a crash would: at once, and without a last checkpoint."""

    async def none() -> bool:
        return False

    assert ledger._committer is not None
    assert ledger._checkpointer is not None
    ledger._checkpointer.take = none  # type: ignore[method-assign]
    ledger._committer.abandon()
    await ledger.close()


async def row_by_row(*arguments: Any, take: Callable[[bytes], object]) -> None:
    """`copy_through` as from a PostgreSQL so slow that each row comes alone."""

    def split(stream: bytes) -> None:
        header, start = stream[:19], 19
        while (fields := int.from_bytes(stream[start : start + 2], "big", signed=True)) >= 0:
            end = start + 2
            for _ in range(fields):
                end += 4 + max(0, int.from_bytes(stream[end : end + 4], "big", signed=True))
            take(header + stream[start:end] + b"\xff\xff")
            start = end

    await copy_through(*arguments, take=split)


class Wire:
    """A proxy before PostgreSQL's socket that breaks on demand, once for each time it is told to.

    `before` names a piece of a client's message and `after` one of PostgreSQL's answer: the wire is cut when it is
    seen, and it is not passed on. `bytes_left` counts down what passes either way and cuts at the very byte.
    While `away` is set nobody gets through."""

    def __init__(self, database: TestDatabase, directory: Path) -> None:
        socket_dir = database.postgres.cluster.place.socket_dir
        self._target = str(next(socket_dir.glob(".s.PGSQL.[0-9]*[0-9]")))
        self.directory = directory
        self.url = f"postgresql://{database.server_dsn.split('//')[1].split('@')[0]}@/{database.name}?host={quote(str(directory))}&port=5432"
        self.before = self.after = b""
        self.away = False
        self.bytes_left = -1
        self.cuts = 0
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_unix_server(self._accept, str(self.directory / ".s.PGSQL.5432"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        for link in list(self._links):
            self._cut(link)

    def _cut(self, link: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._links.discard(link)
        for side in link:
            side.transport.abort()

    def _pass(self, data: bytes, to: asyncio.StreamWriter) -> bool:
        """Pass on what the wire still carries; false if it broke."""
        if self.bytes_left < 0 or len(data) < self.bytes_left:
            self.bytes_left -= min(len(data), self.bytes_left) if self.bytes_left > 0 else 0
            to.write(data)
            return True
        to.write(data[: self.bytes_left])
        self.bytes_left = -1
        self.cuts += 1
        return False

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.away:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_unix_connection(self._target)
        link = (to_client, to_server)
        self._links.add(link)
        for job in (self._up(client, link), self._down(server, link)):
            task = asyncio.ensure_future(job)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _up(self, client: asyncio.StreamReader, link: Any) -> None:
        with contextlib.suppress(OSError):
            while data := await client.read(65536):
                if self.before and self.before in data:
                    self.before = b""
                    self.cuts += 1
                    break
                if not self._pass(data, link[1]):
                    break
        self._cut(link)

    async def _down(self, server: asyncio.StreamReader, link: Any) -> None:
        with contextlib.suppress(OSError):
            while data := await server.read(65536):
                if self.after and self.after in data:
                    self.after = b""
                    self.cuts += 1
                    break
                if not self._pass(data, link[0]):
                    break
        self._cut(link)
