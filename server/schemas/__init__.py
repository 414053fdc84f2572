"""The shapes of bodies, as structs: what the OpenAPI document is made of.

Guards: these are documentation, never on the hot path; a test compares every field with what the decoder in
Rust accepts and with what real replies contain, so that the document cannot drift from the server.
"""

from pyledger.server.schemas.answers import (
    Account,
    AccountAfter,
    AccountPage,
    AccountResults,
    Balances,
    DeclinedAccount,
    FeedPage,
    Health,
    Ledger,
    LedgerPage,
    ProblemDetails,
    Readiness,
    RefusedResult,
    Transfer,
    TransferPage,
    TransferResults,
)
from pyledger.server.schemas.requests import (
    AccountQuery,
    FeedQuery,
    LedgerQuery,
    NewAccount,
    NewAccounts,
    NewLedger,
    NewTransfer,
    NewTransfers,
    PostOrVoid,
    Reversal,
    TransferQuery,
)
from pyledger.server.schemas.values import LedgerNumber, Uuid

__all__ = [
    "Account",
    "AccountAfter",
    "AccountPage",
    "AccountQuery",
    "AccountResults",
    "Balances",
    "DeclinedAccount",
    "FeedPage",
    "FeedQuery",
    "Health",
    "Ledger",
    "LedgerNumber",
    "LedgerPage",
    "LedgerQuery",
    "NewAccount",
    "NewAccounts",
    "NewLedger",
    "NewTransfer",
    "NewTransfers",
    "PostOrVoid",
    "ProblemDetails",
    "Readiness",
    "RefusedResult",
    "Reversal",
    "Transfer",
    "TransferPage",
    "TransferQuery",
    "TransferResults",
    "Uuid",
]
