"""What an archive says of itself, so that it can be verified, restored and proven from without the database.

The invariant: the files are named by their hashes, the batches are a stretch of the chain with the hash before it, and
the few nodes of the tree that are not of these batches lead from there to a checkpoint that was signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from pyledger._rust import tree_root
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.document import HexHash, Nanoseconds
from pyledger.ledger.proofs.tree import Hash, Range
from pyledger.retention.nouns import BadArchive

FORMAT: Final = "pyledger.archive.1"
MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
"""One with ten thousand ledgers has a MiB."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(pattern="^journal_[0-9_]{8,32}$")]


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the archive."""

    bytes: Count
    sha256: HexHash


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """The hash over the leaves from `low` to before `high`."""

    low: Count
    high: Count
    hash: HexHash


class Stretch(Struct, frozen=True, forbid_unknown_fields=True):
    """The batches of one shard: `previous` is the hash before the first, `root` that over their hashes."""

    shard: Annotated[int, Meta(ge=0, le=32_767)]
    first_seq: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    last_seq: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    rows: Count
    first_ns: Nanoseconds
    last_ns: Nanoseconds
    previous: HexHash
    root: HexHash
    checkpoint: Annotated[str | None, Meta(description="A C2SP signed checkpoint of all of them; null if unsigned.")]
    nodes: Annotated[list[Node], Meta(max_length=128, description="What leads from these batches to the checkpoint.")]


class LedgerRows(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of the partition by ledger; 0 is where a decline knows none."""

    tenant: Count
    ledger: Count
    rows: Count


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of it."""

    format: Literal["pyledger.archive.1"]
    name: Name
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    schema_version: str
    created_at: str
    rows: File
    batches: File
    shards: list[Stretch]
    ledgers: list[LedgerRows]

    def encode(self) -> bytes:
        """As it is written."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Manifest:
        """Raises `BadArchive`."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadArchive(f"the manifest is none: {error}") from error


class Subtrees:
    """Hashes of the tree that a stretch's own leaves and the nodes beside them lead to."""

    def __init__(self, stretch: Stretch, leaves: Sequence[Hash]) -> None:
        """`leaves` are those of the stretch's batches, in order."""
        self._low, self._leaves = stretch.first_seq - 1, leaves
        self._nodes = {(each.low, each.high): bytes.fromhex(each.hash) for each in stretch.nodes}

    def hash_of(self, low: int, high: int) -> Hash:
        """Of the subtree over these leaves. Raises `BadArchive` if a node is missing."""
        if (low, high) in self._nodes:
            return self._nodes[low, high]
        if self._low <= low and high <= self._low + len(self._leaves):
            return tree_root(b"".join(self._leaves[low - self._low : high - self._low]))
        if high - low < 2:
            raise BadArchive(f"the manifest lacks the hash of leaf {low}")
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        return tree.node_hash(self.hash_of(low, middle), self.hash_of(middle, high))

    def path(self, index: int, size: int) -> list[Hash]:
        """The audit path of a leaf."""
        return [self.hash_of(*each) for each in tree.inclusion(index, size)]


def outside(first_seq: int, last_seq: int, size: int) -> list[Range]:
    """The subtrees beside a stretch of batches that paths from it to the root of a tree need."""
    low, high = first_seq - 1, last_seq
    wanted = {*tree.inclusion(low, size), *tree.inclusion(high - 1, size)}
    return sorted(each for each in wanted if each[1] <= low or each[0] >= high)
