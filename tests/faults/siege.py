"""A cycle of harm under load: clients ask, something is done to the servers or to PostgreSQL, all is proven.

Guarded here: clients never stop asking while harm is done; each of them learns the outcome of all that it
asked; then the audit, and every few cycles, before the database is replaced by a fresh one, the checker judges
everything that clients saw on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.faults.audit import audit, few
from tests.faults.checker import history, journal
from tests.faults.checker.judge import judged
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.load import Load, Log
from tests.faults.nouns import Cycle, Run
from tests.faults.results import OUT
from tests.faults.traffic import Traffic

CYCLES_A_DATABASE: Final = 10
"""Then the journal is long enough to cost more than a new one."""
BEFORE_S: Final = (0.15, 0.7)
AFTER_S: Final = (0.05, 0.25)
"""How long clients ask before the harm begins and after it is over."""

PASSES: Final = "0 acknowledged lost, 0 applied twice, trial balance 0, the chain verifies, every unknown resolved"

Harm = Callable[[Ground, Random], Awaitable[dict[str, Any]]]
"""Does harm and undoes what must be undone: a server serves again when it returns. What there is to note."""


class Siege:
    """One ground, its clients and their log, for as many cycles as a database lasts."""

    def __init__(self, place: Ground, asked: Run, *, per_s: float = 5_000.0, connections: int = 24) -> None:
        self.ground, self.asked = place, asked
        self._per_s, self._connections = per_s, connections
        self.log: Log | None = None
        self.load: Load | None = None
        self.urls: Callable[[], list[str]] = lambda: [self.ground.server.url]
        """Where clients may ask now; a harm may change it."""

    def _addresses(self) -> list[str]:
        return self.urls()

    async def begin(self, number: int, **settings: object) -> None:
        """A fresh database with one server, and clients that have opened their accounts."""
        if self.log is not None:
            self.close()
            await self.ground.open_books()
        await self.ground.start_server(**settings)
        self.log = Log(self.asked.directory / f"clients-{number}.jsonl")
        traffic = Traffic(self.asked.chance(number), TENANTS)
        self.load = Load(
            traffic, self.log, self.ground.keys, self._addresses, per_s=self._per_s, connections=self._connections
        )
        await self.load.open()

    def close(self) -> None:
        """No more clients."""
        if self.log is not None:
            self.log.close()

    async def cycle(self, number: int, harm: Harm, *, last: bool) -> Cycle:
        """One cycle; on the last one of a database the judge judges too."""
        assert self.load is not None and self.log is not None
        chance = self.asked.chance(number)
        self.load.traffic.chance = chance
        before, counted = self.log.counts.copy(), await self.ground.count()
        self.load.start()
        try:
            await asyncio.sleep(chance.uniform(*BEFORE_S))
            await self.ground.count()
            began = time.monotonic()
            notes = await harm(self.ground, chance)
            notes["harm"] = harm.__name__
            notes["harm_s"] = round(time.monotonic() - began, 3)
            await asyncio.sleep(chance.uniform(*AFTER_S))
            violations = await self.load.finish()
            await self.load.look()
            notes |= await self.ground.count() - counted
        finally:
            await self.load.abandon()
        violations += await audit(self.ground, self.log)
        notes |= {name: self.log.counts[name] - before[name] for name in ("operations", "answered", "unknown")}
        if last:
            violations += await self.judge(notes)
        if violations:
            keep(self.ground, self.log, f"{number}-of-seed-{self.asked.seed}")
        return Cycle(number, 1, violations, notes)

    async def judge(self, notes: dict[str, Any]) -> list[str]:
        """What the checker says of the whole log."""
        assert self.log is not None and self.ground.database is not None
        self.log.flush()
        began = time.monotonic()
        rows = await journal.load(self.ground.database.reader_dsn)
        attempts = await asyncio.to_thread(history.read, self.log.path, self.ground.tenants)
        judge = await asyncio.to_thread(judged, attempts, rows)
        notes |= {"judged_rows": len(rows.entries), "judged_attempts": len(attempts)}
        notes["judge_s"] = round(time.monotonic() - began, 3)
        return [f"judge: {each}" for each in few(judge.wrong)]


def keep(place: Ground, log: Log, name: str) -> None:
    """What is needed to find out, where the next run does not remove it."""
    directory = OUT / f"violation-{name}"
    directory.mkdir(parents=True, exist_ok=True)
    log.flush()
    for path in [log.path, *(server.log_file for server in place.servers), place.cluster.place.log_file]:
        if Path(path).exists():
            shutil.copy(path, directory)


async def besiege(
    asked: Run, harms: Sequence[Harm] | Callable[[Siege], Sequence[Harm]], **settings: object
) -> AsyncIterator[Cycle]:
    """The cycles of a row that does harm of some kinds, one after the other, to a server and its PostgreSQL."""
    async with ground(asked.directory, planted=asked.planted, **settings) as place:
        siege = Siege(place, asked)
        async with contextlib.aclosing(cycles(siege, harms(siege) if callable(harms) else harms)) as every:
            async for cycle in every:
                yield cycle


async def cycles(siege: Siege, harms: Sequence[Harm], **settings: object) -> AsyncGenerator[Cycle, None]:
    """The same on a ground that is there already; `settings` are the server's."""
    asked = siege.asked
    with contextlib.closing(siege):
        for number in asked.numbers:
            since = (number - asked.first) % CYCLES_A_DATABASE
            if since == 0:
                await siege.begin(number, **settings)
            last = since == CYCLES_A_DATABASE - 1 or number == asked.numbers[-1]
            yield await siege.cycle(number, harms[number % len(harms)], last=last)
