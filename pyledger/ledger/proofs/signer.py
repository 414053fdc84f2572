"""The background task that signs: off the money path, every so often, and where somebody waits for it.

The invariant: a signature is only made over what our own writer has acknowledged in our own epoch, on top of every
checkpoint that is known, here and outside; it leaves this process only once it is committed within that epoch. So
of one size there is one tree, whoever signs it. Of what the database says nothing is believed that does not follow
from our own newest signature, or from the first batch on: the tree is grown along the chain, up to the writer's head.
A crash between any two lines leaves what the next round goes on from: subtrees are made again from where they end, and
what is stored and not yet outside is taken there first.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Final

from pyledger._rust import Engine
from pyledger.ledger.connections import CONNECTION_ERRORS
from pyledger.ledger.nouns import LedgerError, Position, Unavailable, first_line
from pyledger.ledger.proofs import tree
from pyledger.ledger.proofs.notes import BadNote, Checkpoint, Contradiction, Signed, SigningKey
from pyledger.ledger.proofs.outside import Place, name_of
from pyledger.ledger.proofs.store import Kept, Store
from pyledger.ledger.proofs.tree import Hash
from pyledger.ledger.writer import Writer

log: Final = logging.getLogger("pyledger.ledger")

REST_S: Final = 1.0
"""Between two rounds at least: whoever asks for proofs cannot have a checkpoint signed for each."""
COVER_TIMEOUT_S: Final = 5.0
"""A proof waits so long for a checkpoint of its batch; after that it ends at the batch."""
ROUNDS_MAX: Final = 10
"""In one interval, however many proofs are asked for: what is signed and kept for ever is bounded by time."""
OUTSIDE_PAGE: Final = 1_000
"""Checkpoints that are taken outside in one go."""


class Signer:
    """Signs a shard's checkpoints for as long as its writer runs."""

    def __init__(
        self, store: Store, writer: Writer, key: SigningKey, place: Place | None, *, interval_s: float
    ) -> None:
        self.key, self._place, self._interval_s = key, place, interval_s
        self._store, self._writer, self._stats = store, writer, writer.stats
        self._wanted = asyncio.Event()
        self._rounds = asyncio.Condition()
        self._size = 0  # of the newest checkpoint that is stored
        self.reason = "no checkpoint was signed yet"

    async def run(self) -> None:
        """Until cancelled; what fails is logged, and made up for by the next round."""
        began: deque[float] = deque(maxlen=ROUNDS_MAX)
        while True:
            began.append(time.monotonic())
            await self._attempt()
            async with self._rounds:
                self._rounds.notify_all()
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._interval_s)
            next_s = began[-1] + REST_S
            if len(began) == ROUNDS_MAX:
                next_s = max(next_s, began[0] + self._interval_s)
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def cover(self, seq: int) -> None:
        """Wait until a checkpoint contains a batch, or for as long as somebody may be kept waiting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COVER_TIMEOUT_S), self._rounds:
                while self._size < seq:
                    self._wanted.set()
                    await self._rounds.wait()

    async def _attempt(self) -> None:
        try:
            await self.round()
            self.reason = "the next checkpoint will contain it"
        except Contradiction as error:
            self._fail()
            log.critical("no checkpoint is signed, run `pyledger check`: %s", first_line(error))
        except (*CONNECTION_ERRORS, LedgerError) as error:
            self._fail()
            log.warning("no checkpoint is signed: %s", first_line(error))
        except Exception:
            self._fail()
            log.exception("signing failed in a way that nobody has foreseen")

    def _fail(self) -> None:
        # Clients are shown this; what failed names files and machines, and is for the operator.
        self.reason = "no checkpoint could be signed; the server's log says why"
        self._stats.signing_failures += 1

    async def round(self) -> None:
        """Sign the tree of all that is acknowledged, unless that is done. Raises `LedgerError` and what I/O does."""
        epoch, head = self._stats.epoch, await self._writer.read(_position)
        newest = await self._store.newest()
        if self._place is not None:
            await self._place.open(new=newest is None)
        outside = None if self._place is None else await self._place.newest()
        own = await self._own()
        known = [_known(note, head) for note in (newest.note if newest else "", outside or "") if note]
        if own is not None and own.size > head.seq:
            raise _too_few(own.size, head)
        if not head.seq:
            return
        root = await self._store.follow(own, head)
        await self._store.extend(head.seq)
        for each in known:
            await self._agree(each, head.seq, root)
        if await self._store.root(head.seq) != root:
            raise Contradiction("subtrees are not those of the batches: `pyledger rebuild --subtrees`")
        # What is not outside yet comes first: of what gets nowhere there is never more than one.
        outside = await self._publish(newest, outside)
        if own is None or own.size != head.seq:
            newest = await self._sign(epoch, Checkpoint(self.key.public.name, head.seq, root))
            await self._publish(newest, outside)
        if newest is not None:
            self._size = self._stats.signed_seq = newest.size

    async def _own(self) -> Checkpoint | None:
        """The newest checkpoint that this key signed, by its signature. Raises `Contradiction` if it did not."""
        public = self.key.public
        kept = await self._store.newest_by(int.from_bytes(public.id))
        if kept is None:
            return None
        try:
            signed = Signed.parse(kept.note)
            signed.verify([public])
        except BadNote as error:
            raise Contradiction(f"the stored checkpoint of {kept.size} batches: {error}") from error
        if signed.checkpoint.size != kept.size:
            raise Contradiction(f"the stored checkpoint of {kept.size} batches is of {signed.checkpoint.size}")
        return signed.checkpoint

    async def _agree(self, known: Checkpoint, size: int, root: Hash) -> None:
        """Whether our history goes on where a checkpoint ended. Raises `Contradiction`."""
        path = await self._store.path(tree.consistency(known.size, size))
        if not tree.consistent(known.size, size, known.root, root, path):
            raise Contradiction(f"the first {known.size} batches are not those of the checkpoint that was signed")

    async def _sign(self, epoch: int, checkpoint: Checkpoint) -> Kept:
        """Sign and store; what was stored is read back."""
        public, note = self.key.public, self.key.sign(str(checkpoint))
        number = int.from_bytes(public.id)
        await self._store.keep(epoch, (checkpoint.size, number, str(public), note))
        kept = await self._store.newest_by(number)
        if kept is None or kept.note != note:
            raise Unavailable(f"epoch {epoch} ended meanwhile")
        self._stats.signed += 1
        return kept

    async def _publish(self, newest: Kept | None, outside: str | None) -> str | None:
        """Take outside what is stored and not there yet; to a place that is new, the newest alone.

        Returns what is newest there now."""
        if self._place is None or newest is None or outside == newest.note:
            return outside
        position, last = (Signed.parse(outside).checkpoint.size if outside else newest.size, -1), outside
        while page := await self._store.after(position, OUTSIDE_PAGE):
            for each in page:
                await self._place.make(name_of(each.size, each.key_number), each.note)
                await self._place.point(each.note)
            position, last = (page[-1].size, page[-1].key_number), page[-1].note
        if last != newest.note:
            await self._place.point(newest.note)
        return newest.note


def _known(note: str, head: Position) -> Checkpoint:
    """What a checkpoint says, whoever signed it. Raises `Contradiction`."""
    try:
        known = Signed.parse(note).checkpoint
    except BadNote as error:
        raise Contradiction(f"the newest checkpoint, here or outside: {error}") from error
    if known.size > head.seq:
        raise _too_few(known.size, head)
    return known


def _too_few(size: int, head: Position) -> Contradiction:
    return Contradiction(f"a checkpoint of {size} batches was signed, and there are {head.seq}")


def _position(engine: Engine) -> Position:
    return Position(engine.seq, engine.hash)
