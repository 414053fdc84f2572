"""The ledger room: a single writer over an append-only journal in PostgreSQL.

Read `writer.py` first: the hot path from top to bottom. `nouns.py` has the types, limits and errors.
"""

from pyledger.ledger.ledger import Ledger
from pyledger.ledger.nouns import (
    BadCursor,
    BatchMeasure,
    Busy,
    Database,
    Exit,
    Fenced,
    Halted,
    LedgerError,
    StartupRefused,
    State,
    Stats,
    Unavailable,
    UnknownOutcome,
)
from pyledger.ledger.reads import Filter, Page, Reads
from pyledger.ledger.writer import Writer

__all__ = [
    "BadCursor",
    "BatchMeasure",
    "Busy",
    "Database",
    "Exit",
    "Fenced",
    "Filter",
    "Halted",
    "Ledger",
    "LedgerError",
    "Page",
    "Reads",
    "StartupRefused",
    "State",
    "Stats",
    "Unavailable",
    "UnknownOutcome",
    "Writer",
]
