"""The echo baseline: the embedded Granian server of the ledger, with a handler that only reads and answers.

What it can do is what HTTP, Granian, asyncio and the load generator leave for a ledger. It answers 201 with the
ledger's own headers and a body of as many bytes as it is told: `python -m benchmarks.echo PORT BYTES`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import uvloop
from granian.constants import HTTPModes
from granian.server.embed import Server

from pyledger.server.replies import JSON

BACKLOG_CONNECTIONS = 4_096


class Echo:
    """An RSGI application: any request, one answer."""

    def __init__(self, answer_bytes: int) -> None:
        self._answer = b"x" * answer_bytes
        self._headers = JSON

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to open."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Read the body, answer."""
        await protocol()
        protocol.response_bytes(201, self._headers, self._answer)


async def serve(port: int, answer_bytes: int) -> None:
    """Until SIGTERM."""
    server = Server(
        Echo(answer_bytes),
        address="127.0.0.1",
        port=port,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG_CONNECTIONS,
        log_enabled=False,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
