"""The router by itself: what the socket cannot provoke."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pyledger._rust import Malformed
from pyledger.ledger import BadCursor, Busy, Unavailable, UnknownOutcome
from pyledger.ledger.waiting import Waiter, answer
from pyledger.server.access import DevAccess
from pyledger.server.answers import Answers
from pyledger.server.host import CannotServe, Host, bind
from pyledger.server.limits import Bodies
from pyledger.server.metrics import Histogram, Metrics
from pyledger.server.operations import OPERATIONS
from pyledger.server.problems import Refused
from pyledger.server.replies import JSON, Answer
from pyledger.server.router import Application, Router
from pyledger.server.service import FeedBounds, Request, Service
from pyledger.settings import Settings


@dataclass
class Wire:
    """A request without a body, and its one answer."""

    method: str = "GET"
    path: str = "/v1/accounts"
    query_string: str = ""
    client: str = "127.0.0.1:1"
    headers: dict[str, str] = field(default_factory=lambda: {"host": "localhost"})
    answer: tuple[int, list[tuple[str, str]], bytes] | None = None

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert self.answer is None, "answered twice"
        self.answer = (status, headers, body)


def service() -> Service:
    made = Service(
        authenticator=DevAccess(),
        bodies=Bodies(single_bytes_max=1_000, batch_bytes_max=1_000, room_bytes=2_000, timeout_s=1.0),
        answers=Answers(0.2),
        metrics=Metrics("0"),
        page_rows_max=10,
        feed=FeedBounds(10, 1),
    )
    made.metrics.watch(made)
    return made


def reads_that_raise(error: BaseException) -> Any:
    async def accounts(*_: object) -> None:
        raise error

    return SimpleNamespace(reads=SimpleNamespace(accounts=accounts))


async def ask(made: Service, **request: Any) -> tuple[int, dict[str, str], Any]:
    wire = Wire(**request)
    await Application(made, 10).__rsgi__(wire, wire)  # type: ignore[arg-type]
    assert wire.answer is not None
    return wire.answer[0], dict(wire.answer[1]), json.loads(wire.answer[2])


async def test_what_nobody_expected_is_logged_once_and_told_by_its_id_only(caplog: pytest.LogCaptureFixture) -> None:
    made = service()
    made.ledger = reads_that_raise(RuntimeError("the password is swordfish"))
    with caplog.at_level(logging.ERROR):
        status, headers, body = await ask(made)
    assert (status, body["code"]) == (500, "internal_error")
    assert "swordfish" not in json.dumps(body)
    assert "Traceback" not in json.dumps(body)
    assert body["request_id"] == headers["x-request-id"]
    assert len(caplog.records) == 1
    assert body["request_id"] in caplog.text
    assert "swordfish" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Busy(), 503, "queue_full"),
        (Unavailable("away"), 503, "unavailable"),
        (UnknownOutcome("who knows"), 503, "outcome_unknown"),
        (BadCursor("no"), 400, "cursor_invalid"),
        (Refused("account_not_found"), 404, "account_not_found"),
    ],
)
async def test_each_error_of_the_ledger_has_its_answer(error: Exception, status: int, code: str) -> None:
    made = service()
    made.ledger = reads_that_raise(error)
    told, headers, body = await ask(made)
    assert (told, body["code"]) == (status, code)
    assert ("retry-after" in headers) == (status == 503)


async def test_malformed_has_its_index() -> None:
    made = service()
    error = Malformed("the amount is no number")
    error.code, error.detail, error.index = "invalid_amount", "the amount is no number", 3
    made.ledger = reads_that_raise(error)
    status, _, body = await ask(made)
    assert (status, body["code"], body["index"]) == (400, "invalid_amount", 3)


async def test_before_the_ledger_is_open_and_once_it_stops() -> None:
    made = service()
    status, headers, body = await ask(made)
    assert (status, body["code"], headers["retry-after"]) == (503, "unavailable", "2")
    assert (await ask(made, path="/healthz"))[2] == {"status": "alive", "state": "starting"}
    assert (await ask(made, path="/readyz"))[:1] == (503,)
    made.stopping = True
    status, headers, body = await ask(made)
    assert (status, body["code"], headers["connection"]) == (503, "stopping", "close")


async def test_a_read_that_takes_too_long_is_given_up() -> None:
    made = service()

    async def accounts(*_: object) -> None:
        await asyncio.sleep(60)

    made.ledger = SimpleNamespace(reads=SimpleNamespace(accounts=accounts))  # type: ignore[assignment]
    status, _, body = await ask(made)
    assert (status, body["code"]) == (503, "unavailable")


async def test_a_write_that_takes_too_long_is_told_so_and_left_alone() -> None:
    answers = Answers(0.1)
    answers.start()
    decided: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    with pytest.raises(UnknownOutcome):
        await answers.wait(decided)
    assert decided.done()
    in_time: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, in_time.set_result, "reply")
    assert await answers.wait(in_time) == "reply"
    answers.stop()


class Written:
    """A writer that keeps who waits; each is answered by the test."""

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []

    def submit_for(self, waiting: Waiter, _commands: object) -> Waiter:
        self.waiting.append(waiting)
        return waiting


def left_open(made: Service) -> tuple[Application, Written, Wire]:
    """A write whose handler is over and whose batch is not committed."""
    application, written = Application(made, 10), Written()

    async def handler(service: Service, request: Request) -> Answer:
        return service.answers.later(request, written, "commands")  # type: ignore[arg-type]

    operation = next(each for each in OPERATIONS if each.name == "listAccounts")
    application._router = Router([msgspec.structs.replace(operation, handler=handler)])
    return application, written, Wire()


def accepted() -> Any:
    return SimpleNamespace(outcome="accepted", replayed=False, body=b"{}")


async def test_a_write_is_left_open_and_answered_once_by_the_writer() -> None:
    application, written, wire = left_open(service())
    assert await application.__rsgi__(wire, wire) is True  # type: ignore[arg-type]
    assert (wire.answer, application.in_flight) == (None, 1)
    waiting = asyncio.create_task(application.idle())
    await asyncio.sleep(0.01)
    assert not waiting.done(), "a stop waits for it"
    answer(written.waiting[0], (accepted(), None))
    assert wire.answer == (201, JSON, b"{}")
    await asyncio.wait_for(waiting, 1)
    answer(written.waiting[0], (accepted(), None))  # Wire takes one answer only
    assert application.in_flight == 0


async def test_what_is_left_open_is_told_when_it_takes_too_long_and_then_left_alone() -> None:
    made = service()
    application, written, wire = left_open(made)
    await application.__rsgi__(wire, wire)  # type: ignore[arg-type]
    made.answers.start()
    await asyncio.sleep(0.6)
    made.answers.stop()
    assert wire.answer is not None
    assert (wire.answer[0], json.loads(wire.answer[2])["code"]) == (503, "outcome_unknown")
    gone = weakref.ref(wire)
    del wire
    assert gone() is None, "what still waits to be posted holds its request no more"
    answer(written.waiting[0], (accepted(), None))
    assert (application.in_flight, made.answers._due) == (0, {})


async def test_an_answer_that_cannot_be_made_is_500_and_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    application, written, wire = left_open(service())
    other = Wire()
    for each in (wire, other):
        await application.__rsgi__(each, each)  # type: ignore[arg-type]
    answer(written.waiting[0], (SimpleNamespace(outcome="nobody knows this one", replayed=False, body=b"{}"), None))
    answer(written.waiting[1], (accepted(), None))
    assert wire.answer is not None and other.answer is not None
    assert (wire.answer[0], other.answer[0], application.in_flight) == (500, 201, 0)
    assert "nobody knows this one" in caplog.text
    assert b'operation="listAccounts",status="500"' in application._service.metrics.render()


async def test_a_cancelled_handler_leaves_no_count_behind() -> None:
    made = service()

    async def accounts(*_: object) -> None:
        await asyncio.sleep(60)

    made.ledger = SimpleNamespace(reads=SimpleNamespace(accounts=accounts))  # type: ignore[assignment]
    application = Application(made, 10)
    wire = Wire()
    task = asyncio.create_task(application.__rsgi__(wire, wire))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    assert application.in_flight == 1
    waiting = asyncio.create_task(application.idle())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(waiting, 1)
    assert application.in_flight == 0


def test_every_row_of_the_table_is_found_by_its_path() -> None:
    router = Router()
    for operation in OPERATIONS:
        methods, identifier = router.find(operation.path.replace("{id}", "some"))
        assert methods is not None
        assert methods[operation.method] is operation
        assert identifier == ("some" if "{id}" in operation.path else "")


def test_histograms_count_what_they_are_given() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    assert histogram.buckets() == ([("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)], 102.0)


def test_a_granian_that_answers_at_once_in_any_case_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyledger.server.host._GRANIAN_FITS", False)
    with contextlib.closing(bind("127.0.0.1", 0)) as listener, pytest.raises(CannotServe, match="install granian"):
        Host(listener, Settings(), 10)
