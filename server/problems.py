"""Every way this server says no over HTTP: RFC 9457 problem details with a stable code.

Guards: one list. A code that is not in `PROBLEMS` cannot be answered, and only this file knows which
HTTP status a refusal of the ledger has. Nothing of an unexpected error reaches a client but an id.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pyledger._rust import MALFORMED, REFUSALS

RETRY_AFTER_S: Final = 2
"""What a client is told to wait when we cannot know better."""

TYPE_PREFIX: Final = "urn:pyledger:problem:"

CLASS_STATUS: Final = {
    "malformed": 400,
    "unknown": 404,
    "conflict": 422,
    "declined": 422,
    "full": 503,
    "chain": 422,
}
"""HTTP status by class of a refusal of the ledger."""


class Problem(msgspec.Struct, frozen=True):
    """One kind of no: its code, its status and what it means."""

    code: str
    status: int
    detail: str
    kind: str
    """"http" for what this server says by itself, else the class of the ledger's refusal."""

    @property
    def title(self) -> str:
        """The code in words."""
        return self.code.replace("_", " ").capitalize()


_HTTP: Final = (
    ("body_incomplete", 400, "The connection ended before the body did, or the body has trailers."),
    ("id_invalid", 400, "The id in the path is not one: a UUID in its 36-character form, or a ledger's number."),
    ("header_invalid", 400, "A header is given more than once or has characters that it must not have."),
    ("parameter_invalid", 400, "A query parameter has a value that it must not have."),
    ("parameter_unknown", 400, "There is no such query parameter here."),
    ("cursor_invalid", 400, "The cursor was not handed out by this list with these filters."),
    ("json_too_deep", 400, "The body nests deeper than this server reads."),
    ("too_many_rows", 400, "This takes more rows of the journal than one question looks at."),
    ("ledger_too_large", 400, "The ledger has more accounts than one answer looks at: ask for `accounts=true`."),
    ("statement_too_long", 400, "The statement has more rows than a document: ask for a shorter period, or for JSON."),
    ("key_missing", 401, "Send an API key: Authorization: Bearer pk_..."),
    ("key_invalid", 401, "The API key is unknown, revoked or expired."),
    ("scope_missing", 403, "The API key does not have the scope that this operation needs."),
    ("host_not_local", 403, "A server without keys answers under localhost, 127.0.0.1 and [::1] only."),
    ("not_found", 404, "There is nothing at this path."),
    ("ledger_not_found", 404, "There is no such ledger."),
    ("account_not_found", 404, "There is no such account."),
    ("checkpoint_not_found", 404, "There is no signed checkpoint of that size, or the first is larger than this one."),
    ("transfer_not_found", 404, "There is no such transfer."),
    ("method_not_allowed", 405, "This path does not have that method; Allow lists those it has."),
    ("out_of_turn", 409, "The batch that this one is to follow was not taken before it. Nothing was recorded."),
    ("cursor_gone", 410, "The journal does not go on from this cursor: what follows it was archived, or a backup of "
     "the database was restored. Look at what happened before you read on with `after=latest` or from the beginning."),
    ("history_archived", 410, "Rows that this takes were archived and are not in the journal any more. From "
     "`here_since` on none is missing, where the answer has it."),
    ("archived", 410, "This was recorded, and is in an archive by now, which `archive` names."),
    ("body_timeout", 408, "The body did not arrive in time."),
    ("body_too_large", 413, "The body is larger than this operation takes."),
    ("content_type_unsupported", 415, "This operation does not take a body of that Content-Type."),
    ("internal_error", 500, "Something unexpected happened. If this was a write, its outcome is unknown: "
     "send it again with the same id."),
    ("connections_full", 503, "More requests are being served at once than the limit allows."),
    ("feed_full", 503, "More readers follow the feed at once than the limit allows, in all or of one tenant."),
    ("too_many_at_once", 503, "More questions about the past are asked, trial balances added up, or documents made and "
     "sent, at once than the limit allows, in all or of one tenant."),
    ("bodies_full", 503, "The request bodies being read hold as much memory as the limit allows."),
    ("history_not_indexed", 503, "So many rows around this moment have no indexes yet that this would take too much "
     "work. They get them once their partition of the journal is over."),
    ("history_too_slow", 503, "Looking for what was held took longer than it may. Ask for a shorter period, a smaller "
     "page, or later."),
    ("queue_full", 503, "The queue is full. Nothing was recorded."),
    ("unavailable", 503, "The ledger cannot be reached or is owned by another server. Nothing was recorded."),
    ("outcome_unknown", 503, "PostgreSQL did not confirm this in time, or the connection to it was lost: send it "
     "again with the same id to learn its outcome."),
    ("stopping", 503, "This server is stopping. Nothing was recorded."),
)  # fmt: skip


def _all_problems() -> dict[str, Problem]:
    problems = {code: Problem(code, status, detail, "http") for code, status, detail in _HTTP}
    for code, detail in MALFORMED:
        problems[code] = Problem(code, CLASS_STATUS["malformed"], detail, "malformed")
    for _number, code, kind, detail in REFUSALS:
        problems[code] = Problem(code, CLASS_STATUS[kind], detail, kind)
    return problems


PROBLEMS: Final[dict[str, Problem]] = _all_problems()
"""All problems by code: ours, the decoder's, the engine's."""


class Refused(Exception):
    """The request is answered with a problem. Raised anywhere below the router."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        **members: Any,
    ) -> None:
        super().__init__(code)
        self.problem = PROBLEMS[code]
        self.detail = detail or self.problem.detail
        self.headers = headers
        self.members = members


class ClientGone(Exception):
    """The client closed its connection before its request was complete."""


def problem_body(problem: Problem, detail: str, members: dict[str, Any]) -> bytes:
    """The JSON of a problem, with further members where it has some."""
    return msgspec.json.encode(
        {
            "type": TYPE_PREFIX + problem.code,
            "title": problem.title,
            "status": problem.status,
            "code": problem.code,
            "detail": detail,
            **members,
        }
    )
