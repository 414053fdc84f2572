"""What `pyledger check` asks of proofs: every stored node of the tree, every signed checkpoint, here and outside.

The invariant: the tree grows from the batches as they are, one leaf after the other, and is compared with whatever was
stored or signed of it on the way. A checkpoint that contradicts it names its size: history before it was rewritten.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from pyledger.ledger.nouns import CHECK_BATCHES_MAX, FINDINGS_MAX
from pyledger.ledger.proofs.notes import BadKey, BadNote, PublicKey, Signed
from pyledger.ledger.proofs.outside import NEWEST, Place, name_of
from pyledger.ledger.proofs.store import PROOFS
from pyledger.ledger.proofs.tree import HEIGHT, Growing, Hash, leaf_hash

Wrong = tuple[str, str]
"""Where, and what."""

_PAGE_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Claim:
    """What somebody signed of the tree of a size, and where that stands."""

    size: int
    root: Hash
    place: str
    kept: bool
    """Whether the database has it."""


class ProofCheck:
    """Grows the tree of one shard in the snapshot of a connection; `size` is how far it is."""

    def __init__(
        self, connection: asyncpg.Connection, shard: int, place: Place | None, keys: Iterable[PublicKey] = ()
    ) -> None:
        """`keys` are known beside those that the stored checkpoints name. To be made before the snapshot is taken:
        whatever is outside by now is in the database by then, and a server may go on signing."""
        self._connection, self._shard, self._place = connection, shard, place
        self._keys = {(key.name, key.id): key for key in keys}
        self._given = frozenset(self._keys)
        self._outside: list[str] = []
        self._newest: str | None = None
        if place is not None:
            with contextlib.suppress(FileNotFoundError):
                self._newest = place.read(NEWEST)
            self._outside = list(place.names())
        self._complete: dict[tuple[int, int], Hash] = {}
        self._tree = Growing(self._note)

    @property
    def named(self) -> list[PublicKey]:
        """The keys that the stored checkpoints name and nobody gave: whoever can write there can name one."""
        return [key for which, key in self._keys.items() if which not in self._given]

    @property
    def size(self) -> int:
        """Batches that are in the tree so far."""
        return self._tree.size

    async def run(self) -> AsyncIterator[Wrong | None]:
        """What is wrong; None every so often, to show that it goes on."""
        left: list[_Claim] = []
        async for found in self._signed():
            if isinstance(found, _Claim):
                left.append(found)
            else:
                yield found
        left.sort(key=lambda claim: -claim.size)
        whole = True
        while whole and (rows := await self._fetch("batch_hashes", self.size, self.size + CHECK_BATCHES_MAX)):
            for row in rows:
                if row["number"] != self.size:
                    whole = False
                    yield f"batch {self.size + 1}", "it is missing: nothing signed after it can be looked at"
                    break
                self._tree.add(leaf_hash(row["hash"]))
                while left and left[-1].size <= self.size:
                    if wrong := self._contradicts(left.pop()):
                        yield wrong
            async for wrong in self._stored():
                yield wrong
            yield None
        if whole:
            for claim in reversed(left):
                yield claim.place, f"there are {self.size} batches, not {claim.size}: history was lost or rewritten"
        async for wrong in self._beyond(whole=whole):
            yield wrong

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        return list(await self._connection.fetch(PROOFS[name], self._shard, *arguments))

    async def _signed(self) -> AsyncIterator[_Claim | Wrong]:
        """Every checkpoint, those of the database first, for they name their keys."""
        position, kept = (-1, -1), set[str]()
        while rows := await self._fetch("signed_bytes_after", *position, _PAGE_ROWS):
            for row in rows:
                place, name = f"checkpoint of {row['size']} batches", name_of(row["size"], row["key_number"])
                kept.add(name)
                try:
                    key = PublicKey.parse(row["key"].decode("utf-8", "replace"))
                    self._keys.setdefault((key.name, key.id), key)
                    yield self._read(place, name, row["note"].decode("utf-8", "replace"), beside=key)
                except BadKey as error:
                    yield place, str(error)
            position = (rows[-1]["size"], rows[-1]["key_number"])
        if self._place is None:
            return
        if position != (-1, -1) and not self._place.there():
            yield f"place of shard {self._shard}", "it is not there, and checkpoints were signed: is it mounted?"
        for name, note in self._notes(self._place):
            place = f"checkpoint {name} outside the database"
            yield self._read(place, name, note, kept=name in kept or name == NEWEST)

    def _notes(self, place: Place) -> Iterator[tuple[str, str]]:
        yield from ((name, place.read(name)) for name in self._outside)
        if self._newest is not None:
            yield NEWEST, self._newest

    def _read(
        self, place: str, name: str, note: str, *, kept: bool = True, beside: PublicKey | None = None
    ) -> _Claim | Wrong:
        """A checkpoint that is right by itself, or what is wrong with it; `beside` is the key stored with it."""
        try:
            signed = Signed.parse(note)
            key, said = signed.verify(self._keys.values()), signed.checkpoint
        except BadNote as error:
            return place, str(error)
        if name not in (NEWEST, name_of(said.size, int.from_bytes(key.id))):
            return place, f"it is the checkpoint of {said.size} batches that {key} signed"
        if beside not in (None, key):
            return place, f"{key} signed it, and {beside} is stored with it"
        return _Claim(said.size, said.root, place, kept)

    def _contradicts(self, claim: _Claim) -> Wrong | None:
        """Whether the batches are those that were signed, and the checkpoint is where it was first."""
        if claim.root == self._tree.root():
            return None if claim.kept else (claim.place, "it is not in the database: it was removed there")
        return claim.place, f"the first {claim.size} batches are not those that were signed: history was rewritten"

    def _note(self, level: int, number: int, found: Hash) -> None:
        self._complete[level, number] = found

    async def _stored(self) -> AsyncIterator[Wrong]:
        """Compare the nodes that got complete with those that are stored, as far as they are."""
        for level in {level for level, _ in self._complete}:
            numbers = [number for each, number in self._complete if each == level]
            made = (await self._fetch("subtrees_made", level))[0][0]
            rows = await self._fetch("subtrees", level, min(numbers), max(numbers) + 1)
            stored = {row["number"]: row["hash"] for row in rows}
            for number in numbers:
                if number in stored and stored[number] != self._complete[level, number]:
                    yield _place(level, number), "its hash is not that of its batches"
                elif number not in stored and number < made:
                    yield _place(level, number), "it is missing"
        self._complete.clear()

    async def _beyond(self, *, whole: bool) -> AsyncIterator[Wrong]:
        """Nodes over batches that do not exist, where it is known which do; and what is of no shard."""
        for row in await self._fetch("subtree_levels") if whole else ():
            if row["made"] > self.size >> HEIGHT * row["level"]:
                yield _place(row["level"], row["made"] - 1), f"there are {self.size} batches"
        for row in await self._connection.fetch(PROOFS["strays"], FINDINGS_MAX):
            yield f"{row['what']} of shard {row['shard']}", f"there is no such shard, and {row['rows']} of them"


def _place(level: int, number: int) -> str:
    return f"subtree of batches {(number << HEIGHT * level) + 1} to {number + 1 << HEIGHT * level}"
