"""The four kinds of user: card processor, wallet, bulk poster, reader.

A Locust user here is a source of arrivals, see `pacing.py`: it starts flows when they are due, and each flow
is a person or a machine with its own course. Guarded here: a decline is an answer, everything else that is
not a recorded outcome is an error; and a retry gets the first answer's status and body.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from random import Random
from typing import Any, ClassVar, Final

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, constant, task
from locust.user.users import UserMeta

from loadtests import nouns
from loadtests.asking import Asking
from loadtests.books import uuid_text
from loadtests.pacing import Arrivals
from loadtests.session import Session

SLEEP_MAX_S: Final = 1.0
"""A source looks up at least so often, so that it can be stopped."""

CONNECTIONS_PER_SOURCE: Final = 64
STOP_TIMEOUT_S: Final = 10.0
"""A source that is stopped waits so long for its flows; what they then do not know is unanswered."""

CARD_CODE, WALLET_CODE, PAYOUT_CODE = 20, 30, 40
OVERDRAW_CENTS: Final = 10**15
"""More than any customer ever has."""


class SourceMeta(ABCMeta, UserMeta):
    """Locust's own kind of class, that can have abstract methods."""


class Source(FastHttpUser, metaclass=SourceMeta):
    """Starts flows when they are due."""

    abstract = True
    fixed_count = nouns.SOURCES
    wait_time = constant(0)
    concurrency = CONNECTIONS_PER_SOURCE
    kind: ClassVar[str] = ""

    def on_start(self) -> None:
        """Draw this source's schedule: from the run's seed and the number of the source, nothing else."""
        self.session: Session = self.environment.ledger_session
        number = self.session.take_number(self.kind)
        self.random = Random(f"{self.session.seed} {self.kind} {number}")
        share = self.session.arrivals[self.kind] / nouns.SOURCES
        self.arrivals = Arrivals(self.session.plan.stretches, share, self.random)
        self.due_s = self.arrivals.next()
        self.flows = Pool(nouns.FLOWS_MAX)
        self.asking = Asking(self.client, self.session, self.random)

    @task
    def arrive(self) -> None:
        """Start every flow that is due, then wait for the next, as far as a user may sleep at once."""
        while self.due_s is not None and self.due_s <= self.session.now_s():
            self.session.recorder.arrivals += 1
            # Waits while the source is full. The flow's due time stays what it was.
            self.flows.spawn(self.run_flow, self.due_s)
            self.due_s = self.arrivals.next()
        wait_s = SLEEP_MAX_S if self.due_s is None else self.due_s - self.session.now_s()
        gevent.sleep(max(0.0, min(wait_s, SLEEP_MAX_S)))

    def run_flow(self, due_s: float) -> None:
        """One flow, counted as under way for as long as it is."""
        self.session.under_way += 1
        try:
            self.flow(due_s)
        finally:
            self.session.under_way -= 1

    @abstractmethod
    def flow(self, due_s: float) -> None:
        """What this kind of user does, from its first request on."""

    def on_stop(self) -> None:
        """Let the flows under way end, and count what was due and never sent."""
        if self.due_s is not None:
            self.session.recorder.never_sent += 1 + self.arrivals.remaining()
            self.due_s = None
        self.flows.join(timeout=STOP_TIMEOUT_S)
        self.session.recorder.given_up += len(self.flows)
        self.flows.kill()

    def think(self) -> float:
        """Seconds until somebody does the next thing."""
        behaviour = self.session.plan.behaviour
        return min(behaviour.think_max_s, self.random.expovariate(1.0 / behaviour.think_s))

    def amount(self) -> int:
        """Cents of a payment: most are small, few are large."""
        return max(1, min(100_000, int(self.random.lognormvariate(7.5, 1.0))))


