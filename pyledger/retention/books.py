"""The database as retention sees it: one connection as the owner of the schema, one run at a time.

Guarded here: whoever is not the owner gets no further than the first statement, and two runs do not meet.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import asyncpg

from pyledger import sql
from pyledger._rust import decode_ledger
from pyledger.ledger.connections import CONNECTION_ERRORS, Pool, connect
from pyledger.ledger.migrate import schema_version
from pyledger.ledger.nouns import CLOCK_SKEW_MAX_NS, SCHEMA_VERSION
from pyledger.ledger.proofs.store import Store
from pyledger.ledger.rules import clocks_differ
from pyledger.retention.manifest import Manifest
from pyledger.retention.nouns import Batch, Extent, Hold, Part, Partition, RetentionError
from pyledger.retention.plan import Seen
from pyledger.retention.policy import Policy

QUERIES: Final = sql.load("pyledger.retention")
_LEDGER, _ACCOUNT = 1, 2
_SESSION: Final = {
    # Between two statements of a transaction rows are hashed and replayed, which may take longer than others allow.
    "idle_in_transaction_session_timeout": "0",
    "max_parallel_workers_per_gather": "0",
}


class Books:
    """A connection, and what is asked through it."""

    def __init__(self, connection: asyncpg.Connection, pool: Pool) -> None:
        self.connection, self._pool = connection, pool

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, *, alone: bool = True) -> AsyncIterator[Books]:
        """Connect as the owner. Raises `RetentionError` if another run is at it, where that matters."""
        connection, pool = await connect(url, "pyledger retention", _SESSION), Pool(url, "pyledger retention reads")
        try:
            if await schema_version(connection) != SCHEMA_VERSION:
                raise RetentionError(f"the database does not have schema {SCHEMA_VERSION}: `pyledger migrate` first")
            await connection.execute(QUERIES["become_owner"])
            if alone and not await connection.fetchval(QUERIES["lock"]):
                raise RetentionError("another run archives or restores")
            yield cls(connection, pool)
        finally:
            # A backend that is only hung up on keeps the lock until it notices, and the next run would be refused.
            with contextlib.suppress(*CONNECTION_ERRORS):
                await connection.execute(QUERIES["unlock"])
            connection.terminate()
            await pool.close()

    def store(self, shard: int) -> Store:
        """The tree of a shard's batches."""
        return Store(self._pool, shard)

    async def rows(self, name: str, *arguments: object, of: str = "") -> list[Any]:
        """The rows of a query; `of` is the partition that it names."""
        return list(await self.connection.fetch(QUERIES[name].replace("{name}", of), *arguments))

    async def value(self, name: str, *arguments: object, of: str = "") -> Any:
        """Its one value."""
        return await self.connection.fetchval(QUERIES[name].replace("{name}", of), *arguments)

    async def run(self, name: str, *arguments: object, of: str = "") -> None:
        """A statement without an answer."""
        await self.connection.execute(QUERIES[name].replace("{name}", of), *arguments)

    async def now_ns(self, wall_ns: int) -> int:
        """This machine's time, by which everything is due. Raises `RetentionError` if PostgreSQL's is another one."""
        skew_ns = 1000 * int(await self.value("clock")) - wall_ns
        if abs(skew_ns) > CLOCK_SKEW_MAX_NS:
            raise RetentionError(f"{clocks_differ(skew_ns)}: nothing is archived by a time that may be wrong")
        return wall_ns

    async def partitions(self) -> list[Partition]:
        """All of the journal, oldest first."""
        return [Partition(**row) for row in await self.rows("partitions")]

    async def partition(self, start_ns: int) -> Partition | None:
        """The one that begins then, as it is now."""
        return next((each for each in await self.partitions() if each.start_ns == start_ns), None)

    async def sealed_rows(self, partition: Partition) -> int:
        """With how many rows it was sealed; it stays sealed until the transaction ends. Raises `RetentionError`."""
        rows = await self.value("seal", partition.name)
        if rows is None:
            raise RetentionError(f"{partition.name} is not sealed (any more): a server does that")
        return int(rows)

    async def identity(self) -> str:
        """A name of this database, as a part of a file's name."""
        return str(await self.value("identity"))

    async def tenants(self) -> dict[int, str]:
        """Their names."""
        return {row["id"]: row["name"] for row in await self.rows("tenants")}

    async def ledgers(self) -> frozenset[tuple[int, int]]:
        """The tenant and the number of every ledger that there is."""
        return frozenset((row["tenant"], row["number"]) for row in await self.rows("ledgers"))

    async def require_ledger(self, tenant: int, number: int) -> None:
        """Raises `RetentionError` unless a tenant has this ledger: what is mistyped would protect nothing."""
        # The id of the row that opened a ledger follows from its number; the core derives it.
        (row_id,) = decode_ledger(b'{"id": %d, "asset": "X", "exponent": 0}' % number, tenant).ids
        if await self.value("opened", tenant, row_id, _LEDGER) is None:
            raise RetentionError(f"there is no ledger {number} of this tenant")

    async def require_account(self, tenant: int, account: str, ledger: int | None) -> None:
        """Raises `RetentionError` unless a tenant has this account, in this ledger if one is named."""
        found = await self.value("opened", tenant, account, _ACCOUNT)
        if found is None or ledger not in (None, found):
            raise RetentionError(
                f"there is no account {account} of this tenant" + (f" in ledger {ledger}" if ledger else "")
            )

    async def extents(self, partition: Partition) -> list[Extent]:
        """The batches of each shard that end in a partition."""
        found = []
        for row in await self.rows("shards"):
            bounds = (await self.rows("extent", row["shard"], partition.start_ns, partition.end_ns))[0]
            found.append(Extent(row["shard"], *bounds))
        return found

    async def batches(self, shard: int, after_seq: int, last_seq: int, count_max: int) -> list[Batch]:
        """The next batches of a shard."""
        rows = await self.rows("batches", shard, after_seq, last_seq, count_max)
        return [tuple(row) for row in rows]

    async def see(self, policy: Policy | None, now_ns: int) -> list[Seen]:
        """Every partition, and what is in those that could be due: counting takes a look at each row."""
        # First, so that a hold which comes meanwhile is newer.
        holds_placed = await self.value("holds_placed")
        holds = [Hold(**row) for row in await self.rows("holds")]
        ledgers = await self.ledgers()
        seen = []
        for partition in await self.partitions():
            parts: Sequence[Part] = ()
            if partition.rows and not partition.is_dropped and _may_be_due(policy, partition, now_ns):
                parts = [Part(**row) for row in await self.rows("contents", of=partition.name)]
            bound = [hold for hold in holds if await self._binds(hold, partition, parts, ledgers)]
            seen.append(Seen(partition, tuple(parts), tuple(bound), holds_placed, ledgers))
        return seen

    async def _binds(
        self, hold: Hold, partition: Partition, parts: Sequence[Part], ledgers: frozenset[tuple[int, int]]
    ) -> bool:
        """Whether a partition has rows that a hold protects, or a decline that may be about what it protects."""
        own = [part for part in parts if hold.tenant in (None, part.tenant)]
        if any((part.tenant, part.ledger) not in ledgers for part in own):
            return True
        found = [part for part in own if hold.ledger in (None, part.ledger)]
        if not found or hold.account is None:
            return bool(found)
        return bool(await self.value("has_account", hold.tenant, hold.account, of=partition.name))

    async def log(self, step: str, manifest: Manifest, text: str) -> None:
        """Note what was done."""
        await self.run("log", step, int(manifest.start_ns), int(manifest.end_ns), manifest.name, text)


def _may_be_due(policy: Policy | None, partition: Partition, now_ns: int) -> bool:
    if policy is None:
        return True
    return any(
        terms.is_due("archived", partition.end_ns, now_ns) for terms in (policy.default, *policy.ledgers.values())
    )
