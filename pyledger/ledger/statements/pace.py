"""How statements are made beside postings: in small pieces, one at a time, with as long a rest after each.

The invariant: the event loop, and with it every posting, stands still for one piece at most, and for half of the time
at most, however many statements are made at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

PIECE_ROWS: Final = 50
"""Rows that are made at once, whatever is made of them: about a millisecond."""

MADE_AT_ONCE: Final = 8
"""Pages that are made at once, some MB each; who asks for more waits, and keeps nothing meanwhile."""

T = TypeVar("T")
Row = TypeVar("Row")


class Pace:
    """Of one shard. Whoever waits gets a turn after each piece of somebody else's."""

    def __init__(self) -> None:
        self.making = asyncio.Semaphore(MADE_AT_ONCE)
        self._turn = asyncio.Lock()
        self._rested_s = 0.0

    async def piece(self, make: Callable[[], T]) -> T:
        """What `make` returns, when it is its turn."""
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rested_s - time.perf_counter()))
            began_s = time.perf_counter()
            try:
                return make()
            finally:
                ended_s = time.perf_counter()
                self._rested_s = 2 * ended_s - began_s

    async def each(
        self, rows: Sequence[Row], make: Callable[[Sequence[Row]], T], piece_rows: int = PIECE_ROWS
    ) -> list[T]:
        """What `make` makes of each piece of the rows, in order."""
        pieces = (rows[at : at + piece_rows] for at in range(0, len(rows), piece_rows))
        return [await self.piece(partial(make, piece)) for piece in pieces]
