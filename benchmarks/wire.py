"""HTTP/1.1 without a library: one connection as an asyncio protocol, and a call for setting up and proving.

Guarded here: an answer counts only when all of its bytes have come. Only what this project's server sends is
understood: a Content-Length on every answer, no chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class Unreadable(Exception):
    """An answer that this reader does not understand."""


class Wire(asyncio.Protocol):
    """One connection that has at most one request under way. `answered` gets head and body as they came."""

    __slots__ = ("answered", "lost", "missing", "parts", "transport")

    def __init__(self, answered: Callable[[Wire, bytes], None], lost: Callable[[Wire], None]) -> None:
        self.answered = answered
        self.lost = lost
        self.parts: list[bytes] = []
        self.missing = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to send."""
        # Not an asyncio.Transport by name: uvloop's own is none.
        self.transport = transport  # type: ignore[assignment]

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer: as a rule all of a small one, a piece of a large one."""
        if self.parts:
            self.parts.append(data)
            if self.missing:
                self.missing -= len(data)
                if self.missing > 0:
                    return
            data = b"".join(self.parts)
            self.parts.clear()
        total = answer_bytes(data)
        if total == 0 or total > len(data):
            self.parts.append(data)
            self.missing = total - len(data) if total else 0
            return
        self.missing = 0
        self.answered(self, data)

    def connection_lost(self, _reason: Exception | None) -> None:
        """The other side is gone."""
        self.lost(self)

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()


def answer_bytes(data: bytes) -> int:
    """Bytes of the answer that begins with `data`; 0 while its head is incomplete."""
    end = data.find(_HEAD_END)
    if end < 0:
        return 0
    at = data.find(_LENGTH, 0, end)
    if at < 0:
        head = data[:end].lower()
        at = head.find(_LENGTH.rstrip())
        if at < 0:
            raise Unreadable(f"an answer without Content-Length: {bytes(data[:120])!r}")
        return end + 4 + int(head[at + len(_LENGTH) - 1 :].split(b"\r\n", 1)[0])
    stop = data.find(b"\r", at, end)
    return end + 4 + int(data[at + len(_LENGTH) : stop if stop > 0 else end])


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an http URL."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None or parts.path not in ("", "/"):
        raise ValueError(f"{url}: the benchmarks drive a server by its plain http://host:port")
    return parts.hostname, parts.port or 80


class Caller:
    """One connection, one call after the other: for setting up, for the proof, for readiness."""

    def __init__(self, url: str) -> None:
        self._host, self._port = address_of(url)
        self._wire: Wire | None = None
        self._answer: asyncio.Future[bytes] | None = None

    async def call(self, request: bytes) -> tuple[int, bytes]:
        """Send, and return status and body. Raises `ConnectionError` when the connection breaks."""
        loop = asyncio.get_running_loop()
        if self._wire is None:
            made = await loop.create_connection(lambda: Wire(self._answered, self._lost), self._host, self._port)
            self._wire = made[1]
        self._answer = loop.create_future()
        self._wire.send(request)
        answer = await self._answer
        return int(answer[9:12]), answer[answer.index(_HEAD_END) + 4 :]

    async def expect(self, request: bytes, *statuses: int) -> bytes:
        """Like `call`, when only these statuses are right."""
        status, body = await self.call(request)
        if status not in statuses:
            raise ConnectionError(f"answered {status}: {body[:300].decode(errors='replace')}")
        return body

    def close(self) -> None:
        """Hang up."""
        if self._wire is not None:
            with contextlib.suppress(RuntimeError):
                self._wire.close()
            self._wire = None

    def _answered(self, _wire: Wire, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(data)

    def _lost(self, _wire: Wire) -> None:
        self._wire = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))
