"""What `check` proves of partitions that were dropped: what stayed of them, and the ids that must not be used again.

Guarded here: of what is archived the rows are in the archive, and everything else that is known of them is here still.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from pyledger import sql
from pyledger.ledger.connections import stream_copy
from pyledger.ledger.nouns import FINDINGS_MAX

_QUERIES: Final = sql.load("pyledger.ledger", "archived.sql")


class ArchivedCheck:
    """Of one shard, in the snapshot of a connection."""

    def __init__(self, connection: asyncpg.Connection, shard: int) -> None:
        self._connection, self._shard = connection, shard
        self._archived: list[asyncpg.Record] = []

    def has(self, last_ns: int) -> bool:
        """Whether a batch that ends then is archived. Known once `wrong` has begun."""
        return any(kept["start_ns"] <= last_ns < kept["end_ns"] for kept in self._archived)

    async def wrong(self) -> AsyncIterator[tuple[str, str]]:
        """What is wrong, and where."""
        self._archived = await self._connection.fetch(_QUERIES["archived"], self._shard)
        left = FINDINGS_MAX
        for kept in self._archived:
            digest, bounds = hashlib.sha256(), (kept["start_ns"], kept["end_ns"])
            said = await stream_copy(self._connection, _QUERIES["copy_kept"], self._shard, *bounds, take=digest.update)
            if (int(said.split()[-1]), digest.digest()) == (kept["kept_rows"], kept["kept_hash"]):
                continue
            yield f"archive {kept['name']}", "what stayed of it is not what it was"
            late = await self._connection.fetch(_QUERIES["late_kept"], self._shard, left, *bounds, kept["kept_rows"])
            left -= len(late)
            for row in late:
                yield row["place"], row["wrong"]
        for row in await self._connection.fetch(_QUERIES["archived_ids"], self._shard, FINDINGS_MAX):
            yield row["place"], row["wrong"]
