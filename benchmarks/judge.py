"""What an answer says about each transfer of its request.

Guarded here: a transfer counts as committed only where the answer says so for that very transfer; anything
else that comes back is an error with a name.
"""

from __future__ import annotations

import json
import re
from typing import Final

ACCEPTED: Final = 1
DECLINED: Final = 2
REFUSED: Final = 3

RESULT_BYTES: Final = 160

_COUNTS: Final = re.compile(rb'"accepted":(\d+),"declined":(\d+),"refused":(\d+)\}\s*$')
_STATUS: Final = {"accepted": ACCEPTED, "declined": DECLINED}


class Wrong(Exception):
    """The request as a whole was not answered as it should; `str()` is the error's name."""


def single(answer: bytes) -> int:
    """The verdict on a request of one transfer. Raises `Wrong`."""
    if answer.startswith(b"201", 9):
        return ACCEPTED
    problem = _problem(answer)
    if answer.startswith(b"422", 9) and "recorded_at" in problem:
        return DECLINED
    raise Wrong(_name(answer, problem))


def batch(answer: bytes, commands: int) -> bytes | None:
    """The verdicts on a JSON batch, a byte each; None where all were accepted. Raises `Wrong`."""
    if not answer.startswith(b"200", 9):
        raise Wrong(_name(answer, _problem(answer)))
    counts = _COUNTS.search(answer, max(0, len(answer) - 120))
    if counts and int(counts[1]) == commands and counts[2] == counts[3] == b"0":
        return None
    results = json.loads(answer[answer.index(b"\r\n\r\n") + 4 :])["results"]
    if len(results) != commands:
        raise Wrong(f"{len(results)} results to {commands} commands")
    return bytes(_STATUS.get(each["status"], REFUSED) for each in results)


def binary(answer: bytes, commands: int) -> bytes | None:
    """The verdicts on a binary batch, a byte each; None where all were accepted. Raises `Wrong`."""
    if not answer.startswith(b"200", 9):
        raise Wrong(_name(answer, _problem(answer)))
    start = answer.index(b"\r\n\r\n") + 4
    if len(answer) - start != commands * RESULT_BYTES:
        raise Wrong(f"{len(answer) - start} bytes to {commands} commands")
    # Every 160th byte: the two halves of the refusal's number, and the highest byte of the time.
    low, high, recorded = (answer[start + each :: RESULT_BYTES] for each in (8, 9, 7))
    if low.count(0) == commands and high.count(0) == commands and not recorded.count(0):
        return None
    return bytes(
        (ACCEPTED if not (below or above) else DECLINED) if time else REFUSED
        for below, above, time in zip(low, high, recorded, strict=True)
    )


def _problem(answer: bytes) -> dict[str, object]:
    try:
        found = json.loads(answer[answer.index(b"\r\n\r\n") + 4 :])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(answer: bytes, problem: dict[str, object]) -> str:
    status = answer[9:12].decode(errors="replace")
    return f"{status} {problem.get('code') or problem.get('refusal') or ''}".strip()
