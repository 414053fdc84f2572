"""The writer: many submitters, retries, declines, reads, expiries, and its bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pyledger.ledger import Busy, Exit, Fenced, State, Unavailable, UnknownOutcome
from pyledger.ledger.nouns import AHEAD_BATCHES_MAX, APPLY_INLINE_ROWS_MAX, BATCH_WEIGHT_MAX, BatchMeasure
from pyledger.ledger.relay import Relay
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    fields,
    findings,
    let_pass,
    make_accounts,
    new_id,
    open_book,
    opened,
    posted,
    resolve,
    run_as_admin,
    transfer,
    transfers,
    until,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)


@both
async def test_many_submitters_on_few_accounts(database: Database) -> None:
    """Contention: every transfer counts once, each retry gets its first outcome, the books add up."""
    dice = replayable()
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 5, flags=["debits_must_not_exceed_credits"], allowance="50")
        expected = dict.fromkeys(accounts, 0)

        async def submitter() -> None:
            for _ in range(25):
                debit, credit = dice.sample(accounts, 2)
                amount = dice.randint(1, 30)
                commands = transfer(debit, credit, amount)
                replies = await asyncio.gather(*(ledger.writer.submit(commands) for _ in range(dice.randint(1, 3))))
                assert len({reply.body for reply in replies}) == 1
                assert [reply.replayed for reply in replies].count(False) <= 1
                assert replies[0].outcome in ("accepted", "declined")
                if replies[0].outcome == "accepted":
                    expected[debit] -= amount
                    expected[credit] += amount

        await asyncio.gather(*(submitter() for _ in range(60)))
        assert {account: await posted(ledger, account) for account in accounts} == expected
        assert min(expected.values()) >= -50
        assert ledger.stats.batches < 60 * 25, "they rode together"
    assert await findings(database) == []


async def test_declines_are_recorded_and_replayed_word_for_word(database: Database) -> None:
    async with opened(database) as ledger:
        poor, rich = await make_accounts(ledger, flags=["debits_must_not_exceed_credits"])
        commands = transfer(poor, rich, 5)
        first = await ledger.writer.submit(commands)
        assert (first.outcome, first.refusal, first.replayed) == ("declined", "exceeds_credits", False)
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE status <> 0") == 1
        for _ in range(2):
            again = await ledger.writer.submit(commands)
            assert (again.body, again.replayed) == (first.body, True)
    async with opened(database) as ledger:
        again = await ledger.writer.submit(commands)
        assert (again.body, again.replayed) == (first.body, True), "also after a restart"
        other = json.loads(first.body)["id"]
        conflict = await ledger.writer.submit(transfer(rich, poor, 5, id=other))
        assert conflict.outcome == "conflict"
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE kind = 3") == 1


async def test_a_retry_finds_its_first_in_older_partitions(database: Database) -> None:
    """The window forgets; the journal does not."""
    async with opened(database, window_ids=8_190) as ledger:
        debit, credit = await make_accounts(ledger)
        commands = transfer(debit, credit, 5, id="5d9b6e1c-8a51-4c39-9c0e-111111111111")
        first = await ledger.writer.submit(commands)
        held = await ledger.writer.submit(transfer(debit, credit, 7, flags=["pending"]))
        hold = json.loads(held.body)["id"]
        assert (await ledger.writer.submit(resolve("post", hold))).outcome == "accepted"
        for _ in range(3):
            let_pass(ledger, 7 * 86_400 * 10**9)
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(4_000)]))
        again = await ledger.writer.submit(commands)
        assert (again.body, again.replayed) == (first.body, True)
        twice = await ledger.writer.submit(resolve("void", hold))
        assert twice.refusal == "pending_transfer_already_posted"
        back = await ledger.writer.submit(resolve("reverse", json.loads(first.body)["id"]))
        assert back.outcome == "accepted"
        more = await ledger.writer.submit(resolve("reverse", json.loads(first.body)["id"], amount="1"))
        assert more.refusal == "exceeds_reversible_amount"
        parts = await run_as_admin(database, "SELECT count(DISTINCT tableoid) FROM pyledger.journal")
        assert parts == 4
        assert await findings(database) == []


async def test_a_submitter_that_goes_away_changes_nothing(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        commands = transfer(debit, credit, 5)
        waiting = [ledger.writer.submit(commands), ledger.writer.read(lambda engine: engine.seq)]
        await asyncio.sleep(0)
        for future in waiting:
            future.cancel()
        assert (await ledger.writer.submit(commands)).replayed
        assert await posted(ledger, credit) == 5


async def test_nothing_is_answered_before_the_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept, decline, refusal, replay and read: all wait for the commit of their batch."""
    gate = asyncio.Event()
    real = Session.append

    async def held_up(self: Session, *arguments: Any) -> list[str]:
        await gate.wait()
        return await real(self, *arguments)

    async with opened(database) as ledger:
        poor, rich = await make_accounts(ledger, flags=["debits_must_not_exceed_credits"], allowance="5")
        known = transfer(poor, rich, 1)
        await ledger.writer.submit(known)
        monkeypatch.setattr(Session, "append", held_up)
        futures = [
            ledger.writer.submit(transfer(poor, rich, 3)),
            ledger.writer.submit(transfer(poor, rich, 100)),
            ledger.writer.submit(transfer(new_id(), rich, 1)),
            ledger.writer.submit(known),
            ledger.writer.read(lambda engine: engine.seq),
        ]
        await asyncio.sleep(0.3)
        assert not any(future.done() for future in futures)
        gate.set()
        replies = await asyncio.gather(*futures)
        assert [reply.outcome for reply in replies[:4]] == ["accepted", "declined", "unknown", "accepted"]
        assert replies[3].replayed


