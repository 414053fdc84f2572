"""What is wrong with a command by itself: part of the oracle, apart from the state.

Guarded here: the order of precedence. The first line that refuses is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX = 2**128 - 1
AHEAD_MS, EXPONENT_MAX, NUMBER_MAX = 300_000, 38, 2**31 - 1
LIMITS = frozenset({"debits_must_not_exceed_credits", "credits_must_not_exceed_debits"})
ACTING = frozenset({"post_pending", "void_pending", "reverse"})
CLOSING = frozenset({"closing_debit", "closing_credit"})
BALANCING = frozenset({"balancing_debit", "balancing_credit"})


@dataclass(frozen=True)
class Command:
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


class RefusedError(Exception):
    """A no: its code, and whether the journal records it."""

    def __init__(self, code: str, recorded: bool) -> None:
        super().__init__(code)
        self.code, self.recorded = code, recorded


def no(condition: object, code: str) -> None:
    """Refuse with this code if the condition holds; nothing is recorded."""
    if condition:
        raise RefusedError(code, recorded=False)


def decline(condition: object, code: str) -> None:
    """Decline with this code if the condition holds; the journal records it for ever."""
    if condition:
        raise RefusedError(code, recorded=True)


def id_in_shape(c: Command, at: int) -> None:
    """What is wrong with an id before anything is known of it."""
    version, variant, ms = c.id >> 76 & 15, c.id >> 62 & 3, c.id >> 80
    no(c.id >> 96 == 2**32 - 1 and (version, variant) == (8, 2), "reserved_field_used")
    wants_all = c.kind == "transfer" and c.amount is None and not c.flags & (ACTING | BALANCING)
    no(wants_all, "reserved_field_used")
    no(c.id == 0, "id_must_not_be_zero")
    no(c.id == MAX, "id_must_not_be_max")
    no((version, variant) == (7, 2) and ms > at // 10**6 + AHEAD_MS, "id_from_the_future")


def in_shape(c: Command, at: int) -> None:
    """What is wrong with a command by itself, in order of precedence."""
    if c.kind == "ledger":
        no(c.code > EXPONENT_MAX, "exponent_out_of_range")
        return
    if c.kind == "account":
        no(c.flags >= LIMITS, "flags_are_mutually_exclusive")
    else:
        no(len(c.flags & (ACTING | {"pending"})) > 1, "flags_are_mutually_exclusive")
        no(c.flags & ACTING and c.flags & (CLOSING | BALANCING), "flags_are_mutually_exclusive")
    acts = bool(c.flags & ACTING)
    no(not (acts and c.ledger == 0) and not 1 <= c.ledger <= NUMBER_MAX, "ledger_must_not_be_zero")
    no(c.code == 0 and not acts, "code_must_not_be_zero")
    if c.kind == "account":
        no(c.amount and not c.flags & LIMITS, "allowance_needs_a_limit")
    else:
        transfer_in_shape(c, acts)
    if "imported" in c.flags:
        no(c.effective_ns == 0, "imported_needs_effective_at")
        no(c.timeout_s, "imported_timeout_must_be_zero")
        no(c.effective_ns >= at, "imported_must_not_be_in_the_future")


def transfer_in_shape(c: Command, acts: bool) -> None:
    """The part that only transfers have."""
    no(c.debit == MAX or (c.debit == 0 and not acts), "debit_account_must_not_be_zero")
    no(c.credit == MAX or (c.credit == 0 and not acts), "credit_account_must_not_be_zero")
    no(c.debit == c.credit and c.debit, "accounts_must_differ")
    no(c.target and not acts, "target_must_be_zero")
    no(c.target == 0 and acts, "target_must_not_be_zero")
    no(c.target == c.id, "target_must_differ")
    no(c.amount == 0, "amount_must_not_be_zero")
    no(c.timeout_s and "pending" not in c.flags, "timeout_reserved_for_pending")
    no(c.flags & CLOSING and "pending" not in c.flags, "closing_must_be_pending")
    no("group" in c.flags and not c.flags & {"post_pending", "void_pending"}, "group_reserved_for_resolution")
    no("group" in c.flags and c.amount is not None, "group_resolves_in_full")
