"""What is stored of a partition of the journal that is over, computed from its rows and batches: how many rows it has,
a filter of its ids, and the Merkle root over the hashes of the batches that begin in it. `check` computes it again.

Guarded here: whatever is read is read in bounded pieces, and between two of them whoever asks may rest, with no
transaction left open. The same rows and batches give the same bytes, wherever on the disk they lie.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import asyncpg

from pyledger._rust import IdFilter, TreeEdge
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, connect, stream_copy
from pyledger.ledger.nouns import (
    BATCH_LASTS_NS,
    FILTER_IDS_MAX,
    SEAL_BATCHES,
    SEAL_PAGES,
    StartupRefused,
    Unavailable,
    first_line,
)

SEAL_ROWS: Final = 65_536
"""Ids of what was archived that are read at once, and the rest of a batch."""
SETTINGS: Final = {
    "plan_cache_mode": "force_custom_plan",
    "max_parallel_workers_per_gather": "0",
    # What is looked up is found by an index, also where nobody has analyzed the table yet.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Rows are read as they lie. An index by time that hides some would hide their ids from the filter.
    "enable_bitmapscan": "off",
}
"""Of the connection that seals."""

Rest = Callable[[], Awaitable[None]]
"""Called after each piece of work."""


@dataclass(frozen=True, slots=True)
class Span:
    """One partition of the journal."""

    name: str
    start_ns: int
    end_ns: int
    indexed: bool
    filter_bytes: int

    @property
    def sealed(self) -> bool:
        """Whether it has its seal."""
        return self.filter_bytes > 0


async def never() -> None:
    """No rest."""


async def ids(connection: asyncpg.Connection, span: Span, rest: Rest = never) -> AsyncIterator[bytes]:
    """The ids of a partition with their tenants, as COPY OUT streams; also of what is archived. Raises `Unavailable` if
    rows were moved meanwhile, as by VACUUM FULL: one may have been passed twice, and another not at all."""
    begun = await connection.fetchrow(QUERIES["partition_pages"], span.name)
    assert begun is not None
    for page in range(0, begun["pages"], SEAL_PAGES):
        bounds = (span.start_ns, span.end_ns, f"({page},0)", f"({page + SEAL_PAGES},0)")
        yield await _copied(connection, "copy_ids", *bounds)
        await rest()
    ended = await connection.fetchrow(QUERIES["partition_pages"], span.name)
    if ended is None or ended["file"] != begun["file"]:
        raise Unavailable(f"{span.name} was written anew while it was read")
    async for copy in _archived_ids(connection, span, rest):
        yield copy


async def _archived_ids(connection: asyncpg.Connection, span: Span, rest: Rest) -> AsyncIterator[bytes]:
    """Those of a partition that is archived, but for what stayed of it."""
    for archived in await connection.fetch(QUERIES["shards_archived"], span.start_ns):
        asked = (archived["shard"], span.start_ns, span.end_ns, SEAL_ROWS)
        inner = [row["first_ns"] for row in await connection.fetch(QUERIES["archived_edges"], *asked)]
        # The first rows may be those of a batch that began before.
        for edges in pairwise([span.start_ns, *inner[1:], span.end_ns]):
            await connection.execute(QUERIES["by_time"])
            yield await _copied(connection, "copy_archived_ids", archived["shard"], *edges)
            await connection.execute(QUERIES["by_time_no_more"])
            await rest()


async def _copied(connection: asyncpg.Connection, query: str, *arguments: object) -> bytes:
    pieces: list[bytes] = []
    await stream_copy(connection, QUERIES[query], *arguments, take=pieces.append)
    return b"".join(pieces)


async def batches(connection: asyncpg.Connection, span: Span, rest: Rest = never) -> tuple[bytes, int]:
    """The root of RFC 6962 over the hashes of the batches that begin in a partition, by shard and time; and how many
    rows the partition has to have."""
    tree, rows = TreeEdge(), 0
    for (shard,) in await connection.fetch(QUERIES["shards"]):
        last_ns = await connection.fetchval(QUERIES["end_of_batch_before"], shard, span.start_ns) or 0
        rows += max(0, min(last_ns + 1, span.end_ns) - span.start_ns)
        from_ns = span.start_ns
        while found := await connection.fetch(QUERIES["batches_of_time"], shard, from_ns, span.end_ns, SEAL_BATCHES):
            tree.add(b"".join(row["hash"] for row in found))
            rows += sum(row["rows"] for row in found) - max(0, found[-1]["last_ns"] + 1 - span.end_ns)
            from_ns = found[-1]["first_ns"] + 1
            await rest()
    return tree.root(), rows


def new_filter(rows: int) -> IdFilter:
    """An empty filter for a partition of so many rows."""
    return IdFilter(min(rows, FILTER_IDS_MAX))


async def has_gap(connection: asyncpg.Connection, spans: Sequence[Span]) -> bool:
    """Whether something was recorded before the end of these partitions, and in none of them."""
    from_ns = 0
    for span in spans:
        if from_ns < span.start_ns and await connection.fetchval(
            QUERIES["batch_within"], from_ns, span.start_ns, BATCH_LASTS_NS
        ):
            return True
        from_ns = span.end_ns
    return bool(await connection.fetchval(QUERIES["first_batches_missing"]))


async def wrong(connection: asyncpg.Connection, span: Span) -> AsyncIterator[str]:
    """What is wrong with the seal of a partition."""
    stored = await connection.fetchrow(QUERIES["seal"], span.start_ns)
    assert stored is not None
    made, added = new_filter(stored["rows"]), 0
    async for copy in ids(connection, span):
        added += made.add(copy)
    root, rows = await batches(connection, span)
    if not stored["rows"] == added == rows:
        yield f"it has {added} rows, its batches have {rows}, and it was sealed with {stored['rows']}"
    if stored["filter"] != made.stored():
        yield "its filter is not that of its ids"
    if stored["root"] != root:
        yield "its root is not that of its batches"


async def drop(url: str) -> None:
    """Drop all seals and all indexes of history; the server makes them again. As the owner of the schema.

    Raises `StartupRefused`."""
    try:
        connection = await connect(url, "pyledger rebuild")
        try:
            async with connection.transaction():
                for row in await connection.fetch(QUERIES["history_indexes"]):
                    await connection.execute(QUERIES["drop_index"].format(name=row["name"]))
                await connection.execute(QUERIES["drop_seals"])
        finally:
            connection.terminate()
    except CONNECTION_ERRORS as error:
        raise StartupRefused(f"cannot drop the seals: {first_line(error)}") from error
