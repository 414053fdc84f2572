"""The Python client of pyledger: asyncio, typed, safe to retry.

    async with Client("http://127.0.0.1:8080") as ledger:
        await ledger.create_ledger(1, "EUR", 2)
        ...

Guarded here: what a program may import. Everything else under `pyledger.client` is the client's own.
"""

from pyledger.client.client import Client
from pyledger.client.errors import (
    AccessDenied,
    Conflict,
    Declined,
    LedgerError,
    Malformed,
    NotFound,
    Unavailable,
)
from pyledger.client.feed import CursorInUse, Event, EventPage, Feed, FileStore, Store
from pyledger.client.ids import new_id
from pyledger.client.nouns import (
    Account,
    AccountAfter,
    AccountFlags,
    Balances,
    BatchItem,
    BatchReply,
    Counters,
    Ledger,
    NewAccount,
    NewTransfer,
    Transfer,
    TransferFlags,
    nanoseconds,
    rfc3339,
)
from pyledger.client.retry import Retry
from pyledger.client.statements import AccountThen, Statement, StatementRow, Statements, TrialBalance

__all__ = [
    "AccessDenied",
    "Account",
    "AccountAfter",
    "AccountFlags",
    "AccountThen",
    "Balances",
    "BatchItem",
    "BatchReply",
    "Client",
    "Conflict",
    "Counters",
    "CursorInUse",
    "Declined",
    "Event",
    "EventPage",
    "Feed",
    "FileStore",
    "Ledger",
    "LedgerError",
    "Malformed",
    "NewAccount",
    "NewTransfer",
    "NotFound",
    "Retry",
    "Statement",
    "StatementRow",
    "Statements",
    "Store",
    "Transfer",
    "TransferFlags",
    "TrialBalance",
    "Unavailable",
    "nanoseconds",
    "new_id",
    "rfc3339",
]
