"""The feed: the journal as an outbox, read on from a cursor, in the order of commits, with nothing left out.

The invariant: only batches that the writer saw committed are read, from the writer itself while they are
fresh, else from PostgreSQL, and either is checked to go on exactly where the reader stood. Whoever reads costs
the writer one wake-up for all; pages are made one at a time, and less eagerly while commands wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import asyncpg

from pyledger._rust import Corrupt, Engine, FeedPage, FeedQuestion, Sides
from pyledger.ledger import cursors
from pyledger.ledger.archived import Gone
from pyledger.ledger.blocks import Batch, Block, Place, Tail
from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.nouns import BadCursor, BatchMeasure, CursorGone, State, Unavailable, first_line
from pyledger.ledger.waiting import work
from pyledger.ledger.writer import Writer

TAIL_LINGER_S: Final = 10.0
"""The tail is kept for so long after anybody asked: a reader between two requests finds it again."""
PAST_ROWS: Final = 8_190
"""Rows that one read of the past brings, and the rest of the last batch; a full batch."""
PAST_BATCHES_MAX: Final = 8_190
"""Batches of one such read."""
PAST_READS_KEPT: Final = 4
"""Reads of the past that are kept for readers that come along behind."""
SIDES_MAX: Final = 262_144
"""Accounts whose flags and allowance are remembered, some 16 MiB."""
PAGE_BYTES_MAX: Final = 524_288
"""Bytes after which a page is full, whatever its rows."""
REST: Final = 1.0
"""While commands wait, the making of pages rests so many times what each took: half a core is the writer's."""
PAGE_S_MAX: Final = 1.0
"""A page that took so long is answered with what was looked at: whoever asks again goes on from there."""
_PLACE_BYTES: Final = 16
_NS_MAX: Final = 2**63 - 1
LATEST: Final = "latest"
"""The cursor of whoever wants only what is still to come."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads on, and for what."""

    tenant: int
    ledger: int | None = None
    account: str | None = None
    code: int | None = None
    declined: bool = False

    @property
    def question(self) -> str:
        """What binds a cursor to these filters."""
        return f"feed\0{self.ledger}\0{self.account}\0{self.code}\0{self.declined}"

    def asked(self, *, events: bool) -> FeedQuestion:
        """The same for the core."""
        return FeedQuestion(
            self.tenant,
            ledger=self.ledger,
            account=self.account,
            code=self.code,
            declined=self.declined,
            events=events,
            tag=cursors.seal(self.tenant, self.question, b""),
        )

    def cursor(self, place: Place) -> str:
        """The cursor of a place."""
        return cursors.seal(self.tenant, self.question, place.seq.to_bytes(8) + place.ns.to_bytes(8))


@dataclass(slots=True)
class Found:
    """What was found, in pieces, and up to where was looked."""

    place: Place
    rows: int = 0
    looked: int = 0
    pieces: list[bytes] = field(default_factory=list)

    def add(self, page: FeedPage) -> None:
        """What was found in the next batches."""
        self.place = Place(page.seq, page.recorded_ns)
        self.rows += page.rows
        self.looked += page.looked
        if page.rows:
            self.pieces.append(page.body)


