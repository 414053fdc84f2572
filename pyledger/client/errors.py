"""What a call can raise, by what the caller should do about it.

Guarded here: every answer that is not a success becomes exactly one of these, with the server's stable
`code`; and `Unavailable.outcome_unknown` is true whenever the command may have taken effect.
"""

from __future__ import annotations

import msgspec


class LedgerError(Exception):
    """Any answer but a success. `code` is stable; `detail` is a sentence for a person."""

    def __init__(
        self,
        code: str,
        detail: str,
        status: int,
        *,
        command_id: str | int | None = None,
        recorded_at: str | None = None,
        replayed: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.command_id = command_id
        self.recorded_at = recorded_at
        self.replayed = replayed


class Malformed(LedgerError):
    """The request itself is wrong; nothing was recorded. Sending it again cannot help."""


class AccessDenied(LedgerError):
    """The key is missing, unknown, expired or revoked, or lacks the scope."""


class NotFound(LedgerError):
    """It does not exist, or belongs to another tenant; nothing was recorded."""


class Conflict(LedgerError):
    """The id was used before for something else; the first outcome stands and nothing was recorded."""


class Declined(LedgerError):
    """A business decision, recorded in the journal at `recorded_at`. A retry gets the same answer, and then
    `replayed` is true."""


class Unavailable(LedgerError):
    """No answer within the attempts and the time allowed.

    `outcome_unknown` is true when the command may have taken effect all the same: send it again with the
    same id to learn which. False means that every attempt was refused before it was taken.
    """

    def __init__(self, code: str, detail: str, status: int, *, attempts: int, outcome_unknown: bool) -> None:
        super().__init__(code, detail, status)
        self.attempts = attempts
        self.outcome_unknown = outcome_unknown


class _Problem(msgspec.Struct):
    """RFC 9457 problem details, as far as the client reads them."""

    code: str = "unreadable_answer"
    detail: str = "The server's answer is not problem details."
    id: str | int | None = None  # a UUID, or the number of a ledger
    recorded_at: str | None = None


_read_problem = msgspec.json.Decoder(_Problem).decode

_CONFLICTS = ("idempotency_conflict", "id_archived", "transfer_archived")
_BY_STATUS: dict[int, type[LedgerError]] = {401: AccessDenied, 403: AccessDenied, 404: NotFound, 409: Conflict}


def read_problem(status: int, body: bytes, *, replayed: bool = False) -> LedgerError:
    """The error that an answer of this status and body stands for."""
    try:
        problem = _read_problem(body)
    except msgspec.MsgspecError:
        problem = _Problem()
    kind = _BY_STATUS.get(status, Malformed if 400 <= status < 500 else LedgerError)
    if status == 422:
        # Both are "well-formed but no"; only a decline was recorded.
        kind = Conflict if problem.code in _CONFLICTS else Declined
    return kind(
        problem.code, problem.detail, status, command_id=problem.id, recorded_at=problem.recorded_at, replayed=replayed
    )
