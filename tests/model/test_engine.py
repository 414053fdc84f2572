"""The engine against the model, under Hypothesis: any requests, in any form, at any pace.

A failure prints the steps that lead to it and the blob that replays it. Guarded here, after every step: the
same outcomes and balances as the model; debits equal credits in every ledger; no limit is passed; the pending
counters are the sum of the open holds; a decline moves nothing; undo leaves no trace; a retry gets the same
bytes; the journal's bytes, replayed, and the checkpoints, loaded, give the same state.

PYLEDGER_TEST_MODEL_EXAMPLES sets how many runs Hypothesis makes.
"""

from __future__ import annotations

import os
from collections import defaultdict

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.book import Book, read_copy, write_copy
from tests.model.forms import Request, Seen, read, uuid
from tests.model.model import SECOND, Account, Answer, Model
from tests.model.plans import REQUESTS, TENANTS, Chooser, Plan
from tests.model.shape import Command

EXAMPLES = int(os.environ.get("PYLEDGER_TEST_MODEL_EXAMPLES", "60"))
START_NS = 1_800_000_000 * SECOND
SLOT_COLUMN, RECORDED_COLUMN = 1, 9


class Ledgers(RuleBasedStateMachine):
    """Requests go to both; whatever differs is a failure."""

    @initialize(window_ids=st.sampled_from([1, 4, 32, 1_000]))
    def open_the_books(self, window_ids: int) -> None:
        """Two ledgers and some accounts for each of two tenants, one account for each kind of limit."""
        self.book, self.model, self.now = Book(window_ids), Model(), START_NS
        self.choose = Chooser()
        self.sent: list[tuple[Request, bytes]] = []
        self.tables: dict[str, dict[bytes, list[bytes | None]]] = {"ledger": {}, "account": {}, "hold": {}}
        self.saved: tuple[int, bytes, int] | None = None
        for tenant in TENANTS:
            self._step([*self.choose.ledgers(tenant), self.choose.accounts(tenant)])

    @rule(plans=REQUESTS, wait_ms=st.sampled_from([0, 0, 1, 1_000, 5_000]), undone=st.booleans())
    def requests(self, plans: list[list[Plan]], wait_ms: int, undone: bool) -> None:
        """One batch of requests; some are decided, undone and decided again."""
        self.now += wait_ms * 1_000_000
        requests = [self.choose.request(plan, self.now) for plan in plans]
        if undone:
            self._undone([each for each in requests if each is not None])
        self._step([each for each in requests if each is not None])

    @rule(which=st.integers(0, 1_000), wait_s=st.sampled_from([0, 1, 100]))
    def retry(self, which: int, wait_s: int) -> None:
        """A request that was sent before, sent again: it gets the same bytes if all of it was recorded."""
        if not self.sent:
            return
        self.now += wait_s * SECOND
        request, first = self.sent[which % len(self.sent)]
        (reply,) = self._step([request])
        assert without_bits(request, reply) == without_bits(request, first)

    @rule()
    def set_the_clock_back(self) -> None:
        """The machine's clock goes back a minute; the ledger's does not."""
        self.now -= 60 * SECOND

    @rule()
    def save(self) -> None:
        """Take a checkpoint and store it as the database would."""
        taken = self.book.engine.checkpoint()
        for row in read_copy(taken.ledger_copy):
            self.tables["ledger"][(row[1] or b"") + (row[2] or b"")] = row
        for row in read_copy(taken.account_copy):
            self.tables["account"][row[SLOT_COLUMN] or b""] = row
        for row in read_copy(taken.hold_copy):
            self.tables["hold"][(row[1] or b"") + (row[2] or b"")] = row
        for tenant, each in taken.holds_removed:
            self.tables["hold"].pop(tenant.to_bytes(4) + bytes.fromhex(str(each).replace("-", "")), None)
        self.book.engine.checkpoint_done(taken)
        self.saved = (taken.seq, taken.hash, taken.last_ns)

    def _undone(self, requests: list[Request]) -> None:
        before = self.book.engine.digest()
        self.book.apply([each.decoded() for each in requests], self.now)
        self.book.engine.undo()
        assert self.book.engine.digest() == before, "undo left a trace"

    def _step(self, requests: list[Request]) -> list[bytes]:
        before = self._balances()
        replies = self.book.submit([each.decoded() for each in requests], self.now)
        moved = any(
            row.state == "open" and 0 < row.expires_ns <= max(self.now, self.model.clock + 1)
            for row in map(self.model.rows.__getitem__, self.model.holds)
        )
        decided = self.model.batch([list(each.commands) for each in requests], self.now)
        for request, reply, expected in zip(requests, replies, decided, strict=True):
            seen = read(request, reply)
            for command, one, other in zip(request.commands, expected, seen, strict=True):
                compare(command, one, other)
            moved |= any(not refusal for refusal, _row in expected)
            if all(row is not None for _refusal, row in expected):
                self.sent.append((request, reply.body))
            self.choose.remember(request)
        assert moved or self._balances() == before, "a decline or a replay moved money"
        return [reply.body for reply in replies]

    def _balances(self) -> list[tuple[int, str, int, int, int, int]]:
        return self.book.engine.balances(0, 10_000)

    @invariant()
    def balances_are_the_models(self) -> None:
        """Every account has the model's counters, and there is no other."""
        if not hasattr(self, "book"):
            return
        expected = {(tenant, uuid(each)): (a.dp, a.dd, a.cp, a.cc) for (tenant, each), a in self.model.accounts.items()}
        assert {(tenant, str(each)): rest for tenant, each, *rest in map(tuple, self._balances())} == {
            key: list(value) for key, value in expected.items()
        }

    @invariant()
    def money_is_conserved(self) -> None:
        """Debits equal credits in every ledger, posted and pending alike."""
        if not hasattr(self, "book"):
            return
        sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        for tenant, each, dp, dd, cp, cc in self._balances():
            ledger = self.model.accounts[tenant, int(str(each).replace("-", ""), 16)].ledger
            sums[tenant, ledger][0] += dp - cp
            sums[tenant, ledger][1] += dd - cc
        assert all(difference == [0, 0] for difference in sums.values())

    @invariant()
    def limits_hold(self) -> None:
        """No limited account is overdrawn beyond its allowance, holds included."""
        if not hasattr(self, "book"):
            return
        for a in self.model.accounts.values():
            if "debits_must_not_exceed_credits" in a.flags:
                assert a.dp + a.dd <= a.cc + a.allowance
            if "credits_must_not_exceed_debits" in a.flags:
                assert a.cp + a.cc <= a.dd + a.allowance

    @invariant()
    def holds_add_up(self) -> None:
        """Pending counters are the sums of the open holds, and the engine holds exactly those."""
        if not hasattr(self, "book"):
            return
        pending: dict[tuple[int, int, str], int] = defaultdict(int)
        rows = [self.model.rows[key] for key in self.model.holds]
        held = [row for row in rows if row.state == "open"]
        assert self.book.engine.holds == len(held)
        for row in held:
            pending[row.command.tenant, row.debit, "dp"] += row.amount
            pending[row.command.tenant, row.credit, "cp"] += row.amount
        for (tenant, each), a in self.model.accounts.items():
            assert (a.dp, a.cp) == (pending[tenant, each, "dp"], pending[tenant, each, "cp"])

    def teardown(self) -> None:
        """The journal alone, and a checkpoint with the rest of the journal, give the same state."""
        if not hasattr(self, "book"):
            return
        digest = self.book.engine.digest()
        replayed = self.book.replayed()
        assert (replayed.seq, replayed.hash, replayed.last_ns) == (
            self.book.engine.seq,
            self.book.engine.hash,
            self.book.engine.last_ns,
        )
        assert replayed.digest() == digest, "replay of the journal gives another state"
        if self.saved is not None:
            self._restored()

    def _restored(self) -> None:
        assert self.saved is not None
        engine = self.book.new_engine(3)
        ledgers, accounts, holds = (list(self.tables[what].values()) for what in ("ledger", "account", "hold"))
        engine.load("ledger", write_copy(ledgers))
        engine.load("account", write_copy(sorted(accounts, key=lambda row: row[SLOT_COLUMN] or b"")))
        engine.load("hold", write_copy(sorted(holds, key=lambda row: row[RECORDED_COLUMN] or b"")))
        engine.set_head(*self.saved)
        later = [batch for batch in self.book.journal if batch.entry[0] > self.saved[0]]
        if later:
            engine.replay(write_copy([row for batch in later for row in batch.rows]), [b.entry for b in later])
        assert engine.balances(0, 10_000) == self._balances(), "a checkpoint gives other balances"
        assert (engine.holds, engine.seq, engine.hash) == (
            self.book.engine.holds,
            self.book.engine.seq,
            self.book.engine.hash,
        )


def compare(command: Command, expected: Answer, seen: Seen) -> None:
    """One outcome as the model and as the engine has it."""
    refusal, row = expected
    assert seen.refusal == refusal, f"{command}: model {refusal or 'accepts'}, engine {seen.refusal or 'accepts'}"
    assert seen.recorded == (row is not None), command
    if row is None:
        return
    assert seen.recorded_ns == row.recorded_ns, f"{command}: recorded at another time"
    if refusal or row.kind in ("ledger", "account"):
        return
    assert seen.amount == row.amount, command
    assert (seen.debit, seen.credit) == tuple(map(counters, row.after)), command


def without_bits(request: Request, body: bytes) -> bytes:
    """A binary result says whether it is a replay; all else of it is the first outcome's."""
    if request.form != "binary":
        return body
    return b"".join(body[at : at + 10] + bytes(2) + body[at + 12 : at + 160] for at in range(0, len(body), 160))


def counters(account: Account) -> tuple[int, ...]:
    """In the order of the wire."""
    return account.dp, account.dd, account.cp, account.cc


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
