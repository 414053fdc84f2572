"""Restoring an archive: its rows take their place in the journal again, once they are proven to be what was there.

The invariant: what is attached was read back from PostgreSQL and is, byte for byte, what the archive has, and what had
stayed of the partition. Ids stay known as archived, and the base stays where it is: nothing depends on a restored row.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from pyledger.ledger.connections import COPY_HEADER, COPY_TRAILER, in_parts, stream_copy
from pyledger.retention.books import QUERIES, Books
from pyledger.retention.nouns import SWAP_ATTEMPTS_MAX, SWAP_REST_S, Batch, Partition, RetentionError
from pyledger.retention.reading import Archive
from pyledger.retention.tables import joined, table_of
from pyledger.retention.verifying import BUSY, Report, verify


async def restore(books: Books, path: Path, report: Report) -> Partition:
    """Restore the archive in a directory. Raises `RetentionError`."""
    archive = Archive(path)
    manifest = archive.manifest
    partition = await books.partition(int(manifest.start_ns))
    if partition is None or not partition.is_dropped:
        raise RetentionError(f"{manifest.name} is not dropped: there is nothing to restore")
    if partition.manifest != archive.text:
        raise RetentionError(f"{path} is not the archive that {manifest.name} was dropped for")
    await verify(books, partition, archive, report)
    report("proven", 1, 1)
    async with books.connection.transaction():
        await books.run("wait_long")
        await books.run("freeze", of=partition.name)
        await books.sealed_rows(partition)
        await _Twin(books, partition, archive).fill(report)
        report("filled", 1, 1)
        await _swap(books, partition, report)
        await books.run("forget_archived", partition.start_ns)
        await books.log("restored", manifest, archive.text)
        report("swapped", 1, 1)
    report("restored", 1, 1)
    return partition


async def _swap(books: Books, partition: Partition, report: Report) -> None:
    for attempt in range(SWAP_ATTEMPTS_MAX):
        report("lock", attempt, SWAP_ATTEMPTS_MAX)
        try:
            async with books.connection.transaction():
                await books.run("wait_little")
                await books.run("swap_twin", partition.name)
            return
        except BUSY:
            await asyncio.sleep(SWAP_REST_S)
    raise RetentionError(f"{partition.name} is in use all the time (a backup, a check?): nothing was restored")


class _Twin:
    """The table that takes the place of what stayed."""

    def __init__(self, books: Books, partition: Partition, archive: Archive) -> None:
        self._books, self._partition, self._archive = books, partition, archive
        self._due: dict[int, Any] = {}

    async def fill(self, report: Report) -> None:
        """All rows: those of the archive, and those of a batch that goes on in the next partition. Read back."""
        books, name = self._books, self._partition.name
        noted = await books.rows("archived", self._partition.start_ns)
        rows = sum(row["rows"] for row in noted)
        await books.run("make_twin", name)
        done = 0
        for shard, batches, copy in self._archive.verified():
            own = _own(batches, copy, self._partition.start_ns)
            self._hash(shard).update(own[len(COPY_HEADER) : -len(COPY_TRAILER)])
            await books.connection.copy_to_table(
                f"{name}_twin", schema_name="pyledger", source=in_parts(own), format="binary"
            )
            done += sum(batch[1] for batch in batches)
            report("fill", done, rows)
        await books.run("fill_rest", [row["shard"] for row in noted], [row["last_seq"] for row in noted], of=name)
        await books.run("index_twin", name)
        for row in noted:
            await self._read_back(row)

    def _hash(self, shard: int) -> Any:
        return self._due.setdefault(shard, hashlib.sha256(COPY_HEADER))

    async def _read_back(self, noted: Any) -> None:
        """Raises `RetentionError` if PostgreSQL has not what it was given."""
        shard, connection, name = noted["shard"], self._books.connection, self._partition.name
        rest: list[bytes] = []
        await stream_copy(
            connection, QUERIES["copy_rest"].replace("{name}", name), shard, noted["last_seq"], take=rest.append
        )
        due = self._hash(shard)
        due.update(b"".join(rest)[len(COPY_HEADER) :])
        found = hashlib.sha256()
        query = QUERIES["copy_twin"].replace("{name}", name)
        said = await stream_copy(connection, query, shard, take=found.update)
        if (int(said.split()[-1]), found.digest()) != (noted["rows"], due.digest()):
            raise RetentionError(f"what PostgreSQL stored of shard {shard} is not what {self._archive.path} has")


def _own(batches: list[Batch], copy: bytes, start_ns: int) -> bytes:
    """The rows that were recorded from `start_ns` on, and not in the partition before."""
    if batches[0][2] >= start_ns:
        return copy
    table = table_of(copy)
    first = next((at for at, each in enumerate(table["recorded_ns"].to_pylist()) if each >= start_ns), table.num_rows)
    return COPY_HEADER + joined(table["leaf"].combine_chunks().slice(first)) + COPY_TRAILER
