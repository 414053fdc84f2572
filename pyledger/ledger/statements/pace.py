"""How statements are made beside postings: in small pieces, one at a time, with as much rest as work.

The invariant: the event loop, and with it every posting, stands still for one piece at most, and for half of the time
at most but for the first milliseconds, however many statements are made at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

PIECE_ROWS: Final = 50
"""Rows that are made at once, whatever is made of them: about a millisecond."""

OWED_S_MAX: Final = 0.002
"""Rest that may be owed: a page of 100 rows is less work, and the shortest rest that an event loop knows is one ms."""
MADE_AT_ONCE: Final = 8
"""Pages that are made at once, some MB each; who asks for more waits, and keeps nothing meanwhile."""

T = TypeVar("T")
Row = TypeVar("Row")


class Pace:
    """Of one shard. Whoever waits gets a turn after each piece of somebody else's."""

    def __init__(self) -> None:
        self.making = asyncio.Semaphore(MADE_AT_ONCE)
        self._turn = asyncio.Lock()
        self._owed_s = self._ended_s = 0.0

    async def piece(self, make: Callable[[], T]) -> T:
        """What `make` returns, when it is its turn."""
        async with self._turn:
            owed_s = self._owed_s - (time.monotonic() - self._ended_s)
            await asyncio.sleep(owed_s if owed_s > OWED_S_MAX else 0)
            self._owed_s = max(0.0, self._owed_s - (time.monotonic() - self._ended_s))
            began_s = time.thread_time()
            try:
                return make()
            finally:
                # By CPU time: when others have the core, we do not owe it to them.
                self._owed_s += time.thread_time() - began_s
                self._ended_s = time.monotonic()

    async def each(
        self, rows: Sequence[Row], make: Callable[[Sequence[Row]], T], piece_rows: int = PIECE_ROWS
    ) -> list[T]:
        """What `make` makes of each piece of the rows, in order."""
        pieces = (rows[at : at + piece_rows] for at in range(0, len(rows), piece_rows))
        return [await self.piece(partial(make, piece)) for piece in pieces]
