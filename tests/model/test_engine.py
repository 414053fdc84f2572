"""The engine against the model, under Hypothesis: any requests, in any form, at any pace.

A failure prints the steps that lead to it and the blob that replays it. Guarded here, after every step: the
same outcomes and balances as the model; debits equal credits in every ledger; no limit is passed; the pending
counters are the sum of the open holds; a decline moves nothing; undo leaves no trace; a retry gets the same
bytes; the journal's bytes, replayed, and the checkpoints, loaded, give the same state.

PYLEDGER_TEST_MODEL_EXAMPLES sets how many runs Hypothesis makes, PYLEDGER_TEST_MODEL_RUNS how many long ones.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from pyledger._rust import Engine
from tests.model.book import Book, Fields, joined, read_copy, write_copy
from tests.model.forms import Request, Seen, read, uuid
from tests.model.model import Model
from tests.model.nouns import SECOND, Account, Answer, Command, Key
from tests.model.plans import REQUESTS, TENANTS, Chooser, Plan, random_requests
from tests.support.chance import drawn_seed

EXAMPLES = int(os.environ.get("PYLEDGER_TEST_MODEL_EXAMPLES", "60"))
LONG_RUNS = int(os.environ.get("PYLEDGER_TEST_MODEL_RUNS", "8"))
LONG_RUN_BATCHES = 150
WAITS_MS = [0, 0, 1, 1_000, 5_000]
START_NS = 1_800_000_000 * SECOND
Shown = tuple[int, str, int, int, int, int]
"""An account's tenant, id and counters."""
SLOT_COLUMN, RECORDED_COLUMN = 1, 9
ROWS_A_PIECE = 2


