"""What the load tests make of an answer: accepted, declined, an error, a retry that got another answer."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from loadtests import asking, config, nouns, recorder, rules
from loadtests.session import Session

STEADY = rules.plan("steady", config.profiles(), duration_s=20.0)


class Clock(Session):
    """A session whose time is moved by hand."""

    def __init__(self) -> None:
        books = nouns.Books(1, 1, 1, 10)
        super().__init__(STEADY, books, "", recorder.Recorder(None, "test"), "seed", alone=True)
        self.time_s = 10.0

    def now_s(self) -> float:
        return self.time_s


class Answer:
    """What Locust's client gives back, from a script; each answer takes a tenth of a second."""

    def __init__(self, status: int, body: dict[str, Any], replayed: bool) -> None:
        self.status_code = status
        self.content = json.dumps(body).encode()
        self.headers = {"idempotent-replayed": "true"} if replayed else {}
        self.request_meta: dict[str, Any] = {}
        self.said: list[str] = []
        self.error: Exception = ConnectionError()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def success(self) -> None:
        self.said.append("success")

    def failure(self, why: str) -> None:
        self.said.append(why)


class Script:
    """A client that answers from a list."""

    def __init__(self, clock: Clock, answers: list[Answer]) -> None:
        self.clock = clock
        self.answers = answers
        self.bodies: list[bytes] = []

    def request(self, _method: str, _path: str, **more: Any) -> Answer:
        self.bodies.append(more["data"])
        self.clock.time_s += 0.1
        return self.answers[len(self.bodies) - 1]


class Chances(Random):
    """Draws given numbers, then 0.5 for ever."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0) if self.numbers else 0.5


DECLINE = {"code": "exceeds_credits", "recorded_at": "2026-01-01T00:00:00Z", "status": 422}
ACCEPTED = {"id": "x", "recorded_at": "2026-01-01T00:00:00Z", "code": 20}


def ask(*answers: Answer, chances: tuple[float, ...] = ()) -> tuple[asking.Outcome, Clock, Script]:
    clock = Clock()
    script = Script(clock, list(answers))
    asked: Any = script
    made = asking.Asking(asked, clock, Chances(*chances))
    return made.write(nouns.AUTHORIZE, "/v1/transfers", 4.0, {"amount": "1"}), clock, script


def test_latency_counts_from_when_a_request_was_due() -> None:
    outcome, clock, script = ask(Answer(201, ACCEPTED, False))
    assert outcome.accepted
    assert script.answers[0].request_meta["response_time"] == pytest.approx(6_100.0)
    counts = clock.recorder.by_second[nouns.AUTHORIZE][4]
    assert [recorder.bucket_ms(index) for index in counts] == [pytest.approx(6_100.0, rel=0.02)]
    assert [recorder.bucket_ms(index) for index in clock.recorder.service[nouns.AUTHORIZE]] == [
        pytest.approx(100.0, rel=0.02)
    ]


def test_a_decline_is_an_answer() -> None:
    outcome, clock, script = ask(Answer(422, DECLINE, False))
    assert not outcome.accepted
    assert script.answers[0].said == ["success"]
    assert clock.recorder.declines == {"exceeds_credits": 1}
    assert (clock.recorder.declined, clock.recorder.errors.total()) == (1, 0)


@pytest.mark.parametrize(
    ("status", "body", "unanswered"),
    [(503, {"code": "outcome_unknown"}, 1), (422, {"code": "idempotency_conflict"}, 0), (0, {}, 1), (400, {}, 0)],
)
def test_everything_else_is_an_error(status: int, body: dict[str, Any], unanswered: int) -> None:
    answer = Answer(status, body, False)
    outcome, clock, script = ask(answer)
    assert not outcome.accepted
    assert clock.recorder.errors.total() == 1
    assert (clock.recorder.accepted, clock.recorder.declined) == (0, 0)
    assert clock.recorder.unanswered == unanswered
    assert script.answers[0].said != ["success"]


def test_a_connection_that_broke_is_made_anew_once() -> None:
    broken = Answer(0, {}, False)
    broken.error = ConnectionResetError()
    outcome, clock, script = ask(broken, Answer(201, ACCEPTED, True))
    assert outcome.accepted
    assert script.bodies[0] == script.bodies[1]
    assert (clock.recorder.reconnects, clock.recorder.errors.total(), clock.recorder.accepted) == (1, 0, 1)
    assert script.answers[1].request_meta["response_time"] == pytest.approx(6_200.0)
    outcome, clock, _ = ask(broken, broken)
    assert not outcome.accepted
    assert (clock.recorder.reconnects, clock.recorder.errors.total(), clock.recorder.unanswered) == (1, 1, 1)


def test_a_command_whose_answer_nobody_waited_for_may_be_recorded_or_not() -> None:
    clock = Clock()
    script: Any = Script(clock, [])
    with pytest.raises(IndexError):  # as a flow that is killed while it waits for its answer
        asking.Asking(script, clock, Chances()).write(nouns.AUTHORIZE, "/v1/transfers", 4.0, {"amount": "1"})
    assert clock.recorder.unanswered == 1


RETRIED = (0.5, 0.0)
"""Not twice at once; but again after the answer."""


@pytest.mark.parametrize(
    ("again", "wrong"),
    [
        (Answer(201, ACCEPTED, True), 0),
        (Answer(201, ACCEPTED, False), 1),
        (Answer(201, ACCEPTED | {"code": 21}, True), 1),
        (Answer(422, DECLINE, True), 1),
    ],
)
def test_a_retry_must_get_the_same_answer(again: Answer, wrong: int) -> None:
    _, clock, script = ask(Answer(201, ACCEPTED, False), again, chances=RETRIED)
    assert script.bodies[0] == script.bodies[1]
    assert (clock.recorder.retries, clock.recorder.wrong_retries) == (1, wrong)
    assert clock.recorder.accepted == 1


def test_a_retry_that_gets_no_answer_is_an_error_and_nothing_else() -> None:
    _, clock, _ = ask(Answer(201, ACCEPTED, False), Answer(503, {"code": "queue_full"}, False), chances=RETRIED)
    assert (clock.recorder.retries, clock.recorder.wrong_retries, clock.recorder.errors.total()) == (0, 0, 1)


def test_two_at_once_must_get_the_same_answer_and_one_says_replayed() -> None:
    _, clock, _ = ask(Answer(201, ACCEPTED, True), Answer(201, ACCEPTED, False), chances=(0.0,))
    assert (clock.recorder.retries, clock.recorder.wrong_retries) == (1, 0)
    _, clock, _ = ask(Answer(201, ACCEPTED, False), Answer(201, ACCEPTED, False), chances=(0.0,))
    assert (clock.recorder.retries, clock.recorder.wrong_retries) == (1, 1)
