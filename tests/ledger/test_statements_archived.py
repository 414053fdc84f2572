"""Statements where rows were archived: a clear no where they are needed, and nothing of it is remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import Ledger, Unavailable, partitions
from pyledger.ledger.statements import Period
from pyledger.ledger.statements.nouns import HistoryArchived
from tests.ledger.replaying import Replay
from tests.ledger.statement_checks import check_moment, check_statement, statement
from tests.ledger.tools import TENANT, fields, let_pass, make_accounts, opened, run_as_admin, transfer, transfers
from tests.retention.tools import archive, bring_back, write_history
from tests.support.clusters import Database


@pytest.fixture(autouse=True)
def left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody moves a partition's end, which would forget what these tests say of partitions behind its back."""
    monkeypatch.setattr(partitions, "next_step", lambda *_, **__: None)
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 3_600.0)


async def test_a_gap_in_the_journal_is_not_taken_for_nothing(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit))
        let_pass(ledger, 60 * 86_400 * 10**9)
        until_ns = ledger._clock()
        await run_as_admin(database, "SELECT pyledger.make_partitions($1, 4)", until_ns)
        await ledger.writer.submit(transfer(debit, credit))
        replay = await Replay.of(database, TENANT)
        await check_moment(ledger, replay, debit, until_ns)
        await run_as_admin(
            database, "DELETE FROM pyledger.partition WHERE start_ns <= $1 AND end_ns > $1", replay.moments[0]
        )
        with pytest.raises(HistoryArchived):
            await ledger.statements.account(TENANT, debit, until_ns)


async def gone_before(database: Database, gone_ns: int) -> None:
    """As if what was recorded before a moment had been a partition, and that was archived."""
    await run_as_admin(
        database, "UPDATE pyledger.partition SET start_ns = $1 WHERE start_ns <= $1 AND end_ns > $1", gone_ns
    )
    await run_as_admin(database, "DELETE FROM pyledger.partition WHERE end_ns <= $1", gone_ns)
    await run_as_admin(database, "DELETE FROM pyledger.journal WHERE recorded_ns < $1 AND kind >= 3", gone_ns)


async def test_of_what_was_archived_nothing_is_needed_that_is_not_asked_for(database: Database) -> None:
    async with opened(database) as ledger:
        quiet, busy, other = await make_accounts(ledger, 3)
        await ledger.writer.submit(transfer(quiet, other))
        for _ in range(6):
            await ledger.writer.submit(transfer(busy, other))
        replay = await Replay.of(database, TENANT)
        moments = replay.moments[-6:]
        await gone_before(database, moments[2])
        for account in (quiet, busy):
            for asked in (Period(), Period(until_ns=moments[4]), Period(moments[1], moments[4])):
                with pytest.raises(HistoryArchived):
                    await statement(ledger, account, asked, 10)
        # What the balance goes back to is there, or is not.
        kept = Period(moments[3], moments[5])
        check_statement(await statement(ledger, busy, kept, 1), replay, busy, kept)
        await check_moment(ledger, replay, busy, moments[2])
        for account, moment_ns in ((quiet, moments[4]), (busy, moments[2] - 1)):
            with pytest.raises(HistoryArchived):
                await ledger.statements.account(TENANT, account, moment_ns)
        with pytest.raises(HistoryArchived):
            await ledger.statements.trial.whole(TENANT, 1, moments[4])
        with pytest.raises(HistoryArchived):
            await ledger.statements.account(TENANT, busy, moments[4], "effective")


async def test_a_batch_that_is_there_in_part_is_not_taken_for_all_of_it(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit))
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(10)]))
        last_ns = ledger.stats.head_ns
        await ledger.writer.submit(transfer(debit, credit))
        replay = await Replay.of(database, TENANT)
        border_ns = replay.moments[-6]
        # A border goes through the batch, and the partition after it was archived.
        await run_as_admin(
            database, "UPDATE pyledger.partition SET end_ns = $1 WHERE start_ns <= $1 AND end_ns > $1", border_ns
        )
        await run_as_admin(
            database,
            "INSERT INTO pyledger.partition (name, start_ns, end_ns) SELECT 'later', $1, min(start_ns) "
            "FROM pyledger.partition WHERE start_ns > $1",
            last_ns + 1,
        )
        await run_as_admin(
            database, "DELETE FROM pyledger.journal WHERE recorded_ns BETWEEN $1 AND $2", border_ns, last_ns
        )
        await check_moment(ledger, replay, credit, border_ns - 1)
        with pytest.raises(HistoryArchived):
            await ledger.statements.account(TENANT, credit, last_ns)


async def test_what_was_not_there_is_looked_for_again_once_it_is_restored(database: Database) -> None:
    async with opened(database) as ledger:
        quiet, busy, other = await make_accounts(ledger, 3)
        await ledger.writer.submit(transfer(quiet, other, 7))
        for _ in range(4):
            await ledger.writer.submit(transfer(busy, other))
        replay = await Replay.of(database, TENANT)
        moment_ns = replay.moments[-2]
        for kept in ("partition", "journal"):
            await run_as_admin(database, f"CREATE TABLE pyledger.kept_{kept} AS SELECT * FROM pyledger.{kept}")
        await gone_before(database, replay.moments[-3])
        with pytest.raises(HistoryArchived):
            await ledger.statements.account(TENANT, quiet, moment_ns)
        for kept in ("partition", "journal"):
            await run_as_admin(database, f"DELETE FROM pyledger.{kept}")
            await run_as_admin(database, f"INSERT INTO pyledger.{kept} SELECT * FROM pyledger.kept_{kept}")
        for account in (quiet, busy):
            await check_moment(ledger, replay, account, moment_ns)


def between(ledger: Ledger, restore: Callable[[], Awaitable[None]]) -> list[str]:
    """Restore what is archived once, right before it is asked whether the rows that were read are all."""
    history, asked = ledger.statements._history, list[str]()
    fetch = history.fetch

    async def fetch_between(name: str, *arguments: object) -> list[Any]:
        if name == "archived" and arguments != (0, 0) and "restored" not in asked:
            asked.append("restored")
            await restore()
        return await fetch(name, *arguments)

    history.fetch = fetch_between  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("what", ["balance", "statement", "effective", "trial"])
async def test_what_comes_back_while_it_is_read_is_not_taken_for_nothing(
    database: Database, tmp_path: Path, what: str
) -> None:
    written = await write_history(database, weeks=2)
    await archive(database, tmp_path)
    account, _ = written.accounts[:2]
    async with opened(database) as ledger:
        moment_ns = ledger.stats.head_ns - 1

        async def ask() -> object:
            match what:
                case "balance":
                    return await ledger.statements.account(TENANT, account, moment_ns)
                case "statement":
                    return await statement(ledger, account, Period(), 1_000)
                case "effective":
                    return await ledger.statements.account(TENANT, account, moment_ns, "effective")
            return await ledger.statements.trial.whole(TENANT, 1, moment_ns)

        asked = between(ledger, lambda: bring_back(database, tmp_path / written.names[0]))
        with pytest.raises(Unavailable, match="restored meanwhile"):
            await ask()
        assert asked == ["restored"]
        replay = await Replay.of(database, TENANT)
        await ask()
        await check_moment(ledger, replay, account, moment_ns)
        check_statement(await statement(ledger, account, Period(), 1_000), replay, account, Period())
