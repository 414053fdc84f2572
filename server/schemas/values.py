"""The values that bodies are made of, each with its bounds as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

Uuid = Annotated[
    str,
    Meta(
        pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        description="A UUID in its 36-character form. UUIDv7 is recommended; its time may be at most five "
        "minutes ahead of the ledger's clock.",
        examples=["0198f2a4-7c1e-7b53-9d2c-4f6f0a1b2c3d"],
    ),
]
DebitAccount = Annotated[Uuid, Meta(description="The account that is debited.")]
CreditAccount = Annotated[Uuid, Meta(description="The account that is credited.")]
PendingId = Annotated[Uuid, Meta(description="The hold that a post or void resolves.")]
Reverses = Annotated[Uuid, Meta(description="The transfer that this one reverses; it makes it a reversal.")]
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
    Annotated[str, Meta(pattern="^[0-9]{1,39}$")] | Annotated[int, Meta(ge=0, le=2**53 - 1)],
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
Size = Annotated[int, Meta(ge=1, le=10**18 - 1, description="How many batches a checkpoint contains.", examples=[7])]
Code = Annotated[int, Meta(ge=1, le=65_535, description="Your own kind of account or transfer.", examples=[1])]
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
EffectiveAt = Annotated[
    Instant, Meta(description="When it happened, if not when it is recorded: RFC 3339 with up to nine decimals.")
]
Allowance = Annotated[AmountIn, Meta(description="Overdraft on the limited side, in minor units; needs a limit flag.")]
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
