"""What clients send: bodies and query parameters."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pyledger.server.schemas.values import (
    AccountFlag,
    Allowance,
    AmountIn,
    Code,
    CreditAccount,
    DebitAccount,
    EffectiveAt,
    Instant,
    LedgerNumber,
    Metadata,
    PendingId,
    Reference,
    Reverses,
    Size,
    Timeout,
    TransferFlag,
    Uuid,
)


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
    flags: Annotated[list[AccountFlag], Meta(description="Each at most once.")] | UnsetType | None = UNSET
    allowance: Allowance | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: EffectiveAt | UnsetType | None = UNSET


class AccountOfBatch(NewAccount, kw_only=True, forbid_unknown_fields=True):
    """An account to open. In a batch each has its id."""

    id: Uuid


class NewAccounts(Struct, forbid_unknown_fields=True):
    """Accounts to open, each with its id."""

    accounts: Annotated[list[AccountOfBatch], Meta(min_length=1, max_length=8_190)]


class NewTransfer(Struct, forbid_unknown_fields=True):
    """A transfer, a hold, or (in a batch) the post, void or reversal of an earlier one.

    Leave `amount` out to post, void or reverse all that is left, or to move all that a balancing flag
    allows.
    """

    id: Uuid | UnsetType | None = UNSET
    debit_account_id: DebitAccount | UnsetType | None = UNSET
    credit_account_id: CreditAccount | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    ledger: LedgerNumber | UnsetType | None = UNSET
    code: Code | UnsetType | None = UNSET
    flags: Annotated[list[TransferFlag], Meta(description="Each at most once.")] | UnsetType | None = UNSET
    timeout_s: Timeout | UnsetType | None = UNSET
    pending_id: PendingId | UnsetType | None = UNSET
    reverses: Reverses | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: EffectiveAt | UnsetType | None = UNSET


class TransferOfBatch(NewTransfer, kw_only=True, forbid_unknown_fields=True):
    """A transfer, a hold, or the post, void or reversal of an earlier one. In a batch each has its id."""

    id: Uuid


class NewTransfers(Struct, forbid_unknown_fields=True):
    """Transfers, each with its id. A `linked` one takes effect only if the next one does."""

    transfers: Annotated[list[TransferOfBatch], Meta(min_length=1, max_length=8_190)]


class PostOrVoid(Struct, forbid_unknown_fields=True):
    """The post or void of a hold; an empty body is `{}`."""

    id: Uuid | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    group: Annotated[bool, Meta(description="Resolve every hold that was linked with it.")] | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: EffectiveAt | UnsetType | None = UNSET


class Reversal(Struct, forbid_unknown_fields=True):
    """The reversal of a transfer, in full or in part; an empty body is `{}`."""

    id: Uuid | UnsetType | None = UNSET
    amount: AmountIn | UnsetType | None = UNSET
    reference: Reference | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET
    effective_at: EffectiveAt | UnsetType | None = UNSET


Cursor = Annotated[str, Meta(min_length=1, max_length=512, description="`next` of the page before.")]
Limit = Annotated[int, Meta(ge=1, le=1_000, description="Rows of the page, at most; 100 if not given.")]


class LedgerQuery(Struct):
    """Parameters of a list of ledgers."""

    limit: Limit | None = None
    cursor: Cursor | None = None


class AccountQuery(Struct):
    """Parameters of a list of accounts."""

    ledger: LedgerNumber | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None


By = Annotated[
    Literal["recorded", "effective"],
    Meta(description="By the time of recording, or by `effective_at` where a transfer has one."),
]


class AccountMoment(Struct):
    """Parameters of one account."""

    as_of: (
        Annotated[
            Instant,
            Meta(
                description="Its balances at this moment, with everything that was recorded at or before it. One that "
                "is not over is answered as of the last commit; `as_of` in the answer says which."
            ),
        ]
        | None
    ) = None
    by: By = "recorded"


class StatementQuery(Struct):
    """Parameters of a statement."""

    since: Annotated[Instant, Meta(description="Its first moment; else the account's opening.")] | None = None
    until: (
        Annotated[
            Instant, Meta(description="The moment after its last; at most, and else, right after the last commit.")
        ]
        | None
    ) = None
    by: By = "recorded"
    holds: Annotated[
        Literal["false", "true"], Meta(description="Whether holds and their ends are rows, too. They move nothing.")
    ] = "false"
    format: Annotated[
        Literal["json", "csv", "html"], Meta(description="JSON comes in pages, the others in one piece.")
    ] = "json"
    limit: Limit | None = None
    cursor: Cursor | None = None


class TrialQuery(Struct):
    """Parameters of a trial balance."""

    as_of: Annotated[Instant, Meta(description="The moment it is of; at most, and else, the last commit.")] | None = (
        None
    )
    accounts: Annotated[
        Literal["false", "true"], Meta(description="Account by account, in pages, each with its own sums.")
    ] = "false"
    limit: Limit | None = None
    cursor: Cursor | None = None


class FeedQuery(Struct):
    """Parameters of the feed; all filters that are given must hold."""

    after: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=512,
                description="Where to go on: `next` of the page before or the `cursor` of a row, with the same "
                "filters. `latest` reads what is recorded from now on; without it, from the beginning.",
            ),
        ]
        | None
    ) = None
    wait_s: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=60,
                description="Seconds to wait for a row if there is none yet; the server's `feed_wait_s` at most. "
                "Events wait without it.",
            ),
        ]
        | None
    ) = None
    ledger: LedgerNumber | None = None
    account_id: Annotated[Uuid, Meta(description="Either side's account, or the one that was opened.")] | None = None
    code: Annotated[Code, Meta(description="The code of a transfer or an account.")] | None = None
    status: Annotated[
        Literal["accepted", "all"], Meta(description="`all` is with what was declined, which moved nothing.")
    ] = "accepted"
    limit: Limit | None = None


class TransferQuery(Struct):
    """Parameters of a list of transfers; all that are given must hold."""

    account_id: Annotated[Uuid, Meta(description="Either side's account.")] | None = None
    ledger: LedgerNumber | None = None
    reference: Reference | None = None
    since: Annotated[Instant, Meta(description="Recorded at or after this time, RFC 3339.")] | None = None
    until: Annotated[Instant, Meta(description="Recorded before this time, RFC 3339.")] | None = None
    order: Literal["newest", "oldest"] = "newest"
    limit: Limit | None = None
    cursor: Cursor | None = None


class CheckpointQuery(Struct):
    """Parameters of a list of signed checkpoints."""

    limit: Limit | None = None
    cursor: Cursor | None = None


class ConsistencyQuery(Struct):
    """Parameters of a proof of consistency."""

    first: Annotated[Size, Meta(description="The size of the earlier checkpoint.")]
