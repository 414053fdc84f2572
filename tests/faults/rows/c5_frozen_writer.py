"""C5: SIGSTOP of the writer, a successor takes over, SIGCONT: the first must append nothing and answer no read.

Half of the clients ask the frozen one all the time, so that its sockets are full of requests when it wakes up.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

from tests.faults.ground import TENANTS, Ground
from tests.faults.load import Connection
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.rows.c3_both_and_stops import state
from tests.faults.siege import PASSES, Siege, besiege
from tests.faults.traffic import account_id, text

FENCED: Final = 3
END_TIMEOUT_S: Final = 30.0
READERS: Final = 6


class Successions:
    """One owner after the other is frozen, replaced and woken."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege

    async def freeze(self, place: Ground, chance: Random) -> dict[str, Any]:
        """One succession. Violations go into the log's own list."""
        siege, old = self._siege, place.server
        assert siege.log is not None and old.process is not None
        new = await place.start_server(ready=False)
        place.servers[-2:] = [new, old]
        await place.until(lambda: b"standby" in state(new.url), "the second server does not stand by")
        siege.urls = lambda: [old.url, new.url]
        await asyncio.sleep(chance.uniform(0, 0.2))
        os.kill(old.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            await place.serving(new)
            took_s = time.monotonic() - began
            await asyncio.sleep(chance.uniform(0, 0.4))
        finally:
            readers = [asyncio.create_task(self._read(place, old.url, chance.random())) for _ in range(READERS)]
            # Their requests lie in the frozen one's sockets.
            await asyncio.sleep(0.05)
            os.kill(old.pid, signal.SIGCONT)
        code = await asyncio.to_thread(old.process.wait, END_TIMEOUT_S)
        siege.urls = lambda: [new.url]
        siege.log.wrong += [each for wrong in await asyncio.gather(*readers) for each in wrong]
        if code != FENCED:
            siege.log.wrong.append(f"the writer that was replaced ended with {code}, not {FENCED}")
        place.servers.remove(old)
        return {"took_over_s_max": round(took_s, 3)}

    async def _read(self, place: Ground, url: str, draw: float) -> list[str]:
        """A balance, asked of the frozen one when another owns the head: it must not be answered."""
        connection, tenant = Connection(), TENANTS[int(draw * 2)]
        path = f"/v1/accounts/{text(account_id(int(draw * 10)))}"
        head = f"GET {path} HTTP/1.1\r\nhost: {url[7:]}\r\nauthorization: Bearer {place.keys[tenant]}\r\n\r\n"
        try:
            await connection.open(url)
            answer = await connection.ask(head.encode())
        except (OSError, TimeoutError):
            return []
        finally:
            connection.close()
        status, body = int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]
        if status == 503:
            return []
        return [f"the writer that was replaced answered {path} with {status} {json.loads(body)}"]


def run(asked: Run) -> AsyncIterator[Cycle]:
    """The cycles."""
    return besiege(asked, lambda siege: [Successions(siege).freeze])


ROW: Final = Row(
    id="C5",
    what="SIGSTOP of the writer, a successor takes over, SIGCONT",
    unit="successions",
    passes=f"{PASSES}; the first appends nothing, answers no current read, and exits with 3",
    submission=5,
    campaign=500,
    run=run,
)