async def test_what_a_look_raises_is_the_lookers(database: Database) -> None:
    async with opened(database) as ledger:
        with pytest.raises(ZeroDivisionError):
            await ledger.writer.read(lambda engine: engine.seq // 0)
        assert await ledger.writer.read(lambda engine: engine.seq) == 0
        assert ledger.state is State.SERVING


async def test_a_full_queue_says_no_at_once(database: Database) -> None:
    async with opened(database, queue_rows_max=8_190) as ledger:
        debit, credit = await make_accounts(ledger)
        batch = [transfers([fields(debit, credit) for _ in range(4_000)]) for _ in range(3)]
        taken = [ledger.writer.submit(commands) for commands in batch[:2]]
        with pytest.raises(Busy) as raised:
            ledger.writer.submit(batch[2])
        assert raised.value.retry_after_s == 1
        assert ledger.stats.queue_rows == 8_000
        await asyncio.gather(*taken)
        assert ledger.stats.queue_rows == 0
        await ledger.writer.submit(batch[2])
        assert await posted(ledger, credit) == 12_000


async def test_batches_gather_while_one_commits_and_keep_their_bound(database: Database) -> None:
    measures: list[BatchMeasure] = []
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        ledger.stats.listeners.append(measures.append)
        big = [transfers([fields(debit, credit) for _ in range(3_000)]) for _ in range(4)]
        small = [transfer(debit, credit) for _ in range(100)]
        await asyncio.gather(*map(ledger.writer.submit, big + small))
        rows = [measure.rows for measure in measures if measure.rows]
        assert rows == [6_000, 6_100], "never split, never over the bound, never waiting to fill"
        assert max(rows) <= BATCH_WEIGHT_MAX
        assert APPLY_INLINE_ROWS_MAX < 6_000
        assert all(measure.apply_s > 0 and measure.commit_s > 0 for measure in measures)
        assert await posted(ledger, credit) == 12_100


async def test_a_hold_expires_while_nothing_else_happens(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        reply = await ledger.writer.submit(transfer(debit, credit, 5, flags=["pending"], timeout_s=1))
        assert reply.outcome == "accepted"
        assert ledger.stats.holds == 1
        await until(lambda: ledger.stats.holds == 0, 5)
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE kind = 8") == 1
        late = await ledger.writer.submit(resolve("post", json.loads(reply.body)["id"]))
        assert late.refusal == "pending_transfer_expired"
        assert await findings(database) == []


async def test_a_clean_stop_answers_what_it_took(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        taken = [ledger.writer.submit(transfer(debit, credit)) for _ in range(500)]
        closing = asyncio.ensure_future(ledger.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="stopping"):
            ledger.writer.submit(transfer(debit, credit))
        assert {reply.outcome for reply in await asyncio.gather(*taken)} == {"accepted"}
        await closing
        assert await ledger.ended() is Exit.CLEAN
        assert ledger.state is State.STOPPED
        head = await run_as_admin(database, "SELECT seq FROM pyledger.head")
        assert await run_as_admin(database, "SELECT seq FROM pyledger.checkpoint") == head
        with pytest.raises(Unavailable):
            ledger.writer.submit(transfer(debit, credit))


async def test_a_group_of_holds_weighs_what_it_may_append(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        rows = [fields(debit, credit, 2, flags=["pending", "linked"]) for _ in range(4)]
        rows[-1]["flags"] = ["pending"]
        await ledger.writer.submit(transfers(rows))
        command = resolve("post", rows[0]["id"], group=True)
        assert command.weight == 64
        assert (await ledger.writer.submit(command)).outcome == "accepted"
        assert await posted(ledger, credit) == 8


async def test_the_same_ledger_again_is_a_replay(database: Database) -> None:
    async with opened(database) as ledger:
        first = await ledger.writer.submit(open_book())
        again = await ledger.writer.submit(open_book())
        assert (again.body, again.replayed) == (first.body, True)


@pytest.mark.parametrize("lost", [False, True])
async def test_full_batches_are_decided_while_the_one_before_them_commits(
    database: Database, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """And if that one does not land, all are undone and decided again, for the same answers, once."""
    real, uncommitted = Relay.append, list[int]()

    async def slow(self: Relay, *arguments: Any) -> list[str]:
        if len(uncommitted) == 1 and lost:
            uncommitted.append(0)
            self.terminate()
            raise ConnectionError("the wire broke before it left")
        await asyncio.sleep(0.3)
        uncommitted.append(ledger.writer.engine.uncommitted)
        return await real(self, *arguments)

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        monkeypatch.setattr(Relay, "append", slow)
        batches = [transfers([fields(debit, credit) for _ in range(6_000)]) for _ in range(4)]
        riding = [ledger.writer.submit(commands) for commands in batches]
        look = ledger.writer.read(lambda engine: engine.seq)
        replies = await asyncio.wait_for(asyncio.gather(*riding), 30)
        assert max(uncommitted) == 1 + AHEAD_BATCHES_MAX
        assert [json.loads(reply.body)["accepted"] for reply in replies] == [6_000] * 4
        assert await look > 0
        assert ledger.stats.fences == (1 if lost else 0)
        assert await posted(ledger, credit) == 24_000
        assert await findings(database) == []


async def test_what_was_decided_ahead_is_refused_at_the_end_and_not_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the batch whose append had left is in doubt."""

    async def fenced(self: Session, *_: object) -> list[str]:
        await asyncio.sleep(0.3)
        raise Fenced("another took over")

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        monkeypatch.setattr(Session, "append", fenced)
        riding = [ledger.writer.submit(transfers([fields(debit, credit) for _ in range(6_000)])) for _ in range(3)]
        ended = await asyncio.wait_for(asyncio.gather(*riding, return_exceptions=True), 20)
        assert [type(each) for each in ended] == [UnknownOutcome, Unavailable, Unavailable]
