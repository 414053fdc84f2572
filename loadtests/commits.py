"""Commits next to nothing beside a run, so that its latencies can be held against what the machine's disk did.

Guarded here: a commit counts from when it was due, as a request does; it goes through the same PostgreSQL and waits
for the same disk, but through nothing of ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from benchmarks.service import Service
from pyledger import sql

COMMITS_PER_S: Final = 20.0
"""A hundredth of the disk's time."""

QUERIES: Final = sql.load("loadtests")

Commit = Sequence[float]
"""Wall time at which it was due, and milliseconds until it was there."""


class Commits:
    """`async with Commits(service) as commits`: `commits.found` is filled meanwhile."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.found: list[Commit] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Commits:
        self._task = asyncio.create_task(self._commit())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _commit(self) -> None:
        connection: Any = await asyncpg.connect(self._service.owner_dsn)
        try:
            statement = await connection.prepare(QUERIES["commit_nothing"])
            due_s = time.time()
            while True:
                await asyncio.sleep(max(0.0, due_s - time.time()))
                await statement.fetchval()
                self.found.append((due_s, (time.time() - due_s) * 1_000.0))
                due_s += 1.0 / COMMITS_PER_S
        finally:
            connection.terminate()
