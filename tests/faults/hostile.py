"""Hostile clients in a process of their own: `python -m tests.faults.hostile KIND URL KEY SECONDS SEED`.

They say at the end, in a line of JSON, how much they sent and what they were answered. Guarded here: no attack is
paced beyond what one machine without a botnet can do, so that what it costs the server is what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

SLOW_CONNECTIONS: Final = 200
SLOW_PAUSE_S: Final = 0.2
ANSWER_S: Final = 1.0
PACE_S: Final = 0.01
HUGE_BYTES: Final = 1024**3
PIECE: Final = bytes(65_536)
RESET: Final = struct.pack("ii", 1, 0)

MALFORMED: Final = (
    b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\nhost: a\r\n\r\n", b"G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET /%zz%00 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
    b"GET / HTTP/1.1\nhost: a\n\n", b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 500 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /v1/transfers HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/transfers HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"POST /v1/transfers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nbody\r\n",
    b"POST /v1/transfers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\nbody\r\n",
)  # fmt: skip

JSON: Final = (
    b"[" * 100_000, b'{"a":' * 100_000, b'{"metadata":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_001,
    b'{"amount": ' + b"9" * 10_000 + b"}", b'{"amount": "' + b"9" * 10_000 + b'"}', b'{"amount": 1e400}',
    b'{"amount": NaN}', b'{"amount": Infinity}', b'{"amount": -1}', b'{"amount": 1.5}',
    b'{"amount": "1", "amount": "2"}',
    b'{"reference": "\\ud800"}', b'{"reference": "\xed\xa0\x80"}', b'{"reference": "\xff\xfe"}', b'\xef\xbb\xbf{}',
    b'{"metadata": {"a": 1, "a": 2}}', b'{"metadata": {"a": 123456789012345678901234567890}}', b'{"id": "\\u0000"}',
    b"", b"null", b"[]", b'"', b"{", b'{"__proto__": {}}', b"{}" * 100,
)  # fmt: skip


class Attacker:
    """What one kind of attack needs, and what came of it."""

    def __init__(self, url: str, key: str, seconds: float, seed: int) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.key = str(parts.hostname), int(parts.port or 80), key
        self.until = time.monotonic() + seconds
        self.chance = random.Random(seed)
        self.sent = 0
        self.answers: Counter[int] = Counter()

    def head(self, path: str, *lines: str) -> bytes:
        """Of a request that is let in."""
        every = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {self.key}", *lines]
        return ("\r\n".join(every) + "\r\n\r\n").encode()

    def json(self, body: bytes, path: str = "/v1/transfers") -> bytes:
        """A whole request with this body."""
        return self.head(path, "content-type: application/json", f"content-length: {len(body)}") + body

    async def once(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """One connection: say it, hear what comes within a second, hang up."""
        self.sent += 1
        answer = b""
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                async with asyncio.timeout(ANSWER_S):
                    while data := await reader.read(65_536):
                        answer += data
                        if b"\r\n\r\n" in answer:
                            break
            finally:
                writer.transport.abort()
        if answer.startswith(b"HTTP/1.") and answer[9:12].isdigit():
            self.answers[int(answer[9:12])] += 1
        else:
            self.answers[0] += 1
        return answer

    async def each(self, make: Callable[[], Awaitable[object]], at_once: int = 4) -> None:
        """Again and again until the time is up."""

        async def again() -> None:
            while time.monotonic() < self.until:
                await make()
                await asyncio.sleep(PACE_S)

        await asyncio.gather(*(again() for _ in range(at_once)))

    async def malformed(self) -> None:
        """What is not HTTP, and random bytes."""
        await self.each(lambda: self.once(self.chance.choice([*MALFORMED, self.chance.randbytes(200)])), 2)

    async def bad_json(self) -> None:
        """Bodies that no parser should like, single and in batches."""
        paths = ("/v1/transfers", "/v1/transfers/batch", "/v1/accounts", "/v1/ledgers")
        await self.each(lambda: self.once(self.json(self.chance.choice(JSON), self.chance.choice(paths))), 2)

    async def slow_heads(self) -> None:
        """A byte now and then, of a head that never ends."""
        await self._slow(self.head("/v1/transfers")[:-2])

    async def slow_bodies(self) -> None:
        """A byte now and then, of a body that never ends."""
        await self._slow(
            b" " * 10_000, self.head("/v1/transfers", "content-type: application/json", "content-length: 10000")
        )

    async def _slow(self, drip: bytes, first: bytes = b"") -> None:
        async def one() -> None:
            while time.monotonic() < self.until:
                self.sent += 1
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(self.host, self.port)
                    writer.write(first)
                    for byte in drip:
                        if time.monotonic() > self.until or writer.transport.is_closing():
                            break
                        writer.write(bytes([byte]))
                        await asyncio.sleep(SLOW_PAUSE_S)
                    writer.transport.abort()
                await asyncio.sleep(PACE_S)

        await asyncio.gather(*(one() for _ in range(SLOW_CONNECTIONS)))

    async def resets(self) -> None:
        """Part of a request or all of it, and a reset at once."""
        body = b'{"id":1,"asset":"EUR","exponent":2}'
        request = self.json(body, "/v1/ledgers")

        async def one() -> None:
            self.sent += 1
            with socket.socket() as ours, contextlib.suppress(OSError):
                ours.setblocking(False)
                await asyncio.get_running_loop().sock_connect(ours, (self.host, self.port))
                ours.send(request[: self.chance.randrange(len(request) + 1)])
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        await self.each(one, 3)

    async def huge(self) -> None:
        """A gigabyte: announced, or in chunks without an end."""

        async def one() -> None:
            chunked = self.chance.random() < 0.5
            kind = "application/json" if self.chance.random() < 0.5 else "application/vnd.pyledger.transfers"
            length = "transfer-encoding: chunked" if chunked else f"content-length: {HUGE_BYTES}"
            piece = b"10000\r\n" + PIECE + b"\r\n" if chunked else PIECE
            head = self.head("/v1/transfers/batch", f"content-type: {kind}", length)
            await self.once(head, *(piece for _ in range(HUGE_BYTES // len(PIECE))))

        await self.each(one, 2)


KINDS: Final = ("malformed", "bad_json", "slow_heads", "slow_bodies", "resets", "huge")


def main() -> None:
    """Attack, and say what came of it."""
    kind, url, key, seconds, seed = sys.argv[1:]
    attacker = Attacker(url, key, float(seconds), int(seed))
    assert kind in KINDS, kind
    asyncio.run(getattr(attacker, kind)())
    print(json.dumps({"sent": attacker.sent, "answers": attacker.answers}))


if __name__ == "__main__":
    main()
