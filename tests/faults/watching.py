"""What a server says of itself while it works, looked at once a second: memory, queue, what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from benchmarks.processes import resident_bytes
from tests.support.process import ServerProcess

EVERY_S: Final = 1.0
ANSWER_S: Final = 10.0
GAUGES: Final = ("pyledger_queue_rows", "pyledger_accounts", "pyledger_holds")


@dataclass(frozen=True, slots=True)
class Look:
    """One look at it."""

    at_s: float
    resident_bytes: int
    queue_rows: int
    accounts: int
    holds: int


@dataclass
class Watch:
    """All looks, in order."""

    looks: list[Look] = field(default_factory=list)

    def look(self, server: ServerProcess) -> None:
        """Add one."""
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=ANSWER_S) as answer:
            said = answer.read().decode()
        queue, accounts, holds = (int(float(re.search(rf"^{name} (\S+)$", said, re.M)[1])) for name in GAUGES)  # type: ignore[index]
        resident = resident_bytes(server.pid)
        assert resident is not None, "this machine does not show what memory a process has"
        self.looks.append(Look(time.monotonic(), resident, queue, accounts, holds))


@contextlib.asynccontextmanager
async def watched(server: ServerProcess) -> AsyncIterator[Watch]:
    """Watch it until the end of the block; that it cannot be looked at any more is an error."""
    watch = Watch()

    async def go_on() -> None:
        while True:
            await asyncio.to_thread(watch.look, server)
            await asyncio.sleep(EVERY_S)

    watching = asyncio.create_task(go_on())
    try:
        yield watch
        if watching.done():
            await watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