class Pair:
    """The engine and the model, fed the same requests."""

    def __init__(self, window_ids: int) -> None:
        self.book, self.model, self.now = Book(window_ids), Model(), START_NS
        self.choose = Chooser(self.model)
        self.sent: list[tuple[Request, bytes]] = []
        self.tables: dict[str, dict[bytes, list[bytes | None]]] = {"ledger": {}, "account": {}, "hold": {}}
        self.saved: tuple[int, bytes, int] | None = None
        self.shown: dict[Key, tuple[Account, Shown]] = {}
        self.sums: dict[Key, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for tenant in TENANTS:
            self.step(self.choose.opening(tenant))

    def plan(self, plans: list[list[Plan]], wait_ms: int, *, undone: bool) -> None:
        """One batch of planned requests; some are decided, undone and decided again."""
        self.now += wait_ms * 1_000_000
        requests = [self.choose.request(each, self.now) for each in plans]
        if undone:
            before = self.book.engine.digest()
            self.book.apply([each.decoded() for each in requests], self.now)
            self.book.engine.undo()
            assert self.book.engine.digest() == before, "undo left a trace"
        self.step(requests)

    def retry(self, which: int) -> None:
        """A request that was recorded whole, sent again, gets the same bytes."""
        request, first = self.sent[which % len(self.sent)]
        (reply,) = self.step([request])
        assert without_bits(request, reply) == without_bits(request, first)

    def save(self) -> None:
        """Take a checkpoint and store it as the database would."""
        taken = self.book.engine.checkpoint()
        for row in read_copy(taken.ledger_copy):
            self.tables["ledger"][(row[1] or b"") + (row[2] or b"")] = row
        for row in self.given("account"):
            self.tables["account"][row[SLOT_COLUMN] or b""] = row
        for row in self.given("hold"):
            self.tables["hold"][(row[1] or b"") + (row[2] or b"")] = row
        for tenant, each in self.given("hold_removed"):
            self.tables["hold"].pop((tenant or b"") + (each or b""), None)
        self.book.engine.checkpoint_done(taken)
        self.saved = (taken.seq, taken.hash, taken.last_ns)

    def given(self, table: str) -> Iterator[Fields]:
        """What a checkpoint has for a table, in small pieces."""
        while (piece := self.book.engine.checkpoint_rows(table, ROWS_A_PIECE)) is not None:
            yield from read_copy(piece[0])

    def restart(self) -> None:
        """The process dies; another one goes on from what is stored, and nobody can tell."""
        before = self.balances()
        self.book.engine = self._restored() if self.saved is not None else self.book.replayed()
        assert self.balances() == before

    def step(self, requests: list[Request]) -> list[bytes]:
        """Decide one batch in both and compare all that can be seen of it."""
        before, digest = self.balances(), self.book.engine.digest()
        replies = self.book.submit([each.decoded() for each in requests], self.now)
        holds_before = len(self.model.holds)
        decided = self.model.batch([list(each.commands) for each in requests], self.now)
        moved = holds_before != len(self.model.holds)
        for request, reply, expected in zip(requests, replies, decided, strict=True):
            for command, one, other in zip(request.commands, expected, read(request, reply), strict=True):
                compare(command, one, other)
            moved |= any(not refusal for refusal, _row in expected)
            if all(row is not None for _refusal, row in expected):
                self.sent.append((request, reply.body))
            self.choose.remember(request)
        assert moved or self.balances() == before, "a decline or a replay moved money"
        assert moved or self.book.engine.digest() == digest, "a decline or a replay changed the books"
        self.hold_up()
        return [reply.body for reply in replies]

    def balances(self) -> list[Shown]:
        """Every account of the engine."""
        return self.book.engine.balances(0, 10_000)

    def hold_up(self) -> None:
        """What is true after every step."""
        model = self.model.accounts
        for key, account in model.items():
            if key not in self.shown or self.shown[key][0] is not account:
                self._changed(key, account)
        assert self.balances() == [self.shown[key][1] for key in model], "other balances than the model"
        assert not any(map(any, self.sums.values())), "debits are not credits"
        assert self.book.engine.holds == len(self.model.holds), "other holds than the model"
        held: tuple[dict[Key, int], dict[Key, int]] = defaultdict(int), defaultdict(int)
        for (tenant, _id), row in self.model.holds.items():
            held[0][tenant, row.terms.debit] += row.amount
            held[1][tenant, row.terms.credit] += row.amount
        for key, account in model.items():
            both = held[0].get(key, 0), held[1].get(key, 0)
            assert account.pending == both, "pending is not the sum of the open holds"

    def _changed(self, key: Key, account: Account) -> None:
        """What an account that is new or has changed must be, and what it adds to its ledger."""
        dp, dd, cp, cc = counters(account)
        opened = account.command
        if "debits_must_not_exceed_credits" in opened.flags:
            assert dp + dd <= cc + (opened.amount or 0), "overdrawn"
        if "credits_must_not_exceed_debits" in opened.flags:
            assert cp + cc <= dd + (opened.amount or 0), "overdrawn"
        was = self.shown[key][1] if key in self.shown else (0, "", 0, 0, 0, 0)
        self.shown[key] = account, (key[0], uuid(key[1]), dp, dd, cp, cc)
        ledger = opened.tenant, opened.ledger
        of_held, of_moved = self.sums[ledger]
        of_held += dp - cp - was[2] + was[4]
        self.sums[ledger] = of_held, of_moved + dd - cc - was[3] + was[5]

    def end(self) -> None:
        """The journal alone, and a checkpoint with the rest of the journal, give the same state."""
        engine, replayed = self.book.engine, self.book.replayed()
        assert (replayed.seq, replayed.hash, replayed.last_ns) == (engine.seq, engine.hash, engine.last_ns)
        assert replayed.digest() == engine.digest(), "replay of the journal gives another state"
        if self.saved is not None:
            restored = self._restored()
            assert (restored.seq, restored.hash, restored.last_ns) == (engine.seq, engine.hash, engine.last_ns)
            assert restored.digest() == engine.digest(), "a checkpoint and what came after it give another state"

    def _restored(self) -> Engine:
        assert self.saved is not None
        engine = self.book.new_engine(3)
        ledgers, accounts, holds = (list(self.tables[what].values()) for what in ("ledger", "account", "hold"))
        engine.load("ledger", write_copy(ledgers))
        engine.load("account", write_copy(sorted(accounts, key=lambda row: row[SLOT_COLUMN] or b"")))
        engine.load("hold", write_copy(sorted(holds, key=lambda row: row[RECORDED_COLUMN] or b"")))
        engine.set_head(*self.saved)
        later = [batch for batch in self.book.journal if batch.entry[0] > self.saved[0]]
        if later:
            engine.replay(joined([batch.tuples for batch in later]), [batch.entry for batch in later])
        return engine


class Ledgers(RuleBasedStateMachine):
    """Hypothesis chooses the requests; whatever differs is a failure, and shrinks to a few steps."""

    @initialize(window_ids=st.sampled_from([1_000, 1, 4, 32]))
    def open_the_books(self, window_ids: int) -> None:
        """Two ledgers and eight accounts for each of two tenants."""
        self.pair = Pair(window_ids)

    @rule(plans=REQUESTS, wait_ms=st.sampled_from(WAITS_MS), undone=st.booleans())
    def batch(self, plans: list[list[Plan]], wait_ms: int, undone: bool) -> None:
        """New requests."""
        self.pair.plan(plans, wait_ms, undone=undone)

    @rule(plans=REQUESTS, which=st.integers(0, 99))
    def batch_and_retry(self, plans: list[list[Plan]], which: int) -> None:
        """New requests, then one that was sent before."""
        self.pair.plan(plans, 0, undone=False)
        self.pair.retry(which)

    @rule()
    def set_the_clock_back(self) -> None:
        """The machine's clock goes back a minute; the ledger's does not."""
        self.pair.now -= 60 * SECOND

    @rule()
    def save(self) -> None:
        """A checkpoint."""
        self.pair.save()

    @rule()
    def restart(self) -> None:
        """A new process."""
        self.pair.restart()

    def teardown(self) -> None:
        """What is stored is enough."""
        if hasattr(self, "pair"):
            self.pair.end()


TestLedgers = Ledgers.TestCase
TestLedgers.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    """Printed before anything can fail, for a panic in the engine ends the process."""
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    return drawn_seed(print if terminal is None else lambda line: terminal.write_line(f" {line}"))


@pytest.mark.parametrize("run", range(LONG_RUNS))
def test_long_runs(run: int, seed: int) -> None:
    """Hundreds of batches in a row, each run from a seed of its own."""
    long_run(random.Random(seed + run))


def long_run(chance: random.Random) -> Pair:
    """One run of some hundred batches."""
    pair = Pair(chance.choice([1, 16, 200, 100_000]))
    for _ in range(LONG_RUN_BATCHES):
        pair.plan(random_requests(chance), chance.choice(WAITS_MS), undone=chance.random() < 0.2)
        if chance.random() < 0.3:
            pair.retry(chance.randrange(1_000_000))
        if chance.random() < 0.02:
            pair.save()
        if chance.random() < 0.02:
            pair.restart()
        if chance.random() < 0.01:
            pair.now -= 60 * SECOND
    pair.end()
    return pair


def compare(command: Command, expected: Answer, seen: Seen) -> None:
    """One outcome as the model and as the engine has it."""
    refusal, row = expected
    assert seen.refusal == refusal, f"{command}: model {refusal or 'accepts'}, engine {seen.refusal or 'accepts'}"
    assert seen.recorded == (row is not None), command
    if row is None:
        return
    assert seen.recorded_ns == row.recorded_ns, f"{command}: recorded at another time"
    if refusal or command.kind != "transfer":
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
    return account.pending[0], account.posted[0], account.pending[1], account.posted[1]
