"""Proofs, checkpoints and their consistency, as they are asked for.

The invariant: a proof is of a row of the tenant who asks, of an acknowledged batch; of others' rows it shows nothing
but hashes. What is wrong in the database is an error here, never a proof that would not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pyledger.ledger import cursors
from pyledger.ledger.archived import Gone
from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.nouns import BadCursor, Unavailable, first_line
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.document import CONSISTENCY_FORMAT, FORMAT, Consistency, Link, Proof, hexes
from pyledger.ledger.proofs.notes import Contradiction, Signed, SigningKey
from pyledger.ledger.proofs.outside import place
from pyledger.ledger.proofs.rows import read_row
from pyledger.ledger.proofs.signer import Signer
from pyledger.ledger.proofs.store import Kept, Store
from pyledger.ledger.reads import Page
from pyledger.ledger.times import instant
from pyledger.ledger.writer import Writer

if TYPE_CHECKING:
    from pyledger.settings import Settings

_QUESTION: Final = "checkpoints"
_FIRST: Final = (2**63 - 1, 2**32)
_NO_KEY: Final = "this server has no signing key"


class CheckpointRow(msgspec.Struct, frozen=True):
    """A signed checkpoint, as a list shows it."""

    size: int
    root: str
    origin: str
    key: str
    until: str
    note: str


class Proofs:
    """What a client can ask about what was signed. All raise `Busy` or `Unavailable` like the writer's own reads."""

    def __init__(self, pool: Pool, writer: Writer, settings: Settings) -> None:
        """Raises `BadKey` if a signing key is set and cannot be used."""
        self._writer = writer
        self._gone = Gone(pool, settings.shard)
        self.signer: Signer | None = None
        if not settings.signing_key:
            self._store = Store(pool, settings.shard)
            return
        key = SigningKey.load(Path(settings.signing_key)).of_shard(settings.shard)
        self._store = Store(pool, settings.shard, int.from_bytes(key.public.id))
        outside = place(settings.signing_dir, settings.shard)
        self.signer = Signer(self._store, writer, key, outside, interval_s=settings.signing_interval_s)

    async def keep(self) -> None:
        """Sign for as long as the shard is ours, if there is a key. Never ends by itself then."""
        if self.signer is not None:
            await self.signer.run()

    async def transfer(self, tenant: int, transfer_id: str) -> bytes | None:
        """The proof that a transfer was recorded, accepted or declined; None if it was not. Raises `Archived`."""
        try:
            return await self._transfer(tenant, transfer_id)
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error

    async def _transfer(self, tenant: int, transfer_id: str) -> bytes | None:
        where = await self._store.find(tenant, transfer_id, self._writer.stats.head_seq)
        # As every answer: only after the writer has proved once more that the head is ours.
        await self._writer.read(lambda _: None)
        if where is None and await self._gone.look_for(tenant, transfer_id):
            where = await self._store.find(tenant, transfer_id, self._writer.stats.head_seq)
        if where is None:
            return None
        link, root = await self._store.link(where["seq"])
        await self._gone.require(int(link.last_ns))
        try:
            index, leaf, row_path = await self._store.prove_row(where["recorded_ns"], link, root)
        except Contradiction:
            # Its rows may have gone since.
            await self._gone.require(int(link.last_ns))
            raise
        checkpoint, batch_path, unsigned = await self._checkpoint_of(link)
        return msgspec.json.encode(
            Proof(
                format=FORMAT,
                row=read_row(leaf)[2],
                leaf=leaf.hex(),
                row_index=index,
                row_path=hexes(row_path),
                batch=link,
                batch_path=batch_path,
                checkpoint=checkpoint,
                unsigned=unsigned,
            )
        )

    async def _checkpoint_of(self, link: Link) -> tuple[str | None, list[str], str | None]:
        """The newest checkpoint, the path from a batch to it, or why there is none that contains it."""
        newest = await self._store.newest()
        if (newest is None or newest.size < link.seq) and self.signer is not None:
            await self.signer.cover(link.seq)
            newest = await self._store.newest()
        if newest is None or newest.size < link.seq:
            return None, [], _NO_KEY if self.signer is None else self.signer.reason
        path = await self._store.path(tree.inclusion(link.seq - 1, newest.size))
        leaf = tree.leaf_hash(bytes.fromhex(link.hash))
        if tree.included(leaf, link.seq - 1, newest.size, path) != Signed.parse(newest.note).checkpoint.root:
            raise Contradiction(f"batch {link.seq} is not in the tree of {newest.size} batches that was signed")
        return newest.note, hexes(path), None

    async def checkpoints(self, tenant: int, cursor: str | None, limit: int) -> Page:
        """Signed checkpoints, the newest first. Raises `BadCursor`."""
        below = _FIRST
        if cursor is not None:
            raw = cursors.unseal(tenant, _QUESTION, cursor, 12)
            below = int.from_bytes(raw[:8]), int.from_bytes(raw[8:])
            if below[0] > _FIRST[0]:
                raise BadCursor("this is no cursor")  # anybody can make one up
        found = await self._fetch(self._store.page(below, limit + 1))
        following = None
        if len(found) > limit:
            last = found[limit - 1]
            following = cursors.seal(tenant, _QUESTION, last.size.to_bytes(8) + last.key_number.to_bytes(4))
        page = found[:limit]
        until_ns = await self._fetch(self._store.times(sorted({each.size for each in page})))
        return Page([msgspec.json.encode(_row(each, until_ns[each.size])) for each in page], following)

    async def consistency(self, first: int, second: int) -> bytes | None:
        """The proof that one checkpoint goes on where another ended; None if one of them does not exist."""
        kept = [await self._fetch(self._store.of_size(size)) for size in (first, second)]
        if kept[0] is None or kept[1] is None or first > second:
            return None
        path = await self._fetch(self._store.path(tree.consistency(first, second)))
        old, new = (Signed.parse(each.note).checkpoint.root for each in kept)
        if not tree.consistent(first, second, old, new, path):
            raise Contradiction(f"the {second} batches that were signed do not begin with the {first} that were")
        return msgspec.json.encode(
            Consistency(format=CONSISTENCY_FORMAT, first=kept[0].note, second=kept[1].note, path=hexes(path))
        )

    async def _fetch(self, asked: Any) -> Any:
        try:
            found = await asked
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error
        await self._writer.read(lambda _: None)
        return found


def _row(kept: Kept, until_ns: int) -> CheckpointRow:
    checkpoint = Signed.parse(kept.note).checkpoint
    return CheckpointRow(kept.size, checkpoint.root.hex(), checkpoint.origin, kept.key, instant(until_ns), kept.note)
