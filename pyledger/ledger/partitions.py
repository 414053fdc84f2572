"""The partitions of the journal, looked after beside the writer: the next ones, and what makes the newest readable.

Guarded here: nothing of this is needed to be safe. Whatever fails is said, tried again, and at worst leaves pages
of history slower; it takes no lock that an append waits for.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.nouns import (
    BACKOFF_MAX_S,
    NS_PER_S,
    PARTITION_UPKEEP_S,
    PARTITIONS_AHEAD_WEEKS,
    SUMMARY_LOOK_S,
    SUMMARY_ROWS,
    WEEK_NS,
    Stats,
    first_line,
)
from pyledger.ledger.protocol import CommitProtocol

log: Final = logging.getLogger("pyledger.ledger")

_MONDAY_NS: Final = 4 * 86_400 * NS_PER_S
"""1970 began on a Thursday."""


def week_name(time_ns: int) -> str:
    """The partition of the week that a time is in, as `make_partitions` names it."""
    start_ns = time_ns - (time_ns - _MONDAY_NS) % WEEK_NS
    return f"journal_{datetime.fromtimestamp(start_ns // NS_PER_S, UTC):%Y%m%d}"


class Partitions:
    """The upkeep of one shard's server. `protocol` is told how far the partitions reach."""

    def __init__(self, pool: Pool, stats: Stats, time_ns: Callable[[], int], protocol: CommitProtocol) -> None:
        self._pool, self._stats, self._time_ns, self._protocol = pool, stats, time_ns, protocol
        self._name, self._next_page, self._summarized_rows = "", 0, 0

    async def make(self) -> None:
        """Make the next weeks' partitions, for ever."""
        while True:
            try:
                end_ns = await self._pool.value("make_partitions", self._time_ns(), 1 + PARTITIONS_AHEAD_WEEKS)
                self._protocol.partitions_end_ns = max(self._protocol.partitions_end_ns, end_ns)
            except CONNECTION_ERRORS as error:
                log.warning("the next partitions are not made yet: %s", first_line(error))
            await asyncio.sleep(PARTITION_UPKEEP_S)

    async def summarize(self) -> None:
        """Summarize the index of the newest partition as it grows, for ever.

        A page of history reads whatever is not summarized as a whole."""
        while True:
            await asyncio.sleep(SUMMARY_LOOK_S)
            if self._stats.rows - self._summarized_rows < SUMMARY_ROWS and self._summarized_rows:
                continue
            rows = self._stats.rows
            try:
                if not await self._summarize_on():
                    self._summarized_rows = max(1, rows)
            except CONNECTION_ERRORS as error:
                log.info("the newest rows are not summarized yet: %s", first_line(error))
                await asyncio.sleep(BACKOFF_MAX_S)

    async def _summarize_on(self) -> bool:
        """Go on for a bounded while; whether there may be more."""
        name = week_name(self._time_ns())
        page = self._next_page if name == self._name else 0
        next_page = await self._pool.value("summarize_journal", name, page)
        self._name, self._next_page = name, next_page
        return bool(next_page > page)
