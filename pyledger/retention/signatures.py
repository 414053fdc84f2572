"""The signed checkpoints that archives carry: whose word it is that a batch was committed, once its rows are gone.

Guarded here: nothing is archived or dropped for a checkpoint whose signature does not verify, or that the database has
not, or has as that of another size or key. That its root is the batches' own is proven where an archive is read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pyledger.ledger.proofs.notes import BadKey, BadNote, PublicKey, Signed, SigningKey
from pyledger.ledger.proofs.outside import name_of
from pyledger.retention.books import Books
from pyledger.retention.manifest import Stretch
from pyledger.retention.nouns import RetentionError

KeyOf = Callable[[int], PublicKey | None]
"""The public key of a shard that the settings name, if they name one: it counts before what is stored."""
CHECK: Final = "nothing was dropped; run `pyledger check`"


def given(path: str) -> KeyOf:
    """Of the file of a signing key, if one is set. Raises `BadKey`."""
    if not path:
        return lambda _: None
    key = SigningKey.load(Path(path))
    return lambda shard: key.of_shard(shard).public


async def newest(books: Books, shard: int, own: PublicKey | None) -> tuple[str, Signed] | None:
    """The newest signed checkpoint of a shard, of our own key if there is one. Raises `RetentionError`."""
    rows = await books.rows("newest_signed", shard, None if own is None else int.from_bytes(own.id))
    return _verified(shard, rows[0], own) if rows else None


async def require_signed(books: Books, stretch: Stretch, own: PublicKey | None) -> None:
    """Raises `RetentionError` unless the checkpoint that an archive carries, if any, is one that was signed."""
    if stretch.checkpoint is None:
        return
    shard, size = stretch.shard, _parsed(stretch.checkpoint, stretch.shard).checkpoint.size
    for row in await books.rows("signed_of_size", shard, size):
        if _text(row["note"]) == stretch.checkpoint:
            _verified(shard, row, own)
            return
    raise RetentionError(f"the checkpoint of {size} batches of shard {shard} is not in the database: {CHECK}")


def _verified(shard: int, row: Any, own: PublicKey | None) -> tuple[str, Signed]:
    """A stored note that the key beside it or our own signed, of the size and the key that it is stored under."""
    note, place = _text(row["note"]), f"the signed checkpoint of {row['size']} batches of shard {shard}"
    signed = _parsed(note, shard)
    try:
        # Of two with the same name and number our own, which is the last one, counts; as in a check.
        key = signed.verify([PublicKey.parse(_text(row["key"])), *([] if own is None else [own])])
    except (BadKey, BadNote) as error:
        raise RetentionError(f"{place}: {error}: {CHECK}") from error
    if name_of(signed.checkpoint.size, int.from_bytes(key.id)) != name_of(row["size"], row["key_number"]):
        raise RetentionError(f"{place} is that of {signed.checkpoint.size} batches that {key} signed: {CHECK}")
    return note, signed


def _parsed(note: str, shard: int) -> Signed:
    try:
        return Signed.parse(note)
    except BadNote as error:
        raise RetentionError(f"a signed checkpoint of shard {shard}: {error}: {CHECK}") from error


def _text(raw: bytes) -> str:
    """Of a page that was damaged, that need not be UTF-8."""
    return raw.decode("utf-8", "replace")
