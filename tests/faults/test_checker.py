"""The checker must be able to say no: a true log passes, and each deliberate lie in a copy of it is noticed."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from pyledger import _rust
from tests.faults.checker import history, journal, words
from tests.faults.checker.__main__ import main
from tests.faults.checker.history import NEVER_NS, Attempt
from tests.faults.checker.journal import Journal
from tests.faults.checker.judge import judged
from tests.faults.ground import TENANTS, ground
from tests.faults.harms import kill_server
from tests.faults.load import Load, Log
from tests.faults.running import own_directory
from tests.faults.traffic import Traffic

OPERATIONS = 2_400
SEED = 20_260
MS = 1_000_000


@dataclass
class Story:
    """What clients saw, and what is recorded."""

    attempts: list[Attempt]
    journal: Journal

    def copied(self) -> Story:
        """To lie in."""
        return Story(copy.deepcopy(self.attempts), Journal(list(self.journal.entries), *self.rest()))

    def rest(self) -> tuple[list[tuple[int, int, int, int]], int]:
        return list(self.journal.batches), self.journal.head

    def wrong(self) -> list[str]:
        return judged(self.attempts, self.journal).wrong

    def reads(self) -> list[Attempt]:
        return [
            each for each in self.attempts if "/v1/accounts/" in each.path and each.status == 200 and not each.commands
        ]

    def accepted(self) -> list[Attempt]:
        """Single transfers that were accepted, by those who decided them."""
        return [
            each for each in self.attempts if each.status == 201 and each.path == "/v1/transfers" and not each.replayed
        ]

    def place_of(self, attempt: Attempt) -> int:
        """Where its row is among the entries."""
        (place,) = [i for i, each in enumerate(self.journal.entries) if each.id == attempt.commands[0].id
                    and each.tenant == attempt.tenant]  # fmt: skip
        return place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded() -> AsyncIterator[tuple[Path, str, dict[str, int], Story]]:
    """Some seconds of a real server under load, killed once."""
    with own_directory() as directory:
        async with ground(directory) as place:
            server = await place.start_server()
            log = Log(directory / "clients.jsonl")
            load = Load(Traffic(random.Random(SEED), TENANTS), log, place.keys, lambda: [server.url])
            await load.open()
            load.start()
            await place.until(lambda: log.counts["operations"] > OPERATIONS / 2, "half of it")
            await kill_server(place, random.Random(SEED))
            await place.until(lambda: log.counts["operations"] > OPERATIONS, "all of it")
            assert await load.finish() == []
            await asyncio.sleep(1.2)  # a hold expires meanwhile
            await load.look()
            log.close()
            assert place.database is not None
            dsn = place.database.reader_dsn
            story = Story(history.read(log.path, place.tenants), await journal.load(dsn))
            yield log.path, dsn, place.tenants, story


@pytest.fixture
def story(recorded: tuple[Path, str, dict[str, int], Story]) -> Story:
    return recorded[3].copied()


def test_the_truth_passes_and_the_story_has_everything(story: Story) -> None:
    judge = judged(story.attempts, story.journal)
    assert judge.wrong == []
    assert judge.counts["unknown"] > 0
    assert judge.counts["replayed"] > 100
    assert {"transfer", "pending", "post", "void", "reverse", "expire"} <= {each.kind for each in story.journal.entries}
    assert any(each.refusal for each in story.journal.entries)
    assert any(isinstance(each.reply, bytes) for each in story.attempts)
    assert any(each.status == 422 and each.reply["code"] == "idempotency_conflict" for each in story.attempts)


def test_the_program_says_the_same(
    recorded: tuple[Path, str, dict[str, int], Story], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, dsn, tenants, _ = recorded
    who = [part for name, number in tenants.items() for part in ("--tenant", f"{name}={number}")]
    assert main([str(path), "--database", dsn, *who]) == 0
    lines = path.read_text("utf-8").splitlines()
    lie = tmp_path / "lie.jsonl"
    place = next(i for i, line in enumerate(lines) if '"path": "/v1/transfers"' in line and '"status": 201' in line)
    lines[place] = lines[place].replace('\\"amount\\":\\"', '\\"amount\\":\\"1')
    lie.write_text("\n".join(lines), "utf-8")
    capsys.readouterr()
    assert main([str(lie), "--database", dsn, *who]) == 1
    assert "was told amount" in capsys.readouterr().out


def dropped_row(story: Story) -> None:
    del story.journal.entries[story.place_of(story.accepted()[-1])]


def dropped_batch(story: Story) -> None:
    """The tail is gone, as after a failover: nothing left contradicts itself but what clients know."""
    last = story.journal.batches.pop()
    story.journal.head -= 1
    story.journal.entries[:] = [each for each in story.journal.entries if each.seq != last[0]]


def row_twice(story: Story) -> None:
    entries, place = story.journal.entries, story.place_of(story.accepted()[5])
    again = entries[place]
    last = entries[-1]
    entries.append(replace(again, position=last.position + 1, seq=last.seq + 1, recorded_ns=last.recorded_ns + 1))
    story.journal.batches.append((last.seq + 1, 1, last.recorded_ns + 1, last.recorded_ns + 1))
    story.journal.head += 1


def swapped_balance(story: Story) -> None:
    reply = story.accepted()[3].reply
    sides = reply["debit_account"], reply["credit_account"]
    for name in set(sides[0]) - {"id"}:
        sides[0][name], sides[1][name] = sides[1][name], sides[0][name]


def wrong_available(story: Story) -> None:
    reply = story.accepted()[3].reply["credit_account"]
    reply["available"] = str(int(reply["available"]) + 1)


def balance_of_a_row_changed(story: Story) -> None:
    place = story.place_of(story.accepted()[3])
    debit, credit = story.journal.entries[place].after
    story.journal.entries[place] = replace(
        story.journal.entries[place], after=((debit[0], debit[1] + 1, *debit[2:]), credit)
    )


def decided_twice(story: Story) -> None:
    again = next(each for each in story.attempts if each.replayed and each.path == "/v1/transfers")
    again.replayed = False


def stale_read(story: Story) -> None:
    """The last look at an account gets what a much earlier one got."""
    reads = story.reads()
    last = next(each for each in reversed(reads) if any(early_and_other(each, other) for other in reads))
    last.reply = next(other.reply for other in reads if early_and_other(last, other))


def early_and_other(last: Attempt, other: Attempt) -> bool:
    same = other.path == last.path and other.tenant == last.tenant
    return same and other.ended_ns < last.began_ns and other.reply["balances"] != last.reply["balances"]


def read_from_nowhere(story: Story) -> None:
    story.reads()[10].reply["balances"]["debits_posted"] = "123456789"


def reordered_pair(story: Story) -> None:
    """One that was recorded late had been answered before one was asked that was recorded early."""
    one, *_, other = story.accepted()
    one.began_ns, one.ended_ns = other.ended_ns + MS, other.ended_ns + 2 * MS


def swapped_rows(story: Story) -> None:
    entries = story.journal.entries
    place = next(
        i for i, (a, b) in enumerate(pairwise(entries))
        if a.kind == b.kind == "transfer" and not a.refusal and not b.refusal and a.tenant == b.tenant
        and {a.debit, a.credit} & {b.debit, b.credit} and a.seq == b.seq
    )  # fmt: skip
    one, two = entries[place], entries[place + 1]
    entries[place] = replace(two, recorded_ns=one.recorded_ns, position=one.position)
    entries[place + 1] = replace(one, recorded_ns=two.recorded_ns, position=two.position)


def denied(story: Story) -> None:
    """Everybody who asked for something recorded was told that nothing is recorded."""
    one = story.accepted()[7]
    for each in story.attempts:
        if one.commands[0] in each.commands:
            each.status, each.reply = 503, {"code": "unavailable"}


def other_outcome(story: Story) -> None:
    """A business no that was told as something else."""
    one = next(each for each in story.attempts if each.status == 422 and each.reply["code"] == "exceeds_credits")
    one.reply["code"] = "exceeds_debits"


def other_body_accepted(story: Story) -> None:
    conflicts = [each for each in story.attempts if each.status == 422 and each.reply["code"] == "idempotency_conflict"]
    one, first = next((a, b) for a in conflicts for b in story.accepted() if same_id(a, b))
    one.status, one.reply, one.text, one.replayed = 201, first.reply, first.text, True


def same_id(one: Attempt, other: Attempt) -> bool:
    return (one.tenant, one.commands[0].id) == (other.tenant, other.commands[0].id)


def conflict_about_nothing(story: Story) -> None:
    one = story.accepted()[1]
    one.status, one.reply = 422, {"code": "idempotency_conflict"}


def other_bytes_for_a_retry(story: Story) -> None:
    again = next(
        each for each in story.attempts if each.replayed and each.path == "/v1/transfers" and each.status == 201
    )
    again.text += " "


def account_that_is_not_found(story: Story) -> None:
    story.reads()[-1].status = 404


def of_another_tenant(story: Story) -> None:
    """A hold of the other tenant is shown."""
    one = next(
        each for each in story.attempts if each.method == "GET" and each.status == 404 and "transfers" in each.path
    )
    entry = next(each for each in story.journal.entries if each.kind == "transfer" and each.tenant != one.tenant)
    one.path, one.status = f"/v1/transfers/{entry.id:032x}", 200
    one.reply = {"id": f"{entry.id:032x}", "status": "accepted"}


def expired_too_early(story: Story) -> None:
    entries = story.journal.entries
    place = next(i for i, each in enumerate(entries) if each.kind == "expire")
    hold = next(i for i, each in enumerate(entries) if each.id == entries[place].target and each.kind == "pending")
    entries[hold] = replace(entries[hold], timeout_s=entries[hold].timeout_s + 1)


def nobody_asked(story: Story) -> None:
    one = story.accepted()[9].commands[0]
    story.attempts[:] = [each for each in story.attempts if one not in each.commands]


def gap_in_the_sequence(story: Story) -> None:
    story.journal.batches.pop(len(story.journal.batches) // 2)


def internal_error(story: Story) -> None:
    story.accepted()[0].status = 500


LIES: dict[Callable[[Story], None], str] = {
    dropped_row: "says",
    dropped_batch: "it is lost",
    row_twice: "recorded before",
    swapped_balance: "was told",
    wrong_available: "was told available",
    balance_of_a_row_changed: "the model",
    decided_twice: "was told that it decided",
    stale_read: "old balances",
    read_from_nowhere: "do not fit together",
    reordered_pair: "before it was asked",
    swapped_rows: "the model",
    denied: "was told that it is not",
    other_outcome: "the journal says exceeds_credits",
    other_body_accepted: "has another body",
    conflict_about_nothing: "but nothing else was recorded",
    other_bytes_for_a_retry: "got other bytes",
    account_that_is_not_found: "does not find an account",
    of_another_tenant: "which its tenant does not have",
    expired_too_early: "not what anybody asked for",
    nobody_asked: "asked for by nobody",
    gap_in_the_sequence: "stands where",
    internal_error: "was answered 500",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_noticed(story: Story, lie: Callable[[Story], None]) -> None:
    lie(story)
    wrong = story.wrong()
    assert any(LIES[lie] in each for each in wrong), wrong[:5]


def test_what_nobody_answered_may_have_gone_either_way(story: Story) -> None:
    """An answer that got lost is no lie, whether it was recorded or not."""
    one = story.accepted()[-1]
    one.ended_ns, one.status, one.reply = NEVER_NS, 0, None
    asked = [each for each in story.attempts if one.commands[0].id in [command.id for command in each.commands]]
    for each in asked:
        each.ended_ns = NEVER_NS
    assert story.wrong() == []


def test_its_words_are_those_of_the_server() -> None:
    known = {number: code for number, code, _, _ in _rust.REFUSALS}
    declined = {number: code for number, code, kind, _ in _rust.REFUSALS if kind == "declined"}
    assert declined == words.DECLINES
    assert known | words.PASSING == known
