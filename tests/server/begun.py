"""An application without a socket: single writes whose bodies arrive when the test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import Context
from types import SimpleNamespace
from typing import Any

from pyledger._rust import Commands
from pyledger.ledger.waiting import Waiter
from pyledger.server.access import DevAccess
from pyledger.server.answers import Answers
from pyledger.server.limits import Bodies
from pyledger.server.metrics import Metrics
from pyledger.server.router import Application
from pyledger.server.service import FeedBounds, Service

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
