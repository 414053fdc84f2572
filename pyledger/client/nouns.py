"""What goes to the ledger and what comes back, typed.

Guarded here: an amount is an `int` of minor units in every direction. A float, a bool or a Decimal is a
`TypeError` before anything is sent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from pyledger.client.ids import new_id

Metadata = dict[str, Any]
BATCH_ROWS_MAX = 8_190
AMOUNT_MAX = 2**128 - 2
AMOUNT_ALL = 2**128 - 1  # in the binary form: the whole hold, all that is left
_SECOND_NS = 1_000_000_000


class TransferFlags(enum.IntFlag):
    """What a transfer does beside moving money. The names in lower case are those of the HTTP API."""

    NONE = 0
    LINKED = 1 << 0
    PENDING = 1 << 1
    POST_PENDING = 1 << 2
    VOID_PENDING = 1 << 3
    BALANCING_DEBIT = 1 << 4
    BALANCING_CREDIT = 1 << 5
    CLOSING_DEBIT = 1 << 6
    CLOSING_CREDIT = 1 << 7
    IMPORTED = 1 << 8
    REVERSE = 1 << 9
    GROUP = 1 << 10


class AccountFlags(enum.IntFlag):
    """What an account allows. `CLOSED` is set and cleared by transfers only."""

    NONE = 0
    LINKED = 1 << 0
    DEBITS_MUST_NOT_EXCEED_CREDITS = 1 << 1
    CREDITS_MUST_NOT_EXCEED_DEBITS = 1 << 2
    IMPORTED = 1 << 4
    CLOSED = 1 << 5


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time as the ledger writes it, to the last digit."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return int(at.timestamp()) * _SECOND_NS + int(fraction.ljust(9, "0") or 0)


def rfc3339(at_ns: int) -> str:
    """The RFC 3339 form of nanoseconds since 1970, to the last digit."""
    whole, fraction = divmod(at_ns, _SECOND_NS)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{fraction:09d}Z"


def checked_amount(amount: int) -> int:
    """The amount itself if it is a whole number of 0 to 2^128 - 2; raises TypeError or ValueError."""
    if type(amount) is not int:
        raise TypeError(f"an amount is an int of minor units, not {type(amount).__name__}")
    if not 0 <= amount <= AMOUNT_MAX:
        raise ValueError("an amount is from 0 to 2^128 - 2")
    return amount


def _flag_names(flags: enum.IntFlag) -> list[str]:
    return [flag.name.lower() for flag in flags if flag.name is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to open. With a limit flag, `allowance` is how far it may be overdrawn."""

    ledger: int
    code: int = 1
    flags: AccountFlags = AccountFlags.NONE
    allowance: int | None = None
    reference: str | None = None
    metadata: Metadata | None = None
    effective_ns: int | None = None
    id: UUID = field(default_factory=new_id)

    def to_json(self) -> dict[str, Any]:
        """The object that the API takes."""
        fields: dict[str, Any] = {"id": str(self.id), "ledger": self.ledger, "code": self.code}
        if self.flags:
            fields["flags"] = _flag_names(self.flags)
        if self.allowance is not None:
            fields["allowance"] = str(checked_amount(self.allowance))
        return fields | _texts(self.reference, self.metadata, self.effective_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransfer:
    """A transfer, a hold, or what becomes of one. `amount=None` asks for all, where that has a meaning."""

    debit_account_id: UUID | None = None
    credit_account_id: UUID | None = None
    amount: int | None = None
    ledger: int = 0
    code: int = 0
    flags: TransferFlags = TransferFlags.NONE
    timeout_s: int = 0
    pending_id: UUID | None = None
    reverses: UUID | None = None
    reference: str | None = None
    metadata: Metadata | None = None
    effective_ns: int | None = None
    id: UUID = field(default_factory=new_id)

    def to_json(self) -> dict[str, Any]:
        """The object that the API takes; what is zero or None is left out."""
        given = {
            "debit_account_id": self.debit_account_id,
            "credit_account_id": self.credit_account_id,
            "pending_id": self.pending_id,
            "reverses": self.reverses,
        }
        fields: dict[str, Any] = {"id": str(self.id)}
        fields |= {name: str(value) for name, value in given.items() if value is not None}
        if self.amount is not None:
            fields["amount"] = str(checked_amount(self.amount))
        numbers = {"ledger": self.ledger, "code": self.code, "timeout_s": self.timeout_s}
        fields |= {name: value for name, value in numbers.items() if value}
        if names := _flag_names(self.flags & ~TransferFlags.REVERSE):
            fields["flags"] = names
        return fields | _texts(self.reference, self.metadata, self.effective_ns)


def resolution_fields(
    command_id: UUID | None,
    amount: int | None,
    *,
    group: bool,
    reference: str | None,
    metadata: Metadata | None,
    effective_ns: int | None,
) -> dict[str, Any]:
    """The object that a post, a void or a reversal takes."""
    fields: dict[str, Any] = {"id": str(command_id or new_id())}
    if amount is not None:
        fields["amount"] = str(checked_amount(amount))
    if group:
        fields["group"] = True
    return fields | _texts(reference, metadata, effective_ns)


def _texts(reference: str | None, metadata: Metadata | None, effective_ns: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if reference is not None:
        fields["reference"] = reference
    if metadata is not None:
        fields["metadata"] = metadata
    if effective_ns is not None:
        fields["effective_at"] = rfc3339(effective_ns)
    return fields


class Counters(msgspec.Struct, frozen=True):
    """The four sums of an account. None is ever negative."""

    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


class Balances(Counters, frozen=True):
    """The counters, and what they come to seen from the account's own side; these can be negative."""

    posted: int
    pending: int
    available: int


class AccountAfter(Balances, frozen=True):
    """An account right after a transfer."""

    id: UUID


class Ledger(msgspec.Struct, frozen=True):
    """A ledger: one asset, whose amounts are in units of 10^-exponent."""

    id: int
    asset: str
    exponent: int
    created_at: str
    metadata: Metadata | None = None


class Account(msgspec.Struct, frozen=True):
    """An account and its balances as of the last committed batch."""

    id: UUID
    ledger: int
    code: int
    flags: list[str]
    created_at: str
    balances: Balances
    allowance: int | None = None
    reference: str | None = None
    metadata: Metadata | None = None
    effective_at: str | None = None


class Transfer(msgspec.Struct, frozen=True):
    """One decided transfer as the journal keeps it. `status` is accepted or declined."""

    id: UUID
    kind: str
    status: str
    recorded_at: str
    amount: int = 0
    """What moved or is held; 0 in a decline of what asked for all."""
    ledger: int = 0
    code: int = 0
    flags: list[str] = []
    debit_account: AccountAfter | None = None
    credit_account: AccountAfter | None = None
    debit_account_id: UUID | None = None
    credit_account_id: UUID | None = None
    pending_id: UUID | None = None
    reverses: UUID | None = None
    timeout_s: int = 0
    expires_at: str | None = None
    effective_at: str | None = None
    reference: str | None = None
    metadata: Metadata | None = None
    refusal: str | None = None
    detail: str | None = None
    replayed: bool = False
    """True if the command had been decided before this request. Not part of the ledger's own record."""


class BatchItem(msgspec.Struct, frozen=True):
    """What became of one command of a batch. `status` is accepted, declined (recorded) or refused (not)."""

    id: UUID
    status: str = "accepted"
    recorded_at: str | None = None
    refusal: str | None = None
    detail: str | None = None
    amount: int | None = None
    kind: str | None = None
    debit_account: AccountAfter | None = None
    credit_account: AccountAfter | None = None
    debit_after: Counters | None = None
    """Both only in replies of the binary form, which has no room for more than the counters."""
    credit_after: Counters | None = None

    @property
    def accepted(self) -> bool:
        """True if it took effect."""
        return self.status == "accepted"


class BatchReply(msgspec.Struct, frozen=True):
    """One result per command, in the order of the request, and how many of each status."""

    results: list[BatchItem]
    accepted: int
    declined: int
    refused: int
