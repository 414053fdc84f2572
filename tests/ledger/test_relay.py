"""Rows that are sent ahead: what goes wrong with them costs time, and never a row too few, too many or too early."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from pyledger._rust import Applied, Reply
from pyledger.ledger import Exit, Ledger, Unavailable
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    Wire,
    fields,
    findings,
    make_accounts,
    new_engine,
    new_id,
    open_accounts,
    open_book,
    opened,
    posted,
    run_as_admin,
    transfers,
)
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
BATCHES = 6
ROWS = 6_000
"""Of each: two do not fit into one batch, and one that waits is enough to be decided ahead."""


def bulk(debit: str, credit: str) -> list[Any]:
    return [transfers([fields(debit, credit) for _ in range(ROWS)]) for _ in range(BATCHES)]


async def post(ledger: Ledger, commands: list[Any]) -> list[Reply]:
    riding = [ledger.writer.submit(each) for each in commands]
    return await asyncio.wait_for(asyncio.gather(*riding), 60)


async def prove(database: Database, ledger: Ledger, credit: str, replies: list[Reply]) -> None:
    assert [json.loads(reply.body)["accepted"] for reply in replies] == [ROWS] * BATCHES
    assert await posted(ledger, credit) == ROWS * BATCHES
    assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE kind = 3") == ROWS * BATCHES
    assert await findings(database) == []


def spy(monkeypatch: pytest.MonkeyPatch, name: str, instead: Callable[..., Any] | None = None) -> list[Session]:
    """Who does it, and does something else instead, if told."""
    real, seen = getattr(Session, name), list[Session]()

    async def watched(self: Session, *arguments: Any) -> Any:
        seen.append(self)
        return await (real(self, *arguments) if instead is None else instead(real, self, *arguments))

    monkeypatch.setattr(Session, name, watched)
    return seen


async def end(database: Database, session: Session) -> None:
    await run_as_admin(database, "SELECT pg_terminate_backend($1, 5000)", session._connection.get_server_pid())


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the next batch's rows are under way."""

    async def wait(real: Any, self: Session, *arguments: Any) -> list[str]:
        await asyncio.sleep(0.3)
        return list(await real(self, *arguments))

    spy(monkeypatch, "append", wait)
    spy(monkeypatch, "finish", wait)


