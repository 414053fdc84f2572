"""The oracle: what the ledger means, in plain Python, written from its documentation and not from the engine.

It knows nothing of bytes, windows or speed. Guarded here: what the engine does differently is a bug in one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from tests.model.nouns import LIMITS, MAX, SIDES, Account, Answer, Command, Key, Refused, Row, decline, no
from tests.model.shape import ACTING, STAYING, in_shape, uses_reserved

GROUP_HOLDS_MAX = REVERSALS_MAX = 64


class Model:
    """The ledger's whole state; its rules, as ladders of refusals; and below them what changes the state."""

    def __init__(self) -> None:
        self.now = self.clock = 0
        self.ledgers: dict[Key, dict[str, int]] = {}  # when their last imported account and transfer happened
        self.accounts: dict[Key, Account] = {}
        self.rows: dict[Key, Row] = {}
        self.holds: dict[Key, Row] = {}  # those that are open
        self.undo: list[Callable[[], object]] = []  # what takes back what this chain did

    def batch(self, requests: list[list[Command]], now: int) -> list[list[Answer]]:
        """What is due at this time expires; then the requests are decided, each chain by chain."""
        self.now = now
        for hold in [each for each in self.holds.values() if each.is_due(self._at())]:
            self._settle(hold, "expired", 0)
        return [self._request(request) for request in requests]

    def _at(self) -> int:
        """When the next row is recorded: now, but after all others."""
        return max(self.now, self.clock + 1)

    def _request(self, commands: list[Command]) -> list[Answer]:
        ends = [end for end, c in enumerate(commands, 1) if "linked" not in c.flags or end == len(commands)]
        return [answer for start, end in pairwise([0, *ends]) for answer in self._chain(commands[start:end])]

    def _chain(self, chain: list[Command]) -> list[Answer]:
        """All of it or nothing. What was sent before gets what it got then."""
        clock, self.undo, place = self.clock, [], len(chain) - 1
        try:
            no("linked_chain_open", "linked" in chain[place].flags)
            known = [self._known(c) for c in chain]
            if any(known):
                return [answer or ("linked_chain_refused", None) for answer in known]
            for place in range(len(chain)):
                in_shape(chain[place], self._at())
            answers: list[Answer] = []
            for place in range(len(chain)):
                answers.append(("", self._record(self._decide(Row(chain[place], chain[place], self._at(), clock)))))
            return answers
        except Refused as refused:
            self.clock = clock
            for undo in reversed(self.undo):
                undo()
            code, recorded = refused.args
            codes = ["linked_event_failed" if recorded else "linked_chain_refused"] * len(chain)
            codes[place] = code
            if not recorded:
                return [(code, None) for code in codes]
            both = zip(chain, codes, strict=True)
            return [(code, self._record(Row(c, c, self._at(), clock, code))) for c, code in both]

    def _known(self, c: Command) -> Answer | None:
        row = None if uses_reserved(c) else self.rows.get((c.tenant, c.id))
        return None if row is None else (row.refusal, row) if row.command == c else ("idempotency_conflict", None)

    def _decide(self, row: Row) -> Row:
        c, ledger = row.command, (row.command.tenant, row.command.ledger)
        if c.kind == "ledger":
            self._put(self.ledgers, ledger, {"account": 0, "transfer": 0})
            return row
        if c.flags & ACTING:
            return self._reverse(row) if "reverse" in c.flags else self._resolve(row)
        no("ledger_not_found", ledger not in self.ledgers)
        if c.kind == "account":
            self._check(c, [c])
            self._put(self.accounts, row.key, Account(c, c.effective_ns if "imported" in c.flags else row.recorded_ns))
            return row
        no("{}_account_not_found", *((c.tenant, each) not in self.accounts for each in (c.debit, c.credit)))
        debit, credit = self._parties(c)
        decline("accounts_must_share_the_ledger", debit.command.ledger != credit.command.ledger)
        decline("transfer_must_share_the_ledger", debit.command.ledger != c.ledger)
        return self._move(row._replace(amount=c.amount or MAX))

    def _reverse(self, row: Row) -> Row:
        target = row.command.tenant, row.command.target
        no("reversed_transfer_not_found", target not in self.rows)
        moved = self.rows[target]
        decline("transfer_not_reversible", not moved.after or moved.command.flags & STAYING)
        left = moved.amount - sum(moved.reversals)
        row = self._inherit(row, left, moved.terms._replace(debit=moved.terms.credit, credit=moved.terms.debit))
        decline("exceeds_reversible_amount", not 0 < row.amount <= left)
        decline("too_many_reversals", len(moved.reversals) >= REVERSALS_MAX)
        self._put(self.rows, target, moved._replace(reversals=(*moved.reversals, row.amount)))
        return self._move(row)

    def _resolve(self, row: Row) -> Row:
        c, post, target = row.command, "post_pending" in row.command.flags, (row.command.tenant, row.command.target)
        no("pending_transfer_not_found", target not in self.rows)
        hold = self.rows[target]
        decline("pending_transfer_not_pending", not hold.state)
        row = self._inherit(row, hold.amount, hold.terms)
        decline("exceeds_pending_amount", post and row.amount > hold.amount)
        decline("pending_transfer_has_different_amount", not post and row.amount != hold.amount)
        decline(f"pending_transfer_already_{hold.state}", hold.state in ("posted", "voided"))
        others = [each for each in self.holds.values() if each.chain == hold.chain] if "group" in c.flags else []
        group = [hold, *(each for each in others if each is not hold)]
        last_ns = row.recorded_ns + len(group) - 1
        decline("pending_transfer_expired", hold.state == "expired" or any(each.is_due(last_ns) for each in group))
        decline("group_too_large", len(group) > GROUP_HOLDS_MAX)
        self._check(c, [each.terms for each in group])
        # A row each: the first one's is the command's, the others are the ledger's own.
        moved = [row.amount, *(each.amount for each in group[1:])] if post else [0] * len(group)
        state = "posted" if post else "voided"
        after = [self._settle(each, state, amount) for each, amount in zip(group, moved, strict=True)]
        return row._replace(after=after[0])

    def _inherit(self, row: Row, amount: int, terms: Command) -> Row:
        """What a command leaves out is as it was, and what it says must be so."""
        c = row.command
        decline("target_has_different_{}_account", c.debit not in (0, terms.debit), c.credit not in (0, terms.credit))
        decline("target_has_different_ledger", c.ledger not in (0, terms.ledger))
        decline("target_has_different_code", c.code not in (0, terms.code))
        return row._replace(terms=terms, amount=amount if c.amount is None else c.amount)

    def _check(self, c: Command, terms: list[Command]) -> None:
        """What the past says against it, and closed accounts."""
        sides = list(zip(*(self._parties(each) for each in terms if each.debit), strict=True))
        if "imported" in c.flags:
            for key in {(each.tenant, each.ledger) for each in terms}:
                decline("imported_must_not_regress", c.effective_ns <= self.ledgers[key][c.kind])
                self._put(self.ledgers, key, self.ledgers[key] | {c.kind: c.effective_ns})
            older = [any(c.effective_ns <= each.opened_ns for each in side) for side in sides]
            decline("imported_must_postdate_{}_account", *older)
        if "void_pending" not in c.flags:
            decline("{}_account_closed", *(any(each.closed for each in side) for side in sides))

    def _move(self, row: Row) -> Row:
        """Moves or holds the row's amount, or what the accounts allow of it if it balances."""
        c, pending = row.command, "pending" in row.command.flags
        self._check(c, [row.terms])
        sides = list(enumerate(self._parties(row.terms)))
        rooms = [each.room(side) if f"balancing_{SIDES[side]}" in c.flags else MAX for side, each in sides]
        decline("exceeds_{1}s", *(room <= 0 for room in rooms))
        amount = min(row.amount, *rooms)
        decline("overflows_{}s_pending", *(pending and each.pending[side] + amount > MAX for side, each in sides))
        decline("overflows_{}s_posted", *(each.posted[side] + amount > MAX for side, each in sides))
        decline("overflows_{}s", *(each.pending[side] + each.posted[side] + amount > MAX for side, each in sides))
        limits = [each.room(side) if LIMITS[side] in each.command.flags else MAX for side, each in sides]
        decline("exceeds_{1}s", *(amount > limit for limit in limits))
        after = self._add(row, amount if pending else 0, 0 if pending else amount)
        return row._replace(amount=amount, state="open" if pending else "", after=after)

    def _settle(self, hold: Row, state: str, moved: int) -> tuple[Account, Account]:
        """Releases a hold and moves what is posted of it. The row that says so takes its time."""
        self.undo.append(partial(self.holds.__setitem__, hold.key, self.holds.pop(hold.key)))
        self._put(self.rows, hold.key, hold._replace(state=state))
        self.clock = self._at()
        return self._add(hold, -hold.amount, moved)

    def _add(self, row: Row, held: int, moved: int) -> tuple[Account, Account]:
        """Adds to both accounts. One that is closed by a hold is closed until the hold is released."""
        for side, each in enumerate((row.terms.debit, row.terms.credit)):
            account = self.accounts[row.terms.tenant, each]
            closed = held > 0 if f"closing_{SIDES[side]}" in row.command.flags else account.closed
            pending, posted = list(account.pending), list(account.posted)
            pending[side] += held
            posted[side] += moved
            account = account._replace(closed=closed, pending=tuple(pending), posted=tuple(posted))
            self._put(self.accounts, (row.terms.tenant, each), account)
        return self._parties(row.terms)

    def _parties(self, terms: Command) -> tuple[Account, Account]:
        return self.accounts[terms.tenant, terms.debit], self.accounts[terms.tenant, terms.credit]

    def _record(self, row: Row) -> Row:
        self.clock = max(self.clock, row.recorded_ns)
        self._put(self.rows, row.key, row)
        if row.state == "open":
            self._put(self.holds, row.key, row)
        return row

    def _put(self, table: dict[Any, Any], key: Key, value: object) -> None:
        self.undo.append(partial(table.__setitem__, key, table[key]) if key in table else partial(table.pop, key))
        table[key] = value
