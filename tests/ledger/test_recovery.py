"""Restart: checkpoint plus journal give the state back to the byte, or nothing is served."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import asyncpg
import pytest

from pyledger.ledger import Ledger, State
from pyledger.ledger import recovery as recovery_module
from pyledger.ledger.checkpoint import _QUERIES as CHECKPOINT_QUERIES
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    crash,
    fields,
    findings,
    make_accounts,
    new_id,
    open_accounts,
    opened,
    resolve,
    row_by_row,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)


async def live_a_little(ledger: Ledger, accounts: list[str], dice: random.Random, holds: list[str]) -> None:
    """Transfers, declines, holds and what becomes of them. `holds` are the open ones."""
    for _ in range(30):
        rows = []
        for _ in range(dice.randint(1, 20)):
            debit, credit = dice.sample(accounts, 2)
            pending = dice.random() < 0.4
            rows.append(fields(debit, credit, dice.randint(1, 90), **({"flags": ["pending"]} if pending else {})))
            if pending:
                holds.append(rows[-1]["id"])
        await ledger.writer.submit(transfers(rows))
        if holds and dice.random() < 0.7:
            hold = holds.pop(dice.randrange(len(holds)))
            await ledger.writer.submit(resolve(dice.choice(["post", "void"]), hold))


async def digest(ledger: Ledger) -> bytes:
    return await ledger.writer.between(lambda engine: engine.digest())


async def take_checkpoint(ledger: Ledger) -> bool:
    assert ledger._checkpointer is not None
    return await ledger._checkpointer.take()


@both
async def test_checkpoint_and_journal_give_the_state_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    dice, holds = replayable(), list[str]()
    monkeypatch.setattr(recovery_module, "RECOVERY_BATCHES_MAX", 7)
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 40, flags=["debits_must_not_exceed_credits"], allowance="200")
        for round_number in range(3):
            await live_a_little(ledger, accounts, dice, holds)
            assert await take_checkpoint(ledger)
            accounts += [new_id() for _ in range(5)]
            await ledger.writer.submit(open_accounts(accounts[-5:]))
            assert ledger.stats.checkpoints == round_number + 1
        await live_a_little(ledger, accounts, dice, holds)
        before, seq = await digest(ledger), ledger.stats.head_seq
        assert ledger.stats.holds > 0
        await crash(ledger)
    assert await run_as_admin(database, "SELECT seq FROM pyledger.checkpoint") < seq
    assert await findings(database) == []
    for _ in range(2):  # once from an older checkpoint and the journal, once from the last checkpoint alone
        async with opened(database) as ledger:
            assert (ledger.stats.head_seq, await digest(ledger)) == (seq, before)
        assert await run_as_admin(database, "SELECT seq FROM pyledger.checkpoint") == seq
    await run_as_admin(
        database,
        "WITH a AS (DELETE FROM pyledger.account), h AS (DELETE FROM pyledger.hold), l AS (DELETE FROM pyledger.ledger)"
        " UPDATE pyledger.checkpoint SET seq = 0, hash = decode(repeat('00', 32), 'hex'), last_ns = 0, ledgers = 0,"
        " accounts = 0, holds = 0",
    )
    async with opened(database) as ledger:  # from the journal alone
        assert (ledger.stats.head_seq, await digest(ledger)) == (seq, before)


@both
@pytest.mark.parametrize("waiting_rows_max", [100_000, 60])
async def test_the_order_on_disk_does_not_matter(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waiting_rows_max: int
) -> None:
    """The last row first, as bad as it gets: rows wait for their turn, and PostgreSQL sorts if they are too many."""
    monkeypatch.setattr(recovery_module, "RECOVERY_WAITING_ROWS_MAX", waiting_rows_max)
    monkeypatch.setattr(recovery_module, "copy_through", row_by_row)
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 10)
        await live_a_little(ledger, accounts, random.Random(1), [])
        before, seq = await digest(ledger), ledger.stats.head_seq
        await crash(ledger)
    newest = await run_as_admin(database, "SELECT tableoid::regclass::text FROM pyledger.journal LIMIT 1")
    await run_as_admin(database, f"CREATE INDEX backwards ON {newest} (recorded_ns DESC)")
    await run_as_admin(database, f"CLUSTER {newest} USING backwards")
    assert await run_as_admin(database, f"SELECT seq FROM {newest} LIMIT 1") == seq
    await run_as_admin(database, "DROP INDEX pyledger.backwards")
    async with opened(database) as ledger:
        assert (ledger.stats.head_seq, await digest(ledger)) == (seq, before)
    assert ("lies in no order" in caplog.text) == (waiting_rows_max == 60)


async def test_checkpoints_are_taken_by_rows_and_by_time(database: Database) -> None:
    async with opened(database, checkpoint_rows=1_000) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(1_200)]))
        async with asyncio.timeout(10):
            while ledger.stats.checkpoints < 1:
                await asyncio.sleep(0.05)
        assert ledger.stats.checkpoint_seq == ledger.stats.head_seq
    async with opened(database, checkpoint_interval_s=1) as ledger:
        await ledger.writer.submit(transfer(debit, credit))
        async with asyncio.timeout(10):
            while ledger.stats.checkpoints < 1:
                await asyncio.sleep(0.05)
        await asyncio.sleep(2.5)
        assert ledger.stats.checkpoints == 1, "nothing new, nothing to store"


@pytest.mark.parametrize("query", ["merge_account", "merge_hold", "merge_hold_removed", "advance"])
async def test_a_failed_checkpoint_changes_nothing_and_is_made_up_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 10)
        dice, holds = random.Random(1), list[str]()
        await live_a_little(ledger, accounts, dice, holds)
        assert await take_checkpoint(ledger)
        kept = await run_as_admin(database, "SELECT seq FROM pyledger.checkpoint")
        await live_a_little(ledger, accounts, dice, holds)
        broken: Any = dict(CHECKPOINT_QUERIES) | {query: "SELECT 1 / 0"}
        with monkeypatch.context() as patch:
            patch.setattr("pyledger.ledger.checkpoint._QUERIES", broken)
            assert not await take_checkpoint(ledger)
        assert await run_as_admin(database, "SELECT seq FROM pyledger.checkpoint") == kept
        await live_a_little(ledger, accounts, dice, holds)
        assert await take_checkpoint(ledger)
        before = await digest(ledger)
        assert await findings(database) == []
    async with opened(database) as ledger:
        assert await digest(ledger) == before


async def test_a_checkpoint_of_a_past_epoch_is_not_stored(database: Database) -> None:
    async with opened(database) as ledger:
        await make_accounts(ledger)
        await run_as_admin(database, "UPDATE pyledger.checkpoint SET epoch = epoch + 1")
        assert not await take_checkpoint(ledger)
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.account") == 0


async def test_the_money_path_goes_on_beside_a_checkpoint(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        lock = await asyncpg.connect(database.admin_dsn)
        await lock.execute("BEGIN; LOCK TABLE pyledger.account IN EXCLUSIVE MODE")
        storing = asyncio.ensure_future(take_checkpoint(ledger))
        await asyncio.sleep(0.3)
        for _ in range(5):
            await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit)), 2)
        assert not storing.done()
        await lock.execute("ROLLBACK")
        await lock.close()
        assert await storing


async def test_recovery_starts_over_when_its_connection_dies(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit, 5))
        before = await digest(ledger)
    real, tries = recovery_module.load_checkpoint, []

    async def dies(connection: asyncpg.Connection, *arguments: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            await run_as_admin(database, "SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await real(connection, *arguments)

    monkeypatch.setattr(recovery_module, "load_checkpoint", dies)
    async with opened(database) as ledger:
        assert len(tries) == 2
        assert await digest(ledger) == before


async def test_life_is_shown_during_a_long_recovery(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a standby would think the owner frozen, and the two would take the shard from each other for ever."""
    real = recovery_module.load_checkpoint

    async def slow(*arguments: Any) -> None:
        await asyncio.sleep(5.5)
        await real(*arguments)

    monkeypatch.setattr(recovery_module, "load_checkpoint", slow)
    async with opened(database, lease_ms=4_000, wait=False) as first:
        await asyncio.sleep(0.2)
        async with opened(database, lease_ms=4_000, wait=False) as second:
            await asyncio.wait_for(first.serving(), 15)
            assert second.state is State.STANDBY
            assert (
                json.loads((await first.writer.submit(transfer(new_id(), new_id()))).body)["code"] == "ledger_not_found"
            )


async def test_a_restart_while_the_last_session_lingers(database: Database) -> None:
    """A session that nobody reads from any more holds the lock, but not the shard."""
    lingering = await Session.open(database.server_dsn, 0)
    await lingering.open_shard()
    assert await lingering.try_lock(1)
    assert await lingering.fence(0, "an owner that hangs:9999") is not None
    async with opened(database, lease_ms=2_000) as ledger:
        assert ledger.stats.epoch == 2
    await lingering.close()
