"""The commit protocol on a real PostgreSQL: every step fails once, and what is acknowledged is what is there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from pyledger import _rust
from pyledger.ledger import Exit, Ledger, State, Unavailable, UnknownOutcome
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    Wire,
    findings,
    let_pass,
    make_accounts,
    opened,
    posted,
    run_as_admin,
    transfer,
    until,
    writer_pid,
)
from tests.support.clusters import Database
from tests.support.standby import standby_away, waits_for_standby

COPY_DONE = b"c\0\0\0\4"
"""The last bytes of an append: with them PostgreSQL goes on to the head and commits."""
both = pytest.mark.postgres(15, 18)


def break_once(monkeypatch: pytest.MonkeyPatch, harm: Callable[[Session], Awaitable[Any]], when: str) -> list[str]:
    """Do harm once: before an append, while it waits for the head, or after it."""
    real = Session.append
    done: list[str] = []

    async def broken(self: Session, *arguments: Any) -> Any:
        if done:
            return await real(self, *arguments)
        done.append(when)
        if when == "before":
            await harm(self)
        appending = asyncio.ensure_future(real(self, *arguments))
        if when == "during":
            await asyncio.sleep(0.2)
            await harm(self)
        result = await appending
        if when == "after":
            await harm(self)
            raise ConnectionError("the answer was lost")
        return result

    monkeypatch.setattr(Session, "append", broken)
    return done


@contextlib.asynccontextmanager
async def held_head(database: Database) -> AsyncIterator[None]:
    """Hold the head's row, as an append in flight does."""
    connection = await asyncpg.connect(database.admin_dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM pyledger.head FOR UPDATE")
            yield
    finally:
        await connection.close()


async def prove(database: Database, ledger: Ledger, account: str, amount: int, epoch: int) -> None:
    """The books say `amount`, in the engine and in the record, and nothing was recorded twice."""
    assert await posted(ledger, account) == amount
    assert ledger.stats.epoch == epoch
    rows = await run_as_admin(
        database, "SELECT coalesce(sum(amount), 0) FROM pyledger.journal WHERE kind = 3 AND status = 0"
    )
    assert rows == amount
    assert await findings(database) == []


@both
@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_the_backend_dies_at_an_append(database: Database, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    async def kill(session: Session) -> None:
        await run_as_admin(database, "SELECT pg_terminate_backend($1)", session._connection.get_server_pid())

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        done = break_once(monkeypatch, kill, when)
        first = transfer(debit, credit, 5)
        async with held_head(database) if when == "during" else contextlib.nullcontext():
            riding = ledger.writer.submit(first)
            await until(lambda: done)
            if when == "during":
                await until(lambda: ledger.state is State.RECONNECTING)
        reply = await asyncio.wait_for(riding, 20)
        assert reply.outcome == "accepted"
        again = await asyncio.wait_for(ledger.writer.submit(first), 20)
        assert again.replayed
        assert again.body == reply.body
        await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit, 2)), 20)
        await prove(database, ledger, credit, 7, epoch=2)


@both
@pytest.mark.parametrize("side", ["before", "after"])
async def test_the_wire_breaks_at_commit(database: Database, wire: Wire, side: str) -> None:
    """Before: the end of the append never arrives. After: it lands, and its reply is lost."""
    async with opened(database, url=wire.url) as ledger:
        debit, credit = await make_accounts(ledger)
        setattr(wire, side, COPY_DONE if side == "before" else b"INSERT 0 1")
        commands = [transfer(debit, credit, 5) for _ in range(3)]
        replies = await asyncio.gather(*map(ledger.writer.submit, commands))
        assert wire.cuts == 1
        assert [reply.outcome for reply in replies] == ["accepted"] * 3
        assert not any(reply.replayed for reply in replies)
        await prove(database, ledger, credit, 15, epoch=2)
        assert ledger.stats.fences == 1


