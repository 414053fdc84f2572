"""What proofs read and store: nodes of the tree, the rows of a batch, signed checkpoints.

The invariant: everything here follows from the journal and can be dropped, but for the signatures; and all that is
asked for one proof is bounded: the rows of one batch, and some hundred hashes for each factor of 256 in batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyledger import sql
from pyledger._rust import GENESIS_HASH, Corrupt, prove_row, tree_root
from pyledger.ledger.connections import CONNECTION_ERRORS, Pool, connect
from pyledger.ledger.nouns import Position, StartupRefused, first_line
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.document import Link, link_hash
from pyledger.ledger.proofs.notes import Checkpoint, Contradiction
from pyledger.ledger.proofs.tree import FANOUT, HEIGHT, Growing, Hash, Nodes, Range
from pyledger.ledger.waiting import work

PROOFS: Final = sql.load("pyledger.ledger.proofs")

SLICE_NODES: Final = 2 * FANOUT
"""Batches that are read and hashed at once: 512, some 3 ms, what the event loop may be held up."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A signed checkpoint as the database has it."""

    size: int
    key_number: int
    key: str
    note: str


def _kept(row: Any) -> Kept:
    return Kept(row["size"], row["key_number"], row["key"], row["note"])


class Store:
    """Of one shard, through the pool of reads. `key_number` is of the key whose checkpoints come before others'."""

    def __init__(self, pool: Pool, shard: int, key_number: int = -1) -> None:
        self._pool, self.shard, self._key_number = pool, shard, key_number

    async def nodes(self, ranges: Iterable[Range]) -> Nodes:
        """The nodes that the hashes of some subtrees follow from. Raises `Contradiction` if one is missing."""
        found: Nodes = {}
        for level, first, after in tree.spans(ranges):
            hashes = await self._level(level, first, after)
            found |= {(level, first + at): each for at, each in enumerate(hashes)}
        return found

    async def root(self, size: int) -> Hash:
        """The root over the first batches."""
        return tree.subtree_hash(await self.nodes([(0, size)]), 0, size)

    async def path(self, ranges: list[Range]) -> list[Hash]:
        """The hashes of some subtrees, in their order."""
        nodes = await self.nodes(ranges)
        return [tree.subtree_hash(nodes, *each) for each in ranges]

    async def _level(self, level: int, first: int, after: int) -> list[Hash]:
        """The hashes of consecutive nodes of a stored level, 0 for the leaves."""
        if level:
            rows = await self._pool.rows("subtrees", self.shard, level, first, after, of=PROOFS)
        else:
            rows = await self._pool.rows("batch_hashes", self.shard, first, after, of=PROOFS)
        if [row["number"] for row in rows] != list(range(first, after)):
            raise Contradiction(f"of level {level} of the tree, nodes {first} to {after - 1} are not all there")
        return [row["hash"] if level else tree.leaf_hash(row["hash"]) for row in rows]

    async def extend(self, size: int) -> None:
        """Make the subtrees that the first batches complete. Goes on where it was cut off; of what is there and should
        not be, nothing is changed."""
        level = 1
        while complete := size >> HEIGHT * level:
            made = await self._pool.value("subtrees_whole", self.shard, level, complete, of=PROOFS)
            while made < complete:
                after = min(complete, made + SLICE_NODES // FANOUT)
                below = await self._level(level - 1, made * FANOUT, after * FANOUT)
                roots = [tree_root(b"".join(below[at : at + FANOUT])) for at in range(0, len(below), FANOUT)]
                await self._pool.rows("make_subtrees", self.shard, level, list(range(made, after)), roots, of=PROOFS)
                made = after
            level += 1

    async def follow(self, start: Checkpoint | None, head: Position) -> Hash:
        """The root over all batches up to the head that our own writer has acknowledged, checking each link of the
        chain; after those of a checkpoint, if there is one whose root is known to be right. The head is not before it.

        Stored subtrees are believed only as far as they lead to that root. Raises `Contradiction`."""
        seq, previous, growing = await self._tree_of(start) if start else (0, GENESIS_HASH, Growing())
        while seq < head.seq:
            upto = min(head.seq, seq + SLICE_NODES)
            rows = await self._pool.rows("links", self.shard, seq + 1, upto, of=PROOFS)
            for row in rows[1:] if seq and rows and rows[0]["seq"] == seq else rows:
                seq += 1
                shown = (row["rows"], row["first_ns"], row["last_ns"], row["root"])
                if row["seq"] != seq or link_hash(previous, self.shard, seq, *shown) != row["hash"]:
                    raise Contradiction(f"batch {seq} is not what was committed")
                previous = row["hash"]
                growing.add(tree.leaf_hash(previous))
            if seq != upto:
                raise Contradiction(f"batch {seq + 1} is missing")
        if previous != head.hash:
            raise Contradiction(f"batch {head.seq} is not what was committed")
        return growing.root()

    async def _tree_of(self, known: Checkpoint) -> tuple[int, Hash, Growing]:
        """A checkpoint's size, the hash of its last batch, and its tree, to go on from. Raises `Contradiction`."""
        size = known.size
        await self.extend(size)
        path = tree.inclusion(size - 1, size)
        nodes = await self.nodes([(0, size), *path])
        last = await self._pool.rows("batch_hashes", self.shard, size - 1, size, of=PROOFS)
        hashes = [tree.subtree_hash(nodes, *each) for each in path]
        growing = Growing(edge=tree.edge(nodes, 0, size))
        if growing.root() != known.root or not last:
            raise Contradiction(f"the first {size} batches, or their subtrees, are not those that were signed")
        if tree.included(tree.leaf_hash(last[0]["hash"]), size - 1, size, hashes) != known.root:
            raise Contradiction(f"batch {size}, or a subtree beside it, is not the one that was signed")
        return size, last[0]["hash"], growing

    async def link(self, seq: int) -> tuple[Link, Hash]:
        """A batch, and the root over its rows."""
        rows = await self._pool.rows("links", self.shard, seq, seq, of=PROOFS)
        if not rows or rows[-1]["seq"] != seq or len(rows) != min(2, seq):
            raise Contradiction(f"batch {seq} or the one before it is missing")
        row, previous = rows[-1], rows[0]["hash"] if seq > 1 else GENESIS_HASH
        link = Link(
            shard=self.shard, seq=seq, rows=row["rows"], first_ns=str(row["first_ns"]), last_ns=str(row["last_ns"]),
            previous=previous.hex(), hash=row["hash"].hex(),
        )  # fmt: skip
        return link, row["root"]

    async def find(self, tenant: int, transfer_id: str, head_seq: int) -> Any | None:
        """Where a transfer of a tenant lies: seq and recorded_ns."""
        found = await self._pool.rows("row_place", self.shard, tenant, transfer_id, head_seq, of=PROOFS)
        return found[0] if found else None

    async def prove_row(self, recorded_ns: int, link: Link, root: Hash) -> tuple[int, bytes, list[Hash]]:
        """Number, tuple and path of a row in its batch. Raises `Contradiction`."""
        bounds = (int(link.first_ns), int(link.last_ns))
        copied = await self._pool.copy("copy_batch", self.shard, *bounds, of=PROOFS)
        try:
            rows, found, proof = await work(link.rows, prove_row, copied, recorded_ns)
        except Corrupt as error:
            raise Contradiction(f"a row of batch {link.seq} cannot be read: {error}") from error
        if (rows, found) != (link.rows, root) or proof is None or link.hash_of(root).hex() != link.hash:
            raise Contradiction(f"the rows of batch {link.seq} are not what was committed")
        return proof

    async def keep(self, epoch: int, signed: tuple[int, int, str, str]) -> None:
        """Store a signed checkpoint (size, key number, key, note), unless the epoch has ended or it is there."""
        await self._pool.rows("keep_signed", self.shard, epoch, *signed, of=PROOFS)

    async def newest(self) -> Kept | None:
        """The newest signed checkpoint, our own of several."""
        rows = await self._pool.rows("newest_signed", self.shard, self._key_number, of=PROOFS)
        return _kept(rows[0]) if rows else None

    async def newest_by(self, key_number: int) -> Kept | None:
        """The newest signed checkpoint that says to be of a key."""
        rows = await self._pool.rows("newest_signed_by", self.shard, key_number, of=PROOFS)
        return _kept(rows[0]) if rows else None

    async def of_size(self, size: int) -> Kept | None:
        """The signed checkpoint of a size, our own of several."""
        rows = await self._pool.rows("signed_of_size", self.shard, self._key_number, size, of=PROOFS)
        return _kept(rows[0]) if rows else None

    async def page(self, below: tuple[int, int], limit: int) -> list[Kept]:
        """Signed checkpoints below a size and key number, the largest first."""
        return [_kept(row) for row in await self._pool.rows("signed_page", self.shard, *below, limit, of=PROOFS)]

    async def times(self, seqs: list[int]) -> dict[int, int]:
        """When the last row of each of these batches was recorded, in nanoseconds. Raises `Contradiction`."""
        found = dict(await self._pool.rows("batch_times", self.shard, seqs, of=PROOFS))
        if missing := set(seqs) - found.keys():
            raise Contradiction(f"batch {min(missing)} is missing")
        return found

    async def after(self, position: tuple[int, int], limit: int) -> list[Kept]:
        """Signed checkpoints after a size and key number, the smallest first."""
        return [_kept(row) for row in await self._pool.rows("signed_after", self.shard, *position, limit, of=PROOFS)]


async def drop_subtrees(url: str, shard: int) -> None:
    """Drop what follows from the batches, so that it is made again. Raises `StartupRefused`."""
    try:
        connection = await connect(url, f"pyledger rebuild {shard}")
        try:
            await connection.execute(PROOFS["drop_subtrees"], shard)
        finally:
            connection.terminate()
    except CONNECTION_ERRORS as error:
        raise StartupRefused(f"cannot drop the subtrees: {first_line(error)}") from error
