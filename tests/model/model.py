"""The oracle: what the ledger means, in plain Python, written from its documentation and not from the engine.

It knows nothing of bytes, windows, undo or speed: values never change, and what a failed chain did is
forgotten by dropping the layer of dictionaries it wrote to. Guarded here: whatever the engine does
differently from these lines is a bug in one of the two.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace

from tests.model.nouns import Account, Answer, Key, Row, kind_of
from tests.model.shape import MAX, Command, RefusedError, decline, id_in_shape, in_shape, no

GROUP_MAX = 64
REVERSALS_MAX = 64
SECOND = 10**9


class Model:
    """The ledger's whole state, and its rules as one ladder of refusals for each kind of command."""

    def __init__(self) -> None:
        self.now = self.clock = self.chains = 0
        self.imported: ChainMap[tuple[str, int, int], int] = ChainMap({})  # when the last one of a ledger happened
        self.ledgers: ChainMap[Key, Row] = ChainMap({})
        self.accounts: ChainMap[Key, Account] = ChainMap({})
        self.rows: ChainMap[Key, Row] = ChainMap({})
        self.holds: list[Key] = []

    def batch(self, requests: list[list[Command]], now: int) -> list[list[Answer]]:
        """What is due at this time expires; then the requests are decided, each chain by chain."""
        self.now = now
        at = self._at()
        for key in [key for key in self.holds if self._is_open(key) and 0 < self.rows[key].expires_ns <= at]:
            self._release(key, "expired")
            self.clock = self._at()
        return [self._request(request) for request in requests]

    def _at(self) -> int:
        """When the next row is recorded: the clock, but never twice the same and never back."""
        return max(self.now, self.clock + 1)

    def _request(self, commands: list[Command]) -> list[Answer]:
        answers: list[Answer] = []
        chain: list[Command] = []
        for command in commands:
            chain.append(command)
            if "linked" not in command.flags:
                answers += self._chain(chain)
                chain = []
        if chain:
            answers += [("linked_chain_refused", None) for _ in chain[1:]] + [("linked_chain_open", None)]
        return answers

    def _chain(self, chain: list[Command]) -> list[Answer]:
        """All of it or nothing. A chain that was sent before gets what it got then."""
        known = [self._known(command) for command in chain]
        if any(known):
            return [answer or ("linked_chain_refused", None) for answer in known]
        clock, holds = self.clock, len(self.holds)
        layers = self.imported, self.ledgers, self.accounts, self.rows
        self.imported, self.ledgers, self.accounts, self.rows = (
            self.imported.new_child(),
            self.ledgers.new_child(),
            self.accounts.new_child(),
            self.rows.new_child(),
        )
        self.chains += 1
        answers: list[Answer] = []
        place = 0
        try:
            for place, command in enumerate(chain):  # noqa: B007 - where it failed
                id_in_shape(command, max(self.now, clock + 1))
                in_shape(command, max(self.now, clock + 1))
            for place, command in enumerate(chain):  # noqa: B007
                answers.append(("", self._decide(command, len(chain) > 1)))
            self.imported.maps[1].update(self.imported.maps[0])
            self.ledgers.maps[1].update(self.ledgers.maps[0])
            self.accounts.maps[1].update(self.accounts.maps[0])
            self.rows.maps[1].update(self.rows.maps[0])
            failed = None
        except RefusedError as refused:
            self.clock, failed = clock, refused
            del self.holds[holds:]
        self.imported, self.ledgers, self.accounts, self.rows = layers
        return answers if failed is None else self._failed(chain, place, failed)

    def _failed(self, chain: list[Command], failed_at: int, why: RefusedError) -> list[Answer]:
        answers: list[Answer] = []
        for place, command in enumerate(chain):
            code = why.code if place == failed_at else "linked_event_failed" if why.recorded else "linked_chain_refused"
            row = Row(command, kind_of(command), self._at(), code)
            answers.append((code, self._record(row) if why.recorded else None))
        return answers

    def _known(self, c: Command) -> Answer | None:
        try:
            id_in_shape(c, self._at())
        except RefusedError:
            return None
        row = self.rows.get((c.tenant, c.id))
        return None if row is None else (row.refusal, row) if row.command == c else ("idempotency_conflict", None)

    def _record(self, row: Row) -> Row:
        tenant = row.command.tenant
        if row.debit and not row.refusal:
            row = replace(row, after=(self.accounts[tenant, row.debit], self.accounts[tenant, row.credit]))
        self.clock = row.recorded_ns
        self.rows[tenant, row.command.id] = row
        return row

    def _decide(self, c: Command, linked: bool) -> Row:
        row = Row(c, kind_of(c), self._at())
        if row.kind == "ledger":
            self.ledgers[c.tenant, c.ledger] = row
            return self._record(row)
        if row.kind == "account":
            no((c.tenant, c.ledger) not in self.ledgers, "ledger_not_found")
            self._import(c, "account", c.ledger)
            opened = c.effective_ns if "imported" in c.flags else row.recorded_ns
            self.accounts[c.tenant, c.id] = Account(c.ledger, c.flags, c.amount or 0, opened)
            return self._record(row)
        if row.kind in ("transfer", "pending"):
            return self._move(row, linked)
        return self._reverse(row) if row.kind == "reverse" else self._resolve(row)

    def _import(self, c: Command, what: str, ledger: int, *parties: tuple[Account, Account]) -> None:
        if "imported" in c.flags:
            last, at = self.imported.get((what, c.tenant, ledger), 0), c.effective_ns
            decline(at <= last, "imported_must_not_regress")
            decline(any(at <= debit.opened_ns for debit, _ in parties), "imported_must_postdate_debit_account")
            decline(any(at <= credit.opened_ns for _, credit in parties), "imported_must_postdate_credit_account")
            self.imported[what, c.tenant, ledger] = at

    def _move(self, row: Row, linked: bool) -> Row:
        c, pending = row.command, row.kind == "pending"
        no((c.tenant, c.ledger) not in self.ledgers, "ledger_not_found")
        no((c.tenant, c.debit) not in self.accounts, "debit_account_not_found")
        no((c.tenant, c.credit) not in self.accounts, "credit_account_not_found")
        debit, credit = self._parties(c.tenant, c.debit, c.credit)
        decline(debit.ledger != credit.ledger, "accounts_must_share_the_ledger")
        decline(debit.ledger != c.ledger, "transfer_must_share_the_ledger")
        self._import(c, "transfer", c.ledger, (debit, credit))
        self._not_closed(debit, credit)
        amount = MAX if c.amount is None else c.amount
        if "balancing_debit" in c.flags:
            amount = min(amount, max(0, min(MAX, debit.cc + debit.allowance) - debit.dd - debit.dp))
            decline(amount == 0, "exceeds_credits")
        if "balancing_credit" in c.flags:
            amount = min(amount, max(0, min(MAX, credit.dd + credit.allowance) - credit.cc - credit.cp))
            decline(amount == 0, "exceeds_debits")
        self._allowed(debit, credit, amount, pending)
        self._add(c.tenant, c.debit, c.credit, amount, pending)
        self._close(c, c.debit, c.credit, closed=True)
        if pending:
            self.holds.append((c.tenant, c.id))
        return self._record(
            replace(
                row,
                debit=c.debit,
                credit=c.credit,
                amount=amount,
                ledger=c.ledger,
                code=c.code,
                chain=self.chains if linked else 0,
                state="open" if pending else "",
                expires_ns=row.recorded_ns + c.timeout_s * SECOND if c.timeout_s else 0,
            )
        )

    def _parties(self, tenant: int, debit: int, credit: int) -> tuple[Account, Account]:
        return self.accounts[tenant, debit], self.accounts[tenant, credit]

    def _not_closed(self, debit: Account, credit: Account) -> None:
        decline(debit.closed, "debit_account_closed")
        decline(credit.closed, "credit_account_closed")

    def _allowed(self, debit: Account, credit: Account, amount: int, pending: bool) -> None:
        decline(pending and debit.dp + amount > MAX, "overflows_debits_pending")
        decline(pending and credit.cp + amount > MAX, "overflows_credits_pending")
        decline(debit.dd + amount > MAX, "overflows_debits_posted")
        decline(credit.cc + amount > MAX, "overflows_credits_posted")
        decline(debit.dp + debit.dd + amount > MAX, "overflows_debits")
        decline(credit.cp + credit.cc + amount > MAX, "overflows_credits")
        decline(
            "debits_must_not_exceed_credits" in debit.flags
            and debit.dp + debit.dd + amount > debit.cc + debit.allowance,
            "exceeds_credits",
        )
        decline(
            "credits_must_not_exceed_debits" in credit.flags
            and credit.cp + credit.cc + amount > credit.dd + credit.allowance,
            "exceeds_debits",
        )

    def _add(self, tenant: int, debit: int, credit: int, amount: int, pending: bool) -> None:
        one, two = self._parties(tenant, debit, credit)
        held, moved = (amount, 0) if pending else (0, amount)
        self.accounts[tenant, debit] = replace(one, dp=one.dp + held, dd=one.dd + moved)
        self.accounts[tenant, credit] = replace(two, cp=two.cp + held, cc=two.cc + moved)

    def _close(self, c: Command, debit: int, credit: int, *, closed: bool) -> None:
        for account, flag in ((debit, "closing_debit"), (credit, "closing_credit")):
            if flag in c.flags:
                self.accounts[c.tenant, account] = replace(self.accounts[c.tenant, account], closed=closed)

    def _is_open(self, key: Key) -> bool:
        return self.rows[key].state == "open"

    def _release(self, key: Key, state: str) -> None:
        hold = self.rows[key]
        self._add(key[0], hold.debit, hold.credit, -hold.amount, pending=True)
        if state != "posted":
            self._close(hold.command, hold.debit, hold.credit, closed=False)
        self.rows[key] = replace(hold, state=state)

    def _target(self, row: Row, missing: str) -> Row:
        target = self.rows.get((row.command.tenant, row.command.target))
        if target is None:
            raise RefusedError(missing, recorded=False)
        return target

    def _agrees(self, c: Command, debit: int, credit: int, target: Row) -> None:
        decline(c.debit not in (0, debit), "target_has_different_debit_account")
        decline(c.credit not in (0, credit), "target_has_different_credit_account")
        decline(c.ledger not in (0, target.ledger), "target_has_different_ledger")
        decline(c.code not in (0, target.code), "target_has_different_code")

    def _resolve(self, row: Row) -> Row:
        c, hold, post = row.command, self._target(row, "pending_transfer_not_found"), row.kind == "post"
        decline(hold.kind != "pending" or hold.refusal, "pending_transfer_not_pending")
        self._agrees(c, hold.debit, hold.credit, hold)
        amount = hold.amount if c.amount is None else c.amount
        decline(post and amount > hold.amount, "exceeds_pending_amount")
        decline(not post and amount != hold.amount, "pending_transfer_has_different_amount")
        decline(hold.state == "posted", "pending_transfer_already_posted")
        decline(hold.state == "voided", "pending_transfer_already_voided")
        decline(hold.state == "expired", "pending_transfer_expired")
        group = (
            [
                key
                for key in self.holds
                if self._is_open(key) and self.rows[key].chain == hold.chain and key != (c.tenant, c.target)
            ]
            if "group" in c.flags and hold.chain
            else []
        )
        group.insert(0, (c.tenant, c.target))
        members = [self.rows[key] for key in group]
        parties = [self._parties(c.tenant, each.debit, each.credit) for each in members]
        decline(any(0 < each.expires_ns < self._at() + len(members) for each in members), "pending_transfer_expired")
        decline(len(group) > GROUP_MAX, "group_too_large")
        for ledger in dict.fromkeys(each.ledger for each in members):
            self._import(c, "transfer", ledger, *(two for two in parties if two[0].ledger == ledger))
        decline(post and any(debit.closed for debit, _ in parties), "debit_account_closed")
        decline(post and any(credit.closed for _, credit in parties), "credit_account_closed")
        for key, each in zip(group, members, strict=True):
            self._release(key, "posted" if post else "voided")
            if post:
                moved = amount if each is members[0] else each.amount
                self._add(c.tenant, each.debit, each.credit, moved, pending=False)
            # The first hold is the target's, and its row is the command's. The ledger names the further rows.
            if each is members[0]:
                row = self._record(
                    replace(
                        row, debit=hold.debit, credit=hold.credit, amount=amount, ledger=hold.ledger, code=hold.code
                    )
                )
            else:
                self.clock = self._at()
        return row

    def _reverse(self, row: Row) -> Row:
        c, moved = row.command, self._target(row, "reversed_transfer_not_found")
        decline(moved.kind not in ("transfer", "post") or moved.refusal, "transfer_not_reversible")
        self._agrees(c, moved.credit, moved.debit, moved)
        left = moved.amount - moved.reversed
        amount = left if c.amount is None else c.amount
        decline(left == 0 or amount > left, "exceeds_reversible_amount")
        decline(moved.reversals >= REVERSALS_MAX, "too_many_reversals")
        debit, credit = self._parties(c.tenant, moved.credit, moved.debit)
        self._import(c, "transfer", moved.ledger, (debit, credit))
        self._not_closed(debit, credit)
        self._allowed(debit, credit, amount, pending=False)
        self._add(c.tenant, moved.credit, moved.debit, amount, pending=False)
        self.rows[c.tenant, c.target] = replace(moved, reversed=moved.reversed + amount, reversals=moved.reversals + 1)
        return self._record(
            replace(row, debit=moved.credit, credit=moved.debit, amount=amount, ledger=moved.ledger, code=moved.code)
        )