@pytest.mark.parametrize(
    ("side", "piece"),
    [("before", b"COPY pyledger"), ("before", b"PGCOPY"), ("before", b"epoch = epoch + 1"), ("after", b"UPDATE 1")],
)
async def test_the_wire_breaks_elsewhere(database: Database, wire: Wire, side: str, piece: bytes) -> None:
    async with opened(database, url=wire.url) as ledger:
        debit, credit = await make_accounts(ledger)
        if piece in (b"epoch = epoch + 1", b"UPDATE 1"):
            wire.before = COPY_DONE
            pending = ledger.writer.submit(transfer(debit, credit, 5))
            await until(lambda: wire.cuts == 1)
            setattr(wire, side, piece)
        else:
            setattr(wire, side, piece)
            pending = ledger.writer.submit(transfer(debit, credit, 5))
        assert (await asyncio.wait_for(pending, 20)).outcome == "accepted"
        await ledger.writer.submit(transfer(debit, credit, 1))
        await prove(database, ledger, credit, 6, epoch=ledger.stats.epoch)


async def test_the_fence_itself_is_cut_at_its_commit(database: Database, wire: Wire) -> None:
    """Our own fence landed and we do not know it: the next one ends that epoch too."""
    async with opened(database, url=wire.url) as ledger:
        debit, credit = await make_accounts(ledger)
        # Both at once: the fence follows the first cut without a pause.
        wire.before, wire.after = COPY_DONE, b"COMMIT\0"
        pending = ledger.writer.submit(transfer(debit, credit, 5))
        assert (await asyncio.wait_for(pending, 20)).outcome == "accepted"
        assert wire.cuts == 2
        await prove(database, ledger, credit, 5, epoch=3)


async def test_postgresql_is_away_and_comes_back(database: Database, wire: Wire) -> None:
    async with opened(database, url=wire.url) as ledger:
        debit, credit = await make_accounts(ledger)
        wire.away, wire.before = True, COPY_DONE
        riding = ledger.writer.submit(transfer(debit, credit, 5))
        await until(lambda: ledger.state is State.RECONNECTING)
        for refused in (lambda: ledger.writer.submit(transfer(debit, credit)), lambda: ledger.writer.read(lambda _: 1)):
            with pytest.raises(Unavailable) as raised:
                refused()
            assert raised.value.retry_after_s >= 1
        with pytest.raises(Unavailable):
            await ledger.reads.transfer(7, "01890000-0000-7000-8000-000000000000")
        await asyncio.sleep(0.5)
        assert not riding.done()
        wire.away = False
        assert (await asyncio.wait_for(riding, 20)).outcome == "accepted"
        assert ledger.stats.reconnects == 1
        await prove(database, ledger, credit, 5, epoch=2)


async def test_a_stop_while_postgresql_is_away_leaves_the_outcome_open(database: Database, wire: Wire) -> None:
    async with opened(database, url=wire.url, drain_timeout_s=1) as ledger:
        debit, credit = await make_accounts(ledger)
        wire.away, wire.after = True, b"INSERT 0 1"
        first = transfer(debit, credit, 5)
        riding = ledger.writer.submit(first)
        queued = ledger.writer.submit(transfer(debit, credit, 9)) if ledger.state is State.SERVING else None
        await until(lambda: ledger.state is State.RECONNECTING)
        await ledger.close()
        assert await ledger.ended() is Exit.CLEAN
        with pytest.raises(UnknownOutcome):
            await riding
        if queued is not None:
            with pytest.raises(Unavailable):
                await queued
    wire.away = False
    async with opened(database) as ledger:
        reply = await ledger.writer.submit(first)
        assert (reply.outcome, reply.replayed) == ("accepted", True), "it had landed, and the same id tells"


