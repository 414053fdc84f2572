"""The writer's one connection to PostgreSQL: every statement that it sends, and nothing decided.

Guarded here: nothing has a timeout once it could have been committed (a timeout becomes a cancel, after
which COMMIT "succeeds" with only a warning); each warning is kept for whoever concludes; and a session
that fell silent inside a transaction is ended by PostgreSQL itself.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import asyncpg

from pyledger import sql
from pyledger._rust import Applied
from pyledger.ledger.migrate import schema_version
from pyledger.ledger.nouns import (
    CONNECT_TIMEOUT_S,
    IDLE_IN_TRANSACTION_MS,
    POOL_CONNECTIONS_MAX,
    READ_TIMEOUT_S,
    TCP_USER_TIMEOUT_MS,
    Head,
    Position,
)
from pyledger.ledger.rules import Facts, lock_key

QUERIES: Final = sql.load("pyledger.ledger")
JOURNAL_COLUMNS: Final = (
    "shard", "seq", "recorded_ns", "id", "tenant", "kind", "status", "debit_account", "credit_account", "amount",
    "target", "ledger", "code", "flags", "timeout_s", "effective_ns", "fingerprint", "reference", "metadata",
    "debit_after", "credit_after",
)  # fmt: skip
CONNECTION_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg makes of a session that PostgreSQL ended while it was idle
)
"""What a statement can raise when the database, the wire or the session fails. All of it is handled."""

_SESSION: Final = {
    "TimeZone": "UTC",
    "client_min_messages": "warning",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": str(TCP_USER_TIMEOUT_MS),
    "jit": "off",
}
"""A hosting's own defaults for these could cancel a commit or end a quiet session."""

_WRITER_SESSION: Final = _SESSION | {
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    # The writer only ever looks up single rows by index; a planner without statistics thinks otherwise.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

Wanted = tuple[list[int], list[str], list[int], list[str]]
"""What the engine's probe asks for: tenants and ids, tenants and targets, pairs by position."""


async def connect(url: str, name: str, settings: dict[str, str] | None = None) -> asyncpg.Connection:
    """Open a connection whose statements have no timeout and whose death is noticed."""
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=None,
        max_cached_statement_lifetime=0,
        server_settings={**_SESSION, **(settings or {}), "application_name": name},
    )
    _notice_death(connection)
    return connection


