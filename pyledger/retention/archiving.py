"""Archiving and dropping a partition, step by step: this is what keeps rows from being lost.

 1. Write all files beside their name, and sync them.
 2. Read them back: hashes, columns, roots, chain, checkpoint, and each batch as the database has it. The checkpoint's
    signature is verified before the first row is written, before 3 notes anything, and before 4.
 3. Give the directory its name; sync all of it, and the name; then note that it was archived.
 4. At once or much later: read it all back again, replay it on top of the base, which proves balances and holds, and
    sync it once more.
 5. In one transaction: ids, base, and a twin of the partition with what stays; then, for a moment, the lock that
    appends wait for; look at holds, heads and checkpoints once more; the twin takes the partition's place.

The invariant: nothing is dropped before 4 is done with the very files that 5 notes. What is cut off leaves a directory
that is thrown away, or a whole one that is verified and taken over; or a transaction that never was. What is lost
between 3 and 4 stops 4; where somebody names the partition, 1 to 3 are done once more, and what was noted last counts.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyledger._rust import tree_root
from pyledger.ledger.connections import stream_copy
from pyledger.ledger.nouns import SCHEMA_VERSION
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.notes import Contradiction
from pyledger.retention.books import QUERIES, Books
from pyledger.retention.manifest import FORMAT, LedgerRows, Manifest, Node, Stretch, outside
from pyledger.retention.nouns import SLICE_BATCHES_MAX, SLICE_ROWS, BadArchive, Batch, Extent, RetentionError
from pyledger.retention.plan import Seen
from pyledger.retention.reading import Archive
from pyledger.retention.signatures import CHECK, KeyOf, newest, require_signed
from pyledger.retention.verifying import BUSY, Report, no_newer_hold, verify
from pyledger.retention.writing import Writing, sync

GENESIS: Final = "00" * 32
"""The hash before the first batch."""


class Archiving:
    """Steps 1 to 3: archives of partitions, in a directory."""

    def __init__(self, books: Books, directory: Path, key_of: KeyOf, report: Report, *, allow_unsigned: bool) -> None:
        self._books, self._directory, self._report = books, directory, report
        self._key_of, self._allow_unsigned = key_of, allow_unsigned

    async def archive(self, seen: Seen) -> str:
        """Write, verify and note the archive of a partition; or take over a whole one that is there. Of one that was
        archived before, in place of what was noted then. What else there is to say of it. Raises `RetentionError`."""
        path, before = self._directory / seen.partition.name, seen.partition
        there = path.exists()
        if there:
            archive = await self._take_over(path, seen)
        else:
            await self._books.run("seqscan", "off")
            await self._write(seen)
            await self._books.run("seqscan", "on")
            archive = Archive(path)
        await self._require_signed(archive)
        # Also of one that is taken over: whoever named it may have been cut off before its name was on the disk.
        sync(path)
        self._report("synced", 1, 1)
        if there and before.step == "archived" and before.manifest == archive.text:
            return "what was noted is there and whole, and stays"
        await self._note(seen, archive)
        self._report("noted", 1, 1)
        if before.step != "archived":
            return ""
        made = Manifest.decode(before.manifest.encode()).created_at
        return f"{path} is noted in place of the archive that was made at {made}: keep this one"

    async def _take_over(self, path: Path, seen: Seen) -> Archive:
        """What has the name is verified and never replaced. Raises `BadArchive`."""
        try:
            archive = Archive(path)
            await verify(self._books, seen.partition, archive, self._report)
        except BadArchive as error:
            raise BadArchive(
                f"{error}; nothing that is there is replaced: --to names another directory, or, if no database needs "
                f"{path}, move it away"
            ) from error
        return archive

    async def _note(self, seen: Seen, archive: Archive) -> None:
        """What is noted last counts. Raises `RetentionError` if anything changed since the partition was seen."""
        books, before = self._books, seen.partition
        try:
            async with books.connection.transaction():
                await no_newer_hold(books, seen.holds_placed)
                now = await books.partition(before.start_ns)
                if now is None or now.is_dropped or (now.step, now.manifest) != (before.step, before.manifest):
                    raise RetentionError(f"{before.name} was dropped or archived meanwhile: look again")
                await books.log("archived", archive.manifest, archive.text)
        except BUSY as error:
            raise RetentionError("a legal hold is being placed: look again") from error

    async def _require_signed(self, archive: Archive) -> None:
        """Also of one that is taken over: whoever made it may have been allowed more. Raises `RetentionError`."""
        for stretch in archive.manifest.shards:
            if stretch.checkpoint is None and not self._allow_unsigned:
                raise RetentionError(
                    f"{archive.path} was made without a signed checkpoint of shard {stretch.shard}: --allow-unsigned "
                    "takes it over; moved away, it is written again with one"
                )
            await require_signed(self._books, stretch, self._key_of(stretch.shard))

    async def _write(self, seen: Seen) -> None:
        partition, stretches, done = seen.partition, [], 0
        writing = Writing(self._directory, partition.name, await self._books.identity())
        await self._never_the_only_one(writing.beside)
        with writing:
            for extent in await self._books.extents(partition):
                if extent.first_seq <= extent.last_seq:
                    stretch, done = await self._write_shard(writing, seen, extent, done)
                    stretches.append(stretch)
            rows, batches = writing.close()
            self._report("written", seen.rows, seen.rows)
            ledgers: dict[tuple[int, int], int] = {}
            for part in seen.parts:
                ledgers[part.tenant, part.ledger] = ledgers.get((part.tenant, part.ledger), 0) + part.rows
            manifest = Manifest(
                format=FORMAT, name=partition.name, start_ns=str(partition.start_ns), end_ns=str(partition.end_ns),
                schema_version=SCHEMA_VERSION, created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                rows=rows, batches=batches, shards=stretches,
                ledgers=[LedgerRows(tenant, ledger, count) for (tenant, ledger), count in ledgers.items()],
            )  # fmt: skip
            written = Archive(writing.describe(manifest))
            try:
                await verify(self._books, partition, written, self._report)
            except BadArchive as error:
                # A moment ago it was made of what the database has.
                raise RetentionError(f"{error}: {CHECK}") from error
            self._report("verified", 1, 1)
            writing.keep()
        self._report("named", 1, 1)

    async def _never_the_only_one(self, beside: Path) -> None:
        """What is thrown away is no archive that was noted, and has lost its name. Raises `RetentionError`."""
        with contextlib.suppress(BadArchive):
            left = Archive(beside)
            if await self._books.value("was_noted", left.text):
                raise RetentionError(f"{beside} is an archive that was noted: give it its name, {left.manifest.name}")

    async def _write_shard(self, writing: Writing, seen: Seen, extent: Extent, done: int) -> tuple[Stretch, int]:
        """The batches of one shard, slice by slice; what the manifest says of them."""
        shard, seq, rows, leaves = extent.shard, extent.first_seq - 1, 0, []
        note, nodes = await self._signed(extent)
        first_ns = last_ns = 0
        while batches := await self._next(extent, seq):
            if batches[0][0] != seq + 1:
                raise RetentionError(f"batch {seq + 1} of shard {shard} is missing: run `pyledger check`")
            pieces: list[bytes] = []
            bounds = (shard, batches[0][2], batches[-1][3])
            await stream_copy(self._books.connection, QUERIES["copy_rows"], *bounds, take=pieces.append)
            writing.add(shard, batches, b"".join(pieces))
            first_ns, last_ns, seq = first_ns or batches[0][2], batches[-1][3], batches[-1][0]
            rows += sum(batch[1] for batch in batches)
            leaves += [tree.leaf_hash(batch[5]) for batch in batches]
            self._report("write", done + rows, seen.rows)
        previous = await self._books.value("hash_of_batch", shard, extent.first_seq - 1)
        return Stretch(
            shard=shard, first_seq=extent.first_seq, last_seq=extent.last_seq, rows=rows,
            first_ns=str(first_ns), last_ns=str(last_ns), previous=previous.hex() if previous else GENESIS,
            root=tree_root(b"".join(leaves)).hex(), checkpoint=note, nodes=nodes,
        ), done + rows  # fmt: skip

    async def _next(self, extent: Extent, after_seq: int) -> list[Batch]:
        """As many batches as have `SLICE_ROWS` rows, at least one if there is one."""
        found = await self._books.batches(extent.shard, after_seq, extent.last_seq, SLICE_BATCHES_MAX)
        rows = 0
        for at, batch in enumerate(found):
            rows += batch[1]
            if at and rows > SLICE_ROWS:
                return found[:at]
        return found

    async def _signed(self, extent: Extent) -> tuple[str | None, list[Node]]:
        """The newest checkpoint, if it has all batches, and the nodes that lead there. Raises `RetentionError`."""
        given = self._key_of(extent.shard)
        found = await newest(self._books, extent.shard, given)
        if found is None or found[1].checkpoint.size < extent.last_seq:
            if self._allow_unsigned:
                return None, []
            by = "" if given is None else f" by {given}"
            raise RetentionError(
                f"no signed checkpoint of shard {extent.shard}{by} contains batch {extent.last_seq} yet: a server with "
                "that signing key makes one; --allow-unsigned archives what nobody can prove to others"
            )
        note, checkpoint = found[0], found[1].checkpoint
        store, ranges = self._books.store(extent.shard), outside(extent.first_seq, extent.last_seq, checkpoint.size)
        try:
            root, hashes = await store.root(checkpoint.size), await store.path(ranges)
        except Contradiction as error:
            again = "a server makes subtrees again when it signs"
            raise RetentionError(f"shard {extent.shard}: {error}: {again}; {CHECK}") from error
        if root != checkpoint.root:
            raise RetentionError(
                f"the first {checkpoint.size} batches of shard {extent.shard} are not those that were signed: {CHECK}"
            )
        return note, [Node(low, high, each.hex()) for (low, high), each in zip(ranges, hashes, strict=True)]
