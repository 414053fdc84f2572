"""Single writes that begin where their heads arrive: which do, and what becomes of them with their bodies."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import pytest
from granian._granian import RSGIProtocolClosed

from pyledger._rust import Commands
from pyledger.ledger import Busy
from pyledger.ledger.waiting import Waiter, answer
from pyledger.server.access import DevAccess
from pyledger.server.answers import Answers
from pyledger.server.limits import Bodies
from pyledger.server.metrics import Metrics
from pyledger.server.router import Application
from pyledger.server.service import FeedBounds, Service
from tests.server.conftest import Books
from tests.server.test_limits import POST, read_all

BODY = b'{"id":1,"asset":"EUR","exponent":2}'
PLAIN = {"host": "localhost", "content-type": "application/json", "content-length": str(len(BODY))}


class Headers(dict[str, str]):
    """With one value each."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


class Body:
    """A body on its way, as Granian has it: set in a thread, told in the event loop."""

    def __init__(self) -> None:
        self.content: bytes | BaseException | None = None
        self.tell: Callable[[Body], None] | None = None

    def add_done_callback(self, callback: Callable[[Body], None], context: Context | None = None) -> None:
        assert self.tell is None and context is not None
        self.tell = callback

    def arrive(self, content: bytes | BaseException) -> None:
        self.content = content
        assert self.tell is not None
        self.tell(self)

    def cancel(self) -> bool:
        if self.content is not None:
            return False
        asyncio.get_running_loop().call_soon(self.arrive, asyncio.CancelledError())
        return True

    def result(self) -> bytes:
        if isinstance(self.content, BaseException):
            raise self.content
        assert self.content is not None
        return self.content


class Wire:
    """A single write, its body on its way, and its one answer."""

    def __init__(self, **differs: Any) -> None:
        self.method, self.path, self.query_string, self.client = "POST", "/v1/ledgers", "", "127.0.0.1:1"
        self.headers = Headers(PLAIN)
        for name, value in differs.items():
            setattr(self, name, value)
        self.body: Body | None = None
        self.answer: tuple[int, list[tuple[str, str]], bytes] | None = None

    def __call__(self) -> Body:
        assert self.body is None, "asked for twice"
        self.body = Body()
        return self.body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert self.answer is None, "answered twice"
        self.answer = (status, headers, body)

    @property
    def problem(self) -> tuple[int, str]:
        assert self.answer is not None
        return self.answer[0], json.loads(self.answer[2])["code"]


class Written:
    """A writer that keeps who waits."""

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.refuses: Exception | None = None

    def submit_for(self, waiting: Waiter, commands: Commands) -> Waiter:
        if self.refuses:
            raise self.refuses
        assert commands.rows == 1
        self.waiting.append(waiting)
        return waiting


class Served:
    """An application whose ledger is `writer`."""

    def __init__(self, requests_max: int = 10) -> None:
        self.service = Service(
            authenticator=DevAccess(),
            bodies=Bodies(single_bytes_max=1_000, batch_bytes_max=1_000, room_bytes=2_000, timeout_s=0.3),
            answers=Answers(10.0),
            metrics=Metrics("0"),
            page_rows_max=10,
            feed=FeedBounds(10, 1),
        )
        self.writer = Written()
        self.service.ledger = SimpleNamespace(writer=self.writer)  # type: ignore[assignment]
        self.application = Application(self.service, requests_max)

    def begin(self, wire: Wire) -> bool:
        return self.application.begin(wire, wire)  # type: ignore[arg-type]

    @property
    def at_rest(self) -> bool:
        bodies, answers = self.service.bodies.clock._due, self.service.answers._due
        return not (self.application.in_flight or self.application._coming or bodies or answers)


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


async def test_a_stop_or_a_full_queue_between_head_and_body_is_said() -> None:
    served, stopped, full = Served(), Wire(), Wire()
    assert served.begin(stopped) and served.begin(full)
    assert stopped.body is not None and full.body is not None
    served.writer.refuses = Busy()
    full.body.arrive(BODY)
    assert full.problem == (503, "queue_full")
    served.service.stopping = True
    stopped.body.arrive(BODY)
    assert stopped.problem == (503, "stopping")
    assert served.at_rest


async def test_one_above_the_bound_is_told_so() -> None:
    served, wires = Served(requests_max=2), [Wire() for _ in range(3)]
    assert all(served.begin(wire) for wire in wires)
    for wire in wires:
        assert wire.body is not None
        wire.body.arrive(BODY)
    assert wires[0].problem == (503, "connections_full")
    assert [wire.answer for wire in wires[1:]] == [None, None]


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