class CardProcessor(Source):
    """Authorizes; then captures in full or in part, or voids, or forgets; sometimes refunds a capture."""

    kind = "card"

    def flow(self, due_s: float) -> None:
        """One card payment."""
        behaviour, books, ask = self.session.plan.behaviour, self.session.books, self.asking
        held = OVERDRAW_CENTS if self.random.random() < behaviour.overdraw else self.amount()
        answer = ask.write(nouns.AUTHORIZE, "/v1/transfers", due_s, {
            "debit_account_id": uuid_text(books.customer(self.random.randrange(books.customers))),
            "credit_account_id": uuid_text(books.merchant(self.random.randrange(books.merchants))),
            "amount": str(held), "ledger": books.ledger, "code": CARD_CODE, "flags": ["pending"],
            "timeout_s": behaviour.hold_s,
        })  # fmt: skip
        if not answer.accepted:
            return
        due_s = answer.done_s + self.think()
        self.session.sleep_until(due_s)
        chance = self.random.random()
        full, part = behaviour.capture_full, behaviour.capture_full + behaviour.capture_part
        if chance < part:
            moved = held if chance < full else self.random.randint(1, held)
            fields = {} if chance < full else {"amount": str(moved)}
            captured = ask.write(nouns.CAPTURE, f"/v1/transfers/{answer.id}/post", due_s, fields, "{hold}/post")
            if captured.accepted and self.random.random() < behaviour.refund:
                self.refund(captured.id, moved, captured.done_s + self.think())
        elif chance < part + behaviour.void:
            ask.write(nouns.VOID, f"/v1/transfers/{answer.id}/void", due_s, {}, "{hold}/void")

    def refund(self, capture_id: str, moved: int, due_s: float) -> None:
        """Give back all of a capture, or some."""
        self.session.sleep_until(due_s)
        amount = moved if self.random.random() < 0.5 else self.random.randint(1, moved)
        path = f"/v1/transfers/{capture_id}/reverse"
        self.asking.write(nouns.REFUND, path, due_s, {"amount": str(amount)}, "{capture}/reverse")


class Wallet(Source):
    """Transfers between customers, a few of whom are in most of them."""

    kind = "wallet"

    def flow(self, due_s: float) -> None:
        """One transfer."""
        books, behaviour = self.session.books, self.session.plan.behaviour
        debit = self.session.zipf.draw(self.random)
        credit = self.session.zipf.draw(self.random)
        if credit == debit:
            credit = (debit + 1) % books.customers
        overdraw = self.random.random() < behaviour.overdraw
        self.asking.write(nouns.TRANSFER, "/v1/transfers", due_s, {
            "debit_account_id": uuid_text(books.customer(debit)),
            "credit_account_id": uuid_text(books.customer(credit)),
            "amount": str(OVERDRAW_CENTS if overdraw else self.amount()), "ledger": books.ledger,
            "code": WALLET_CODE,
        })  # fmt: skip


class BulkPoster(Source):
    """Payouts from the bank to customers, a batch at a time."""

    kind = "bulk"

    def flow(self, due_s: float) -> None:
        """One batch."""
        books, draw = self.session.books, self.random.randrange
        bank, rows = uuid_text(books.bank), self.session.plan.behaviour.batch_rows
        transfers: list[dict[str, Any]] = [
            {"debit_account_id": bank, "credit_account_id": uuid_text(books.customer(draw(books.customers))),
             "amount": str(self.amount()), "ledger": books.ledger, "code": PAYOUT_CODE}
            for _ in range(rows)
        ]  # fmt: skip
        self.asking.batch(due_s, transfers)


class Reader(Source):
    """Looks at balances, at transfers that were just made, and at an account's history."""

    kind = "reader"

    def flow(self, due_s: float) -> None:
        """One read. A transfer that was acknowledged must be there."""
        books, chance, recent = self.session.books, self.random.random(), self.session.recorder.recent
        account = uuid_text(books.customer(self.random.randrange(books.customers)))
        if chance < 0.3 and recent:
            path = f"/v1/transfers/{recent[self.random.randrange(len(recent))]}"
            self.asking.read(nouns.READ_TRANSFER, path, "/v1/transfers/{id}", due_s)
        elif chance < 0.33:
            path = f"/v1/transfers?account_id={account}&limit=20"
            self.asking.read(nouns.READ_HISTORY, path, "/v1/transfers?account_id", due_s)
        else:
            self.asking.read(nouns.READ_ACCOUNT, f"/v1/accounts/{account}", "/v1/accounts/{id}", due_s)


USERS: Final = (CardProcessor, Wallet, BulkPoster, Reader)
