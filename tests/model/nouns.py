"""The nouns of the oracle, and how it says no. Values never change; a new state is a new value."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

MAX = 2**128 - 1
SECOND = 10**9
SIDES = ("debit", "credit")  # in this order, whatever has one of each
LIMITS = ("debits_must_not_exceed_credits", "credits_must_not_exceed_debits")
Key = tuple[int, int]  # tenant and id


class Command(NamedTuple):
    """What a client asks. Equal commands are one command sent twice. `amount=None` asks for all."""

    kind: str  # ledger, account or transfer
    id: int
    tenant: int = 1
    debit: int = 0
    credit: int = 0
    amount: int | None = 0  # of an account: its allowance
    target: int = 0
    ledger: int = 0
    code: int = 0  # of a ledger: its exponent
    flags: frozenset[str] = frozenset()
    timeout_s: int = 0
    effective_ns: int = 0
    reference: str = ""  # of a ledger: its asset


class Account(NamedTuple):
    """The command that opened it, and what is on its sides."""

    command: Command
    opened_ns: int
    closed: bool = False
    pending: tuple[int, ...] = (0, 0)
    posted: tuple[int, ...] = (0, 0)

    def room(self, side: int) -> int:
        """By how much a side can grow until it reaches the other one and the allowance. There may be none."""
        return min(MAX, self.posted[1 - side] + (self.command.amount or 0)) - self.posted[side] - self.pending[side]


class Row(NamedTuple):
    """One decided command."""

    command: Command
    terms: Command  # that say accounts, ledger and code: its own, a hold's, or what it reverses turned round
    recorded_ns: int
    chain: int  # when it began: the holds of one chain are a group
    refusal: str = ""
    amount: int = 0
    state: str = ""  # of a hold: open, posted, voided or expired
    reversals: tuple[int, ...] = ()
    after: tuple[Account, ...] = ()

    @property
    def key(self) -> Key:
        """Where it is kept."""
        return self.command.tenant, self.command.id

    def is_due(self, at: int) -> bool:
        """Whether it is a hold that has expired by then."""
        return 0 < self.command.timeout_s * SECOND <= at - self.recorded_ns


Answer = tuple[str, Row | None]  # the refusal or "", and the row if one is recorded


class Refused(Exception):
    """A no: its code, and whether the journal records it for ever."""


def decline(code: str, *wrong: object, recorded: bool = True) -> None:
    """Refuse if something is wrong; of two things, with the debit or the credit, `{0}` is the side, `{1}` the other."""
    if not any(wrong):
        return
    for side, other, is_wrong in zip(SIDES, reversed(SIDES), wrong, strict=False):
        if is_wrong:
            raise Refused(code.format(side, other), recorded)


no = partial(decline, recorded=False)
