"""Trouble that is neither a crash nor a lost wire: a full disk, a lost partition, a slow replay, a bug beside."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from pyledger import _rust
from pyledger.ledger import Exit, State, Unavailable, UnknownOutcome
from pyledger.ledger import ledger as ledger_module
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    findings,
    make_accounts,
    new_id,
    opened,
    posted,
    run_as_admin,
    transfer,
    until,
)
from tests.support.clusters import Database


def digest(engine: _rust.Engine) -> bytes:
    return engine.digest()


async def test_what_fails_again_and_again_is_not_tried_without_a_pause(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: PostgreSQL answers, the fence succeeds, the rows are refused."""
    real, full = Session.append, asyncio.Event()

    async def no_room(self: Session, *arguments: Any) -> list[str]:
        if full.is_set():
            raise asyncpg.DiskFullError("could not extend file")
        return await real(self, *arguments)

    monkeypatch.setattr(Session, "append", no_room)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        full.set()
        riding = ledger.writer.submit(transfer(debit, credit, 5))
        await asyncio.sleep(2)
        assert 2 <= ledger.stats.fences <= 8
        full.clear()
        assert (await asyncio.wait_for(riding, 20)).outcome == "accepted"
        assert await posted(ledger, credit) == 5
        assert await findings(database) == []


async def test_a_partition_that_went_missing_is_made_again(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        later = "SELECT relname::text FROM pg_class WHERE relname ~ '^journal_[0-9]{8}$' ORDER BY 1 LIMIT 1"
        name = await run_as_admin(database, later)
        await run_as_admin(database, f"ALTER TABLE pyledger.journal DETACH PARTITION pyledger.{name}")
        await run_as_admin(database, f"ALTER TABLE pyledger.{name} RENAME TO {name}_detached")
        await run_as_admin(database, f"ALTER INDEX pyledger.{name}_id_unique RENAME TO {name}_detached_id")
        await run_as_admin(database, f"ALTER INDEX pyledger.{name}_recorded RENAME TO {name}_detached_recorded")
        await run_as_admin(database, f"ALTER INDEX pyledger.{name}_target RENAME TO {name}_detached_target")
        reply = await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit, 5)), 20)
        assert reply.outcome == "accepted"


async def test_whoever_is_replaced_during_recovery_is_fenced_and_not_halted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its successor has appended meanwhile is not a history that was lost."""
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
    real, tries, go = ledger_module.recover, list[int](), asyncio.Event()

    async def held_up(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            await go.wait()
        return await real(*arguments)

    async def no_sign(*_: object, **__: object) -> tuple[bool, bool, list[str]]:
        return True, False, []

    monkeypatch.setattr(ledger_module, "recover", held_up)
    monkeypatch.setattr(Session, "confirm", no_sign)
    async with opened(database, wait=False) as frozen:
        await until(lambda: tries)
        async with opened(database, lease_ms=2_000) as successor:
            await successor.writer.submit(transfer(debit, credit, 5))
            go.set()
            assert await asyncio.wait_for(frozen.ended(), 20) is Exit.FENCED


async def test_a_checkpoint_that_fails_in_an_unforeseen_way_is_made_up_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the handler is closed")

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        assert ledger._checkpointer is not None
        assert await ledger._checkpointer.take()
        await ledger.writer.submit(transfer(debit, credit, 5))
        with monkeypatch.context() as patch:
            patch.setattr("pyledger.ledger.checkpoint.store", broken)
            assert not await ledger._checkpointer.take()
        await ledger.writer.submit(transfer(debit, new_id(), 5))
        assert await ledger._checkpointer.take()
        before = await ledger.writer.between(digest)
        assert await findings(database) == []
    async with opened(database) as ledger:
        assert await ledger.writer.between(digest) == before


async def test_a_stop_has_one_deadline_however_long_postgresql_takes(database: Database) -> None:
    """Somebody holds the head: what rides stays open, and the stop does not wait for it twice."""
    async with opened(database, drain_timeout_s=60) as ledger:
        debit, credit = await make_accounts(ledger)
        holding = await asyncpg.connect(database.admin_dsn)
        try:
            async with holding.transaction():
                await holding.execute("SELECT FROM pyledger.head FOR UPDATE")
                riding = ledger.writer.submit(transfer(debit, credit, 5))
                await asyncio.sleep(0.2)
                began_s = time.monotonic()
                await ledger.close(within_s=1.5)
                assert 1 < time.monotonic() - began_s < 4
        finally:
            await holding.close()
        with pytest.raises(UnknownOutcome):
            await riding


async def test_a_checkpoint_that_is_not_stored_row_for_row_is_none(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        assert ledger._checkpointer is not None
        assert await ledger._checkpointer.take()
        await run_as_admin(database, "UPDATE pyledger.account SET id = gen_random_uuid() WHERE slot = 0")
        await ledger.writer.submit(transfer(debit, credit, 5))
        assert not await ledger._checkpointer.take()


async def test_who_has_halted_stores_no_checkpoint(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        ledger.stats.state = State.HALTED
        assert ledger._checkpointer is not None
        with pytest.raises(Unavailable, match="halted"):
            await ledger._checkpointer.take()
        await asyncio.wait_for(ledger._checkpointer.run(), 5)
        ledger.stats.state = State.SERVING
        await ledger.writer.submit(transfer(debit, credit, 5))


async def test_a_failure_that_the_engine_never_hears_of_is_made_up_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the writer ends, at a SIGTERM, before it lets the checkpoint say so; the last one comes after that."""
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        checkpointer = ledger._checkpointer
        assert checkpointer is not None
        assert await checkpointer.take()
        await ledger.writer.submit(transfer(debit, credit, 5))
        await ledger.writer.submit(transfer(debit, credit, 7, flags=["pending"]))

        async def broken(*_: object) -> None:
            monkeypatch.setattr(checkpointer, "_between", refused)
            raise OSError("the connection is gone")

        async def refused(_: object) -> None:
            raise Unavailable("the writer has ended")

        with monkeypatch.context() as patch:
            patch.setattr("pyledger.ledger.checkpoint.store", broken)
            with pytest.raises(Unavailable):
                await checkpointer.take()
        monkeypatch.undo()
        assert await checkpointer.take()
        before = await ledger.writer.between(digest)
    async with opened(database) as ledger:
        assert await ledger.writer.between(digest) == before
    assert await findings(database) == []
