"""Statements: what an account held at any moment, and what led from one moment to another.

Read `nouns.py` first, then `statements.py`; `history.py` finds the rows.
"""

from pyledger.ledger.statements.nouns import (
    HistoryArchived,
    HistoryNotIndexed,
    HistoryTooSlow,
    LedgerTooLarge,
    NotOpenedYet,
    Period,
    StatementTooLong,
    TooManyRows,
)
from pyledger.ledger.statements.statements import Statements

__all__ = [
    "HistoryArchived",
    "HistoryNotIndexed",
    "HistoryTooSlow",
    "LedgerTooLarge",
    "NotOpenedYet",
    "Period",
    "StatementTooLong",
    "Statements",
    "TooManyRows",
]
