"""Answers as the socket gets them: a status, a list of headers made once, and bytes.

Guards: no answer leaves without `nosniff` and `no-store`, and none allows another origin to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyledger.server.problems import CLASS_STATUS, RETRY_AFTER_S, Problem, Refused, problem_body

if TYPE_CHECKING:
    from pyledger._rust import Reply

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]

COMMON: Final[Headers] = [
    ("server", "pyledger"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
]
JSON_TYPE: Final = "application/json"
PROBLEM_TYPE: Final = "application/problem+json"
BINARY_TYPE: Final = "application/vnd.pyledger.transfers"
CSV_TYPE: Final = "text/csv"
HTML_TYPE: Final = "text/html"
EVENTS_TYPE: Final = "text/event-stream"
RESULTS_TYPE: Final = "application/vnd.pyledger.results"

REPLAYED: Final = ("idempotent-replayed", "true")
RETRY_AFTER: Final = ("retry-after", str(RETRY_AFTER_S))
CLOSE: Final = ("connection", "close")

JSON: Final[Headers] = [("content-type", JSON_TYPE), *COMMON]
JSON_REPLAYED: Final[Headers] = [*JSON, REPLAYED]
BINARY: Final[Headers] = [("content-type", RESULTS_TYPE), *COMMON]
BINARY_REPLAYED: Final[Headers] = [*BINARY, REPLAYED]
EVENTS: Final[Headers] = [("content-type", EVENTS_TYPE), ("x-accel-buffering", "no"), *COMMON, CLOSE]
PROBLEM: Final[Headers] = [("content-type", PROBLEM_TYPE), *COMMON]
PROBLEM_REPLAYED: Final[Headers] = [*PROBLEM, REPLAYED]
PROBLEM_RETRY: Final[Headers] = [*PROBLEM, RETRY_AFTER]
TEXT_METRICS: Final[Headers] = [("content-type", "text/plain; version=0.0.4; charset=utf-8"), *COMMON]

OK: Final = 200
CREATED: Final = 201

STREAMED: Final[Answer] = (OK, [], b"")
"""Stands for an answer that its handler has sent already, piece by piece."""
LATER: Final[Answer] = (CREATED, [], b"")
"""Stands for an answer that comes once its batch is committed."""


def single(reply: Reply) -> Answer:
    """The answer to one write: 201 with what was recorded, or the problem that the ledger made of it."""
    if reply.outcome == "accepted":
        return CREATED, (JSON_REPLAYED if reply.replayed else JSON), reply.body
    status = CLASS_STATUS[reply.outcome]
    if reply.replayed:
        headers = PROBLEM_REPLAYED
    else:
        headers = PROBLEM_RETRY if reply.outcome == "full" else PROBLEM
    return status, headers, with_status(reply.body, status)


def batch(reply: Reply, *, binary: bool, name: str | None = None) -> Answer:
    """The answer to a batch: always 200, with a result for each of its commands, and its name if it has one."""
    if binary:
        headers = BINARY_REPLAYED if reply.replayed else BINARY
    else:
        headers = JSON_REPLAYED if reply.replayed else JSON
    return OK, headers if name is None else [*headers, ("batch-name", name)], reply.body


def with_status(body: bytes, status: int) -> bytes:
    """A problem of the ledger, which knows no HTTP, with the `status` member of RFC 9457."""
    return b'%b,"status":%d}' % (body[:-1], status)


def problem(what: Problem, detail: str, extra: tuple[tuple[str, str], ...], members: dict[str, Any]) -> Answer:
    """The answer that says no."""
    return what.status, [*PROBLEM, *extra], problem_body(what, detail, members)


def refusal(refused: Refused) -> Answer:
    """The answer to a request that was refused below the router."""
    return problem(refused.problem, refused.detail, refused.headers, refused.members)
