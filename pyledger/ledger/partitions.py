"""The partitions of the journal, looked after beside the writer: the next ones, when one ends, and what makes the
newest readable.

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
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.nouns import (
    LEASE_AHEAD_S,
    LEASE_FIRST_S,
    LEASE_LAST_S,
    NS_PER_S,
    PARTITION_LOOK_S,
    PARTITION_RETRY_S,
    PARTITION_UPKEEP_S,
    PARTITIONS_AHEAD_WEEKS,
    PIECES_DOUBLE,
    PIECES_MAX,
    SUMMARY_LOOK_S,
    SUMMARY_ROWS,
    Stats,
    first_line,
)
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.reads import Reads
from pyledger.ledger.seals import Span

if TYPE_CHECKING:
    from pyledger.settings import Settings

log: Final = logging.getLogger("pyledger.ledger")


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


def indexed_borders(spans: Sequence[Span]) -> list[int]:
    """Where the first partitions begin, up to one without the indexes of history, and where the last of those ends."""
    indexed = list(takewhile(lambda span: span.indexed, spans))
    return [span.start_ns for span in indexed] + [span.end_ns for span in indexed[-1:]] or [0]


def next_step(
    spans: Sequence[Span], now_ns: int, fill: Fill, *, seal_rows: int, seal_interval_s: int
) -> Split | Merge | None:
    """What is to be done about the end of the newest partition, and of the one after it.

    The last piece of a week has no lease: it lasts to the end of the week, and is split while it is empty. The more
    pieces a week has, the larger is the next one, and at last there is none: whatever ends them too early, such as
    somebody who reads the journal all night, the number of partitions is bounded."""
    hot = newest(spans, now_ns)
    if hot is None:
        return None
    pieces = pieces_until(spans, hot)
    lease = _Lease(pieces, fill.rows_per_s, seal_rows, seal_interval_s)
    if lease.is_long(hot.end_ns - now_ns):
        return Split(hot.start_ns, _second(now_ns + lease.whole_s * NS_PER_S)) if pieces < PIECES_MAX else None
    following = next((span for span in spans if span.start_ns == hot.end_ns), None)
    if following is None:
        return None
    is_next_week = following.name.count("_") == 1
    first = _Lease(0, fill.rows_per_s, seal_rows, seal_interval_s) if is_next_week else lease
    if first.is_long(following.end_ns - following.start_ns) and (is_next_week or pieces < PIECES_MAX):
        return Split(following.start_ns, _second(following.start_ns + first.whole_s * NS_PER_S))
    left_s = (hot.end_ns - now_ns) / NS_PER_S
    small = fill.rows + left_s * fill.rows_per_s < lease.rows_max // 4  # for all of them are read before
    young = following.end_ns - hot.start_ns <= seal_interval_s * NS_PER_S
    due = left_s <= min(LEASE_AHEAD_S, lease.whole_s / 2)
    return Merge(hot.start_ns) if due and small and young and not is_next_week else None


class _Lease:
    """How large a partition may get, and how long an empty one lasts that fills at this rate; after so many pieces."""

    def __init__(self, pieces: int, rows_per_s: float, seal_rows: int, seal_interval_s: int) -> None:
        scale = 1 << pieces // PIECES_DOUBLE
        self.rows_max, self._last_s = seal_rows * scale, LEASE_LAST_S * scale
        full_s = self.rows_max / rows_per_s if rows_per_s > 0 else self._last_s
        self.whole_s = max(LEASE_FIRST_S, min(self._last_s, full_s, seal_interval_s))

    def is_long(self, duration_ns: int) -> bool:
        """Whether what lasts so long has no lease yet."""
        return duration_ns > 4 * self._last_s * NS_PER_S


def pieces_until(spans: Sequence[Span], hot: Span) -> int:
    """How many partitions its week has up to the newest one. The first of a week has no time in its name."""
    before = [span for span in reversed(spans) if span.start_ns <= hot.start_ns]
    return 1 + len(list(takewhile(lambda span: span.name.count("_") > 1, before)))


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
        settings: Settings,
    ) -> None:
        self._pool, self._stats, self._time_ns, self._protocol, self._reads = pool, stats, time_ns, protocol, reads
        self._settings = settings
        self.spans: list[Span] = []
        self._next_page = self._summarized_rows = 0
        self._name = self._counted = ""
        self._rows, self._rows_per_s, self._counted_s = 0, 0.0, 0.0
        self._until_ns: dict[int, int] = {}

    async def keep(self) -> None:
        """Make the next weeks' partitions and look after the end of the newest one, for ever."""
        made_s = -math.inf
        while True:
            done = False
            try:
                if time.monotonic() - made_s >= PARTITION_UPKEEP_S:
                    await self._make()
                    made_s = time.monotonic()
                await self.look()
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

    async def look(self) -> None:
        """See which partitions there are, and what they have."""
        self.spans = [Span(*row) for row in await self._pool.rows("partitions")]
        self._reads.borders_ns = indexed_borders(self.spans)

    async def _take(self, step: Split | Merge) -> bool:
        match step:
            case Split(from_ns, at_ns):
                return bool(await self._pool.value("split_partition", from_ns, at_ns))
            case Merge(from_ns):
                await self._pool.value("validate_partition", from_ns)
                return bool(await self._pool.value("merge_partition", from_ns))

    async def _fill(self) -> Fill:
        """Rows of the newest partition, of all shards, counted once and added up; their rate, over some ten looks."""
        hot = newest(self.spans, self._time_ns())
        if hot is None:
            return Fill(0, 0.0)
        is_other, now_s = hot.name != self._counted, time.monotonic()
        if is_other:
            self._counted, self._rows, self._until_ns = hot.name, 0, {}
        added = 0
        for (shard,) in await self._pool.rows("shards"):
            after_ns = self._until_ns.get(shard, hot.start_ns - 1)
            last_ns, rows = (await self._pool.rows("rows_after", shard, after_ns))[0]
            self._until_ns[shard] = last_ns
            added += rows
        self._rows += added
        if not is_other:
            self._rows_per_s += (added / (now_s - self._counted_s) - self._rows_per_s) / 10
        self._counted_s = now_s
        return Fill(self._rows, self._rows_per_s)

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
                match await self._summarize_on():
                    case None:
                        await asyncio.sleep(PARTITION_LOOK_S)
                    case False:
                        self._summarized_rows = max(1, rows)
            except CONNECTION_ERRORS as error:
                log.info("the newest rows are not summarized yet: %s", first_line(error))
                await asyncio.sleep(PARTITION_LOOK_S)

    async def _summarize_on(self) -> bool | None:
        """Go on for a bounded while; whether there may be more, or None where somebody else is at the table."""
        hot = newest(self.spans, self._time_ns())
        if hot is None:
            return False
        page = self._next_page if hot.name == self._name else 0
        next_page = await self._pool.value("summarize_journal", hot.name, page)
        if next_page is None:
            return None
        self._name, self._next_page = hot.name, next_page
        return bool(next_page > page)
