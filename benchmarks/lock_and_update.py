"""The lock-and-update baseline as a server: Granian in front, group commit, `lock_and_update.sql` behind.

Everything around the ledger is the same as in pyledger: one process, one event loop, Granian's embedded
server, a queue from which whatever waits is taken at once. So a difference comes from the ledger's design.
`python -m benchmarks.lock_and_update DSN PORT BATCH_ROWS_MAX CONNECTIONS ANSWER_BYTES`; with one row a batch
and some connections it is the plain form, one transaction a request.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from granian.constants import HTTPModes
from granian.server.embed import Server

from benchmarks.echo import BACKLOG_CONNECTIONS
from pyledger.server.replies import JSON

SCHEMA: Final = Path(__file__).with_name("lock_and_update.sql")
_POST: Final = "SELECT post_batch($1, $2, $3, $4)"

_SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""As the ledger's own writer has it: rows by index, whatever the planner thinks of a table that was empty."""


class Asked(msgspec.Struct):
    """One transfer, as far as this ledger looks at it."""

    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount: str


class Ledger:
    """A queue, and connections that each take what waits and post it in one transaction."""

    def __init__(self, batch_rows_max: int) -> None:
        self._batch_rows_max = batch_rows_max
        self._waiting: deque[tuple[Asked, asyncio.Future[int]]] = deque()
        self._filled = asyncio.Event()

    def post(self, asked: Asked) -> asyncio.Future[int]:
        """Queue one transfer; the future is its status once it is committed."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        self._filled.set()
        return future

    async def commit_for_ever(self, connection: Any) -> None:
        """Take what waits, post it, answer."""
        statement = await connection.prepare(_POST)
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_rows_max))]
            statuses = await statement.fetchval(
                [asked.id for asked, _ in batch],
                [asked.debit_account_id for asked, _ in batch],
                [asked.credit_account_id for asked, _ in batch],
                [int(asked.amount) for asked, _ in batch],
            )
            for (_, future), status in zip(batch, statuses, strict=True):
                future.set_result(status)


class Application:
    """POST one transfer, like the ledger's own route."""

    def __init__(self, ledger: Ledger, answer_bytes: int) -> None:
        self._ledger = ledger
        self._decoder = msgspec.json.Decoder(Asked)
        self._headers = JSON
        self._accepted = b"x" * answer_bytes
        self._declined = b'{"code":"declined","recorded_at":""}'

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to open."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Decode, post, answer once it is committed."""
        status = await self._ledger.post(self._decoder.decode(await protocol()))
        if status == 0:
            protocol.response_bytes(201, self._headers, self._accepted)
        else:
            protocol.response_bytes(422, self._headers, self._declined)


async def serve(dsn: str, port: int, batch_rows_max: int, connections: int, answer_bytes: int) -> None:
    """Until SIGTERM."""
    ledger = Ledger(batch_rows_max)
    opened = [await asyncpg.connect(dsn, server_settings=_SESSION) for _ in range(connections)]
    committing = [asyncio.create_task(ledger.commit_for_ever(each)) for each in opened]
    server = Server(
        Application(ledger, answer_bytes),
        address="127.0.0.1",
        port=port,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG_CONNECTIONS,
        log_enabled=False,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    serving = asyncio.create_task(server.serve())
    # A ledger that can commit no more must not look like a slow one.
    await asyncio.wait({serving, *committing}, return_when=asyncio.FIRST_COMPLETED)
    for task in committing:
        task.cancel()
    for ended in await asyncio.gather(*committing, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise RuntimeError("a connection of the baseline failed") from ended
    for each in opened:
        await each.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], *(int(each) for each in sys.argv[2:6])))