async def test_a_cancelled_wait_for_a_standby_is_no_commit(database: Database) -> None:
    """COMMIT "succeeds" with a warning: that is unknown, and the fence waits until a standby has it."""
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        async with standby_away(database) as admin:
            pid = writer_pid(ledger)
            riding = ledger.writer.submit(transfer(debit, credit, 5))
            # Not earlier: a cancel that meets the statements before COMMIT is another story.
            assert await waits_for_standby(admin, pid, riding)
            await admin.execute("SELECT pg_cancel_backend($1)", pid)
            await until(lambda: ledger.state is State.RECONNECTING)
            assert "canceling wait for synchronous replication" in ledger.stats.reason
            await asyncio.sleep(0.5)
            assert not riding.done(), "no standby has it yet"
        assert (await asyncio.wait_for(riding, 20)).outcome == "accepted"
        await prove(database, ledger, credit, 5, epoch=2)


class Forgetful:
    """An engine whose window and lookups have missed every id, as they never should."""

    def __init__(self, engine: _rust.Engine) -> None:
        self._engine = engine

    def probe(self, _: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


async def test_the_unique_index_has_the_last_word(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        first = transfer(debit, credit, 5)
        reply = await ledger.writer.submit(first)
    async with opened(database) as ledger:
        ledger.writer.engine = Forgetful(ledger.writer.engine)  # type: ignore[assignment]
        pair = [ledger.writer.submit(first), ledger.writer.submit(transfer(debit, credit, 2))]
        again, other = await asyncio.wait_for(asyncio.gather(*pair), 20)
        assert (again.body, again.replayed) == (reply.body, True)
        assert (other.outcome, other.replayed) == ("accepted", False)
        assert ledger.stats.fences == 0
        await prove(database, ledger, credit, 7, epoch=2)


async def test_only_one_of_two_writers_appends(database: Database) -> None:
    """The compare-and-set alone, without locks: same epoch, same head, two sessions at once."""
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        ready = await ledger.writer.read(lambda engine: (engine.seq, engine.hash))
        applied = [ledger.writer.engine.apply([transfer(debit, credit, 1)], 2 * 10**18, []) for _ in range(2)]
        ledger.writer.engine.undo()
        assert applied[0].prev_hash == ready[1]
        sessions = [await Session.open(database.server_dsn, 0) for _ in range(2)]

        async def append(session: Session, epoch: int) -> bool:
            try:
                return await session.append(epoch, applied[0]) == []
            except asyncpg.NotNullViolationError:  # of the batch's shard: the head did not move
                return False

        await sessions[0].make_partitions(2 * 10**18, 1)
        assert not await append(sessions[0], epoch=2), "another epoch"
        head = await sessions[0].head()
        assert head is not None
        await run_as_admin(database, "UPDATE pyledger.head SET hash = sha256('other')")
        assert not await append(sessions[0], epoch=1), "another hash before it"
        await run_as_admin(database, "UPDATE pyledger.head SET hash = $1, seq = seq - 1", head.position.hash)
        assert not await append(sessions[0], epoch=1), "a gap"
        await run_as_admin(database, "UPDATE pyledger.head SET seq = seq + 1")
        # The second waits for the first at the unique index, and then finds the head moved or the id taken.
        async with held_head(database):
            appending = asyncio.gather(*(append(each, 1) for each in sessions), return_exceptions=True)
            await asyncio.sleep(0.3)
        outcomes = await appending
        assert outcomes.count(True) == 1
        assert any(each is False or isinstance(each, asyncpg.UniqueViolationError) for each in outcomes)
        for session in sessions:
            await session.close()


async def test_partitions_are_made_for_a_clock_that_jumps_ahead(database: Database) -> None:
    quarter_ns = 90 * 86_400 * 10**9
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        let_pass(ledger, quarter_ns)
        before_ns = time.time_ns()
        await ledger.writer.submit(transfer(debit, credit, 5))
        assert ledger.stats.head_ns > before_ns + quarter_ns - 10**9
        await prove(database, ledger, credit, 5, epoch=1)
