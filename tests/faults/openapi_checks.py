"""What Schemathesis cannot know of our answers, as checks of our own; it loads this file, see openapi.toml.

Guarded here: a request that fits the document is refused with 400 only for a reason that a JSON schema cannot
express; an item of a batch that does not fit the document is refused by itself; a binary answer has a record
for each that was asked.
"""

from __future__ import annotations

from typing import Final

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, Response

from pyledger.client.refusals import REFUSALS

BEYOND_SCHEMA: Final = {
    *REFUSALS.values(),  # what the books alone know: one field against another, or against what is there
    "cursor_invalid",  # not one that a list handed out
    "id_or_key_needed",  # one of a field and a header, not both
    "invalid_amount",  # 39 digits, and yet 2^128 or more
    "invalid_flags",  # flags against other fields
    "invalid_metadata",  # too large or too deep as a whole, or a number that not every parser keeps
    "invalid_records",  # any bytes are a string for a schema
    "invalid_reference",  # 128 characters that are more bytes, or NUL
    "invalid_time",  # before 1970 or after 2262, or more digits of a second than nanoseconds
    "json_too_deep",
    "missing_field",  # an amount, which only some transfers may leave out
    "parameter_invalid",  # the same of a time in a query
    "wrong_type",  # 18.0, an integer for a schema; no float is taken here
}
RECORD_BYTES: Final = 128
RESULT_BYTES: Final = 160
RESULTS_TYPE: Final = "application/vnd.pyledger.results"


def mode_of(case: Case) -> GenerationMode | None:
    """Whether the request was made to fit the document or not to."""
    return case.meta.generation.mode if case.meta is not None else None


@schemathesis.check
def refused_for_a_reason_beyond_the_schema(_: CheckContext, response: Response, case: Case) -> None:
    """400 to a request that fits."""
    if response.status_code == 400 and mode_of(case) is GenerationMode.POSITIVE:
        code = response.json()["code"]
        assert code in BEYOND_SCHEMA, f"refused with {code}, though it fits the document"


@schemathesis.check
def an_item_that_does_not_fit_is_refused(_: CheckContext, response: Response, case: Case) -> None:
    """200 to a batch that does not fit."""
    wrong = mode_of(case) is GenerationMode.NEGATIVE and case.path.endswith("/batch")
    if wrong and response.status_code == 200 and response.headers["content-type"][0] == "application/json":
        assert response.json()["refused"] > 0, "a batch that does not fit the document had no item refused"


@schemathesis.check
def binary_answers_have_a_record_each(_: CheckContext, response: Response, case: Case) -> None:
    """The binary form."""
    if response.status_code == 200 and response.headers["content-type"][0] == RESULTS_TYPE:
        asked = len(case.body) // RECORD_BYTES if isinstance(case.body, bytes) else None
        assert len(response.content) % RESULT_BYTES == 0, "part of a record"
        assert asked is None or len(response.content) == asked * RESULT_BYTES, "a record is missing"