class Feed:
    """The feed of one shard."""

    def __init__(self, pool: Pool, writer: Writer, shard: int, *, scan_rows_max: int) -> None:
        self._pool, self._writer, self._shard = pool, writer, shard
        self.scan_rows_max = scan_rows_max
        self._gone = Gone(pool, shard)
        self._sides = Sides(SIDES_MAX)
        self._tail = Tail()
        self._before_ns = _NS_MAX
        self._past: deque[Block] = deque(maxlen=PAST_READS_KEPT)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._waiting = 0
        self._asked_s = -TAIL_LINGER_S
        self._ended = False
        writer.stats.listeners.append(self._note)

    def close(self) -> None:
        """Everybody who waits stops waiting; nobody gets a page any more."""
        self._ended = True
        self._news.set()

    def ended(self) -> bool:
        """Whether it was closed."""
        return self._ended

    # What the writer tells: a batch is committed.

    def _note(self, measure: BatchMeasure) -> None:
        applied = measure.applied
        if not applied.rows:
            return
        if self._waiting or time.monotonic() - self._asked_s < TAIL_LINGER_S:
            blocks = self._tail.blocks
            after_ns = blocks[-1].last_ns if blocks else min(self._before_ns, applied.first_ns)
            batch = Batch(applied.seq, applied.first_ns, applied.last_ns)
            self._tail.add(Block([batch], after_ns, applied.rows, applied.copy))
        else:
            self._tail.clear()
            self._past.clear()
        self._before_ns = applied.last_ns
        if self._waiting:
            self._news.set()
            self._news = asyncio.Event()

    # What readers ask.

    def place(self, reader: Reader, cursor: str | None) -> Place:
        """Where a reader stands: at the beginning without a cursor. Raises `BadCursor`."""
        if cursor is None:
            return Place()
        if cursor == LATEST:
            return self._head()
        raw = cursors.unseal(reader.tenant, reader.question, cursor, _PLACE_BYTES)
        place = Place(int.from_bytes(raw[:8]), int.from_bytes(raw[8:]))
        if max(place.seq, place.ns) > _NS_MAX or (place.seq == 0) != (place.ns == 0):
            raise BadCursor("this is no place in a journal")
        return place

    async def more(self, place: Place, within_s: float) -> None:
        """Wait until something is committed after a place, at most so long, and not where nothing is served."""
        self._asked_s = time.monotonic()
        self._waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    while self._serving() and self._writer.stats.head_ns <= place.ns:
                        await self._news.wait()
        finally:
            self._waiting -= 1
            self._asked_s = time.monotonic()

    async def page(self, reader: Reader, asked: FeedQuestion, place: Place, rows_max: int) -> Found:
        """The rows after a place, as far as they are there at once.

        Looks at the rows of whole batches, `scan_rows_max` of them and the rest of the last batch, so it may have
        found none and still have gone on. Raises `Unavailable` unless the shard is ours and served, `CursorGone` if
        the journal does not go on from there."""
        found = Found(place)
        size, until_s = 0, time.monotonic() + PAGE_S_MAX
        while (block := self._fresh(found.place)) or not found.rows:
            head = self._head()
            if found.place.ns >= head.ns:
                await self._not_ahead(found.place)
                break
            async with self._turn:
                began_s = time.monotonic()
                block = block or self._fresh(found.place) or await self._read(found.place, head)
                page = await self._make(block, reader, asked, found.place, rows_max - found.rows)
                found.add(page)
                size += len(page.body)
                self._asked_s = time.monotonic()
                # Others get their turn after each block, however small: the writer is one of them.
                await asyncio.sleep(REST * (self._asked_s - began_s) if self._writer.stats.queue_rows else 0)
            if found.rows >= rows_max or found.looked >= self.scan_rows_max or size >= PAGE_BYTES_MAX:
                break
            if self._asked_s >= until_s:
                break
        return found

    def _serving(self) -> bool:
        return not self._ended and self._writer.stats.state is State.SERVING

    def _head(self) -> Place:
        """The last batch that our writer saw committed."""
        stats = self._writer.stats
        if not self._serving():
            raise Unavailable("the feed has ended" if self._ended else f"the ledger is {stats.state.value}")
        return Place(stats.head_seq, stats.head_ns)

    async def _not_ahead(self, place: Place) -> None:
        """Raises `CursorGone` if the journal ends before a place, once the writer has proven that its end is the end:
        a cursor may come from the server that has taken over, and then it is we who are behind."""
        if place > self._head():
            await self._writer.read(lambda _engine: None)
            if place > self._head():
                raise CursorGone("this cursor is ahead of the journal: it was restored to an earlier time")

    async def _make(self, block: Block, reader: Reader, asked: FeedQuestion, place: Place, rows_max: int) -> FeedPage:
        rows = await block.rows(self._shard)
        wanted = (asked, self._sides, place.ns, rows_max, PAGE_BYTES_MAX)
        page = await work(block.count, rows.page, *wanted)
        # Once more, for all others may have been forgotten to make room for what was missing.
        for _ in range(2):
            if not (missing := page.missing):
                break
            await self._writer.read(partial(self._learn, reader.tenant, missing))
            page = await work(block.count, rows.page, *wanted)
        if page.missing:
            raise Corrupt("accounts are forgotten as fast as they are learnt")
        return page

    def _learn(self, tenant: int, missing: bytes, engine: Engine) -> None:
        self._sides.learn(engine, tenant, missing)

    def _fresh(self, place: Place) -> Block | None:
        """What follows a place, if it is among the latest batches or was read a moment ago."""
        near = self._tail.near(place)
        blocks = (near, *self._past) if near else self._past
        return next((block for block in blocks if block.goes_on_from(place)), None)

    async def _read(self, place: Place, head: Place) -> Block:
        """The next batches from PostgreSQL. Raises `CursorGone` if they do not follow the place."""
        try:
            found = await self._pool.rows("feed_batches", self._shard, place.ns, head.seq, PAST_BATCHES_MAX)
            if place.seq and not (found and found[0]["seq"] == place.seq and found[0]["last_ns"] >= place.ns):
                raise CursorGone("the rows after this cursor are not here any more")
            batches: list[asyncpg.Record] = []
            count = before = 0
            for each in found:
                if before and each["seq"] != before + 1:
                    raise Corrupt(f"batch {before + 1} is missing")
                before = each["seq"]
                if before == place.seq and each["last_ns"] == place.ns:
                    continue
                batches.append(each)
                count += each["rows"]
                if count >= PAST_ROWS:
                    break
            block = await self._block(place, batches)
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error
        self._past.append(block)
        return block

    async def _block(self, place: Place, batches: list[asyncpg.Record]) -> Block:
        """Batches with their rows; only those in front of what is archived. Raises `CursorGone` if that is none."""
        while True:
            first, last = batches[0], batches[-1]
            copy = await self._pool.copy("feed_rows", self._shard, first["first_ns"], last["last_ns"])
            count = sum(each["rows"] for each in batches)
            spans = [Batch(each["seq"], each["first_ns"], each["last_ns"]) for each in batches]
            block = Block(spans, min(place.ns, first["first_ns"]), count, copy)
            try:
                await block.rows(self._shard)  # before anybody else may find it
                return block
            except Corrupt:
                gone = await self._gone.between(first["first_ns"], last["last_ns"])
                if gone is None:
                    raise
            batches = [each for each in batches if each["last_ns"] < gone.start_ns]
            if not batches:
                raise CursorGone("the rows after this cursor are archived", await self._gone.last_of(gone))
