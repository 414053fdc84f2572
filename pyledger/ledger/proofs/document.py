"""The documents that prove something to somebody who has nothing but a public key, and how they are verified. Pure.

The invariant: nothing in a document is taken on trust. Each field is either hashed, or compared with what was
hashed, so that a document in which any byte was changed is refused.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from pyledger.ledger.nouns import LedgerError
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.notes import BadNote, Checkpoint, PublicKey, Signed
from pyledger.ledger.proofs.rows import BadRow, Row, read_row

T = TypeVar("T")

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
"""A proof with the longest texts and paths has some ten KiB."""
FORMAT: Final = "pyledger.proof.1"
CONSISTENCY_FORMAT: Final = "pyledger.consistency.1"

_LINK: Final = struct.Struct("<HQIQQ")

_END: Final = r"$(?!\n)"
"""Python's `$` lets a last newline through; `\\Z`, which does not, means something else in JSON schemas."""

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*" + _END, description="Bytes in hexadecimal.")]
HexHash = Annotated[str, Meta(pattern="^[0-9a-f]{64}" + _END, description="A SHA-256 in hexadecimal.")]
Nanoseconds = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,18})" + _END, description="Nanoseconds since 1970.")]
Path = Annotated[list[HexHash], Meta(max_length=64, description="An audit path of RFC 6962, from the leaf up.")]


class BadProof(LedgerError):
    """A document that proves nothing. `str()` is one clear line."""


class Link(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch: what its hash is made of, beside the root over its rows, and that hash."""

    shard: Annotated[int, Meta(ge=0, le=32_767)]
    seq: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Its number; it is leaf `seq` - 1 of the checkpoint.")]
    rows: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    first_ns: Nanoseconds
    last_ns: Nanoseconds
    previous: Annotated[HexHash, Meta(description="The hash of the batch before it.")]
    hash: HexHash

    def hash_of(self, root: bytes) -> bytes:
        """What its hash must be if its rows have this root."""
        return link_hash(
            bytes.fromhex(self.previous), self.shard, self.seq, self.rows, int(self.first_ns), int(self.last_ns), root
        )


def link_hash(previous: bytes, shard: int, seq: int, rows: int, first_ns: int, last_ns: int, root: bytes) -> bytes:
    """The hash of a batch on top of the one before it, as rust_ext/core/src/chain.rs has it."""
    numbers = _LINK.pack(shard, seq, rows, first_ns, last_ns)
    return hashlib.sha256(b"pyledger.batch.1" + previous + numbers + root).digest()


class Proof(Struct, frozen=True, forbid_unknown_fields=True):
    """That a transfer was recorded: its row, the batch of that row, and the checkpoint that contains the batch."""

    format: Literal["pyledger.proof.1"]
    row: Annotated[Row, Meta(description="What `leaf` says, for people.")]
    leaf: Annotated[
        Hex, Meta(description="The row as binary COPY has it; SHA-256 of a zero byte and this is its leaf.")
    ]
    row_index: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Which row of its batch, from 0.")]
    row_path: Path
    batch: Link
    batch_path: Path
    checkpoint: Annotated[str | None, Meta(description="A C2SP signed checkpoint; null if the proof ends at `batch`.")]
    unsigned: Annotated[str | None, Meta(description="Why there is no checkpoint; null if there is one.")]


class Consistency(Struct, frozen=True, forbid_unknown_fields=True):
    """That the tree of the first checkpoint is the beginning of the tree of the second."""

    format: Literal["pyledger.consistency.1"]
    first: Annotated[str, Meta(description="A C2SP signed checkpoint.")]
    second: Annotated[str, Meta(description="A C2SP signed checkpoint of at least that size.")]
    path: Annotated[list[HexHash], Meta(max_length=128, description="A consistency proof of RFC 6962.")]


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves, and whose word it rests on."""

    row: Row
    batch: Link
    checkpoint: Checkpoint
    key: PublicKey


def hexes(hashes: Sequence[bytes]) -> list[str]:
    """Hashes as documents have them."""
    return [each.hex() for each in hashes]


def _unhex(hashes: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in hashes]


def verify(document: bytes, keys: Sequence[PublicKey]) -> Proven:
    """Verify a proof. Raises `BadProof`."""
    proof = _read(document, Proof)
    leaf = bytes.fromhex(proof.leaf)
    try:
        shard, seq, row = read_row(leaf)
    except BadRow as error:
        raise BadProof(f"the leaf is no row: {error}") from error
    if row != proof.row:
        raise BadProof("the row is not what the leaf says")
    batch = proof.batch
    if (shard, seq) != (batch.shard, batch.seq):
        raise BadProof(f"the row belongs to batch {seq} of shard {shard}, not to batch {batch.seq}")
    root = tree.included(tree.leaf_hash(leaf), proof.row_index, batch.rows, _unhex(proof.row_path))
    if root is None or batch.hash_of(root).hex() != batch.hash:
        raise BadProof(f"the path from the row does not lead to batch {batch.seq}")
    if proof.checkpoint is None:
        raise BadProof(f"it ends at batch {batch.seq} with hash {batch.hash}, which no key signed: {proof.unsigned}")
    if proof.unsigned is not None:
        raise BadProof("it has a checkpoint and says that it has none")
    checkpoint, key = _open(proof.checkpoint, keys, "the checkpoint")
    top = tree.leaf_hash(bytes.fromhex(batch.hash))
    found = tree.included(top, batch.seq - 1, checkpoint.size, _unhex(proof.batch_path))
    if found != checkpoint.root:
        raise BadProof(f"the path from batch {batch.seq} does not lead to the checkpoint")
    return Proven(row, batch, checkpoint, key)


def verify_consistency(document: bytes, keys: Sequence[PublicKey]) -> tuple[Checkpoint, Checkpoint]:
    """Verify that one checkpoint goes on where another ended; both of them. Raises `BadProof`."""
    proof = _read(document, Consistency)
    first, _ = _open(proof.first, keys, "the first checkpoint")
    second, _ = _open(proof.second, keys, "the second checkpoint")
    if first.origin != second.origin:
        raise BadProof(f"they are checkpoints of two logs, {first.origin} and {second.origin}")
    if not tree.consistent(first.size, second.size, first.root, second.root, _unhex(proof.path)):
        raise BadProof("the second checkpoint does not go on where the first one ended: history was rewritten")
    return first, second


def format_of(document: bytes) -> str:
    """Which kind of document it is; empty if it is none."""
    try:
        found = msgspec.json.decode(document[:DOCUMENT_BYTES_MAX], type=dict[str, object]).get("format")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return found if isinstance(found, str) else ""


def _read(document: bytes, kind: type[T]) -> T:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise BadProof(f"it is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        found = msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadProof(f"it is no document of this kind: {error}") from error
    # It is no deeper and no wider than its kind by now.
    json.loads(document.decode("utf-8"), object_pairs_hook=_once)
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object each of whose names is there once: another reader might take the other one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadProof("a name stands twice in an object")
    return found


def _open(note: str, keys: Sequence[PublicKey], what: str) -> tuple[Checkpoint, PublicKey]:
    try:
        signed = Signed.parse(note)
        return signed.checkpoint, signed.verify(keys)
    except BadNote as error:
        raise BadProof(f"{what}: {error}") from error
