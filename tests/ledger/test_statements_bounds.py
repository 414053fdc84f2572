"""What statements do not answer: too much work, what is not there any more, and what does not add up."""

from __future__ import annotations

import contextlib
import json

import asyncpg
import pytest

from pyledger.ledger import BadCursor, connections, partitions
from pyledger.ledger.statements import NotOpenedYet, Period, history, many, statements, trial
from pyledger.ledger.statements.nouns import (
    Disagrees,
    HistoryNotIndexed,
    HistoryTooSlow,
    LedgerTooLarge,
    StatementTooLong,
    TooManyRows,
)
from tests.ledger.replaying import Replay
from tests.ledger.statement_checks import check_moment, check_statement, check_trial, statement, whole
from tests.ledger.tools import (
    TENANT,
    fields,
    make_accounts,
    new_id,
    open_accounts,
    opened,
    resolve,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database


@pytest.fixture(autouse=True)
def left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks which partitions have indexes: tests say so themselves."""
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 3_600.0)


async def test_a_quiet_account_behind_too_many_rows_is_a_clear_no(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TAIL_ROWS_MAX", 2_000)
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 500)
    async with opened(database, scan_rows_max=1_000) as ledger:
        quiet, busy, other = await make_accounts(ledger, 3)
        await ledger.writer.submit(transfer(quiet, busy, 7))
        for _ in range(10):
            await ledger.writer.submit(transfers([fields(busy, other) for _ in range(500)]))
        moment_ns = ledger.stats.head_ns - 1
        body = json.loads(await ledger.statements.account(TENANT, quiet, moment_ns + 1) or b"")
        assert body["balances"]["posted"] == "-7", "as of now the writer knows"
        with pytest.raises(HistoryNotIndexed):
            await ledger.statements.account(TENANT, quiet, moment_ns)
        assert await ledger.statements.account(TENANT, busy, moment_ns) is not None
        page = await ledger.statements.page(TENANT, quiet, Period(), None, 10)
        assert page is not None
        assert [row.amount for row in page.data] == ["7"]


async def test_who_asks_again_gets_further_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "TAIL_ROWS_MAX", 1_000)
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 250)
    monkeypatch.setattr(history, "DECLINED_ROWS_MAX", 8)
    monkeypatch.setattr(history, "LOOKS_MAX", 3)
    async with opened(database, scan_rows_max=1_000) as ledger:
        accounts = await make_accounts(ledger, 2, flags=["debits_must_not_exceed_credits"], allowance="7")
        quiet, busy, other = *accounts, new_id()
        await ledger.writer.submit(open_accounts([other]))
        await ledger.writer.submit(transfer(quiet, other, 7))
        for _ in range(10):
            await ledger.writer.submit(transfers([fields(other, busy) for _ in range(500)]))
        for _ in range(30):
            await ledger.writer.submit(transfers([fields(quiet, other) for _ in range(5)]))  # all declined
        replay = await Replay.of(database, TENANT)

        async def asked(moment_ns: int) -> int:
            for attempt in range(40):
                with contextlib.suppress(HistoryNotIndexed):
                    await check_moment(ledger, replay, quiet, moment_ns)
                    return attempt
            raise AssertionError("it never gets there")

        assert await asked(replay.moments[-2]) > 2
        ledger.reads.borders_ns = [0, ledger.stats.head_ns]
        assert await asked(replay.moments[-3]) > 2


async def test_by_date_too_many_rows_are_a_clear_no(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "DATED_ROWS_MAX", 3)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(3)]))
        assert await ledger.statements.account(TENANT, debit, 2**63 - 1, "effective") is not None
        await ledger.writer.submit(transfer(debit, credit))
        for indexed_ns in (0, ledger.stats.head_ns + 1):
            ledger.reads.borders_ns = [0, indexed_ns]
            with pytest.raises(TooManyRows):
                await ledger.statements.account(TENANT, debit, 2**63 - 1, "effective")
        ledger.reads.borders_ns = [0]
        monkeypatch.setattr(history, "TAIL_ROWS_MAX", 3)
        with pytest.raises(HistoryNotIndexed):
            await ledger.statements.account(TENANT, debit, 2**63 - 1, "effective")


async def test_hundreds_of_declines_in_a_row_are_passed(database: Database) -> None:
    async with opened(database) as ledger:
        poor, rich = await make_accounts(ledger, 2, flags=["debits_must_not_exceed_credits"], allowance="5")
        await ledger.writer.submit(transfer(poor, rich, 5))
        for _ in range(3):
            await ledger.writer.submit(transfers([fields(poor, rich) for _ in range(300)]))
        replay = await Replay.of(database, TENANT)
        ledger.reads.borders_ns = [0, replay.moments[-1] - 10]  # without the indexes it is slower, and says the same
        await check_moment(ledger, replay, poor, replay.moments[-2])
        check_statement(await statement(ledger, poor, Period(), 10), replay, poor, Period())


async def test_declines_of_many_accounts_have_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(database) as ledger:
        poor = await make_accounts(ledger, 20, flags=["debits_must_not_exceed_credits"], allowance="5")
        rich = new_id()
        await ledger.writer.submit(open_accounts([rich]))
        await ledger.writer.submit(transfers([fields(each, rich, 5) for each in poor[:10]]))
        for _ in range(3):
            await ledger.writer.submit(transfers([fields(each, rich) for each in poor for _ in range(30)]))
        replay = await Replay.of(database, TENANT)
        moment_ns = replay.moments[-2]
        ledger.reads.borders_ns = [0, moment_ns]
        await check_trial(ledger, replay, moment_ns, dict.fromkeys([*poor, rich], 1))
        monkeypatch.setattr(many, "MANY_DECLINED_ROWS_MAX", 1_000)
        with pytest.raises(TooManyRows):
            await ledger.statements.trial.whole(TENANT, 1, moment_ns)


async def test_rows_that_are_not_shown_do_not_end_a_document(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 5)
    monkeypatch.setattr(history, "LOOKS_MAX", 2)
    async with opened(database, scan_rows_max=1_000) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfer(debit, credit))
        for _ in range(60):
            await ledger.writer.submit(transfer(debit, credit, flags=["pending"]))
        await ledger.writer.submit(transfer(debit, credit))
        page = await ledger.statements.page(TENANT, debit, Period(), None, 10)
        assert page is not None
        assert page.next is not None, "the page ends before the last row"
        replay = await Replay.of(database, TENANT)
        check_statement(await whole(ledger, debit, Period()), replay, debit, Period())
        monkeypatch.setattr(statements, "DOCUMENT_PAGES_MAX", 2)
        with pytest.raises(StatementTooLong):
            await whole(ledger, debit, Period())


async def test_a_statement_in_one_piece_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(statements, "DOCUMENT_ROWS_MAX", 4)
    monkeypatch.setattr(statements, "PAGE_ROWS_MAX", 3)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        hold = transfer(debit, credit, flags=["pending"])
        await ledger.writer.submit(hold)
        await ledger.writer.submit(resolve("void", hold.ids[0]))
        for rows in range(1, 7):
            await ledger.writer.submit(transfer(debit, credit))
            if rows > 4:
                with pytest.raises(StatementTooLong):
                    await whole(ledger, debit, Period())
            else:
                assert len((await whole(ledger, debit, Period())).data) == rows


async def test_a_row_that_was_changed_is_not_shown(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        moved = [transfer(debit, credit, 10) for _ in range(3)]
        for each in moved:
            await ledger.writer.submit(each)
        assert await ledger.statements.page(TENANT, debit, Period(), None, 2) is not None
        await run_as_admin(database, "UPDATE pyledger.journal SET amount = 11 WHERE id = $1", moved[1].ids[0])
        with pytest.raises(Disagrees):
            await ledger.statements.page(TENANT, debit, Period(), None, 2)
        await run_as_admin(database, "DELETE FROM pyledger.journal WHERE id = $1", moved[1].ids[0])
        for limit in (1, 2, 10):
            with pytest.raises(Disagrees):
                await statement(ledger, debit, Period(), limit)


async def test_a_trial_balance_that_does_not_balance_is_not_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PAGE_ROWS_MAX", 2)
    async with opened(database) as ledger:
        debit, credit, *_ = await make_accounts(ledger, 5)
        moved = transfer(debit, credit, 10)
        await ledger.writer.submit(moved)
        moment_ns = ledger.stats.head_ns
        await ledger.writer.submit(transfer(debit, credit, 1))
        found = await ledger.statements.trial.whole(TENANT, 1, moment_ns)
        assert found is not None
        assert (found.totals.accounts, found.totals.debits_posted) == (5, "10")
        with pytest.raises(NotOpenedYet):
            await ledger.statements.trial.whole(TENANT, 1, 0)
        assert await ledger.statements.trial.whole(TENANT, 2, None) is None
        page = await ledger.statements.trial.page(TENANT, 1, None, None, 2)
        assert page is not None
        assert page.next
        for tenant, number, at_ns, cursor in ((TENANT, 1, 5, page.next), (TENANT, 1, None, "A" * 48)):
            with pytest.raises(BadCursor):
                await ledger.statements.trial.page(tenant, number, at_ns, cursor, 2)
        monkeypatch.setattr(trial, "ACCOUNTS_MAX", 4)
        with pytest.raises(LedgerTooLarge):
            await ledger.statements.trial.whole(TENANT, 1, None)
        monkeypatch.setattr(trial, "ACCOUNTS_MAX", 6)
        await run_as_admin(
            database,
            "UPDATE pyledger.journal SET credit_after = debit_after WHERE id = $1",
            moved.ids[0],
        )
        with pytest.raises(Disagrees):
            await ledger.statements.trial.whole(TENANT, 1, moment_ns)


async def test_rows_of_the_tail_are_counted_no_further_than_it_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TAIL_ROWS_MAX", 100)
    monkeypatch.setattr(history, "TAIL_BATCHES", 5)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        began_ns = ledger.stats.head_ns + 1
        for rows in (10, 1):
            for _ in range(20):
                await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(rows)]))
        replay, count = await Replay.of(database, TENANT), ledger.statements._history.rows_between
        assert await count(began_ns, ledger.stats.head_ns + 1) == 150, "three looks at five batches of ten rows"
        assert await count(replay.moments[-70], ledger.stats.head_ns + 1) == 70
        assert await count(began_ns, began_ns) == 0


async def test_postgresql_itself_ends_what_takes_too_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HISTORY_STATEMENT_S", 1)
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(2):
            await ledger.writer.submit(transfer(debit, credit))
        moment_ns = ledger.stats.head_ns - 1
        admin = await asyncpg.connect(database.admin_dsn)
        async with admin.transaction():
            await admin.execute("LOCK TABLE pyledger.journal IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(HistoryTooSlow, match="statement timeout"):
                await ledger.statements.trial.whole(TENANT, 1, moment_ns)
        await admin.close()
        assert await ledger.statements.trial.whole(TENANT, 1, moment_ns) is not None
