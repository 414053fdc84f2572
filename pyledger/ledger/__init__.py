"""The ledger room: a single writer over an append-only journal in PostgreSQL.

Read `writer.py` first: the hot path from top to bottom. `nouns.py` has the types, limits and errors.
"""

from pyledger.ledger.archived import Archived
from pyledger.ledger.blocks import Place
from pyledger.ledger.feed import Feed, Reader
from pyledger.ledger.ledger import Ledger
from pyledger.ledger.nouns import (
    BadCursor,
    BatchMeasure,
    Busy,
    CursorGone,
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
from pyledger.ledger.proofs import Proofs
from pyledger.ledger.reads import Filter, Page, Reads
from pyledger.ledger.statements import Statements
from pyledger.ledger.writer import Writer

__all__ = [
    "Archived",
    "BadCursor",
    "BatchMeasure",
    "Busy",
    "CursorGone",
    "Database",
    "Exit",
    "Feed",
    "Fenced",
    "Filter",
    "Halted",
    "Ledger",
    "LedgerError",
    "Page",
    "Place",
    "Proofs",
    "Reader",
    "Reads",
    "StartupRefused",
    "State",
    "Statements",
    "Stats",
    "Unavailable",
    "UnknownOutcome",
    "Writer",
]
