"""What Hypothesis draws, and how it becomes requests: small numbers first, so that failures shrink well.

A plan is drawn without knowing the state; the chooser turns it into commands that mostly make sense, from ids
it has given out before. Guarded here: every kind of command, form, repetition and mistake is drawn often.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from tests.model.forms import Request
from tests.model.model import SECOND
from tests.model.shape import MAX, Command

TENANTS = (1, 2)
LEDGERS = (1, 2)
DEBIT_LIMIT, CREDIT_LIMIT = "debits_must_not_exceed_credits", "credits_must_not_exceed_debits"
# Account number to ledger, flags and allowance; 7 is in the other ledger, 8 never exists.
ACCOUNTS: dict[int, tuple[int, frozenset[str], int]] = {
    1: (1, frozenset(), 0),
    2: (1, frozenset(), 0),
    3: (1, frozenset({DEBIT_LIMIT}), 0),
    4: (1, frozenset({DEBIT_LIMIT}), 50),
    5: (1, frozenset({CREDIT_LIMIT}), 0),
    6: (1, frozenset({CREDIT_LIMIT}), 7),
    7: (2, frozenset(), 0),
}
ACTIONS = ["transfer"] * 5 + ["pending"] * 4 + ["post"] * 3 + ["void"] * 2 + ["reverse"] * 2 + ["anything"]
FLAGS = [
    "balancing_debit",
    "balancing_credit",
    "closing_debit",
    "closing_credit",
    "imported",
    "pending",
    "post_pending",
    "void_pending",
    "reverse",
    "group",
]
FORMS = ["transfers", "transfers", "binary", "transfer", "resolution", "accounts", "account", "ledger"]


@dataclass(frozen=True)
class Plan:
    """One command, before it knows the state."""

    form: str
    tenant: int
    action: str
    repeat: str  # new, again (the whole command), or the id of another
    which: int  # of those to repeat
    target: int
    debit: int
    credit: int
    amount: int | None
    flags: frozenset[str]
    linked: bool
    named: bool  # a resolution that says what its target says already
    timeout_s: int
    ledger: int
    code: int
    ago_s: int
    reference: str


AMOUNTS = st.one_of(st.integers(1, 20), st.sampled_from([0, None, None, 1, 60, 2**64, 2**127, MAX - 1]))
PLANS = st.builds(
    Plan,
    form=st.sampled_from(FORMS),
    tenant=st.sampled_from([1, 1, 1, 2]),
    action=st.sampled_from(ACTIONS),
    repeat=st.sampled_from(["new"] * 10 + ["again", "id", "odd"]),
    which=st.integers(0, 99),
    target=st.integers(0, 99),
    debit=st.sampled_from([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0, MAX]),
    credit=st.sampled_from([2, 1, 3, 4, 5, 6, 2, 1, 3, 4, 5, 6, 7, 8, 0, MAX]),
    amount=AMOUNTS,
    flags=st.one_of(st.just(frozenset()), st.just(frozenset()), st.frozensets(st.sampled_from(FLAGS), max_size=2)),
    linked=st.sampled_from([False, False, False, True]),
    named=st.sampled_from([False, False, True]),
    timeout_s=st.sampled_from([0, 0, 1, 4]),
    ledger=st.sampled_from([1] * 9 + [2, 3, 0]),
    code=st.sampled_from([1] * 9 + [2, 0]),
    ago_s=st.integers(-2, 6),
    reference=st.sampled_from(["", "", "a"]),
)
REQUESTS = st.lists(st.lists(PLANS, min_size=1, max_size=6), min_size=0, max_size=3)


@dataclass
class Chooser:
    """Every command that was sent, to repeat and to act on."""

    sent: dict[int, list[Command]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    given: int = 1_000

    def ledgers(self, tenant: int) -> list[Request]:
        """The ledgers of a tenant."""
        return [Request("ledger", (self._ledger(tenant, each, 2),)) for each in LEDGERS]

    def accounts(self, tenant: int) -> Request:
        """Its accounts."""
        return Request(
            "accounts",
            tuple(
                Command("account", each, tenant, 0, 0, allowance, 0, ledger, 1, flags)
                for each, (ledger, flags, allowance) in ACCOUNTS.items()
            ),
        )

    def _ledger(self, tenant: int, ledger: int, exponent: int) -> Command:
        # The core derives a ledger's id from its number. Here any number will do that nothing else has.
        return Command("ledger", -ledger, tenant, ledger=ledger, code=exponent, reference="EUR")

    def request(self, plans: list[Plan], now: int) -> Request | None:
        """A request of the first plan's tenant and form, with as many of the plans as the form takes."""
        form, tenant = plans[0].form, plans[0].tenant
        many = form in ("transfers", "binary", "accounts")
        plans = plans if many else plans[:1]
        if form == "ledger":
            plan = plans[0]
            return Request(form, (self._ledger(tenant, plan.ledger or 4, 39 if plan.code == 0 else plan.code + 1),))
        make = self._account if form in ("accounts", "account") else self._transfer
        commands = [make(replace(plan, form=form, tenant=tenant), now) for plan in plans]
        if not many:
            commands = [replace(each, flags=each.flags - {"linked"}) for each in commands]
        if form == "resolution":
            commands = [self._as_resolution(plans[0], each) for each in commands]
        if form != "binary" and any(self._needs_amount(each) for each in commands):
            commands = [replace(each, amount=5) if self._needs_amount(each) else each for each in commands]
        if form == "binary":
            commands = [replace(each, reference="") for each in commands]
        return Request(form, tuple(commands))

    def remember(self, request: Request) -> None:
        """These have been sent."""
        self.sent[request.commands[0].tenant] += [each for each in request.commands if each.kind != "ledger"]

    def _needs_amount(self, c: Command) -> bool:
        acts = {"post_pending", "void_pending", "balancing_debit", "balancing_credit", "reverse"}
        return c.kind == "transfer" and c.amount is None and not c.flags & acts

    def _as_resolution(self, plan: Plan, c: Command) -> Command:
        flag = {"post": "post_pending", "void": "void_pending"}.get(plan.action, "reverse")
        group = {"group"} if "group" in plan.flags and flag != "reverse" else set()
        target = c.target or self._target(plan)
        amount = None if group else c.amount
        return replace(
            c,
            flags=frozenset({flag, *group}),
            debit=0,
            credit=0,
            ledger=0,
            code=0,
            timeout_s=0,
            target=target,
            amount=amount,
        )

    def _target(self, plan: Plan) -> int:
        sent = self.sent[plan.tenant]
        wanted = {"reverse": {"transfer", "post_pending"}}.get(plan.action, {"pending"})
        fitting = [
            each
            for each in sent
            if each.kind == "transfer"
            and (each.flags & wanted or ("transfer" in wanted and not each.flags & {"pending"}))
        ]
        pool = sent if plan.target >= 90 else fitting[-12:]
        return pool[plan.target % len(pool)].id if pool else 777

    def _id(self, plan: Plan, now: int) -> int:
        sent = self.sent[plan.tenant]
        if plan.repeat == "id" and sent:
            return sent[plan.which % len(sent)].id
        if plan.repeat == "odd":
            return [0, MAX, version_7(now + 400 * SECOND, plan.which), 3][plan.which % 4]
        self.given += 1
        # Ids with a time and ids without: the window knows of the first kind that they are new.
        return version_7(now + (plan.which - 50) * SECOND // 10, self.given) if plan.which % 3 else self.given

    def _account(self, plan: Plan, now: int) -> Command:
        again = [each for each in self.sent[plan.tenant] if each.kind == "account"]
        if plan.repeat == "again" and again:
            return again[plan.which % len(again)]
        imported = {"imported"} if "imported" in plan.flags else set()
        limits = [set(), {DEBIT_LIMIT}, {CREDIT_LIMIT}, {DEBIT_LIMIT, CREDIT_LIMIT}][plan.target % 4]
        flags = frozenset(limits | imported | ({"linked"} if plan.linked else set()))
        return Command(
            "account",
            self._id(plan, now),
            plan.tenant,
            0,
            0,
            plan.amount or 0,
            0,
            plan.ledger,
            plan.code,
            flags,
            effective_ns=now - plan.ago_s * SECOND if imported else 0,
            reference=plan.reference,
        )

    def _transfer(self, plan: Plan, now: int) -> Command:
        again = [each for each in self.sent[plan.tenant] if each.kind == "transfer"]
        if plan.repeat == "again" and again:
            return again[plan.which % len(again)]
        flags = set(plan.flags if plan.action == "anything" else plan.flags & ALLOWED[plan.action])
        flags |= {"linked"} if plan.linked else set()
        flags |= {
            "pending": {"pending"},
            "post": {"post_pending"},
            "void": {"void_pending"},
            "reverse": {"reverse"},
        }.get(plan.action, set())
        acts = bool(flags & {"post_pending", "void_pending", "reverse"})
        target = self._target(plan) if acts or plan.which == 7 else 0
        # Over JSON a reversal is known by what it reverses, and nothing else can name two targets.
        flags -= {"reverse"} if not target else set()
        says = plan.named or not acts
        amount = plan.amount if not acts or plan.named else None if plan.amount and plan.amount > 20 else plan.amount
        return Command(
            "transfer",
            self._id(plan, now),
            plan.tenant,
            plan.debit if says else 0,
            plan.credit if says else 0,
            amount,
            target,
            plan.ledger if says else 0,
            plan.code if says else 0,
            frozenset(flags),
            plan.timeout_s if "pending" in flags or plan.which == 8 else 0,
            now - plan.ago_s * SECOND if "imported" in flags and plan.which != 9 else 0,
            plan.reference,
        )


ALLOWED: dict[str, frozenset[str]] = {
    "transfer": frozenset({"balancing_debit", "balancing_credit", "imported"}),
    "pending": frozenset({"balancing_debit", "balancing_credit", "closing_debit", "closing_credit", "imported"}),
    "post": frozenset({"group"}),
    "void": frozenset({"group"}),
    "reverse": frozenset(),
}


def version_7(at_ns: int, tail: int) -> int:
    """The number of a UUIDv7 of this time."""
    return at_ns // 10**6 << 80 | 7 << 76 | 2 << 62 | tail
