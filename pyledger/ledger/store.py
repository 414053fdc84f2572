"""The writer's one connection to PostgreSQL: every statement that it sends, and nothing decided.

Guarded here: nothing has a timeout once it could have been committed (a timeout becomes a cancel, after
which COMMIT "succeeds" with only a warning); each warning is kept for whoever concludes; and a session
that fell silent inside a transaction is ended by PostgreSQL itself.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from pyledger._rust import Applied
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, connect
from pyledger.ledger.migrate import schema_version
from pyledger.ledger.nouns import (
    AHEAD_IDLE_MS,
    CONNECT_TIMEOUT_S,
    IDLE_IN_TRANSACTION_MS,
    Head,
    Position,
    Wanted,
)
from pyledger.ledger.rules import Facts, lock_key, lock_pair

_WRITER_SETTINGS: Final = {
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    # The writer only ever looks up single rows by index; a planner without statistics thinks otherwise.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_APPEND_ROWS: Final = QUERIES["append_rows"]
_BEGIN: Final = QUERIES["begin_ahead"].format(idle_ms=AHEAD_IDLE_MS)


class Session:
    """The writer's connection. A method is a statement or one short transaction."""

    def __init__(self, connection: asyncpg.Connection, shard: int) -> None:
        self._connection = connection
        self._shard = shard
        self._prepared = False
        self.warnings: list[str] = []
        connection.add_log_listener(self._hear)

    @classmethod
    async def open(cls, url: str, shard: int) -> "Session":
        """Connect as the writer of a shard. Raises one of `CONNECTION_ERRORS`."""
        return cls(await connect(url, f"pyledger writer {shard}", _WRITER_SETTINGS), shard)

    def _hear(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        # asyncpg schedules this before it wakes whoever awaits the statement, so it is never late.
        self.warnings.append(f"{message.severity_en}: {message.message}")

    def terminate(self) -> None:
        """Drop the connection at once, without a cancel."""
        self._connection.terminate()

    def is_closed(self) -> bool:
        """Whether the session is known to have ended."""
        return bool(self._connection.is_closed())

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

    async def mark(self, epoch: int) -> None:
        """Show, without owning anything, which epoch the session belongs to: `evict` finds it by that."""
        await self._connection.execute(QUERIES["mark"], *lock_pair(self._shard, epoch))

    async def unlock(self, epoch: int) -> None:
        """Give the lock of an epoch back."""
        await self._connection.execute(QUERIES["unlock"], lock_key(self._shard, epoch))

    async def fence(self, epoch: int, owner: str) -> tuple[Head | None, list[str]]:
        """End an epoch and begin the next as `owner`: the head is the truth, unless PostgreSQL also warned.
        None if that epoch has ended.

        Waits, without a limit, for an append still in flight. The head comes before the checkpoint, as
        everywhere, and a checkpoint in the making finds its epoch gone."""
        self.warnings.clear()
        async with self._connection.transaction():
            row = await self._connection.fetchrow(QUERIES["fence"], self._shard, epoch, owner)
            if row is not None:
                await self._connection.execute(QUERIES["fence_checkpoint"], self._shard, epoch + 1)
        return None if row is None else _head(row), list(self.warnings)

    async def evict(self, epoch: int) -> None:
        """End what is left of the sessions of earlier epochs, after the fence. Not needed to be safe; a
        session of another role may be none of ours to end."""
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await self._connection.execute(QUERIES["evict"], *lock_pair(self._shard, epoch))

    async def lookup(self, wanted: Wanted) -> list[bytes]:
        """The journal rows that a batch depends on."""
        tenants, ids, target_tenants, targets, *fresh = wanted
        fetch, rows = self._connection.fetch, []
        if ids or targets:
            asked = (tenants + target_tenants, ids + targets, target_tenants, targets)
            rows += await fetch(QUERIES["lookup"], self._shard, *asked)
        if fresh[1]:
            rows += await fetch(QUERIES["lookup_fresh"], self._shard, *fresh)
        return list(dict.fromkeys(row["record"] for row in rows))

    async def lookup_all(self, ids: list[str]) -> list[bytes]:
        """The journal rows with any of these ids."""
        rows = await self._connection.fetch(QUERIES["lookup_all"], self._shard, ids)
        return [row["record"] for row in rows]

    async def append(self, epoch: int, batch: Applied) -> list[str]:
        """Append a batch in one transaction, which is one message: rows, compare-and-set of the head, commit.

        Returns PostgreSQL's warnings: with any, it may not be durable. Raises `NotNullViolationError` of the
        batch's shard if the head is not ours or not where we think."""
        self.warnings.clear()
        await self._copy(f"{_APPEND_ROWS};\n{self._move_head(epoch, batch)}", batch)
        return list(self.warnings)

    async def send_ahead(self, batch: Applied) -> None:
        """The first half of an append: the rows, in a transaction that stays open.

        It has no lock that anybody but a writer of the same ids waits for (a partition is attached beside it), so it
        may be idle for as long as the batch before it takes to commit."""
        self.warnings.clear()
        await self._copy(f"{_BEGIN};\n{_APPEND_ROWS}", batch)

    async def finish(self, epoch: int, batch: Applied) -> list[str]:
        """The second half, one message again. Returns and raises what `append` does."""
        if not self._holds_rows():
            raise asyncpg.InterfaceError(f"the rows of batch {batch.seq} are not here")
        try:
            await self._connection.execute(f"{self._move_head(epoch, batch)};\nCOMMIT")
        except asyncpg.PostgresError:
            await self.rollback()
            raise
        return list(self.warnings)

    async def rollback(self) -> None:
        """Out of a transaction. What fails here has ended the session, and with it the transaction."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self._connection.execute("ROLLBACK")

    def _holds_rows(self) -> bool:
        if self.is_closed():
            raise asyncpg.InterfaceError("the session has ended")
        return bool(self._connection.is_in_transaction())

    async def _copy(self, statements: str, batch: Applied) -> None:
        if self._holds_rows():
            raise asyncpg.InterfaceError(f"other rows lie where those of batch {batch.seq} should go")
        if not self._prepared:
            await self._connection.execute(QUERIES["prepare_move_head"])
            self._prepared = True
        # The public way to COPY takes one statement only. A memoryview, because bytes are taken for a file's name.
        await self._connection._copy_in(statements, memoryview(batch.copy), None)

    def _move_head(self, epoch: int, batch: Applied) -> str:
        return QUERIES["move_head"].format(
            shard=self._shard, epoch=epoch, seq=batch.seq, prev_hash=batch.prev_hash.hex(), hash=batch.hash.hex(),
            rows=batch.rows, first_ns=batch.first_ns, last_ns=batch.last_ns, root=batch.root.hex(),
        )  # fmt: skip

    async def confirm(self, epoch: int, position: Position, *, beat: bool) -> tuple[bool, bool, list[str]]:
        """Whether the head is ours and where we think; whether only a beat, which writes, can tell, since a
        standby could have been promoted; and PostgreSQL's warnings. A beat also shows life."""
        self.warnings.clear()
        query = QUERIES["beat" if beat else "confirm"]
        row = await self._connection.fetchrow(query, self._shard, epoch, position.seq, position.hash)
        return row is not None, row is not None and row["synchronous"], list(self.warnings)


OpenSession = Callable[[], Awaitable[Session]]
"""Opens a session after the same checks as at start-up; raises `CONNECTION_ERRORS` or `StartupRefused`."""


def _head(row: asyncpg.Record) -> Head:
    return Head(row["epoch"], Position(row["seq"], row["hash"]), row["last_ns"], row["owner"], row["beat"])
