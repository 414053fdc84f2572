"""Connections to PostgreSQL: how they are opened, and what they have in common.

Guarded here: no hosting's default can cancel a commit or end a quiet session, a peer that vanished is
noticed in seconds, and a large table passes through in pieces.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import asyncpg

from pyledger import sql
from pyledger.ledger.nouns import (
    CONNECT_TIMEOUT_S,
    HISTORY_CONNECTIONS_MAX,
    HISTORY_STATEMENT_S,
    POOL_CONNECTIONS_MAX,
    READ_TIMEOUT_S,
    TCP_USER_TIMEOUT_MS,
)

QUERIES: Final = sql.load("pyledger.ledger")
CONNECTION_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg makes of a session that PostgreSQL ended while it was idle
)
"""What a statement can raise when the database, the wire or the session fails. All of it is handled."""

UNREADABLE: Final = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
"""What PostgreSQL says of pages that make no sense: another attempt would read the same."""

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"
"""What a binary COPY stream begins and ends with."""
_PART_BYTES: Final = 1024 * 1024

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
    "default_transaction_isolation": "read committed",
}
"""A hosting's own defaults for these could cancel a commit, end a quiet session, or let an append fail over a beat."""


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


_READING: Final = _SESSION | {
    "plan_cache_mode": "force_custom_plan",
    # What is bounded by time is found by an index. A planner without statistics of the newest partition would read
    # all of it instead, and with all cores at once.
    "enable_seqscan": "off",
    "max_parallel_workers_per_gather": "0",
}


async def _leave(_: asyncpg.Connection) -> None:
    """Nothing is reset between two queries, for which asyncpg would wait as long as for another query: none of a pool's
    queries leaves anything behind."""


class Pool:
    """Connections for reads and for what may fail and be tried again. Opened when first used.

    Here a timeout is safe: nothing that goes through it is ever acknowledged."""

    def __init__(
        self, url: str, name: str, connections_max: int = POOL_CONNECTIONS_MAX, *, statement_s: int = 0
    ) -> None:
        self._url, self._name, self._connections_max, self._statement_s = url, name, connections_max, statement_s
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool | None = None

    async def _get(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections_max,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=READ_TIMEOUT_S,
                    server_settings=_READING
                    | {"application_name": self._name, "statement_timeout": f"{self._statement_s}s"},
                    reset=_leave,
                )
            return self._pool

    async def rows(self, name: str, *arguments: object, of: Mapping[str, str] = QUERIES) -> list[asyncpg.Record]:
        """All rows of a named query."""
        return list(await (await self._get()).fetch(of[name], *arguments))

    async def value(self, name: str, *arguments: object, of: Mapping[str, str] = QUERIES) -> Any:
        """The one value of a named query."""
        return await (await self._get()).fetchval(of[name], *arguments)

    async def copy(self, name: str, *arguments: object, of: Mapping[str, str] = QUERIES) -> bytes:
        """All rows of a named query as one binary COPY stream."""
        pieces: list[bytes] = []

        async def keep(piece: bytes) -> None:
            pieces.append(piece)

        async with (await self._get()).acquire() as connection:
            await connection.copy_from_query(of[name], *arguments, output=keep, format="binary")
        return b"".join(pieces)

    async def close(self) -> None:
        """Close them all, busy or not."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


async def stream_copy(
    connection: asyncpg.Connection, query: str, *arguments: object, take: Callable[[bytes], object]
) -> str:
    """Hand a query's rows, as one binary COPY stream, to `take` piece by piece; what PostgreSQL says at the end."""

    async def pass_on(piece: bytes) -> None:
        take(piece)

    return str(await connection.copy_from_query(query, *arguments, output=pass_on, format="binary"))


def history_pool(url: str, shard: int) -> Pool:
    """The connections for statements of a shard."""
    return Pool(url, f"pyledger history {shard}", HISTORY_CONNECTIONS_MAX, statement_s=HISTORY_STATEMENT_S)


async def in_parts(stream: bytes) -> AsyncIterator[memoryview]:
    """A large stream for `copy_to_table`, in parts between which the event loop may do something else."""
    view = memoryview(stream)
    for start in range(0, len(view), _PART_BYTES):
        yield view[start : start + _PART_BYTES]


async def copy_through(
    connection: asyncpg.Connection, name: str, *arguments: object, take: Callable[[bytes], object]
) -> None:
    """Hand the rows of a named query to `take`, in a worker thread, as binary COPY streams of some rows each.

    PostgreSQL sends a message a row and asyncpg hands over whole messages, so a stream may be cut between any
    two. While one piece is worked on the next fills the socket, which in the end holds PostgreSQL up: pieces
    are as large as the work is slow, and no larger than what a socket holds. What `take` raises is raised once
    all rows have passed."""
    loop = asyncio.get_running_loop()
    header, held = b"", b""
    failed: Exception | None = None

    async def pass_on(chunk: bytes) -> None:
        nonlocal header, held, failed
        if held and failed is None:  # only the last chunk has an end, and a row may look like one
            try:
                await loop.run_in_executor(None, take, b"".join((header, held, COPY_TRAILER)))
            except Exception as error:
                # Raised here it would make asyncpg cancel the COPY, and the session may not come back from that.
                failed = error
            header = COPY_HEADER
        held = chunk

    await connection.copy_from_query(QUERIES[name], *arguments, output=pass_on, format="binary")
    if failed is not None:
        raise failed
    await loop.run_in_executor(None, take, b"".join((header, held)))
