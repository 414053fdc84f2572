"""What is wrong with a command by itself. Guarded here: the first line that refuses is the answer."""

from __future__ import annotations

from tests.model.nouns import LIMITS, MAX, Command, no

AHEAD_MS, EXPONENT_MAX, NUMBER_MAX = 300_000, 38, 2**31 - 1
RESOLVING = frozenset({"post_pending", "void_pending"})
ACTING = RESOLVING | {"reverse"}
STAYING = frozenset({"pending", "void_pending", "reverse"})  # what cannot be reversed
CLOSING = frozenset({"closing_debit", "closing_credit"})
BALANCING = frozenset({"balancing_debit", "balancing_credit"})


def uses_reserved(c: Command) -> bool:
    """Whether it is no command at all, so that nobody looks for its id."""
    own_id = c.id >> 96 == 2**32 - 1 and (c.id >> 76 & 15, c.id >> 62 & 3) == (8, 2)
    return own_id or (c.kind == "transfer" and c.amount is None and not c.flags & (ACTING | BALANCING))


def in_shape(c: Command, at: int) -> None:
    """The refusals that need no books, in order of precedence."""
    acts, pending, group = bool(c.flags & ACTING), "pending" in c.flags, "group" in c.flags
    no("reserved_field_used", uses_reserved(c))
    no("id_must_not_be_zero", c.id == 0)
    no("id_must_not_be_max", c.id == MAX)
    no("id_from_the_future", (c.id >> 76 & 15, c.id >> 62 & 3) == (7, 2) and c.id >> 80 > at // 10**6 + AHEAD_MS)
    if c.kind == "ledger":
        no("exponent_out_of_range", c.code > EXPONENT_MAX)
        return
    no("flags_are_mutually_exclusive", c.flags.issuperset(LIMITS) or len(c.flags & (ACTING | {"pending"})) > 1)
    no("flags_are_mutually_exclusive", acts and c.flags & (CLOSING | BALANCING))
    no("ledger_must_not_be_zero", c.ledger > NUMBER_MAX or (c.ledger == 0 and not acts))
    no("code_must_not_be_zero", c.code == 0 and not acts)
    if c.kind == "transfer":
        no("{}_account_must_not_be_zero", *(each == MAX or (each == 0 and not acts) for each in (c.debit, c.credit)))
        no("accounts_must_differ", c.debit == c.credit != 0)
        no("target_must_be_zero", c.target and not acts)
        no("target_must_not_be_zero", c.target == 0 and acts)
        no("target_must_differ", c.target == c.id)
        no("amount_must_not_be_zero", c.amount == 0)
        no("timeout_reserved_for_pending", c.timeout_s and not pending)
        no("closing_must_be_pending", c.flags & CLOSING and not pending)
        no("group_reserved_for_resolution", group and not c.flags & RESOLVING)
        no("group_resolves_in_full", group and c.amount is not None)
    else:
        no("allowance_needs_a_limit", c.amount and c.flags.isdisjoint(LIMITS))
    if "imported" in c.flags:
        no("imported_needs_effective_at", c.effective_ns == 0)
        no("imported_timeout_must_be_zero", c.timeout_s)
        no("imported_must_not_be_in_the_future", c.effective_ns >= at)
