"""Batches in the memory of the feed: what follows a place in the journal, and whether it is that journal's.

The invariant: rows are only given to whoever stood right before them in this very history, however they came here.
"""

from __future__ import annotations

import bisect
from collections import deque
from typing import Final, NamedTuple

from pyledger._rust import Corrupt, FeedRows
from pyledger.ledger.waiting import work

TAIL_ROWS_MAX: Final = 65_536
"""Rows of the latest batches kept for those who read on; eight full batches."""
TAIL_BATCHES_MAX: Final = 4_096
"""Batches of them, where batches are small."""
TAIL_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of them as they were copied, where rows are large: rows as they are made as a rule have half of it."""


class Place(NamedTuple):
    """Up to where somebody has read: all rows until `ns`, which is in the batch `seq`. Genesis is 0, 0."""

    seq: int = 0
    ns: int = 0


class Batch(NamedTuple):
    """Which rows a batch has."""

    seq: int
    first_ns: int
    last_ns: int


class Block:
    """Whole batches that follow each other, and where the batch before them ended, if that is known (else where they
    begin). Decoded when first looked at."""

    __slots__ = ("_batches", "_copy", "_rows", "after_ns", "count", "last_ns", "seq", "size")

    def __init__(self, batches: list[Batch], after_ns: int, count: int, copy: bytes) -> None:
        self.seq, self.last_ns = batches[0].seq, batches[-1].last_ns
        self.after_ns, self.count, self.size = after_ns, count, len(copy)
        self._batches, self._copy = batches, copy
        self._rows: FeedRows | None = None

    def goes_on_from(self, place: Place) -> bool:
        """Whether the next row after a place is here, and the place is one of this very history."""
        if place.ns >= self.last_ns:
            return False
        if place.seq == self.seq - 1:
            return place.ns == self.after_ns
        batch = self._batches[bisect.bisect_left(self._batches, place.ns, key=_last_ns)]
        return batch.seq == place.seq and batch.first_ns <= place.ns

    async def rows(self, shard: int) -> FeedRows:
        """The rows. Raises `Corrupt` if they are not as many as their batches say."""
        if self._rows is None:
            rows = await work(self.count, FeedRows, self._copy, shard)
            if len(rows) != self.count:
                raise Corrupt(f"{self.count} rows are due from batch {self.seq} on, and {len(rows)} are there")
            self._rows, self._copy = rows, b""
        return self._rows


def _last_ns(batch: Batch) -> int:
    return batch.last_ns


class Tail:
    """The latest batches, each a block, the oldest first: bounded in rows, in batches and in bytes."""

    def __init__(self) -> None:
        self.blocks: deque[Block] = deque()
        self.rows = self.size = 0

    def add(self, block: Block) -> None:
        """One more; the oldest make room for it, but it is kept itself however large it is."""
        self.blocks.append(block)
        self.rows += block.count
        self.size += block.size
        while len(self.blocks) > 1 and (
            self.rows > TAIL_ROWS_MAX or len(self.blocks) > TAIL_BATCHES_MAX or self.size > TAIL_BYTES_MAX
        ):
            oldest = self.blocks.popleft()
            self.rows -= oldest.count
            self.size -= oldest.size

    def clear(self) -> None:
        """Keep none."""
        self.blocks.clear()
        self.rows = self.size = 0

    def near(self, place: Place) -> Block | None:
        """The last block that begins at or before a place."""
        at = bisect.bisect_right(self.blocks, place.ns, key=_after_ns) - 1
        return self.blocks[at] if at >= 0 else None


def _after_ns(block: Block) -> int:
    return block.after_ns
