"""What an archive proves, of one transfer or all of it, with a public key alone: no database, no server.

The invariant: it is the same document that a server gives, made of rows that were compared with their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pyledger._rust import prove_row
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.document import FORMAT, Link, Proof, hexes
from pyledger.ledger.proofs.notes import BadNote, PublicKey, Signed
from pyledger.ledger.proofs.rows import read_row
from pyledger.retention.manifest import Stretch, Subtrees
from pyledger.retention.nouns import BadArchive, RetentionError
from pyledger.retention.reading import Archive, check_signed
from pyledger.retention.tables import pyarrow

_UNSIGNED: Final = "it was archived before a checkpoint was signed"
_PLACE: Final = ["tenant", "kind", "shard", "seq", "recorded_ns"]


def prove(path: Path, transfer_id: str, tenant: int | None) -> bytes:
    """The proof of a transfer. Raises `RetentionError` if the archive does not have it, or is not what it was."""
    archive = Archive(path)
    # The files are not hashed: what is given is proven by itself, and a proof must not take as long as all of them.
    with archive.opened(measured=False):
        group, shard, seq, recorded_ns = _find(archive, transfer_id, tenant)
        batch, copy = archive.batch_of(group, seq, shard)
        stretch = archive.stretch(shard)
        hashes = archive.hashes(stretch)
    rows, root, found = prove_row(copy, recorded_ns)
    link = Link(
        shard=shard, seq=seq, rows=batch[1], first_ns=str(batch[2]), last_ns=str(batch[3]),
        previous=hashes[seq - 1].hex(), hash=batch[5].hex(),
    )  # fmt: skip
    if (rows, root) != (batch[1], batch[4]) or found is None or link.hash_of(root) != batch[5]:
        raise BadArchive(f"{path}: batch {seq} is not what was committed")
    index, leaf, row_path = found
    return msgspec.json.encode(
        Proof(
            format=FORMAT,
            row=read_row(leaf)[2],
            leaf=leaf.hex(),
            row_index=index,
            row_path=hexes(row_path),
            batch=link,
            batch_path=_batch_path(stretch, hashes, seq),
            checkpoint=stretch.checkpoint,
            unsigned=None if stretch.checkpoint else _UNSIGNED,
        )
    )


def verify(path: Path, keys: Sequence[PublicKey]) -> list[tuple[Stretch, PublicKey]]:
    """Read all of an archive: by whose signature it is what was committed, shard by shard. Raises `BadArchive`."""
    archive, found = Archive(path), []
    for _ in archive.verified():
        pass
    for stretch in archive.manifest.shards:
        if stretch.checkpoint is None:
            raise BadArchive(f"{path}: the batches of shard {stretch.shard} were archived before anybody signed them")
        try:
            found.append((stretch, Signed.parse(stretch.checkpoint).verify(keys)))
        except BadNote as error:
            raise BadArchive(f"{path}: the checkpoint of shard {stretch.shard}: {error}") from error
    return found


def _find(archive: Archive, transfer_id: str, tenant: int | None) -> tuple[int, int, int, int]:
    """In which group a transfer is, its shard, batch and time. Raises `RetentionError`."""
    compute, places = pyarrow().compute, []
    for group in archive.group_numbers():
        found = compute.indices_nonzero(compute.equal(archive.columns(group, ["id"])["id"], transfer_id))
        if not len(found):
            continue
        places += [
            (group, row["shard"], row["seq"], row["recorded_ns"])
            for row in archive.columns(group, _PLACE).take(found).to_pylist()
            if tenant in (None, row["tenant"]) and row["kind"] not in ("ledger", "account")
        ]
    if len(places) > 1:
        raise RetentionError(f"{transfer_id} is the id of several tenants' transfers: --tenant says whose")
    if not places:
        raise RetentionError(f"{archive.path} has no transfer {transfer_id}")
    return places[0]


def _batch_path(stretch: Stretch, hashes: dict[int, bytes], seq: int) -> list[str]:
    if stretch.checkpoint is None:
        return []
    leaves = [tree.leaf_hash(hashes[each]) for each in range(stretch.first_seq, stretch.last_seq + 1)]
    check_signed(stretch, leaves)
    size = Signed.parse(stretch.checkpoint).checkpoint.size
    return hexes(Subtrees(stretch, leaves).path(seq - 1, size))
