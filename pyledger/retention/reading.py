"""An archive as it is read: to be verified, restored, and proven from.

Guarded here: what is read is compared with the hashes of the files, the roots of the batches and the chain, the columns
for people with the bytes that are hashed, and all of it with the checkpoint that was signed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyledger._rust import Corrupt, prove_row, tree_root
from pyledger.ledger.connections import COPY_HEADER, COPY_TRAILER
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.document import link_hash
from pyledger.ledger.proofs.notes import BadNote, Signed
from pyledger.retention.manifest import MANIFEST_BYTES_MAX, Manifest, Stretch, Subtrees
from pyledger.retention.nouns import BadArchive, Batch
from pyledger.retention.tables import batch_schema, joined, pyarrow, table_of
from pyledger.retention.writing import BATCHES, MANIFEST, ROWS, measure


class Archive:
    """An archive that is there."""

    def __init__(self, path: Path) -> None:
        """Raises `BadArchive` unless there is a manifest of one."""
        self.path = path
        try:
            with (path / MANIFEST).open("rb") as file:
                text = file.read(MANIFEST_BYTES_MAX + 1)
        except OSError as error:
            raise BadArchive(f"{path} is no archive: {MANIFEST}: {error.strerror}") from error
        if len(text) > MANIFEST_BYTES_MAX:
            raise BadArchive(f"{path / MANIFEST} is larger than {MANIFEST_BYTES_MAX} bytes")
        self.manifest = Manifest.decode(text)
        self.text = text.decode()

    def stretch(self, shard: int) -> Stretch:
        """That of a shard. Raises `BadArchive` if there is none."""
        for each in self.manifest.shards:
            if each.shard == shard:
                return each
        raise BadArchive(f"{self.path} has nothing of shard {shard}")

    def verified(self) -> Iterator[tuple[int, list[Batch], bytes]]:
        """Every batch with its rows, shard by shard, once they are proven to be what was committed: a row group at a
        time, as a COPY stream. Raises `BadArchive`, at the latest at the end: nothing counts before that."""
        with self.opened(measured=True):
            self._next_group = 0
            for stretch in self.manifest.shards:
                yield from self._stretch(stretch)
            if self._groups() != self._next_group:
                raise BadArchive(f"{self.path} has rows that no shard has")

    @contextlib.contextmanager
    def opened(self, *, measured: bool) -> Iterator[None]:
        """Open both files, for what is read of them. What is `measured` is the very file that was written.

        Raises `BadArchive`."""
        pa = pyarrow()
        with contextlib.ExitStack() as closing:
            try:
                files = [closing.enter_context(pa.OSFile(str(self.path / name))) for name in (ROWS, BATCHES)]
                for file, due in zip(files, (self.manifest.rows, self.manifest.batches), strict=True):
                    if measured and measure(file) != due:
                        raise BadArchive(f"{self.path} has a file that was not written: its size or its hash differs")
                self._rows, self._batches = (pa.parquet.ParquetFile(file) for file in files)
            except (OSError, pa.ArrowException) as error:
                raise BadArchive(f"{self.path} cannot be read: {error}") from error
            yield

    def _groups(self) -> int:
        rows, batches = self._rows.num_row_groups, self._batches.num_row_groups
        if rows != batches:
            raise BadArchive(f"{self.path} has {rows} groups of rows and {batches} of batches")
        return int(rows)

    def _stretch(self, stretch: Stretch) -> Iterator[tuple[int, list[Batch], bytes]]:
        previous, seq, rows, leaves = bytes.fromhex(stretch.previous), stretch.first_seq, 0, []
        first_ns = last_ns = 0
        while seq <= stretch.last_seq:
            if self._next_group >= self._groups():
                raise BadArchive(f"{self.path} lacks batch {seq} of shard {stretch.shard}")
            batches, pieces = self._group(self._next_group, stretch.shard)
            self._next_group += 1
            for batch, piece in zip(batches, pieces, strict=True):
                self._check(batch, piece, stretch.shard, seq, previous)
                previous, seq, rows, last_ns = batch[5], seq + 1, rows + batch[1], batch[3]
                first_ns = first_ns or batch[2]
                leaves.append(tree.leaf_hash(batch[5]))
            yield stretch.shard, batches, b"".join((COPY_HEADER, *pieces, COPY_TRAILER))
        said = (stretch.last_seq + 1, stretch.rows, stretch.root, int(stretch.first_ns), int(stretch.last_ns))
        if (seq, rows, tree_root(b"".join(leaves)).hex(), first_ns, last_ns) != said:
            raise BadArchive(f"{self.path}: the batches of shard {stretch.shard} are not what the manifest says")
        check_signed(stretch, leaves)

    def group_numbers(self) -> range:
        """Of all row groups, of an archive that was opened."""
        return range(self._groups())

    def columns(self, number: int, names: list[str]) -> Any:
        """Some columns of a group of rows, of an archive that was opened: nothing is proven by them."""
        return self._read(self._rows, number, names)

    def _read(self, file: Any, number: int, names: list[str] | None = None) -> Any:
        try:
            table = file.read_row_group(number, names)
        except (OSError, pyarrow().ArrowException) as error:
            raise BadArchive(f"{self.path} cannot be read: {error}") from error
        if names is not None and table.column_names != names:
            raise BadArchive(f"{self.path}: group {number} lacks a column")
        return table

    def _group(self, number: int, shard: int) -> tuple[list[Batch], list[bytes]]:
        """One row group: its batches, and the tuples of each."""
        table, batches = self._read(self._rows, number), self._read(self._batches, number)
        if batches.schema.names != batch_schema().names or set(batches["shard"].to_pylist()) - {shard}:
            raise BadArchive(f"{self.path}: group {number} is not of shard {shard}")
        if "leaf" not in table.column_names:
            raise BadArchive(f"{self.path}: group {number} has no leaves")
        leaves = table["leaf"].combine_chunks()
        columns = [batches[name].to_pylist() for name in batch_schema().names[1:]]
        found: list[Batch] = list(zip(*columns, strict=True))
        pieces, at = [], 0
        for batch in found:
            pieces.append(joined(leaves.slice(at, batch[1])))
            at += batch[1]
        try:
            people = table_of(b"".join((COPY_HEADER, *pieces, COPY_TRAILER)))
        except Corrupt as corrupt:
            raise BadArchive(f"{self.path}: group {number} is corrupt: {corrupt}") from corrupt
        if at != table.num_rows or not people.equals(table.combine_chunks()):
            raise BadArchive(f"{self.path}: the columns of group {number} are not what its leaves say")
        return found, pieces

    def batch_of(self, group: int, seq: int, shard: int) -> tuple[Batch, bytes]:
        """One batch of a group and its rows as a COPY stream; proven to be what its root says."""
        batches, pieces = self._group(group, shard)
        at = next((at for at, batch in enumerate(batches) if batch[0] == seq), None)
        if at is None:
            raise BadArchive(f"{self.path}: batch {seq} is not with its rows")
        return batches[at], COPY_HEADER + pieces[at] + COPY_TRAILER

    def hashes(self, stretch: Stretch) -> dict[int, bytes]:
        """The hashes of a stretch's batches, by number."""
        found: dict[int, bytes] = {stretch.first_seq - 1: bytes.fromhex(stretch.previous)}
        for number in range(self._groups()):
            table = self._read(self._batches, number, ["shard", "seq", "hash"])
            if table.num_rows and table["shard"][0].as_py() == stretch.shard:
                found |= dict(zip(table["seq"].to_pylist(), table["hash"].to_pylist(), strict=True))
        if found.keys() != set(range(stretch.first_seq - 1, stretch.last_seq + 1)):
            raise BadArchive(f"{self.path} has not the batches that its manifest names")
        return found

    def _check(self, batch: Batch, piece: bytes, shard: int, seq: int, previous: bytes) -> None:
        found_seq, rows, first_ns, last_ns, root, own = batch
        try:
            found = prove_row(COPY_HEADER + piece + COPY_TRAILER, 0)[:2]
        except Corrupt as corrupt:
            raise BadArchive(f"{self.path}: batch {seq} of shard {shard} is corrupt: {corrupt}") from corrupt
        link = link_hash(previous, shard, seq, rows, first_ns, last_ns, root)
        if found_seq != seq or found != (rows, root) or link != own:
            raise BadArchive(f"{self.path}: batch {seq} of shard {shard} is not what was committed")


def check_signed(stretch: Stretch, leaves: list[bytes]) -> None:
    """That the batches and the nodes beside them lead to the checkpoint. Raises `BadArchive`."""
    if stretch.checkpoint is None:
        return
    try:
        checkpoint = Signed.parse(stretch.checkpoint).checkpoint
    except BadNote as error:
        raise BadArchive(f"the checkpoint of shard {stretch.shard} is none: {error}") from error
    size = checkpoint.size
    if size < stretch.last_seq or Subtrees(stretch, leaves).hash_of(0, size) != checkpoint.root:
        raise BadArchive(f"the batches of shard {stretch.shard} do not lead to their checkpoint")
