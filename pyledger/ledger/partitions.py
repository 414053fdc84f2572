"""The partitions of the journal, looked after beside the writer: the next ones, when one ends, and what makes the
older ones and the newest readable.

Guarded here: nothing of this is needed to be safe. At any moment the partitions cover all time up to the last one,
whatever step was cut off, and the writer knows of none: a row goes where its time says. A partition's end is a lease.
It is set a little ahead and, while there are few rows, moved on over the next one, which is empty; once there are
enough, nothing is done, and the clock goes past it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, Pool, connect
from pyledger.ledger.nouns import (
    BACKOFF_MAX_S,
    INDEX_ROWS_PER_S,
    INDEX_WAIT_S,
    LEASE_AHEAD_S,
    LEASE_FIRST_S,
    LEASE_LAST_S,
    NS_PER_S,
    PARTITION_LOOK_S,
    PARTITION_RETRY_S,
    PARTITION_UPKEEP_S,
    PARTITIONS_AHEAD_WEEKS,
    SUMMARY_LOOK_S,
    SUMMARY_ROWS,
    Stats,
    first_line,
)
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.reads import Reads

if TYPE_CHECKING:
    from pyledger.settings import Settings

log: Final = logging.getLogger("pyledger.ledger")


@dataclass(frozen=True, slots=True)
class Span:
    """One partition of the journal."""

    name: str
    start_ns: int
    end_ns: int
    indexed: bool


@dataclass(frozen=True, slots=True)
class Split:
    """Let the partition from `from_ns` end at `at_ns`."""

    from_ns: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Let the partition from `from_ns` go on over the next, which is empty."""

    from_ns: int


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the newest partition is, and how fast it fills."""

    rows: int
    rows_per_s: float


def newest(spans: Sequence[Span], now_ns: int) -> Span | None:
    """The partition that rows of now go to."""
    return next((span for span in spans if span.start_ns <= now_ns < span.end_ns), None)


def indexed_until(spans: Sequence[Span]) -> int:
    """All partitions up to there have the indexes of history."""
    until_ns = 0
    for span in spans:
        if not span.indexed:
            break
        until_ns = span.end_ns
    return until_ns


def may_index(rows_per_s: float, over_ns: int) -> bool:
    """Whether a partition that was over so long ago may have its indexes built while rows come at this rate."""
    return rows_per_s <= INDEX_ROWS_PER_S or over_ns >= INDEX_WAIT_S * NS_PER_S


def next_step(
    spans: Sequence[Span], now_ns: int, fill: Fill, *, seal_rows: int, seal_interval_s: int
) -> Split | Merge | None:
    """What is to be done about the end of the newest partition, and of the one after it.

    The last piece of a week has no lease: it lasts to the end of the week, and is split while it is empty."""
    hot = newest(spans, now_ns)
    if hot is None:
        return None
    whole_s = _lease_s(seal_rows, fill.rows_per_s, seal_interval_s)
    if hot.end_ns - now_ns > 2 * LEASE_LAST_S * NS_PER_S:
        return Split(hot.start_ns, _second(now_ns + whole_s * NS_PER_S))
    following = next((span for span in spans if span.start_ns == hot.end_ns), None)
    if following is not None and following.end_ns - following.start_ns > 2 * LEASE_LAST_S * NS_PER_S:
        return Split(following.start_ns, _second(following.start_ns + whole_s * NS_PER_S))
    if following is None or following.name.count("_") == 1:  # another week
        return None
    left_s = (hot.end_ns - now_ns) / NS_PER_S
    small = fill.rows + left_s * fill.rows_per_s < seal_rows * 3 // 4
    young = following.end_ns - hot.start_ns <= seal_interval_s * NS_PER_S
    return Merge(hot.start_ns) if left_s <= min(LEASE_AHEAD_S, whole_s / 2) and small and young else None


def _lease_s(seal_rows: int, rows_per_s: float, seal_interval_s: int) -> float:
    """How long an empty partition lasts that fills at this rate, within bounds."""
    full_s = seal_rows / rows_per_s if rows_per_s > 0 else LEASE_LAST_S
    return max(LEASE_FIRST_S, min(LEASE_LAST_S, full_s, seal_interval_s))


def _second(time_ns: float) -> int:
    """The next whole second: partitions are named by it."""
    return (int(time_ns) // NS_PER_S + 1) * NS_PER_S


class Partitions:
    """The upkeep of one shard's server. `protocol` is told how far the partitions reach, `reads` what is indexed."""

    def __init__(
        self,
        pool: Pool,
        stats: Stats,
        time_ns: Callable[[], int],
        protocol: CommitProtocol,
        reads: Reads,
        url: str,
        settings: Settings,
    ) -> None:
        self._pool, self._stats, self._time_ns, self._protocol, self._reads = pool, stats, time_ns, protocol, reads
        self._url, self._settings = url, settings
        self.spans: list[Span] = []
        self._next_page = self._summarized_rows = 0
        self._name = self._counted = ""
        self._rows_before = self._rows_last = 0
        self._rows_per_s = 0.0

    async def keep(self) -> None:
        """Make the next weeks' partitions and look after the end of the newest one, for ever."""
        made_s = -math.inf
        while True:
            done = False
            try:
                if time.monotonic() - made_s >= PARTITION_UPKEEP_S:
                    await self._make()
                    made_s = time.monotonic()
                await self._look()
                step = next_step(
                    self.spans,
                    self._time_ns(),
                    await self._fill(),
                    seal_rows=self._settings.seal_rows,
                    seal_interval_s=self._settings.seal_interval_s,
                )
                done = step is None or await self._take(step)
            except CONNECTION_ERRORS as error:
                log.warning("the partitions stay as they are for now: %s", first_line(error))
            await asyncio.sleep(PARTITION_LOOK_S if done else PARTITION_RETRY_S)

    async def _make(self) -> None:
        end_ns = await self._pool.value("make_partitions", self._time_ns(), 1 + PARTITIONS_AHEAD_WEEKS)
        self._protocol.partitions_end_ns = max(self._protocol.partitions_end_ns, end_ns)

    async def _look(self) -> None:
        self.spans = [Span(*row) for row in await self._pool.rows("partitions")]
        self._reads.indexed_ns = indexed_until(self.spans)

    async def _take(self, step: Split | Merge) -> bool:
        match step:
            case Split(from_ns, at_ns):
                return bool(await self._pool.value("split_partition", from_ns, at_ns))
            case Merge(from_ns):
                await self._pool.value("validate_partition", from_ns)
                return bool(await self._pool.value("merge_partition", from_ns))

    async def _fill(self) -> Fill:
        """Rows of the newest partition, counted once and then added up; their rate, over some ten looks."""
        hot, rows = newest(self.spans, self._time_ns()), self._stats.rows
        if hot is not None and hot.name != self._counted:
            self._rows_before = int(await self._pool.value("rows_since", self._settings.shard, hot.start_ns)) - rows
            self._counted = hot.name
        self._rows_per_s += (max(0, rows - self._rows_last) / PARTITION_LOOK_S - self._rows_per_s) / 10
        self._rows_last = rows
        return Fill(self._rows_before + rows, self._rows_per_s)

    # Those that are over.

    async def index(self) -> None:
        """Give each partition that is over the indexes of history, oldest first, for ever."""
        while True:
            await asyncio.sleep(PARTITION_LOOK_S)
            over = [span for span in self.spans if not span.indexed and span.end_ns <= self._stats.head_ns]
            if not over or not may_index(self._rows_per_s, self._time_ns() - over[0].end_ns):
                continue
            try:
                await self._index(over[0])
            except CONNECTION_ERRORS as error:
                log.warning("%s is not indexed yet: %s", over[0].name, first_line(error))
                await asyncio.sleep(BACKOFF_MAX_S)

    async def _index(self, span: Span) -> None:
        """By a connection of its own: it takes seconds for each million rows, and has no timeout."""
        connection = await connect(self._url, "pyledger partitions")
        try:
            done = await connection.fetchval(QUERIES["index_partition"], span.start_ns)
        finally:
            connection.terminate()
        if done:
            log.info("%s has its indexes of history", span.name)
            await self._look()

    # The tail of the newest one.

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
                await asyncio.sleep(PARTITION_LOOK_S)

    async def _summarize_on(self) -> bool:
        """Go on for a bounded while; whether there may be more."""
        hot = newest(self.spans, self._time_ns())
        if hot is None:
            return False
        page = self._next_page if hot.name == self._name else 0
        next_page = await self._pool.value("summarize_journal", hot.name, page)
        self._name, self._next_page = hot.name, next_page
        return bool(next_page > page)
