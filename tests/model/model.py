"""The oracle: what the ledger means, in plain Python, written from its documentation and not from the engine.

It knows nothing of bytes, windows, undo or speed: values never change, and what a failed chain did is
forgotten by dropping the layer of dictionaries it wrote to. Guarded here: whatever the engine does
differently from these lines is a bug in one of the two.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, replace

MAX = 2**128 - 1
GROUP_MAX, AHEAD_MS, EXPONENT_MAX = 64, 300_000, 38
SECOND = 10**9
Key = tuple[int, int]  # tenant and id


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
    after: tuple[Account, ...] = ()


Answer = tuple[str, Row | None]  # the refusal or "", and the row if one is recorded


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


class Model:
    """The ledger's whole state, and its rules as one ladder of refusals for each kind of command."""

    def __init__(self) -> None:
        self.clock = self.chains = 0
        self.ledgers: ChainMap[Key, int] = ChainMap({})  # to the time of the last imported event
        self.accounts: ChainMap[Key, Account] = ChainMap({})
        self.rows: ChainMap[Key, Row] = ChainMap({})
        self.holds: list[Key] = []

    def expire(self, now: int) -> int:
        """Releases what is due before a batch at this time; returns how many holds that were."""
        due = [key for key in self.holds if self._open(key) and 0 < self.rows[key].expires_ns <= now]
        for key in due:
            self._release(key, "expired")
            self._tick(now)
        return len(due)

    def request(self, commands: list[Command], now: int) -> list[Answer]:
        """Decides one request, chain by chain."""
        answers: list[Answer] = []
        chain: list[Command] = []
        for command in commands:
            chain.append(command)
            if "linked" not in command.flags:
                answers += self._chain(chain, now)
                chain = []
        if chain:
            answers += [("linked_chain_refused", None) for _ in chain[1:]] + [("linked_chain_open", None)]
        return answers

    def _chain(self, chain: list[Command], now: int) -> list[Answer]:
        known = [self._known(command) for command in chain]
        if any(known):
            return [answer or ("linked_chain_refused", None) for answer in known]
        clock, holds = self.clock, len(self.holds)
        self.ledgers, self.accounts, self.rows = (
            self.ledgers.new_child(), self.accounts.new_child(), self.rows.new_child())
        self.chains += 1
        answers: list[Answer] = []
        failed: RefusedError | None = None
        for command in chain:
            try:
                answers.append(("", self._decide(command, now, self.chains if len(chain) > 1 else 0)))
            except RefusedError as refused:
                failed = refused
                break
        if failed is None:
            self.ledgers.parents.update(self.ledgers.maps[0])
            self.accounts.parents.update(self.accounts.maps[0])
            self.rows.parents.update(self.rows.maps[0])
        else:
            self.clock = clock
            del self.holds[holds:]
        self.ledgers, self.accounts, self.rows = self.ledgers.parents, self.accounts.parents, self.rows.parents
        return answers if failed is None else [
            self._refuse(command, failed, place == len(answers), now) for place, command in enumerate(chain)]

    def _refuse(self, c: Command, failed: RefusedError, own: bool, now: int) -> Answer:
        if not failed.recorded:
            return failed.code if own else "linked_chain_refused", None
        code = failed.code if own else "linked_event_failed"
        return code, self._record(Row(c, kind_of(c), self._tick(now), code))

    def _known(self, c: Command) -> Answer | None:
        row = self.rows.get((c.tenant, c.id))
        return None if row is None else (row.refusal, row) if row.command == c else ("idempotency_conflict", None)

    def _tick(self, now: int) -> int:
        self.clock = max(now, self.clock + 1)
        return self.clock

    def _record(self, row: Row) -> Row:
        c = row.command
        if not row.refusal and row.debit:
            row = replace(row, after=(self.accounts[c.tenant, row.debit], self.accounts[c.tenant, row.credit]))
        self.rows[c.tenant, c.id] = row
        return row

    def _decide(self, c: Command, now: int, chain: int) -> Row:
        future = c.id >> 76 & 15 == 7 and c.id >> 62 & 3 == 2 and c.id >> 80 > now // 10**6 + AHEAD_MS
        no(c.id == 0, "id_must_not_be_zero")
        no(c.id == MAX, "id_must_not_be_max")
        no(future and c.kind != "ledger", "id_from_the_future")
        if c.kind == "ledger":
            no(c.code > EXPONENT_MAX, "exponent_out_of_range")
            self.ledgers[c.tenant, c.ledger] = 0
            return self._record(Row(c, "ledger", self._tick(now)))
        if c.kind == "account":
            return self._account(c, now)
        no(len(c.flags & {"pending", "post_pending", "void_pending", "reverse"}) > 1, "flags_are_mutually_exclusive")
        if c.flags & {"post_pending", "void_pending", "reverse"}:
            no(c.flags & {"balancing_debit", "balancing_credit", "closing_debit", "closing_credit", "imported"},
               "flags_are_mutually_exclusive")
            return self._reverse(c, now) if "reverse" in c.flags else self._resolve(c, now)
        return self._move(c, now, chain)

    def _account(self, c: Command, now: int) -> Row:
        limits = c.flags & {"debits_must_not_exceed_credits", "credits_must_not_exceed_debits"}
        no(len(limits) > 1, "flags_are_mutually_exclusive")
        no(c.ledger == 0, "ledger_must_not_be_zero")
        no(c.code == 0, "code_must_not_be_zero")
        no(c.amount and not limits, "allowance_needs_a_limit")
        self._imported_in_shape(c, now)
        no((c.tenant, c.ledger) not in self.ledgers, "ledger_not_found")
        self._imported_in_order(c)
        row = self._record(Row(c, "account", self._tick(now)))
        opened = c.effective_ns if "imported" in c.flags else row.recorded_ns
        self.accounts[c.tenant, c.id] = Account(c.ledger, c.flags, c.amount or 0, opened)
        return row

    def _imported_in_shape(self, c: Command, now: int) -> None:
        if "imported" in c.flags:
            no(c.effective_ns == 0, "imported_needs_effective_at")
            no(c.timeout_s, "imported_timeout_must_be_zero")
            no(c.effective_ns >= now, "imported_must_not_be_in_the_future")

    def _imported_in_order(self, c: Command) -> None:
        if "imported" in c.flags:
            decline(c.effective_ns <= self.ledgers[c.tenant, c.ledger], "imported_must_not_regress")
            self.ledgers[c.tenant, c.ledger] = c.effective_ns

    def _move(self, c: Command, now: int, chain: int) -> Row:
        pending, closes = "pending" in c.flags, c.flags & {"closing_debit", "closing_credit"}
        no(c.ledger == 0, "ledger_must_not_be_zero")
        no(c.code == 0, "code_must_not_be_zero")
        no(c.debit in (0, MAX), "debit_account_must_not_be_zero")
        no(c.credit in (0, MAX), "credit_account_must_not_be_zero")
        no(c.debit == c.credit, "accounts_must_differ")
        no(c.target, "target_must_be_zero")
        no(c.amount == 0, "amount_must_not_be_zero")
        no(c.timeout_s and not pending, "timeout_reserved_for_pending")
        no(closes and not pending, "closing_must_be_pending")
        no("group" in c.flags, "group_reserved_for_resolution")
        self._imported_in_shape(c, now)
        no((c.tenant, c.ledger) not in self.ledgers, "ledger_not_found")
        no((c.tenant, c.debit) not in self.accounts, "debit_account_not_found")
        no((c.tenant, c.credit) not in self.accounts, "credit_account_not_found")
        debit, credit = self.accounts[c.tenant, c.debit], self.accounts[c.tenant, c.credit]
        decline(debit.ledger != credit.ledger, "accounts_must_share_the_ledger")
        decline(debit.ledger != c.ledger, "transfer_must_share_the_ledger")
        self._imported_in_order(c)
        decline("imported" in c.flags and c.effective_ns <= debit.opened_ns, "imported_must_postdate_debit_account")
        decline("imported" in c.flags and c.effective_ns <= credit.opened_ns, "imported_must_postdate_credit_account")
        decline(debit.closed, "debit_account_closed")
        decline(credit.closed, "credit_account_closed")
        amount = MAX if c.amount is None else c.amount
        if "balancing_debit" in c.flags:
            amount = min(amount, max(0, debit.cc + debit.allowance - debit.dd - debit.dp))
        none_left_to_debit = amount == 0
        if "balancing_credit" in c.flags:
            amount = min(amount, max(0, credit.dd + credit.allowance - credit.cc - credit.cp))
        decline(none_left_to_debit, "exceeds_credits")
        decline(amount == 0, "exceeds_debits")
        self._allowed(debit, credit, amount, pending)
        self._add(c.tenant, c.debit, c.credit, amount, pending)
        for side, flag in ((c.debit, "closing_debit"), (c.credit, "closing_credit")):
            if flag in closes:
                self.accounts[c.tenant, side] = replace(self.accounts[c.tenant, side], closed=True)
        at = self._tick(now)
        if pending:
            self.holds.append((c.tenant, c.id))
        return self._record(Row(
            c, kind_of(c), at, "", c.debit, c.credit, amount, c.ledger, c.code, chain, "open" if pending else "",
            at + c.timeout_s * SECOND if c.timeout_s else 0))

    def _allowed(self, debit: Account, credit: Account, amount: int, pending: bool) -> None:
        decline(pending and debit.dp + amount > MAX, "overflows_debits_pending")
        decline(pending and credit.cp + amount > MAX, "overflows_credits_pending")
        decline(debit.dd + amount > MAX, "overflows_debits_posted")
        decline(credit.cc + amount > MAX, "overflows_credits_posted")
        decline(debit.dp + debit.dd + amount > MAX, "overflows_debits")
        decline(credit.cp + credit.cc + amount > MAX, "overflows_credits")
        decline("debits_must_not_exceed_credits" in debit.flags
           and debit.dp + debit.dd + amount > debit.cc + debit.allowance, "exceeds_credits")
        decline("credits_must_not_exceed_debits" in credit.flags
           and credit.cp + credit.cc + amount > credit.dd + credit.allowance, "exceeds_debits")

    def _add(self, tenant: int, debit: int, credit: int, amount: int, pending: bool) -> None:
        one, two = self.accounts[tenant, debit], self.accounts[tenant, credit]
        self.accounts[tenant, debit] = (
            replace(one, dp=one.dp + amount) if pending else replace(one, dd=one.dd + amount))
        self.accounts[tenant, credit] = (
            replace(two, cp=two.cp + amount) if pending else replace(two, cc=two.cc + amount))

    def _open(self, key: Key) -> bool:
        return key in self.rows and self.rows[key].state == "open"

    def _release(self, key: Key, state: str) -> None:
        hold = self.rows[key]
        self._add(key[0], hold.debit, hold.credit, -hold.amount, pending=True)
        for side, flag in ((hold.debit, "closing_debit"), (hold.credit, "closing_credit")):
            if flag in hold.command.flags and state != "posted":
                self.accounts[key[0], side] = replace(self.accounts[key[0], side], closed=False)
        self.rows[key] = replace(hold, state=state)

    def _target(self, c: Command, missing: str) -> Row:
        no(c.target in (0, MAX), "target_must_not_be_zero")
        no(c.target == c.id, "target_must_differ")
        no(c.amount == 0, "amount_must_not_be_zero")
        no(c.timeout_s, "timeout_reserved_for_pending")
        no("group" in c.flags and "reverse" in c.flags, "group_reserved_for_resolution")
        no("group" in c.flags and c.amount is not None, "group_resolves_in_full")
        row = self.rows.get((c.tenant, c.target))
        no(row is None or row.kind in ("ledger", "account"), missing)
        assert row is not None
        return row

    def _agrees(self, c: Command, debit: int, credit: int, target: Row) -> None:
        decline(c.debit not in (0, debit), "target_has_different_debit_account")
        decline(c.credit not in (0, credit), "target_has_different_credit_account")
        decline(c.ledger not in (0, target.ledger), "target_has_different_ledger")
        decline(c.code not in (0, target.code), "target_has_different_code")

    def _resolve(self, c: Command, now: int) -> Row:
        hold, post = self._target(c, "pending_transfer_not_found"), "post_pending" in c.flags
        decline(hold.kind != "pending" or hold.refusal, "pending_transfer_not_pending")
        self._agrees(c, hold.debit, hold.credit, hold)
        amount = hold.amount if c.amount is None else c.amount
        decline(post and amount > hold.amount, "exceeds_pending_amount")
        decline(not post and amount != hold.amount, "pending_transfer_has_different_amount")
        decline(hold.state == "posted", "pending_transfer_already_posted")
        decline(hold.state == "voided", "pending_transfer_already_voided")
        decline(hold.state == "expired" or 0 < hold.expires_ns <= now, "pending_transfer_expired")
        group = [(c.tenant, c.target)]
        if "group" in c.flags and hold.chain:
            group += [key for key in self.holds
                      if self.rows[key].chain == hold.chain and self._open(key) and key != group[0]]
        decline(len(group) > GROUP_MAX, "group_too_large")
        first: Row | None = None
        for key in group:
            each = self.rows[key]
            decline(post and self.accounts[c.tenant, each.debit].closed, "debit_account_closed")
            decline(post and self.accounts[c.tenant, each.credit].closed, "credit_account_closed")
            self._release(key, "posted" if post else "voided")
            if post:
                self._add(c.tenant, each.debit, each.credit, min(amount, each.amount) if first is None
                          else each.amount, pending=False)
            row = Row(c, kind_of(c), self._tick(now), "", each.debit, each.credit, amount, each.ledger, each.code)
            first = first or self._record(row)
        assert first is not None
        return first

    def _reverse(self, c: Command, now: int) -> Row:
        moved = self._target(c, "reversed_transfer_not_found")
        decline(moved.kind not in ("transfer", "post") or moved.refusal, "transfer_not_reversible")
        self._agrees(c, moved.credit, moved.debit, moved)
        left = moved.amount - moved.reversed
        amount = left if c.amount is None else c.amount
        decline(amount == 0 or amount > left, "exceeds_reversible_amount")
        debit, credit = self.accounts[c.tenant, moved.credit], self.accounts[c.tenant, moved.debit]
        decline(debit.closed, "debit_account_closed")
        decline(credit.closed, "credit_account_closed")
        self._allowed(debit, credit, amount, pending=False)
        self._add(c.tenant, moved.credit, moved.debit, amount, pending=False)
        self.rows[c.tenant, c.target] = replace(moved, reversed=moved.reversed + amount)
        return self._record(Row(c, "reverse", self._tick(now), "", moved.credit, moved.debit, amount,
                                moved.ledger, moved.code))


def kind_of(c: Command) -> str:
    """The kind of row that a command becomes."""
    kinds = {"pending": "pending", "post_pending": "post", "void_pending": "void", "reverse": "reverse"}
    return next((kinds[flag] for flag in kinds if flag in c.flags), c.kind)
