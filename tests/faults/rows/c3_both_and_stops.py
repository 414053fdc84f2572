"""C3: server and PostgreSQL killed at once; a stop by SIGTERM; a rolling restart to a second server.

A graceful stop fails no request that it took: whatever was sent before the signal is answered, and with its
outcome. The server exits with 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

from tests.faults.ground import Ground
from tests.faults.harms import again, kill_both
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import PASSES, Siege, besiege

STOP_TIMEOUT_S: Final = 40.0


class Stops:
    """Graceful stops, and what was wrong with them."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege

    async def _stop(self, place: Ground) -> None:
        """SIGTERM to the server that serves; wait for its end."""
        server = place.server
        assert server.process is not None and self._siege.log is not None
        log = self._siege.log
        log.unknown_ns.clear()
        began_ns = time.monotonic_ns()
        os.kill(server.pid, signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, STOP_TIMEOUT_S)
        # Whoever waits for the last answers has them by the time that the process is gone.
        await asyncio.sleep(0.05)
        failed = [each for each in log.unknown_ns if each < began_ns]
        if code != 0:
            log.wrong.append(f"the server stopped with {code}")
        if failed:
            log.wrong.append(f"{len(failed)} requests that were sent before SIGTERM were not told their outcome")

    async def stop_and_start(self, place: Ground, chance: Random) -> dict[str, Any]:
        """A restart in place."""
        del chance
        await self._stop(place)
        return await again(place)

    async def roll(self, place: Ground, chance: Random) -> dict[str, Any]:
        """A second server beside it, then the first stops; clients know both addresses."""
        del chance
        siege, old = self._siege, place.server
        new = await place.start_server(ready=False)
        place.servers[-2:] = [new, old]
        siege.urls = lambda: [old.url, new.url]
        await place.until(lambda: b"standby" in state(new.url), "the second server does not stand by")
        began = time.monotonic()
        await self._stop(place)
        place.servers.remove(old)
        await place.serving(new)
        siege.urls = lambda: [place.server.url]
        return {"roll_s_max": round(time.monotonic() - began, 3)}


def state(url: str) -> bytes:
    """What /healthz says."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:
        return bytes(reply.read())


def run(asked: Run) -> AsyncIterator[Cycle]:
    """The cycles: killed, restarted, rolled."""
    return besiege(asked, lambda siege: [kill_both, (stops := Stops(siege)).stop_and_start, stops.roll])


ROW: Final = Row(
    id="C3",
    what="both killed at once; SIGTERM; rolling restart",
    unit="stops",
    passes=f"{PASSES}; a graceful stop fails no request that it took",
    submission=6,
    campaign=200,
    run=run,
)
