"""A plan, an answer, and nobody to tell."""

from __future__ import annotations

from typing import Any

from benchmarks.bodies import first_account
from benchmarks.nouns import Plan

LEDGER = 7
FIRST = first_account(LEDGER)


def plan(**fields: Any) -> Plan:
    given: dict[str, Any] = {
        "case": "test", "form": "single", "ledger": LEDGER, "first_account": FIRST, "accounts": 20,
        "requests": 40, "connections": 4, "seed": 3,
    }  # fmt: skip
    return Plan(**(given | fields))


def body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def answer(status: int, content: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content)


def quiet(*_: object) -> None:
    pass
