"""The nouns of bulk in and out: what a file may contain, its bounds, and how it is said that something is wrong.

Guarded here: every column is either one that a command has, or one that only says what became of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LINE_BYTES_MAX: Final = 64 * 1024
"""A row with everything has less than 4 KiB; what is longer is no row, and is not read to its end."""
RECORD_LINES_MAX: Final = 64
"""A row of CSV may go over lines, where a text has them; so many at most."""
READ_BYTES: Final = 1024 * 1024
"""Of a file at once."""
AHEAD_BYTES: Final = 4 * 1024 * 1024
"""What the lines of a request have, as a rule; where they are longer it has fewer rows."""
BATCH_ROWS_MAX: Final = 8_190
"""Commands of one request."""
BATCH_BODY_BYTES_MAX: Final = 12 * 1024 * 1024
"""Of a request: below the least that a server allows as a rule, 16 MiB."""
GROUP_ROWS: Final = 64
"""What resolving a group counts as."""
SLICE_ROWS: Final = 50_000
"""Rows that an export reads at once; tens of megabytes."""
BATCHES_READ_MAX: Final = 10_000
"""Rows of the table of batches that an export looks at at once."""

TRANSFERS: Final = "transfers"
ACCOUNTS: Final = "accounts"
FORMATS: Final = ("csv", "jsonl", "parquet")

NUMBERS: Final = frozenset({"ledger", "code", "timeout_s"})
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


class Interrupted(BulkError):
    """It cannot go on, and what was done stays done."""


class Row(NamedTuple):
    """One row of a file: where it stands, the JSON object that the API takes, and what is wrong with it if anything.

    `raw` is what stands there, where there is no such object."""

    line: int
    text: bytes
    code: str = ""
    detail: str = ""
    raw: bytes = b""


TOO_LONG: Final = "linked_chain_too_long"
"""The code of each row of a chain that no request can hold."""
SKIPPED: Final = "skipped"
"""The code of a row that an import leaves out on purpose."""
