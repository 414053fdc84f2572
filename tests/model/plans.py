"""What Hypothesis draws, and how it becomes requests: small numbers first, so that failures shrink well.

A plan is drawn without knowing the state; the chooser turns it into commands that mostly make sense, from ids
it has given out before. Guarded here: every kind of command, form, repetition and mistake is drawn often.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.model.forms import Request, ledger_id
from tests.model.model import Model
from tests.model.nouns import LIMITS, MAX, SECOND, Command, Row
from tests.model.shape import ACTING, BALANCING, CLOSING, STAYING

TENANTS = (1, 2)
LEDGERS = (1, 2)
WHICH_MAX = 60
DEBIT_LIMIT, CREDIT_LIMIT = LIMITS
# 2 is older than the ledger, 7 and 9 are in the other one, 8 never exists.
ACCOUNTS = [
    Command("account", 1, ledger=1, code=1),
    Command("account", 2, ledger=1, code=1, flags=frozenset({"imported"}), effective_ns=1),
    Command("account", 3, ledger=1, code=1, flags=frozenset({DEBIT_LIMIT})),
    Command("account", 4, ledger=1, code=1, flags=frozenset({DEBIT_LIMIT}), amount=50),
    Command("account", 5, ledger=1, code=1, flags=frozenset({CREDIT_LIMIT})),
    Command("account", 6, ledger=1, code=1, flags=frozenset({CREDIT_LIMIT}), amount=7),
    Command("account", 7, ledger=2, code=1),
    Command("account", 9, ledger=2, code=1),
]
FLAGS = [
    *("balancing_debit", "balancing_credit", "imported", "group") * 4,
    *("closing_debit", "closing_credit", "pending", "post_pending", "void_pending", "reverse"),
]


class Plan(NamedTuple):
    """One command, before it knows the state."""

    form: str
    tenant: int
    action: str
    repeat: str  # new; again, the whole of an earlier command; same, only its id; odd, an id that cannot be
    which: int  # of those to repeat
    target: int  # of those to act on
    debit: int
    credit: int
    amount: int | None
    flag: str
    other_flag: str
    linked: bool
    named: str  # whether a resolution says what its target says already: no, right or wrong
    timeout_s: int
    ledger: int
    code: int
    ago_s: int
    reference: str


# What each field of a plan is drawn from; a value stands as often as it is to be drawn. The first is the simplest.
CHOICES: dict[str, list[Any]] = {
    "form": ["transfers"] * 8 + ["binary", "transfer", "resolution"] * 4 + ["holds", "accounts", "account", "ledger"],
    "tenant": [1] * 4 + [2],
    "action": ["transfer"] * 8 + ["pending"] * 7 + ["post"] * 4 + ["void"] * 3 + ["reverse"] * 3 + ["anything"],
    "repeat": ["new"] * 24 + ["again"] * 2 + ["same", "odd"],
    "which": list(range(WHICH_MAX)),
    "target": list(range(WHICH_MAX)),
    "debit": [1, 2, 3, 4, 5, 6] * 6 + [7, 8, 0, MAX],
    "credit": [2, 1, 3, 4, 5, 6] * 6 + [7, 8, 0, MAX],
    "amount": [*range(1, 16)] * 3 + [None] * 12 + [60, 200, 0, 2**64, 2**127, MAX - 1],
    "flag": [""] * 30 + FLAGS,
    "other_flag": [""] * 60 + FLAGS,
    "linked": [False] * 3 + [True],
    "named": ["no"] * 5 + ["right"] * 3 + ["wrong"],
    "timeout_s": [0, 0, 0, 1, 4],
    "ledger": [1] * 40 + [2, 3, 0],
    "code": [1] * 40 + [2, 0],
    "ago_s": [5, 4, 3, 2, 1, 0, -2],
    "reference": ["", "", "a"],
}
OF_A_GROUP: dict[str, Any] = {
    "form": "transfers", "action": "pending", "repeat": "new", "linked": True, "flag": "", "other_flag": "",
    "debit": 1, "credit": 2, "amount": 1, "ledger": 1, "code": 1,
}  # fmt: skip
IN_ANOTHER = OF_A_GROUP | {"debit": 7, "credit": 9, "ledger": 2}
PLANS = st.builds(Plan, **{name: st.sampled_from(values) for name, values in CHOICES.items()})
REQUESTS = st.lists(st.lists(PLANS, min_size=1, max_size=8), max_size=3)


def random_requests(chance: random.Random) -> list[list[Plan]]:
    """The same without Hypothesis, for long runs from a seed."""
    sizes = chance.choices(range(1, 12), k=chance.randrange(4))
    columns = [chance.choices(CHOICES[name], k=sum(sizes)) for name in Plan._fields]
    plans = map(Plan._make, zip(*columns, strict=True))
    return [list(islice(plans, size)) for size in sizes]


@dataclass
class Chooser:
    """Turns plans into requests by what was sent and what became of it."""

    model: Model
    sent: dict[int, list[Command]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    given: int = 1_000

    def opening(self, tenant: int) -> list[Request]:
        """The ledgers and accounts of a tenant."""
        ledgers = [Request("ledger", (_ledger(tenant, each, 2),)) for each in LEDGERS]
        return [*ledgers, Request("accounts", tuple(each._replace(tenant=tenant) for each in ACCOUNTS))]

    def request(self, plans: list[Plan], now: int) -> Request:
        """A request of the first plan's tenant and form, with as many of the plans as the form takes."""
        first = plans[0]
        if first.form == "ledger":
            exponent = 39 if first.code == 0 else first.code + 1
            return Request("ledger", (_ledger(first.tenant, first.ledger or 4, exponent),))
        if first.form == "holds":
            # One chain of small holds between the open accounts, which mostly is accepted: a group to resolve.
            plans = [each._replace(**(IN_ANOTHER if each.which % 4 == 0 else OF_A_GROUP)) for each in plans]
            plans[-1] = plans[-1]._replace(linked=False)
            return self.request(plans, now)
        many = first.form in ("transfers", "binary", "accounts")
        make = self._account if first.form in ("accounts", "account") else self._transfer
        ours = [plan if plan.tenant == first.tenant else plan._replace(tenant=first.tenant) for plan in plans]
        commands = [make(plan, now) for plan in (ours if many else ours[:1])]
        form = first.form
        if form == "resolution" and not commands[0].target:
            form = "transfer"
        if not many:
            commands = [each._replace(flags=each.flags - {"linked"}) for each in commands]
        return Request(form, tuple(_as_sent(form, each) for each in _without_twins(commands)))

    def remember(self, request: Request) -> None:
        """These have been sent."""
        self.sent[request.commands[0].tenant] += [each for each in request.commands if each.kind != "ledger"]

    def _again(self, plan: Plan, kind: str) -> Command | None:
        if plan.repeat != "again":
            return None
        sent = list(islice((each for each in reversed(self.sent[plan.tenant]) if each.kind == kind), WHICH_MAX))
        return sent[plan.which % len(sent)] if sent else None

    def _id(self, plan: Plan, now: int) -> int:
        sent = self.sent[plan.tenant]
        if plan.repeat == "same" and sent:
            return sent[-1 - plan.which % len(sent)].id
        if plan.repeat == "odd":
            return [0, MAX, version_7(now + 400 * SECOND, plan.which), 3, RESERVED][plan.which % 5]
        self.given += 1
        # Ids with a time and ids without: of some of the first kind the window knows that they are new.
        return version_7(now + (plan.which - 50) * SECOND // 10, self.given) if plan.which % 3 else self.given

    def _account(self, plan: Plan, now: int) -> Command:
        if again := self._again(plan, "account"):
            return again
        imported = {"imported"} if plan.flag == "imported" or plan.ago_s == 3 else set()
        limits = [set(), {DEBIT_LIMIT}, {CREDIT_LIMIT}, {DEBIT_LIMIT}, {DEBIT_LIMIT, CREDIT_LIMIT}][plan.target % 5]
        return Command(
            "account",
            self._id(plan, now),
            plan.tenant,
            amount=plan.amount or 0 if limits or plan.linked else 0,
            ledger=plan.ledger,
            code=plan.code,
            flags=frozenset(limits | imported | ({"linked"} if plan.linked else set())),
            effective_ns=now - plan.ago_s * SECOND if imported else 0,
            reference=plan.reference,
        )

    def _transfer(self, plan: Plan, now: int) -> Command:
        if again := self._again(plan, "transfer"):
            return again
        drawn = frozenset({plan.flag, plan.other_flag} - {""})
        flags = drawn if plan.action == "anything" else drawn & ALLOWED[plan.action] | OWN[plan.action]
        flags |= {"linked"} if plan.linked else frozenset()
        target = self._target(plan) if flags & ACTING or plan.which == 7 else None
        amount = plan.amount
        often = 2 if target is not None and "linked" in target.command.flags else 6
        if target is not None and target.state and plan.action in ("post", "void") and plan.which % often == 1:
            flags, amount = flags | {"group"}, None
        debit, credit, ledger, code = plan.debit, plan.credit, plan.ledger, plan.code
        if debit == credit and plan.which % 10:
            credit = credit % 6 + 1
        if target is not None and plan.named == "right":
            said = target.terms
            debit, credit, ledger, code = said.debit, said.credit, said.ledger, said.code
            debit, credit = (credit, debit) if "reverse" in flags else (debit, credit)
        if flags & ACTING and plan.named == "no":
            debit = credit = ledger = code = 0
        # Most closed accounts are to open again.
        timeout_s = plan.timeout_s or 3 if flags & CLOSING and plan.which % 5 else plan.timeout_s
        return Command(
            "transfer",
            self._id(plan, now),
            plan.tenant,
            debit,
            credit,
            amount,
            target.command.id if target is not None else 777 if flags & ACTING else 0,
            ledger,
            code,
            flags,
            timeout_s if "pending" in flags or plan.which == 8 else 0,
            now - plan.ago_s * SECOND if "imported" in flags and plan.which != 9 else 0,
            plan.reference,
        )

    def _target(self, plan: Plan) -> Row | None:
        """Mostly a row that the action fits, recent ones more than old ones; sometimes any row, or another tenant's."""
        tenant = sum(TENANTS) - plan.tenant if plan.target % 20 == 7 else plan.tenant
        table = self.model.holds if plan.action != "reverse" and plan.target <= 40 else self.model.rows
        rows = (row for row in reversed(table.values()) if row.command.tenant == tenant)
        if plan.target < 50 and plan.action == "reverse":
            rows = (row for row in rows if row.after and not row.command.flags & STAYING)
        elif plan.target < 50:
            rows = (row for row in rows if "pending" in row.command.flags)
        recent = list(islice(rows, 12 if plan.target < 40 else WHICH_MAX))
        return recent[plan.target % len(recent)] if recent else None


def _ledger(tenant: int, ledger: int, exponent: int) -> Command:
    return Command("ledger", ledger_id(tenant, ledger), tenant, ledger=ledger, code=exponent, reference="EUR")


def _without_twins(commands: list[Command]) -> list[Command]:
    """Two members of one chain must not share an id here; what then happens has a test of its own."""
    kept: list[Command] = []
    for each in commands:
        chained = kept and "linked" in kept[-1].flags
        if not (chained and each.id in [other.id for other in kept]):
            kept.append(each)
    return kept


def _as_sent(form: str, c: Command) -> Command:
    """Without what the form cannot say."""
    if form == "binary":
        return c._replace(reference="")
    if c.kind == "account":
        return c
    if form == "resolution":
        acting = min(c.flags & ACTING, default="reverse")
        flags = frozenset({acting}) | (c.flags & {"group"} if acting != "reverse" else frozenset())
        amount = None if "group" in flags else c.amount
        return c._replace(flags=flags, debit=0, credit=0, ledger=0, code=0, timeout_s=0, amount=amount)
    # Over JSON a reversal is known by what it reverses, and no amount is for those that can ask for all.
    flags = c.flags if c.target else c.flags - {"reverse"}
    amount = 5 if c.amount is None and not flags & (ACTING | BALANCING) else c.amount
    return c._replace(flags=flags, amount=amount)


OWN: dict[str, frozenset[str]] = {
    "transfer": frozenset(),
    "pending": frozenset({"pending"}),
    "post": frozenset({"post_pending"}),
    "void": frozenset({"void_pending"}),
    "reverse": frozenset({"reverse"}),
}
ALLOWED: dict[str, frozenset[str]] = {
    "transfer": frozenset({"balancing_debit", "balancing_credit", "imported"}),
    "pending": frozenset({"balancing_debit", "balancing_credit", "closing_debit", "closing_credit", "imported"}),
    "post": frozenset({"group", "imported"}),
    "void": frozenset({"group", "imported"}),
    "reverse": frozenset({"imported"}),
}
RESERVED = (2**32 - 1) << 96 | 8 << 76 | 2 << 62 | 5


def version_7(at_ns: int, tail: int) -> int:
    """The number of a UUIDv7 of this time."""
    return at_ns // 10**6 << 80 | 7 << 76 | 2 << 62 | tail
