"""One entry of a statement: what it does to the balances before it, and how it is shown. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from pyledger.ledger.statements.nouns import KINDS, MOVES, BalancesAt, Counters, Disagrees, Entry, StatementRow
from pyledger.ledger.times import instant


def follow(running: Counters, entry: Entry, *, exact: bool) -> Counters:
    """What an account holds after an entry. Raises `Disagrees` unless that is what the journal says.

    Without the rows of holds, what is pending changes between entries, and only what is posted is followed."""
    moved, after = entry.moved, entry.after
    agrees = after.posted == (running.debits_posted + moved[0], running.credits_posted + moved[1])
    if exact and agrees:
        own, other = ("debits_pending", "credits_pending")[:: 1 if entry.is_debit else -1]
        change = getattr(after, own) - getattr(running, own)
        kind = KINDS[entry.kind]
        agrees = getattr(after, other) == getattr(running, other) and (
            change <= -entry.amount if kind == "post"
            else change == {"pending": entry.amount, "void": -entry.amount, "expire": -entry.amount}.get(kind, 0)
        )  # fmt: skip
    if not agrees:
        raise Disagrees(f"row {entry.id} leads from {running} to {after}")
    return after


def undone(after: Counters, kind: int, amount: int, held: int, is_debit: bool) -> Counters:
    """What an account held right before an entry; `held` is what the hold held that it posts. Raises `Disagrees`."""
    pending = {"pending": amount, "post": -held, "void": -amount, "expire": -amount}.get(KINDS[kind], 0)
    posted = amount if kind in MOVES else 0
    if is_debit:
        before = after._replace(debits_pending=after[0] - pending, debits_posted=after[1] - posted)
    else:
        before = after._replace(credits_pending=after[2] - pending, credits_posted=after[3] - posted)
    if min(before) < 0:
        raise Disagrees(f"a {KINDS[kind]} of {amount} leads to {after}")
    return before


def row_of(entry: Entry, balances: BalancesAt) -> StatementRow:
    """An entry as it is shown, with the balances after it."""
    more: dict[str, Any] = {}
    if entry.target is not None:
        more["reverses" if KINDS[entry.kind] == "reverse" else "pending_id"] = entry.target
    if entry.effective_ns is not None:
        more["effective_at"] = instant(entry.effective_ns)
    if entry.reference is not None:
        more["reference"] = entry.reference
    if entry.metadata is not None:
        more["metadata"] = msgspec.Raw(entry.metadata.encode())
    moves = entry.kind in MOVES
    amount = str(entry.amount)
    return StatementRow(
        id=entry.id,
        kind=KINDS[entry.kind],
        recorded_at=instant(entry.recorded_ns),
        side="debit" if entry.is_debit else "credit",
        amount=amount,
        debit=amount if moves and entry.is_debit else None,
        credit=amount if moves and not entry.is_debit else None,
        balances=balances,
        other_account_id=entry.other,
        code=entry.code,
        **more,
    )
