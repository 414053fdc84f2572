"""The checker must be able to say no: a true log passes, and each deliberate lie in a copy of it is noticed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from pyledger import _rust
from tests.faults.checker import history, journal, words
from tests.faults.checker.__main__ import main
from tests.faults.checker.history import NEVER_NS, Attempt
from tests.faults.checker.journal import Entry, Journal
from tests.faults.checker.judge import judged
from tests.faults.checker.replay import Replay
from tests.faults.ground import TENANTS, ground
from tests.faults.harms import kill_server
from tests.faults.lies import LIES, Story
from tests.faults.load import Load, Log
from tests.faults.running import own_directory
from tests.faults.traffic import Traffic
from tests.model.nouns import Command

OPERATIONS = 2_400
SEED = 20_260


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


def test_a_twin_may_do_what_the_first_could_not_do_yet() -> None:
    """The same request twice and the hold that it posts in between, all in one batch: the post is the twin's."""
    transfer = Command("transfer", 13, 1, 11, 12, 5, ledger=1, code=1)
    hold = Command("transfer", 14, 1, 11, 12, 7, ledger=1, code=1, flags=frozenset({"pending"}))
    post = Command("transfer", 15, 1, amount=None, target=14, flags=frozenset({"post_pending"}))
    opened = [Command("ledger", 10, ledger=1, reference="EUR")]
    opened += [Command("account", each, ledger=1, code=1) for each in (11, 12)]
    requests = [*([each] for each in opened), [transfer, post], [hold], [transfer, post]]
    attempts = [
        Attempt(line, 1, "POST", "/", line, line + 100, 200, False, None, commands=tuple(commands))
        for line, commands in enumerate(requests)
    ]

    def entry(at: int, command: Command, kind: str, *after: tuple[int, ...], **more: int) -> Entry:
        seq = 1 if at <= len(opened) else 2
        money = {"debit": command.debit, "credit": command.credit, "amount": command.amount or 0} | more
        return Entry(
            at, seq, at, command.id, 1, kind, "", ledger=1, target=command.target, flags=command.flags, timeout_s=0,
            code=0 if kind == "ledger" else 1, reference=command.reference, after=after, **money,
        )  # fmt: skip

    rows = [
        *(entry(at, each, each.kind) for at, each in enumerate(opened, 1)),
        entry(4, transfer, "transfer", (0, 5, 0, 0), (0, 0, 0, 5)),
        entry(5, hold, "pending", (7, 5, 0, 0), (0, 0, 7, 5)),
        entry(6, post, "post", (0, 12, 0, 0), (0, 0, 0, 12), debit=11, credit=12, amount=7),
    ]
    replay = Replay(attempts, Journal(rows, [], 2))
    replay.run()
    assert replay.wrong == []
    replay = Replay(attempts, Journal([*rows[:4], rows[5], rows[4]], [], 2))
    replay.run()
    assert replay.wrong
