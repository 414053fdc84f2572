"""Single writes that begin where their heads arrive: which do, and what becomes of them with their bodies."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from granian._granian import RSGIProtocolClosed

from pyledger.ledger import Busy
from pyledger.ledger.waiting import answer
from pyledger.server.host import Host, bind
from pyledger.server.service import Request
from pyledger.settings import Settings
from tests.server.begun import BODY, PLAIN, Headers, Served, Wire
from tests.server.conftest import Books
from tests.server.test_limits import POST, read_all


class Panic(BaseException):
    """As the extension raises it where a panic does not end the process."""


async def test_a_write_whose_head_is_right_waits_for_its_body_and_its_commit_only() -> None:
    served, wire = Served(), Wire()
    assert served.begin(wire)
    assert served.application.in_flight == 1, "a stop waits for it"
    stopping = asyncio.create_task(served.application.idle())
    await asyncio.sleep(0)
    assert wire.body is not None
    wire.body.arrive(BODY)
    await asyncio.sleep(0)
    assert (wire.answer, stopping.done()) == (None, False)
    answer(served.writer.waiting[0], (SimpleNamespace(outcome="accepted", replayed=False, body=b"{}"), None))
    assert wire.answer is not None and wire.answer[0] == 201
    await asyncio.wait_for(stopping, 1)
    assert served.at_rest


@pytest.mark.parametrize(
    "differs",
    [
        {"method": "GET"},
        {"method": "PUT"},
        {"path": "/v1/nothing"},
        {"path": "/v1/transfers/batch"},
        {"query_string": "a=1"},
        {"headers": Headers({**PLAIN, "host": "example.org"})},
        {"headers": Headers({**PLAIN, "content-type": "text/plain"})},
        {"headers": Headers({**PLAIN, "content-length": "1001"})},
        {"headers": Headers({name: value for name, value in PLAIN.items() if name != "content-length"})},
        {"headers": Headers({name: value for name, value in PLAIN.items() if name != "content-type"})},
    ],
)
async def test_anything_else_goes_the_way_of_all_requests_untouched(differs: dict[str, Any]) -> None:
    served, wire = Served(), Wire(**differs)
    assert not served.begin(wire)
    assert wire.body is wire.answer is None
    assert served.at_rest


@pytest.mark.parametrize("state", ["starting", "stopping"])
async def test_so_does_what_comes_before_there_is_a_ledger_and_once_it_stops(state: str) -> None:
    served, wire = Served(), Wire()
    if state == "starting":
        served.service.ledger = None
    else:
        served.service.stopping = True
    assert not served.begin(wire)
    assert wire.body is None and served.at_rest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", (400, "invalid_json")),
        (RSGIProtocolClosed("gone"), (400, "body_incomplete")),
        (asyncio.CancelledError(), (408, "body_timeout")),
        (RuntimeError("a bug"), (500, "internal_error")),
    ],
)
async def test_a_body_that_is_wrong_or_does_not_come_is_answered(content: Any, told: tuple[int, str]) -> None:
    served, wire = Served(), Wire()
    assert served.begin(wire) and wire.body is not None
    wire.body.arrive(content)
    assert wire.problem == told
    assert served.at_rest and not served.writer.waiting


async def test_a_late_body_is_cancelled_and_an_early_one_is_not() -> None:
    served, late, early = Served(), Wire(), Wire()
    served.service.bodies.clock.start()
    try:
        assert served.begin(late) and served.begin(early) and early.body is not None
        early.body.arrive(BODY)
        began_s = time.monotonic()
        while late.answer is None and time.monotonic() - began_s < 2:
            await asyncio.sleep(0.01)
    finally:
        served.service.bodies.clock.stop()
    assert late.problem == (408, "body_timeout")
    assert early.answer is None and len(served.writer.waiting) == 1
    assert served.application.in_flight == 1


async def test_a_full_queue_is_said_and_a_stop_fails_nothing_that_was_begun() -> None:
    served, taken, full = Served(), Wire(), Wire()
    assert served.begin(taken) and served.begin(full)
    assert taken.body is not None and full.body is not None
    served.writer.refuses = Busy()
    full.body.arrive(BODY)
    assert full.problem == (503, "queue_full")
    served.writer.refuses = None
    served.service.stopping = True
    taken.body.arrive(BODY)
    assert (taken.answer, len(served.writer.waiting)) == (None, 1)


async def test_those_within_the_bound_are_served_and_whoever_is_above_it_is_told_at_once() -> None:
    served, wires, above = Served(requests_max=2), [Wire() for _ in range(2)], Wire()
    assert all(served.begin(wire) for wire in wires)
    assert not served.begin(above)
    await served.application.__rsgi__(above, above)  # type: ignore[arg-type]
    assert above.problem == (503, "connections_full") and above.body is None
    for wire in wires:
        assert wire.body is not None
        wire.body.arrive(BODY)
    assert len(served.writer.waiting) == 2


async def test_a_panic_is_that_one_request_s_500() -> None:
    served, wire = Served(), Wire()
    assert served.begin(wire) and wire.body is not None
    with pytest.raises(Panic):
        wire.body.arrive(Panic())
    assert wire.problem == (500, "internal_error") and served.at_rest


async def test_a_body_that_breaks_off_leaves_nothing_behind() -> None:
    before = [each for each in gc.get_objects() if isinstance(each, Request | RSGIProtocolClosed)]
    served, listener = Served(), bind("127.0.0.1", 0)
    host = Host(listener, Settings(), 10)
    host.start(served.application)
    head = b"POST /v1/ledgers HTTP/1.1\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in PLAIN.items())
    try:
        for framing in (b"\r\n{", b"transfer-encoding: chunked\r\n\r\n1\r\n{"):
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", host.port)
                writer.write((head if b"chunked" not in framing else head.replace(b"content-length", b"x")) + framing)
                await writer.drain()
                await until(lambda: served.application.in_flight == 1)
                writer.close()
                await until(lambda: served.application.in_flight == 0)
    finally:
        await host.stop()
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, Request | RSGIProtocolClosed)]
    assert [each for each in left if each not in before] == []


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.002)


async def test_heads_come_in_another_thread_while_late_bodies_are_looked_for() -> None:
    served, wires, over = Served(requests_max=100_000), list[Wire](), threading.Event()

    def heads() -> None:
        while not over.is_set() and len(wires) < 50_000:
            wire = Wire()
            assert served.begin(wire)
            wires.append(wire)

    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=heads)
    thread.start()
    try:
        began_s = time.monotonic()
        while time.monotonic() - began_s < 0.5:
            served.service.bodies.clock._sweep()
            await asyncio.sleep(0)
    finally:
        served.service.bodies.clock.stop()
        over.set()
        thread.join()
        sys.setswitchinterval(0.005)
    assert len(wires) > 100
    for wire in wires:
        if wire.body is not None and wire.body.content is None:
            wire.body.arrive(b"{")
    await asyncio.sleep(0.01)
    assert all(wire.answer for wire in wires) and served.at_rest


def test_on_a_socket_the_head_is_judged_before_the_body_is_there(books: Books) -> None:
    """Refused at once, without a word of the body; taken once the body is there, in whatever pieces."""
    body = json.dumps(books.transfer()).encode()
    framing = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    with books.connect() as wire:
        wire.sendall(POST.replace(b"application/json", b"text/plain") + framing)
        assert read_all(wire).startswith(b"HTTP/1.1 415 ")
    with books.connect() as wire:
        wire.sendall(POST + framing)
        for each in body:
            wire.sendall(bytes([each]))
        assert read_all(wire).startswith(b"HTTP/1.1 201 ")
