"""The nouns of bulk in and out: what a file may contain, its bounds, and how it is said that something is wrong.

Guarded here: every column is either one that a command has, or one that only says what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINE_BYTES_MAX: Final = 64 * 1024
"""Of the first line. What the core says of the others is the same."""
READ_BYTES: Final = 4 * 1024 * 1024
"""Of a file at once."""
AHEAD_BYTES: Final = 4 * 1024 * 1024
"""What the lines of a request have, as a rule; where they are longer it has fewer rows."""
AHEAD_TIMES: Final = 2
"""So many times the bytes of the last request are held for the next one: what is held is copied whenever more comes."""
CHAIN_BYTES_MAX: Final = 16 * 1024 * 1024
"""What the lines of a chain may have; no request could hold more, unless they are mostly spaces."""
BATCH_ROWS_MAX: Final = 8_190
"""Commands of one request."""
IN_FLIGHT: Final = 4
"""Requests at once: one commits, the rows of the next one are sent ahead, one waits, one is on the wire."""
IN_FLIGHT_MAX: Final = 8
"""More of them would only wait, and whoever else posts would wait behind them."""
BATCH_ROWS_MIN: Final = 64
"""Where a server takes less than even these it takes no import."""
PARQUET_ROWS: Final = 16_384
"""Rows of a Parquet file that are in memory at once."""
PARQUET_READ_BYTES: Final = 256 * 1024
"""Of each column of a Parquet file at once: of them all about what is read of another file."""
SLICE_ROWS: Final = 50_000
"""Rows that an export reads at once; tens of megabytes."""
BATCHES_READ_MAX: Final = 10_000
"""Rows of the table of batches that an export looks at at once."""

TRANSFERS: Final = "transfers"
ACCOUNTS: Final = "accounts"
FORMATS: Final = ("csv", "jsonl", "parquet")

COLUMNS: Final = {
    TRANSFERS: (
        "id", "debit_account_id", "credit_account_id", "amount", "ledger", "code", "flags", "timeout_s", "pending_id",
        "reverses", "effective_at", "reference", "metadata",
    ),
    ACCOUNTS: ("id", "ledger", "code", "flags", "allowance", "effective_at", "reference", "metadata"),
}  # fmt: skip
"""What a command of each kind has, by the names of the API. Flags stand in one field, apart by spaces."""
OUTCOMES: Final = frozenset({"kind", "status", "refusal", "detail", "recorded_ns", "recorded_at", "seq", "tenant"})
"""What an export says besides; an import leaves it out, but for what was declined, which it skips."""


class BulkError(Exception):
    """It cannot be done at all. `str()` is one clear line."""


class TooMuch(BulkError):
    """The server takes no requests of so many rows, or bytes."""


class Interrupted(BulkError):
    """It cannot go on, and what was done stays done."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: `what` is transfers or accounts; `ids_from` names the source of rows without ids of their own;
    `imported` makes each an imported event of the time when it was recorded, or of its effective_at."""

    what: str
    ids_from: str = ""
    imported: bool = False
