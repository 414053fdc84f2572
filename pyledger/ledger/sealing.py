"""Sealing the partitions of the journal that are over, oldest first, beside the writer: their indexes, that no id of
theirs stands in an older one, and what is stored of them.

Guarded here: nothing of this is needed to be safe, and posting never waits for it. Each step is one transaction or
writes nothing, so after a crash the next round goes on with whatever the table of partitions says is missing. After
each piece of work there is a rest of `SEAL_REST` times what it took, unless nothing is posted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import asyncpg

from pyledger._rust import Corrupt, IdFilter, suspects
from pyledger.ledger import seals
from pyledger.ledger.clock import Clock
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, connect
from pyledger.ledger.nouns import (
    BACKOFF_MAX_S,
    NS_PER_S,
    PARTITION_LOOK_S,
    SEAL_AFTER_S,
    SEAL_REST,
    SUSPECTS_MAX,
    Halted,
    Unavailable,
    first_line,
)
from pyledger.ledger.seals import Span
from pyledger.ledger.writer import Writer

if TYPE_CHECKING:
    from pyledger.ledger.partitions import Partitions
    from pyledger.settings import Settings

log: Final = logging.getLogger("pyledger.ledger")

_STEPS: Final = 3
"""Of giving a partition its indexes: one for each, and the end."""
_MIB: Final = 1024 * 1024


class Sealing:
    """Seals what `partitions` knows to be over, and teaches the writer's engine what older partitions have."""

    def __init__(self, partitions: Partitions, writer: Writer, clock: Clock, url: str, settings: Settings) -> None:
        self._partitions, self._writer, self._clock, self._url = partitions, writer, clock, url
        self._shard, self._bytes_max = settings.shard, settings.filters_mib * _MIB
        self._filters: dict[int, IdFilter] = {}
        self._taught_ns = 0
        self._worked_s = 0.0
        self._rows = 0

    async def run(self) -> None:
        """Seal one partition after the other, for ever; or until one must not be."""
        while True:
            await asyncio.sleep(PARTITION_LOOK_S)
            try:
                if not await self._round():
                    await asyncio.sleep(BACKOFF_MAX_S)
            except (Halted, Corrupt) as wrong:
                log.critical("no partition is sealed any more, run `pyledger check`: %s", wrong)
                return
            except (*CONNECTION_ERRORS, Unavailable) as error:
                log.warning("the partitions that are over are not sealed yet: %s", first_line(error))
                await asyncio.sleep(BACKOFF_MAX_S)
            except Exception:
                # Nobody waits for it, so it must not end unseen.
                log.exception("sealing failed in a way that nobody has foreseen")
                await asyncio.sleep(BACKOFF_MAX_S)

    async def _round(self) -> bool:
        """Do what can be done now, by a connection of its own: it takes seconds for each million rows. False if what
        is due cannot be done yet."""
        spans = self._partitions.spans
        sealed = sealed_before(spans)
        over = [span for span in spans[len(sealed) : len(sealed) + 1] if _due_ns(span) <= self._clock()]
        known = [span for span in sealed if span.end_ns <= self._writer.stats.head_ns]
        known_ns = known[-1].end_ns if known else 0
        if not over and self._taught_ns >= known_ns:
            return True
        connection = await connect(self._url, "pyledger sealing", seals.SETTINGS)
        try:
            if self._taught_ns < known_ns:
                await self._teach(connection, known, known_ns)
            if not over:
                return True
            await self._go_past(connection, over[0])
            if not await connection.fetchval(QUERIES["try_sealing"]):
                return False
            return await self._seal(connection, over[0], sealed)
        finally:
            connection.terminate()

    async def _go_past(self, connection: asyncpg.Connection, span: Span) -> None:
        """Take a shard that is at rest past the end of a partition, as its next row would: from then on all of its rows
        are later, and its head says so."""
        past_ns = _due_ns(span)
        if self._writer.stats.head_ns >= past_ns:
            return
        self._clock.not_before(past_ns)
        await self._writer.between(lambda _: None)  # what was decided earlier is committed
        await connection.execute(QUERIES["go_past"], self._shard, self._writer.stats.epoch, past_ns)

    async def _seal(self, connection: asyncpg.Connection, span: Span, older: list[Span]) -> bool:
        """Take every step that is missing, oldest first; false if another shard may still write to it."""
        self._worked_s, self._rows = time.monotonic(), self._writer.stats.rows
        for _ in range(_STEPS):
            indexed = await connection.fetchval(QUERIES["index_partition"], span.start_ns)
            await self._rest()
            if indexed:
                break
        else:
            return False
        await self._partitions.look()
        if (span.start_ns, span.end_ns) not in [(each.start_ns, each.end_ns) for each in self._partitions.spans]:
            return False  # another server has moved its end meanwhile
        root, rows = await seals.batches(connection, span, self._rest)
        made, added = seals.new_filter(rows), 0
        async for copy in seals.ids(connection, span, self._rest):
            added += await asyncio.to_thread(made.add, copy)
        for some in in_groups(older, self._bytes_max):
            await self._prove_unique(connection, span, some)
        if added != rows:
            raise Halted(f"{span.name} has {added} rows, its batches have {rows}")
        stored = await asyncio.to_thread(made.stored)
        if await connection.fetchval(QUERIES["seal_partition"], span.start_ns, span.end_ns, rows, root, stored):
            log.info("%s is sealed: %d rows", span.name, rows)
        await self._partitions.look()
        return True

    async def _rest(self) -> None:
        """As long as what was done since the last one says, or not at all if nothing was posted meanwhile."""
        posted, self._rows = self._writer.stats.rows != self._rows, self._writer.stats.rows
        await asyncio.sleep(SEAL_REST * (time.monotonic() - self._worked_s) if posted else 0)
        self._worked_s = time.monotonic()

    # No id stands twice.

    async def _prove_unique(self, connection: asyncpg.Connection, span: Span, older: Sequence[Span]) -> None:
        """Ask the filters of older partitions for each id, and those partitions for what a filter seems to know.

        Raises `Halted` for an id that was recorded twice."""
        filters = [await self._filter(connection, each) for each in older]
        seen: list[list[tuple[int, str]]] = [[] for _ in older]
        async for copy in seals.ids(connection, span, self._rest):
            for number, tenant, row_id in await asyncio.to_thread(suspects, copy, filters):
                seen[number].append((tenant, row_id))
            for number, each in enumerate(older):
                if len(seen[number]) >= SUSPECTS_MAX:
                    await self._look_up(connection, span, each, seen[number])
                    seen[number] = []
        for each, some in zip(older, seen, strict=True):
            await self._look_up(connection, span, each, some)
            await self._rest()

    async def _look_up(
        self, connection: asyncpg.Connection, span: Span, older: Span, seen: list[tuple[int, str]]
    ) -> None:
        pairs = [tenant for tenant, _ in seen], [row_id for _, row_id in seen]
        bounds = (older.start_ns, older.end_ns, span.start_ns, span.end_ns)
        twice = await connection.fetchrow(QUERIES["recorded_twice"], *pairs, *bounds) if seen else None
        if twice is not None:
            raise Halted(
                f"the id {twice['id']} of tenant {twice['tenant']} is in {span.name} and in {older.name}, "
                f"both in shard {twice['shard']}"
            )

    # What the engine knows of them.

    async def _teach(self, connection: asyncpg.Connection, known: list[Span], until_ns: int) -> None:
        """Let the engine know the filters of all partitions up to a time, if there is room, and if that is all of them:
        the ids of one that was taken away are in none."""
        filters: dict[int, IdFilter] = {}
        if sum(span.filter_bytes for span in known) > self._bytes_max:
            log.warning("PYLEDGER_FILTERS_MIB has no room for the filters of older ids: all of those are looked up")
        elif await seals.has_gap(connection, known):
            log.warning("a partition of the journal was taken away with its filter of ids: all old ones are looked up")
        else:
            filters = {span.start_ns: await self._filter(connection, span) for span in known}
        self._filters, taught = filters, list(filters.values())
        taught_ns = until_ns if filters else 0
        await self._writer.between(lambda engine: IdFilter.teach(engine, taught, taught_ns))
        self._taught_ns = until_ns

    async def _filter(self, connection: asyncpg.Connection, span: Span) -> IdFilter:
        if kept := self._filters.get(span.start_ns):
            return kept
        return await asyncio.to_thread(IdFilter.load, await connection.fetchval(QUERIES["filter"], span.start_ns))


def _due_ns(span: Span) -> int:
    """When a partition can be sealed."""
    return span.end_ns + SEAL_AFTER_S * NS_PER_S


def in_groups(spans: Sequence[Span], bytes_max: int) -> Iterator[list[Span]]:
    """Partitions whose filters fit in memory together, group by group; of one, if not even that fits."""
    group: list[Span] = []
    for span in spans:
        if group and sum(each.filter_bytes for each in group) + span.filter_bytes > bytes_max:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def sealed_before(spans: Sequence[Span]) -> list[Span]:
    """The first partitions, up to one that is not sealed."""
    return list(takewhile(lambda span: span.sealed, spans))
