"""Bytes that are not what was written: a start serves none of them, and the journal can replace a checkpoint."""

from __future__ import annotations

import asyncio

import pytest

from pyledger.ledger import Exit, LedgerError, StartupRefused, State
from pyledger.ledger.checkpoint import drop
from tests.ledger.test_recovery import digest
from tests.ledger.tools import crash, findings, make_accounts, opened, run_as_admin, transfer
from tests.support.clusters import Database

CORRUPTIONS = {
    "an amount": "UPDATE pyledger.journal SET amount = amount + 1 WHERE kind = 3",
    "a balance in a row": "UPDATE pyledger.journal SET debit_after = '\\x00010000' WHERE kind = 3",
    "a missing row": "DELETE FROM pyledger.journal WHERE kind = 3",
    "a root": "UPDATE pyledger.batch SET root = sha256('other') WHERE seq = 3",
    "a link": "UPDATE pyledger.batch SET hash = sha256('other') WHERE seq = 2",
    "a missing batch": "DELETE FROM pyledger.batch WHERE seq = 2",
    "the last batch": "DELETE FROM pyledger.batch WHERE seq = 3",
}


async def refuses_to_serve(database: Database) -> str:
    async with opened(database, wait=False) as ledger:
        assert await asyncio.wait_for(ledger.ended(), 20) is Exit.HALTED
        assert ledger.state is State.HALTED
        with pytest.raises(LedgerError):
            await ledger.serving()
        return ledger.stats.reason


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_a_corrupt_journal_is_never_served(database: Database, what: str) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit, 5))
        assert ledger.stats.head_seq == 3
        await crash(ledger)
    await run_as_admin(database, CORRUPTIONS[what])
    reason = await refuses_to_serve(database)
    assert "corrupt" in reason or "history was lost" in reason
    assert "\n" not in reason


CHECKPOINT_CORRUPTIONS = {
    "a missing account": "DELETE FROM pyledger.account WHERE slot = 1",
    "a slot": "UPDATE pyledger.account SET slot = 9 WHERE slot = 1",
    "a missing hold": "DELETE FROM pyledger.hold",
    "a missing ledger": "DELETE FROM pyledger.ledger",
    "its hash": "UPDATE pyledger.checkpoint SET hash = sha256('other')",
    "ahead of the head": "UPDATE pyledger.checkpoint SET seq = seq + 10",
    "a balance": "UPDATE pyledger.account SET credits_posted = credits_posted + 1 WHERE slot = 1",
    "its time": "UPDATE pyledger.checkpoint SET last_ns = last_ns + 1",
    "a flag": "UPDATE pyledger.account SET flags = flags # 32 WHERE slot = 1",
    "an allowance": "UPDATE pyledger.account SET allowance = coalesce(allowance, 0) + 1 WHERE slot = 1",
    "when a hold ends": "UPDATE pyledger.hold SET expires_ns = expires_ns # 1024",
    "an asset": "UPDATE pyledger.ledger SET asset = 'USD'",
    "no row": "DELETE FROM pyledger.checkpoint",
    "a seal": "UPDATE pyledger.hold SET seal = seal # 1",
}


@pytest.mark.parametrize("what", CHECKPOINT_CORRUPTIONS)
async def test_a_corrupt_checkpoint_is_never_served_and_the_journal_replaces_it(database: Database, what: str) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit, 5))
        await ledger.writer.submit(transfer(debit, credit, 5, flags=["pending"]))
        before = await digest(ledger)
    await run_as_admin(database, CHECKPOINT_CORRUPTIONS[what])
    reason = await refuses_to_serve(database)
    assert "the checkpoint is corrupt" in reason or "history was lost" in reason
    assert await findings(database)
    await drop(database.owner_dsn, 0)
    async with opened(database) as ledger:
        assert ledger.stats.checkpoint_seq == 0
        assert await digest(ledger) == before
    assert await findings(database) == []


async def test_a_server_that_runs_stores_nothing_where_a_checkpoint_was_dropped(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        assert ledger._checkpointer is not None
        assert await ledger._checkpointer.take()
        await drop(database.owner_dsn, 0)
        await ledger.writer.submit(transfer(debit, credit, 5))
        assert not await ledger._checkpointer.take()
        before = await digest(ledger)
    async with opened(database) as ledger:
        assert await digest(ledger) == before
        assert ledger._checkpointer is not None
        assert await ledger._checkpointer.take()
    assert await findings(database) == []


async def test_a_checkpoint_that_is_not_there_is_not_dropped(database: Database) -> None:
    with pytest.raises(StartupRefused, match="no shard 0"):
        await drop(database.owner_dsn, 0)
    with pytest.raises(StartupRefused, match="cannot drop the checkpoint"):
        await drop(database.reader_dsn, 0)
