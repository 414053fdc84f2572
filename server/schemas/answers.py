"""What clients get: the bodies of answers, and of problems."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pyledger.server.schemas.values import (
    Code,
    Digits,
    Instant,
    LedgerNumber,
    Metadata,
    Reference,
    SignedDigits,
    Size,
    Timeout,
    Uuid,
)


class Balances(Struct, kw_only=True):
    """The four counters, and what they mean seen from the account's own side. By effective date only what is posted."""

    debits_pending: Digits | UnsetType = UNSET
    debits_posted: Digits
    credits_pending: Digits | UnsetType = UNSET
    credits_posted: Digits
    posted: SignedDigits
    pending: SignedDigits | UnsetType = UNSET
    available: SignedDigits | UnsetType = UNSET


class AccountAfter(Balances):
    """An account right after a transfer."""

    id: Uuid


class Ledger(Struct):
    """An open ledger. `kind` and `status` stand in the answer to its opening only."""

    id: LedgerNumber
    asset: str
    exponent: int
    created_at: Instant
    kind: Literal["ledger"] | UnsetType = UNSET
    status: Literal["accepted"] | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class Account(Struct):
    """An open account and its balances. `kind` and `status` stand in the answer to its opening only."""

    id: Uuid
    ledger: LedgerNumber
    code: Code
    flags: list[str]
    allowance: Digits | None
    balances: Balances
    created_at: Instant
    kind: Literal["account"] | UnsetType = UNSET
    status: Literal["accepted"] | UnsetType = UNSET
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    effective_at: Instant | UnsetType = UNSET
    as_of: (
        Annotated[Instant, Meta(description="Where a moment was asked for: the one that the balances are of.")]
        | UnsetType
    ) = UNSET
    by: Annotated[Literal["recorded", "effective"], Meta(description="With `as_of`.")] | UnsetType = UNSET
    seq: Annotated[int, Meta(description="With `as_of`: the last batch that is counted.")] | UnsetType = UNSET


class Transfer(Struct):
    """A transfer as it was decided and recorded.

    An accepted one shows both accounts right after it; a declined one names them, its refusal and why.
    """

    id: Uuid
    kind: Literal["transfer", "pending", "post", "void", "reverse", "expire"]
    status: Literal["accepted", "declined"]
    recorded_at: Instant
    ledger: int
    code: int
    flags: list[str]
    amount: Annotated[Digits, Meta(description="Absent from a decline of what asked for all.")] | UnsetType = UNSET
    debit_account: AccountAfter | UnsetType = UNSET
    credit_account: AccountAfter | UnsetType = UNSET
    debit_account_id: Uuid | UnsetType = UNSET
    credit_account_id: Uuid | UnsetType = UNSET
    pending_id: Uuid | UnsetType = UNSET
    reverses: Uuid | UnsetType = UNSET
    timeout_s: Timeout | UnsetType = UNSET
    expires_at: Instant | UnsetType = UNSET
    effective_at: Instant | UnsetType = UNSET
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class DeclinedAccount(Struct):
    """An account of a batch that was declined and not opened."""

    id: Uuid
    kind: Literal["account"]
    status: Literal["declined"]
    recorded_at: Instant
    ledger: int
    code: int
    flags: list[str]
    refusal: str
    detail: str
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    effective_at: Instant | UnsetType = UNSET


class RefusedResult(Struct):
    """A command of a batch that was refused and not recorded."""

    id: Uuid
    status: Literal["refused"]
    refusal: str
    detail: str


class TransferResults(Struct):
    """A result for each transfer of a batch, in order."""

    results: Annotated[
        list[dict[str, Any]],
        Meta(
            extra_json_schema={
                "items": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Transfer"},
                        {"$ref": "#/components/schemas/RefusedResult"},
                    ]
                }
            }
        ),
    ]
    accepted: int
    declined: int
    refused: int


class AccountResults(Struct):
    """A result for each account of a batch, in order."""

    results: Annotated[
        list[dict[str, Any]],
        Meta(
            extra_json_schema={
                "items": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Account"},
                        {"$ref": "#/components/schemas/DeclinedAccount"},
                        {"$ref": "#/components/schemas/RefusedResult"},
                    ]
                }
            }
        ),
    ]
    accepted: int
    declined: int
    refused: int


class LedgerPage(Struct):
    """A page of ledgers."""

    data: list[Ledger]
    next: str | None


class AccountPage(Struct):
    """A page of accounts."""

    data: list[Account]
    next: str | None


class TransferPage(Struct):
    """A page of transfers. It may be short, even empty, and still have a next one."""

    data: list[Transfer]
    next: str | None


class FeedPage(Struct):
    """Rows of the journal in the order of their recording, each with the `cursor` right after it, and where to go
    on. It may be short, even empty; `next` is always there."""

    data: Annotated[
        list[dict[str, Any]],
        Meta(
            extra_json_schema={
                "items": {
                    "allOf": [
                        {"type": "object", "properties": {"cursor": {"type": "string"}}, "required": ["cursor"]},
                        {
                            "anyOf": [
                                {"$ref": "#/components/schemas/Transfer"},
                                {"$ref": "#/components/schemas/Account"},
                                {"$ref": "#/components/schemas/Ledger"},
                                {"$ref": "#/components/schemas/DeclinedAccount"},
                            ]
                        },
                    ]
                }
            }
        ),
    ]
    next: str


class Checkpoint(Struct):
    """A signed checkpoint."""

    size: Size
    root: Annotated[str, Meta(description="The root over that many batches, in hexadecimal.")]
    origin: Annotated[str, Meta(description="Whose history it is of.")]
    key: Annotated[str, Meta(description="The public key that verifies it. Trust one that you have from elsewhere.")]
    until: Annotated[Instant, Meta(description="When the last row that it is over was recorded.")]
    note: Annotated[str, Meta(description="The checkpoint itself: a C2SP signed note.")]


class CheckpointPage(Struct):
    """A page of signed checkpoints."""

    data: list[Checkpoint]
    next: str | None


class Health(Struct):
    """The process is alive."""

    status: Literal["alive"]
    state: str


class Readiness(Struct):
    """Whether this server takes commands."""

    ready: bool
    state: Literal[
        "starting", "standby", "recovering", "serving", "reconnecting", "stopping", "stopped", "fenced", "halted"
    ]
    shard: int
    epoch: int | UnsetType = UNSET
    head_seq: int | UnsetType = UNSET
    queue_rows: int | UnsetType = UNSET
    last_commit_age_s: float | UnsetType | None = UNSET


class ProblemDetails(Struct):
    """RFC 9457. `code` is stable; `type` is `urn:pyledger:problem:` and the code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    id: Annotated[str | int, Meta(description="The id in the command; a ledger's is a number.")] | UnsetType = UNSET
    recorded_at: (
        Annotated[str, Meta(description="When the decline was recorded; absent where nothing was.")] | UnsetType
    ) = UNSET
    index: Annotated[int, Meta(description="Which command of the batch is malformed, from 0.")] | UnsetType = UNSET
    parameter: Annotated[str, Meta(description="Which query parameter.")] | UnsetType = UNSET
    request_id: Annotated[str, Meta(description="What to quote when you report an internal_error.")] | UnsetType = UNSET
