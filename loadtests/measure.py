"""Looks at the server while it is under load: CPU seconds, the queue, WAL, rows and IO.

Guarded here: looking costs the server next to nothing (CPU comes from /proc, the metrics are asked for
rarely), and what cannot be seen from here is None, never 0.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from bisect import bisect_left
from typing import Any, Final

from msgspec import Struct

from benchmarks.processes import cpu_s, machine_cpu_s, tree_cpu_s
from benchmarks.service import Service
from loadtests.cost import Usage
from pyledger import sql

QUERIES: Final = sql.load("loadtests")

CPU_INTERVAL_S: Final = 0.25
METRICS_INTERVAL_S: Final = 1.0
ALL_BUSY_SHARE: Final = 0.9
POINTER_BYTES: Final = 4
"""Of a page, for each row in it."""
PAGE_SHARE: Final = 8_192 / 8_168
"""A page has a head of 24 bytes."""
IO_STATISTICS_VERSION, WAL_IO_VERSION = 160_000, 180_000
"""From these versions on pg_stat_io is there, and has the WAL in it."""


class Counters(Struct, frozen=True):
    """What PostgreSQL has counted up to a moment."""

    wal_bytes: int
    index_bytes: int
    io_operations: int
    head_ns: int


class Point(Struct, frozen=True):
    """CPU seconds used up to a moment; None where they cannot be seen."""

    wall_s: float
    server_s: float | None
    postgres_s: float | None
    machine_s: float | None
    """Of all processes on this machine."""


class Cores(Struct, frozen=True):
    """Cores of this machine that were busy in a run, by whom; None where that cannot be seen."""

    generator: float
    server: float | None
    postgres: float | None
    others: float | None
    of: int

    @property
    def all_busy(self) -> bool:
        """Everybody stood in line for a core, and latency is of that, too."""
        known = [each for each in (self.generator, self.server, self.postgres, self.others) if each is not None]
        return sum(known) > ALL_BUSY_SHARE * self.of


async def counters(database: Any) -> Counters:
    """PostgreSQL's counters now."""
    row = await database.fetchrow(QUERIES["counters"])
    operations = 0
    if row["version"] >= IO_STATISTICS_VERSION:
        operations += await database.fetchval(QUERIES["io_operations"])
    if row["version"] < WAL_IO_VERSION:
        operations += await database.fetchval(QUERIES["wal_operations"])
    return Counters(row["wal_bytes"], row["index_bytes"], operations, await database.fetchval(QUERIES["head"]))


class Watch:
    """Samples while a run is under way: `async with Watch(service) as watch`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.points: list[Point] = []
        self.queue: list[tuple[float, float]] = []
        """Wall time and rows that waited for a batch."""
        self._metrics_cpu_s: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Watch:
        self._tasks = [asyncio.create_task(self._watch_cpu()), asyncio.create_task(self._watch_queue())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch_cpu(self) -> None:
        process, postgres = self._service.process, self._service.postgres_id
        while True:
            # A server elsewhere says by itself what it used.
            server_s = cpu_s(process.pid) if process is not None else self._metrics_cpu_s
            postgres_s = tree_cpu_s(postgres) if postgres is not None else None
            self.points.append(Point(time.time(), server_s, postgres_s, machine_cpu_s()))
            await asyncio.sleep(CPU_INTERVAL_S)

    async def _watch_queue(self) -> None:
        caller, request = self._service.caller(), self._service.envelope.get("/metrics")
        try:
            while True:
                try:
                    status, body = await caller.call(request)
                except OSError:
                    return
                if status == 200 and (rows := _metric(b"pyledger_queue_rows", body)) is not None:
                    self.queue.append((time.time(), rows))
                    self._metrics_cpu_s = _metric(b"process_cpu_seconds_total", body)
                await asyncio.sleep(METRICS_INTERVAL_S)
        finally:
            caller.close()

    def cpu_between(self, from_s: float, to_s: float) -> tuple[float, float] | None:
        """CPU seconds of server and PostgreSQL between two wall times; None if they cannot be seen."""
        pairs = [(self._at(from_s, which), self._at(to_s, which)) for which in ("server_s", "postgres_s")]
        found = [end - start for start, end in pairs if start is not None and end is not None]
        return (found[0], found[1]) if len(found) == len(pairs) else None

    def cores(self, from_s: float, to_s: float, generator: float) -> Cores:
        """Who kept how many cores busy between two wall times."""
        ours, seconds = self.cpu_between(from_s, to_s), to_s - from_s
        server, postgres = (None, None) if ours is None else (each / seconds for each in ours)
        start, end = self._at(from_s, "machine_s"), self._at(to_s, "machine_s")
        others = None
        if server is not None and postgres is not None and start is not None and end is not None:
            others = max(0.0, (end - start) / seconds - server - postgres - generator)
        # What runs elsewhere says what it used, but this machine's total does not have it.
        here = self._service.process is not None
        return Cores(generator, server, postgres, others if here else None, os.cpu_count() or 1)

    def _at(self, wall_s: float, which: str) -> float | None:
        """CPU seconds at a moment, on a straight line between the samples around it."""
        times = [point.wall_s for point in self.points]
        place = min(max(bisect_left(times, wall_s), 1), len(times) - 1)
        if place < 1:
            return None
        before, after = self.points[place - 1], self.points[place]
        low, high = getattr(before, which), getattr(after, which)
        if low is None or high is None:
            return None
        share = min(1.0, max(0.0, (wall_s - before.wall_s) / (after.wall_s - before.wall_s)))
        return float(low + (high - low) * share)


def _metric(name: bytes, text: bytes) -> float | None:
    """A series without labels, in Prometheus' text format."""
    found = re.search(rb"^" + name + rb" ([0-9.e+-]+)$", text, re.MULTILINE)
    return None if found is None else float(found[1])


async def usage(
    database: Any, ledger: int, start: Counters, end: Counters, cpu: tuple[float, float], idle_s: float
) -> Usage:
    """What each transaction between two readings used. `idle_s`: CPU seconds that idling would have used."""
    rows = await database.fetchrow(QUERIES["journal_rows"], ledger, start.head_ns, timeout=600)
    batches = await database.fetchrow(QUERIES["batch_rows"], start.head_ns, timeout=600)
    count = max(1, rows["rows"])
    stored = rows["bytes"] + batches["bytes"] + (rows["rows"] + batches["rows"]) * POINTER_BYTES
    return Usage(
        transactions=rows["rows"],
        server_cpu_ms=cpu[0] * 1_000.0 / count,
        postgres_cpu_ms=cpu[1] * 1_000.0 / count,
        idle_cpu_ms=idle_s * 1_000.0 / count,
        io_operations=(end.io_operations - start.io_operations) / count,
        wal_bytes=(end.wal_bytes - start.wal_bytes) / count,
        heap_bytes=stored * PAGE_SHARE / count,
        index_bytes=(end.index_bytes - start.index_bytes) / count,
    )
