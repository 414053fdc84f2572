"""A database that is filled with what an engine wrote, without a server: for tests of what is read from it.

Guarded here: rows come as the writer and the checkpointer would send them, so that what is seen is what would be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from tests.model.book import HEADER, TRAILER, write_copy
from tests.model.plans import TENANTS
from tests.model.test_engine import Pair


class Kept:
    """A database that is given what an engine wrote, as the writer and the checkpointer would."""

    def __init__(self, connection: asyncpg.Connection, pair: Pair) -> None:
        self.connection, self.pair, self.batches = connection, pair, 0

    async def open(self) -> None:
        await self.connection.execute("SELECT pyledger.open_shard(0::int2)")
        await self.connection.fetchval("SELECT pyledger.make_partitions($1, 4)", self.pair.now)
        for tenant in TENANTS:
            await self.connection.execute("INSERT INTO pyledger.tenant VALUES ($1, $2)", tenant, f"tenant {tenant}")

    async def copy(self, table: str, stream: bytes) -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield stream

        await self.connection.copy_to_table(table, schema_name="pyledger", source=parts(), format="binary")

    async def append(self) -> None:
        """The journal and the head, as far as the engine is; and the checkpoint that it took last."""
        new = self.pair.book.journal[self.batches :]
        self.batches += len(new)
        await self.copy("journal", HEADER + b"".join(batch.tuples for batch in new) + TRAILER)
        engine = self.pair.book.engine
        update = "UPDATE pyledger.{} SET seq = $1, hash = $2, last_ns = $3"
        await self.connection.execute(update.format("head"), engine.seq, engine.hash, engine.last_ns)
        if self.pair.saved is None:
            return
        for table in ("ledger", "account", "hold"):
            await self.connection.execute(f"DELETE FROM pyledger.{table}")
            await self.copy(table, write_copy(list(self.pair.tables[table].values())))
        await self.connection.execute(update.format("checkpoint"), *self.pair.saved)

    async def rows(self, view: str, more: str = "") -> list[dict[str, Any]]:
        return [dict(row) for row in await self.connection.fetch(f"SELECT * FROM pyledger.{view} {more}")]