@both
async def test_two_sessions_take_turns(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:

    sent, finished = spy(monkeypatch, "send_ahead"), spy(monkeypatch, "finish")
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert len(sent) == len(finished) >= 3
        assert all(one is not other for one, other in itertools.pairwise(finished))
        assert ledger.stats.fences == 0
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ 'writer'"
    async with asyncio.timeout(15):  # a backend ends a moment after its connection
        while await run_as_admin(database, left):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("rows", [1, 2])
async def test_small_batches_are_sent_ahead_if_the_setting_says_so(database: Database, rows: int) -> None:
    async with opened(database, ahead_rows_min=2) as ledger:
        debit, credit = await make_accounts(ledger)
        assert ledger.stats.batches_ahead == 0
        for _ in range(BATCHES):
            riding = [ledger.writer.submit(transfers([fields(debit, credit)]))]
            await asyncio.sleep(0.1)  # it is on its way
            riding += [ledger.writer.submit(transfers([fields(debit, credit)])) for _ in range(rows)]
            await asyncio.wait_for(asyncio.gather(*riding), 10)
        # The first of them has but opened the second session.
        assert ledger.stats.batches_ahead == (BATCHES - 1 if rows == 2 else 0)
        assert await posted(ledger, credit) == BATCHES * (1 + rows)
        assert await findings(database) == []


@both
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_session_dies_with_rows_that_were_sent_ahead(
    database: Database, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its turn has not come: nothing is in doubt, and another way is found."""

    async def killed(real: Any, self: Session, batch: Applied) -> None:
        if len(sent) in (1, 3):
            if when == "after":
                await real(self, batch)
            await end(database, self)
        await real(self, batch)

    sent = spy(monkeypatch, "send_ahead", killed)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert len(sent) >= 3


@both
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_session_dies_when_its_turn_has_come(
    database: Database, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Now it is in doubt: the fence tells, and what was sent behind it is decided again if it did not land."""

    async def killed(real: Any, self: Session, *arguments: Any) -> Any:
        if len(finished) == 2:
            if when == "after":
                await real(self, *arguments)
            await end(database, self)
            raise ConnectionError("the answer was lost")
        return await real(self, *arguments)

    finished = spy(monkeypatch, "finish", killed)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert len(finished) >= 2
        assert ledger.stats.fences == 1


@pytest.mark.parametrize(
    ("side", "piece"),
    [("before", b"COMMIT"), ("after", b"COMMIT"), ("before", b"BEGIN ISOLATION"), ("after", b"BEGIN")],
)
async def test_the_wire_breaks(database: Database, wire: Wire, side: str, piece: bytes) -> None:
    async with opened(database, url=wire.url) as ledger:
        debit, credit = await make_accounts(ledger)
        setattr(wire, side, piece)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert wire.cuts == 1


async def test_rows_whose_batch_is_decided_again_are_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id was recorded that nobody knew of: the batch retreats, with the one whose rows lie ready behind it."""

    async def late(real: Any, self: Session, *arguments: Any) -> list[str]:
        await asyncio.sleep(0.5)  # until they are there
        if len(appended) == 1:
            raise asyncpg.UniqueViolationError.new(
                {"C": "23505", "M": "as if it had been recorded", "t": "journal", "S": "ERROR", "V": "ERROR"}
            )
        return list(await real(self, *arguments))

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger._committer._relay._open_second(1)  # type: ignore[union-attr]
        appended = spy(monkeypatch, "append", late)
        given_up = spy(monkeypatch, "rollback")
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert len(given_up) == 1
        assert ledger.stats.fences == 0


@both
async def test_another_owner_ends_it_where_rows_lie_ready(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compare-and-set at the end is what counts, and the rows go with it."""

    async def moved(real: Any, self: Session, *arguments: Any) -> list[str]:
        await run_as_admin(database, "UPDATE pyledger.head SET epoch = epoch + 1, owner = 'another:9999'")
        return list(await real(self, *arguments))

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        spy(monkeypatch, "finish", moved)
        riding = [ledger.writer.submit(each) for each in bulk(debit, credit)]
        ended = await asyncio.wait_for(asyncio.gather(*riding, return_exceptions=True), 30)
        landed = sum(isinstance(each, Reply) for each in ended)
        assert 0 < landed < BATCHES
        assert all(isinstance(each, Unavailable) for each in ended[landed:])
        assert await ledger.ended() is Exit.FENCED
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE kind = 3") == ROWS * landed


@both
async def test_a_frozen_session_with_rows_that_were_sent_ahead_is_ended(database: Database) -> None:
    """It would keep the ids locked for whoever comes next."""
    engine, ids = new_engine(), [new_id(), new_id()]
    engine.apply([open_book(), open_accounts(ids)], time.time_ns(), [])
    commands = transfers([fields(*ids) for _ in range(ROWS)])
    rows = engine.apply([commands], time.time_ns(), [])
    async with opened(database) as first:
        await first.writer.submit(open_book())
        await first.writer.submit(open_accounts(ids))
    zombie = await Session.open(database.server_dsn, 0)
    await zombie.mark(1)
    await zombie.send_ahead(rows)
    await zombie._connection.execute("SET idle_in_transaction_session_timeout = 0")
    async with opened(database) as second:
        reply = await asyncio.wait_for(second.writer.submit(commands), 10)
        assert (reply.outcome, reply.replayed) == ("batch", False)
        assert await posted(second, ids[1]) == ROWS
    assert zombie.is_closed()
    assert await findings(database) == []


@both
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_the_end_of_an_append_sees_the_batch_before_whatever_the_default(
    database: Database, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """With a snapshot of when the rows were sent the head would seem to be elsewhere."""
    await run_as_admin(database, f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level}'")
    finished = spy(monkeypatch, "finish")
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert finished and ledger.stats.fences == 0


async def test_rows_wait_for_as_long_as_the_commit_before_them_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the first session would be ended as idle, and the lock of the epoch with it."""

    async def late(real: Any, self: Session, *arguments: Any) -> list[str]:
        if self is not ledger._committer.session and not waited:  # type: ignore[union-attr]
            waited.append(self)
            await asyncio.sleep(3.5)
        return list(await real(self, *arguments))

    waited: list[Session] = []
    spy(monkeypatch, "finish", late)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert waited and ledger.stats.fences == 0


async def test_a_second_session_that_does_not_open_holds_nothing_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> Session:
        opening.append(time.monotonic())
        await asyncio.sleep(60)
        raise ConnectionError("nobody answers")

    opening: list[float] = []
    sent = spy(monkeypatch, "send_ahead")
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        ledger._committer._relay._open_session = never  # type: ignore[union-attr]
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert time.monotonic() - opening[0] < 30
        assert len(opening) == 1
        assert sent == []


async def test_a_second_session_that_comes_too_late_is_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(real: Any, self: Session, *arguments: Any) -> None:
        await real(self, *arguments)
        ledger._committer._relay._ended = True  # type: ignore[union-attr]

    marked = spy(monkeypatch, "mark", late)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await prove(database, ledger, credit, await post(ledger, bulk(debit, credit)))
        assert [each.is_closed() for each in marked] == [True]
