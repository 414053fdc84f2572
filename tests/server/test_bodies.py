"""Bodies of batches on a real socket: read whole or by pieces, and who finds room when there is little."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pyledger._rust import Commands, Malformed, decode_transfers_binary
from pyledger.server import replies
from pyledger.server.host import Host, bind
from pyledger.server.limits import Bodies
from pyledger.server.problems import PROBLEMS, ClientGone, Refused
from pyledger.settings import Settings

BODY = (b"\1" * 96 + b"\1\0\0\0" + bytes(28)) * 10
"""Ten records."""

BODIES_MAX = 4
"""Bodies that find room, in each of the two rooms."""

TIMEOUT_S = 1.0
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Counter:
    """An application that reads batches, answers how many commands they have, and notes what was held."""

    def __init__(self) -> None:
        room_bytes = 2 * BODIES_MAX * len(BODY)
        self.bodies = Bodies(
            single_bytes_max=len(BODY), batch_bytes_max=len(BODY), room_bytes=room_bytes, timeout_s=TIMEOUT_S
        )
        self.held: list[int] = []
        self.port = 0

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to open."""

    def begin(self, scope: Any, proto: Any) -> bool:
        """Nothing before its turn."""
        del scope, proto
        return False

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        try:
            commands = await self.bodies.decode_batch(scope.headers, proto, self.decode, "binary")
            answer: replies.Answer = 200, replies.JSON, b'{"rows":%d}' % commands.rows
        except Refused as refused:
            answer = replies.refusal(refused)
        except Malformed as malformed:
            answer = replies.problem(PROBLEMS[malformed.code], malformed.detail, (), {})
        except ClientGone:
            answer = 400, replies.JSON, b"{}"
        proto.response_bytes(*answer)

    def decode(self, body: bytes) -> Commands:
        self.held.append(self.bodies.bytes_held)
        return decode_transfers_binary(body, 1)

    async def send(self, *parts: bytes) -> Wire:
        """A connection over which this much of a request went."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"".join(parts))
        await writer.drain()
        return reader, writer

    async def ask(self, *parts: bytes) -> tuple[int, Any]:
        """Status and body of the answer to a whole request."""
        return await answered(await self.send(*parts))

    async def until_held(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.bodies.bytes_held != count:
                await asyncio.sleep(0.005)


async def answered(wire: Wire) -> tuple[int, Any]:
    head = await wire[0].readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = json.loads(await wire[0].readexactly(length))
    wire[1].close()
    return int(head.split(b" ")[1]), body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
async def counter() -> AsyncIterator[Counter]:
    """An application with little room, served."""
    async with served() as made:
        yield made
        await made.until_held(0)


@asynccontextmanager
async def served() -> AsyncIterator[Counter]:
    made = Counter()
    host = Host(bind("127.0.0.1", 0), Settings(), 100)
    made.port = host.port
    made.bodies.clock.start()
    host.start(made)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.bodies.clock.stop()
        await host.stop()


async def test_both_ways_give_the_same_and_hold_what_they_read(counter: Counter) -> None:
    assert await counter.ask(WHOLE, BODY) == (200, {"rows": 10})
    assert await counter.ask(CHUNKED, chunk(BODY[:500]), chunk(BODY[500:]), b"0\r\n\r\n") == (200, {"rows": 10})
    assert counter.held == [len(BODY)] * 2


async def test_promises_lock_nobody_out(counter: Counter) -> None:
    promised = [await counter.send(WHOLE, b"x") for _ in range(BODIES_MAX)]
    await counter.until_held(BODIES_MAX * len(BODY))
    for _ in range(3 * BODIES_MAX):
        assert await counter.ask(WHOLE, BODY) == (200, {"rows": 10})
        assert await counter.ask(CHUNKED, chunk(BODY), b"0\r\n\r\n") == (200, {"rows": 10})
    assert {(await answered(wire))[1]["code"] for wire in promised} == {"body_timeout"}


async def test_what_has_arrived_is_bounded_and_the_rest_refused(counter: Counter) -> None:
    promised = [await counter.send(WHOLE, b"x") for _ in range(BODIES_MAX)]
    arrived = [await counter.send(WHOLE, BODY[:-1]) for _ in range(BODIES_MAX)]
    await counter.until_held(2 * BODIES_MAX * len(BODY) - BODIES_MAX)
    for request in ((WHOLE, BODY), (CHUNKED, chunk(BODY))):
        status, body = await counter.ask(*request)
        assert (status, body["code"]) == (503, "bodies_full")
    for _, writer in arrived:
        writer.write(BODY[-1:])
    assert [await answered(wire) for wire in arrived] == [(200, {"rows": 10})] * BODIES_MAX
    assert await counter.ask(WHOLE, BODY) == (200, {"rows": 10})
    assert {(await answered(wire))[1]["code"] for wire in promised} == {"body_timeout"}


async def test_bodies_that_break_off_leave_their_room(counter: Counter) -> None:
    for request in ((WHOLE, BODY[:-1]), (CHUNKED, chunk(BODY)[:-3])):
        for _ in range(3 * BODIES_MAX):
            _, writer = await counter.send(*request)
            await counter.until_held(len(BODY) - (request[0] is CHUNKED))
            writer.close()
            await counter.until_held(0)
    assert await counter.ask(WHOLE, BODY) == (200, {"rows": 10})
    assert counter.held == [len(BODY)]


async def test_a_body_that_is_refused_leaves_its_room(counter: Counter) -> None:
    status, body = await counter.ask(CHUNKED, chunk(BODY), chunk(b"x"), b"0\r\n\r\n")
    assert (status, body["code"]) == (413, "body_too_large")
    for request in ((HEAD, b"Content-Length: 7\r\n\r\nabcdefg"), (CHUNKED, chunk(b"abcdefg"), b"0\r\n\r\n")):
        status, body = await counter.ask(*request)
        assert (status, body["code"]) == (400, "invalid_records")
    assert counter.held == [7, 7]