def _notice_death(connection: asyncpg.Connection) -> None:
    """A peer that vanished without a word ends the connection in seconds, not in TCP's quarter of an hour.

    Linux only, TCP only; without it the writer would wait, never guess."""
    transport: Any = getattr(connection, "_transport", None)
    found = transport.get_extra_info("socket") if transport is not None else None
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError, AttributeError), socket.socket(fileno=os.dup(found.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


class Session:
    """The writer's connection. A method is a statement or one short transaction."""

    def __init__(self, connection: asyncpg.Connection, shard: int) -> None:
        self._connection = connection
        self._shard = shard
        self.warnings: list[str] = []
        connection.add_log_listener(self._hear)

    @classmethod
    async def open(cls, url: str, shard: int) -> "Session":
        """Connect as the writer of a shard. Raises one of `CONNECTION_ERRORS`."""
        return cls(await connect(url, f"pyledger writer {shard}", _WRITER_SESSION), shard)

    def _hear(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        # asyncpg schedules this before it wakes whoever awaits the statement, so it is never late.
        self.warnings.append(f"{message.severity_en}: {message.message}")

    def terminate(self) -> None:
        """Drop the connection at once, without a cancel."""
        self._connection.terminate()

    async def close(self) -> None:
        """End the session and with it its locks."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self._connection.close(timeout=CONNECT_TIMEOUT_S)

    async def facts(self, time_ns: Callable[[], int]) -> Facts:
        """What start-up decides on."""
        facts: dict[str, Any] = dict(await self._row("facts"))
        before_ns = time_ns()
        clock_us = await self._connection.fetchval(QUERIES["clock"])
        skew_ns = clock_us * 1000 - (before_ns + time_ns()) // 2
        rights: dict[str, Any] = {"owns_journal": False, "can_rewrite_journal": False, "can_append": False}
        if facts.pop("has_journal"):
            rights = dict(await self._row("rights"))
        version = await schema_version(self._connection)
        return Facts(schema_version=version, clock_skew_ns=skew_ns, **facts, **rights)

    async def _row(self, name: str, *arguments: object) -> asyncpg.Record:
        row = await self._connection.fetchrow(QUERIES[name], *arguments)
        assert row is not None, name
        return row

    async def open_shard(self) -> None:
        """Give the shard its head and its empty checkpoint if it has none."""
        await self._connection.execute(QUERIES["open_shard"], self._shard)

    async def make_partitions(self, from_ns: int, weeks: int) -> int:
        """Make the missing partitions from `from_ns` on; returns where they end."""
        return int(await self._connection.fetchval(QUERIES["make_partitions"], from_ns, weeks))

    async def head(self) -> Head | None:
        """The head as it stands: who to fence. Says nothing about an outcome. None if there is no such row."""
        row = await self._connection.fetchrow(QUERIES["head"], self._shard)
        return None if row is None else _head(row)

    async def try_lock(self, epoch: int) -> bool:
        """Take the lock of an epoch's owner, for as long as the session lives, if it is free."""
        return bool(await self._connection.fetchval(QUERIES["try_lock"], lock_key(self._shard, epoch)))

    async def unlock(self, epoch: int) -> None:
        """Give the lock of an epoch back."""
        await self._connection.execute(QUERIES["unlock"], lock_key(self._shard, epoch))

    async def fence(self, epoch: int, owner: str) -> Head | None:
        """End an epoch and begin the next as `owner`: what is returned is the truth. None if it has ended.

        Waits, without a limit, for an append still in flight. The head comes before the checkpoint, as
        everywhere, and a checkpoint in the making finds its epoch gone."""
        self.warnings.clear()
        async with self._connection.transaction():
            row = await self._connection.fetchrow(QUERIES["fence"], self._shard, epoch, owner)
            if row is not None:
                await self._connection.execute(QUERIES["fence_checkpoint"], self._shard, epoch + 1)
        if self.warnings:
            raise ConnectionError(f"the fence may not be durable: {self.warnings}")
        return None if row is None else _head(row)

    async def lookup(self, wanted: Wanted) -> list[bytes]:
        """The journal rows that a batch depends on."""
        tenants, ids, target_tenants, targets = wanted
        rows = await self._connection.fetch(
            QUERIES["lookup"], self._shard, tenants + target_tenants, ids + targets, target_tenants, targets
        )
        return list(dict.fromkeys(row["record"] for row in rows))

    async def lookup_all(self, ids: list[str]) -> list[bytes]:
        """The journal rows with any of these ids."""
        rows = await self._connection.fetch(QUERIES["lookup_all"], self._shard, ids)
        return [row["record"] for row in rows]

    async def begin(self) -> None:
        """Begin an append; what PostgreSQL warns of from here on counts."""
        self.warnings.clear()
        await self._connection.execute("BEGIN")

    async def copy(self, stream: bytes) -> None:
        """Append the rows. A memoryview, because asyncpg takes bytes for the name of a file."""
        await self._connection.copy_to_table(
            "journal", schema_name="pyledger", columns=JOURNAL_COLUMNS, source=memoryview(stream), format="binary"
        )

    async def advance(self, epoch: int, applied: Applied) -> bool:
        """Compare and set the head, and add the batch's row; true if it touched exactly one."""
        rows = await self._connection.fetch(
            QUERIES["advance"], self._shard, epoch, applied.seq, applied.prev_hash, applied.hash,
            applied.rows, applied.first_ns, applied.last_ns, applied.root,
        )  # fmt: skip
        return len(rows) == 1

    async def commit(self) -> None:
        """Commit. Returns also when PostgreSQL only warned: look at `warnings`."""
        status = await self._connection.execute("COMMIT")
        if status != "COMMIT":
            self.warnings.append(f"COMMIT was answered with {status}")

    async def rollback(self) -> None:
        """Give up an append of which no COMMIT was sent."""
        await self._connection.execute("ROLLBACK")

    async def beat(self, epoch: int, position: Position) -> bool:
        """Show life and confirm that the head is ours and where we think; false if it is not."""
        self.warnings.clear()
        row = await self._connection.fetchrow(QUERIES["beat"], self._shard, epoch, position.seq, position.hash)
        return row is not None

    async def confirm(self, epoch: int, position: Position) -> bool:
        """Whether the head is ours and where we think."""
        self.warnings.clear()
        row = await self._connection.fetchrow(QUERIES["confirm"], self._shard, epoch, position.seq, position.hash)
        return row is not None


OpenSession = Callable[[], Awaitable[Session]]
"""Opens a session after the same checks as at start-up; raises `CONNECTION_ERRORS` or `StartupRefused`."""


def _head(row: asyncpg.Record) -> Head:
    return Head(row["epoch"], Position(row["seq"], row["hash"]), row["last_ns"], row["owner"], row["beat"])


class Pool:
    """Connections for reads and for what may fail and be tried again. Opened when first used.

    Here a timeout is safe: nothing that goes through it is ever acknowledged."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool | None = None

    async def _get(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=POOL_CONNECTIONS_MAX,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=READ_TIMEOUT_S,
                    server_settings=_SESSION | {"application_name": self._name, "plan_cache_mode": "force_custom_plan"},
                )
            return self._pool

    async def rows(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """All rows of a named query."""
        return list(await (await self._get()).fetch(QUERIES[name], *arguments))

    async def value(self, name: str, *arguments: object) -> Any:
        """The one value of a named query."""
        return await (await self._get()).fetchval(QUERIES[name], *arguments)

    async def close(self) -> None:
        """Close them all, busy or not."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"


async def copy_out(
    connection: asyncpg.Connection, name: str, *arguments: object, slice_bytes: int
) -> AsyncIterator[bytes]:
    """Stream a named query as complete binary COPY streams of about `slice_bytes` each.

    PostgreSQL sends one message a row and asyncpg hands over whole messages, so a stream may be cut
    between any two chunks. At most two slices wait: the reader holds the sender up."""
    slices: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(2)
    chunks: list[bytes] = []
    size = 0

    async def take(chunk: bytes) -> None:
        nonlocal size
        chunks.append(chunk)
        size += len(chunk)
        if size >= slice_bytes and chunk[-2:] != _COPY_TRAILER:
            await room.acquire()
            slices.put_nowait(b"".join(chunks) + _COPY_TRAILER)
            chunks[:] = [_COPY_HEADER]
            size = 0

    async def send() -> None:
        await connection.copy_from_query(QUERIES[name], *arguments, output=take, format="binary")
        slices.put_nowait(b"".join(chunks))

    sender = asyncio.ensure_future(send())
    sender.add_done_callback(lambda _: slices.put_nowait(None))
    try:
        while (part := await slices.get()) is not None:
            yield part
            room.release()
        await sender
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, *CONNECTION_ERRORS):
            await sender
