"""The nouns of the oracle's state. Values never change; a new state is a new value."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.shape import Command

Key = tuple[int, int]  # tenant and id


@dataclass(frozen=True)
class Account:
    """Four counters and what they are checked against."""

    ledger: int
    flags: frozenset[str]
    allowance: int
    opened_ns: int
    closed: bool = False
    dp: int = 0  # debits pending
    dd: int = 0  # debits posted
    cp: int = 0  # credits pending
    cc: int = 0  # credits posted


@dataclass(frozen=True)
class Row:
    """One decided command."""

    command: Command
    kind: str
    recorded_ns: int
    refusal: str = ""
    debit: int = 0
    credit: int = 0
    amount: int = 0
    ledger: int = 0
    code: int = 0
    chain: int = 0  # the linked chain that it was recorded in, or 0
    state: str = ""  # of a hold: open, posted, voided or expired
    expires_ns: int = 0
    reversed: int = 0
    reversals: int = 0
    after: tuple[Account, ...] = ()


Answer = tuple[str, Row | None]  # the refusal or "", and the row if one is recorded


def kind_of(c: Command) -> str:
    """The kind of row that a command becomes."""
    kinds = {"pending": "pending", "post_pending": "post", "void_pending": "void", "reverse": "reverse"}
    return next((kinds[flag] for flag in kinds if flag in c.flags), c.kind)
