"""An archive against the database: what it has is what was committed, all of it and nothing else.

Guarded here: it is read from the beginning to its end before anything is said of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import asyncpg

from pyledger.retention.books import Books
from pyledger.retention.nouns import BadArchive, Batch, Partition, RetentionError
from pyledger.retention.reading import Archive
from pyledger.retention.tables import table_of

Report = Callable[[str, int, int], None]
"""Told how far a step is: its name, how much is done, and of how much."""
Take = Callable[[int, list[Batch], bytes], None]
"""Given shard, batches and their rows as a COPY stream."""
BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""What a lock that cannot be had raises; the savepoint is rolled back, and it can be asked for again."""


async def verify(
    books: Books, partition: Partition, archive: Archive, report: Report, take: Take | None = None
) -> dict[int, int]:
    """Read an archive from the beginning to its end, and compare it with the database; how many of the partition's
    own rows it has, by shard. Raises `BadArchive`."""
    manifest, done = archive.manifest, 0
    bounds = (manifest.name, int(manifest.start_ns), int(manifest.end_ns))
    if bounds != (partition.name, partition.start_ns, partition.end_ns):
        raise BadArchive(f"{archive.path} is not an archive of {partition.name} as it is")
    extents = [each for each in await books.extents(partition) if each.first_seq <= each.last_seq]
    due = [(each.shard, each.first_seq, each.last_seq) for each in extents]
    if [(each.shard, each.first_seq, each.last_seq) for each in manifest.shards] != due:
        raise BadArchive(f"{archive.path} does not have the batches that end in {partition.name}")
    own, rows = dict.fromkeys((each.shard for each in extents), 0), sum(each.rows for each in manifest.shards)
    for shard, batches, copy in archive.verified():
        found = await books.batches(shard, batches[0][0] - 1, batches[-1][0], len(batches) + 1)
        if found != batches:
            raise BadArchive(f"batches {batches[0][0]} to {batches[-1][0]} are not those of the database")
        own[shard] += _own_rows(batches, copy, partition.start_ns)
        if take is not None:
            take(shard, batches, copy)
        done += sum(batch[1] for batch in batches)
        report("verify", done, rows)
    return own


async def no_newer_hold(books: Books, known: int) -> None:
    """Raises `RetentionError` if a legal hold was placed meanwhile; one that is being placed has to wait for us."""
    await books.run("wait_little")
    await books.run("lock_holds")
    if await books.value("holds_placed") != known:
        raise RetentionError("a legal hold was placed meanwhile: look again")


def _own_rows(batches: list[Batch], copy: bytes, start_ns: int) -> int:
    """How many rows of these batches were recorded from `start_ns` on, and not in the partition before."""
    if batches[0][2] >= start_ns:
        return sum(batch[1] for batch in batches)
    return sum(each >= start_ns for each in table_of(copy)["recorded_ns"].to_pylist())
