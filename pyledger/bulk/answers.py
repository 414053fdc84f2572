"""What the ledger said of a request, as far as an import wants to know: which rows were not accepted, and why.

Guarded here: an answer is of as many rows as the request had, or it is none.
"""

from __future__ import annotations

import msgspec

from pyledger.bulk.nouns import BulkError
from pyledger.client.binary import RESULT
from pyledger.client.refusals import REFUSALS


class _Result(msgspec.Struct):
    """What a reply in JSON says of one row."""

    id: str
    status: str = "accepted"
    refusal: str = ""
    detail: str = ""


class _Results(msgspec.Struct):
    results: list[_Result]


_read_results = msgspec.json.Decoder(_Results).decode
Verdict = tuple[int, str, str]
"""Which row of a request, its status, and the code of its refusal."""
Answered = tuple[list[Verdict], int]
"""What was not accepted, and how many rows had been decided before."""


def of_json(body: bytes, rows: int) -> Answered:
    """Of an answer in JSON, which says elsewhere whether all rows had been decided before. Raises `BulkError`."""
    results = _read_results(body).results
    if len(results) != rows:
        raise BulkError(f"the ledger answered for {len(results)} rows instead of {rows}")
    return [(place, each.status, each.refusal) for place, each in enumerate(results) if each.refusal], 0


def of_records(body: bytes, rows: int) -> Answered:
    """Of an answer in records. Raises `BulkError`."""
    if len(body) != rows * RESULT.size:
        raise BulkError(f"the ledger answered with {len(body)} bytes, which are not {rows} results")
    replayed = body[10 :: RESULT.size].count(1)
    if not body[8 :: RESULT.size].strip(b"\0") and not body[9 :: RESULT.size].strip(b"\0"):
        return [], replayed
    wrong = []
    for place, (recorded_ns, refusal, *_) in enumerate(RESULT.iter_unpack(body)):
        if refusal:
            wrong.append((place, "declined" if recorded_ns else "refused", REFUSALS.get(refusal, str(refusal))))
    return wrong, replayed
