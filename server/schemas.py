"""The shapes of bodies, as structs: what the OpenAPI document is made of.

Guards: these are documentation, never on the hot path; a test compares every field with what the decoder in
Rust accepts and with what real replies contain, so that the document cannot drift from the server.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Uuid = Annotated[
    str,
    Meta(
        pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        description="A UUID in its 36-character form. UUIDv7 is recommended; its time may be at most five "
        "minutes ahead of the ledger's clock.",
        examples=["0198f2a4-7c1e-7b53-9d2c-4f6f0a1b2c3d"],
    ),
]
Digits = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,39}$",
        description="A whole number of minor units, below 2^128.",
        examples=["1250"],
    ),
]
SignedDigits = Annotated[
    str,
    Meta(pattern="^-?[0-9]{1,40}$", description="A whole number of minor units.", examples=["-1250"]),
]
AmountIn = Annotated[
    str | int,
    Meta(
        description="A whole number of minor units: a string of digits from 0 to 2^128 - 2, or an integer up "
        "to 2^53 - 1, which every JSON writer keeps exact.",
        examples=["1250"],
    ),
]
Instant = Annotated[
    str,
    Meta(
        description="RFC 3339 with an offset and up to nine decimals.",
        examples=["2026-03-01T12:00:00.000000001Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
LedgerNumber = Annotated[int, Meta(ge=1, le=2**31 - 1, description="The number of a ledger.", examples=[1])]
Code = Annotated[int, Meta(ge=0, le=65_535, description="Your own kind of account or transfer.", examples=[1])]
Reference = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        description="Your own reference: 1 to 128 bytes, no NUL. Lists can be filtered by it.",
        examples=["order-1001"],
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(
        description="A JSON object of yours, at most 1,024 bytes in canonical form and eight levels deep. "
        "Numbers beyond 2^53 are refused: write them as strings.",
        examples=[{"order": "1001"}],
    ),
]
Timeout = Annotated[
    int,
    Meta(ge=0, le=2**31 - 1, description="Seconds until a hold expires by itself; 0 is never.", examples=[3600]),
]
AccountFlag = Literal["linked", "debits_must_not_exceed_credits", "credits_must_not_exceed_debits", "imported"]
TransferFlag = Literal[
    "linked",
    "pending",
    "post_pending",
    "void_pending",
    "balancing_debit",
    "balancing_credit",
    "closing_debit",
    "closing_credit",
    "imported",
    "group",
]


class NewLedger(Struct, forbid_unknown_fields=True):
    """A ledger to open: one asset. Its number is its id."""

    id: LedgerNumber
    asset: Annotated[str, Meta(pattern="^[A-Z0-9._-]{1,16}$", description="The asset's code.", examples=["EUR"])]
    exponent: Annotated[
        int, Meta(ge=0, le=38, description="Decimals of the asset: amounts are in units of 10^-exponent.")
    ]
    metadata: Metadata | UnsetType | None = UNSET


class NewAccount(Struct, forbid_unknown_fields=True):
    """An account to open."""

    ledger: LedgerNumber
    code: Code
    id: Uuid | UnsetType | None = UNSET
    flags: list[AccountFlag] | UnsetType | None = UNSET
    allowance: AmountIn | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: Instant | UnsetType | None = UNSET


class NewAccounts(Struct, forbid_unknown_fields=True):
    """Accounts to open, each with its id."""

    accounts: Annotated[list[NewAccount], Meta(min_length=1, max_length=8_190)]


class NewTransfer(Struct, forbid_unknown_fields=True):
    """A transfer, a hold, or (in a batch) the post, void or reversal of an earlier one.

    Leave `amount` out to post, void or reverse all that is left, or to move all that a balancing flag
    allows.
    """

    id: Uuid | UnsetType | None = UNSET
    debit_account_id: Uuid | UnsetType | None = UNSET
    credit_account_id: Uuid | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    ledger: LedgerNumber | UnsetType | None = UNSET
    code: Code | UnsetType | None = UNSET
    flags: list[TransferFlag] | UnsetType | None = UNSET
    timeout_s: Timeout | UnsetType | None = UNSET
    pending_id: Uuid | UnsetType | None = UNSET
    reverses: Uuid | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: Instant | UnsetType | None = UNSET


class NewTransfers(Struct, forbid_unknown_fields=True):
    """Transfers, each with its id. A `linked` one takes effect only if the next one does."""

    transfers: Annotated[list[NewTransfer], Meta(min_length=1, max_length=8_190)]


class PostOrVoid(Struct, forbid_unknown_fields=True):
    """The post or void of a hold; an empty body is `{}`."""

    id: Uuid | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    group: Annotated[bool, Meta(description="Resolve every hold that was linked with it.")] | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: Instant | UnsetType | None = UNSET


class Reversal(Struct, forbid_unknown_fields=True):
    """The reversal of a transfer, in full or in part; an empty body is `{}`."""

    id: Uuid | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: Instant | UnsetType | None = UNSET


class Balances(Struct):
    """The four counters, and what they mean seen from the account's own side."""

    debits_pending: Digits
    debits_posted: Digits
    credits_pending: Digits
    credits_posted: Digits
    posted: SignedDigits
    pending: SignedDigits
    available: SignedDigits


class AccountAfter(Balances):
    """An account right after a transfer."""

    id: Uuid


class Ledger(Struct):
    """An open ledger."""

    id: LedgerNumber
    asset: str
    exponent: int
    created_at: Instant
    metadata: Metadata | UnsetType = UNSET


class Account(Struct):
    """An open account and its balances now."""

    id: Uuid
    ledger: LedgerNumber
    code: Code
    flags: list[str]
    allowance: Digits | None
    balances: Balances
    created_at: Instant
    reference: Reference | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    effective_at: Instant | UnsetType = UNSET


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
    amount: Digits
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
    """An account of a batch that was declined, because another of its linked chain was."""

    id: Uuid
    status: Literal["declined"]
    recorded_at: Instant
    refusal: str
    detail: str


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
    id: Annotated[str, Meta(description="The id of the command.")] | UnsetType = UNSET
    recorded_at: (
        Annotated[str, Meta(description="When the decline was recorded; absent where nothing was.")] | UnsetType
    ) = UNSET
    index: Annotated[int, Meta(description="Which command of the batch is malformed, from 0.")] | UnsetType = UNSET
    parameter: Annotated[str, Meta(description="Which query parameter.")] | UnsetType = UNSET
    request_id: Annotated[str, Meta(description="What to quote when you report an internal_error.")] | UnsetType = UNSET


Cursor = Annotated[str, Meta(min_length=1, max_length=512, description="`next` of the page before.")]
Limit = Annotated[int, Meta(description="Rows of the page, at most; 100 if not given.")]


class LedgerQuery(Struct):
    """Parameters of a list of ledgers."""

    limit: Limit | None = None
    cursor: Cursor | None = None


class AccountQuery(Struct):
    """Parameters of a list of accounts."""

    ledger: LedgerNumber | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None


class TransferQuery(Struct):
    """Parameters of a list of transfers; all that are given must hold."""

    account_id: Annotated[str, Meta(description="Either side's account.")] | None = None
    ledger: LedgerNumber | None = None
    reference: Reference | None = None
    since: Annotated[str, Meta(description="Recorded at or after this time, RFC 3339.")] | None = None
    until: Annotated[str, Meta(description="Recorded before this time, RFC 3339.")] | None = None
    order: Literal["newest", "oldest"] = "newest"
    limit: Limit | None = None
    cursor: Cursor | None = None
