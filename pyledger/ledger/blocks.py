"""Batches in the memory of the feed: what follows a place in the journal, and whether it is that journal's.

The invariant: rows are only given to whoever stood right before them in this very history, however they came here.
"""

from __future__ import annotations

import bisect
from typing import NamedTuple

from pyledger._rust import Corrupt, FeedRows
from pyledger.ledger.waiting import work


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

    __slots__ = ("_batches", "_copy", "_rows", "after_ns", "count", "last_ns", "seq")

    def __init__(self, batches: list[Batch], after_ns: int, count: int, copy: bytes) -> None:
        self.seq, self.last_ns = batches[0].seq, batches[-1].last_ns
        self.after_ns, self.count = after_ns, count
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
