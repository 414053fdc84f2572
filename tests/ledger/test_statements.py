"""Balances as of any moment and statements, held against a replay of the journal's rows."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from pyledger.ledger import BadCursor, Ledger, partitions
from pyledger.ledger.statements import NotOpenedYet, Period, history, statements
from pyledger.ledger.statements.nouns import Disagrees, HistoryArchived, HistoryNotIndexed, Statement, StatementTooLong
from pyledger.ledger.times import instant, nanoseconds
from tests.ledger.replaying import NOTHING, Life, Replay, Seen
from tests.ledger.test_partitions import leased, midweek, settled
from tests.ledger.tools import (
    TENANT,
    fields,
    let_pass,
    make_accounts,
    new_id,
    open_accounts,
    open_book,
    opened,
    resolve,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
COUNTERS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
HOLDS = (4, 6, 8)
SECOND_NS = 10**9
KINDS = ("", "", "", "transfer", "pending", "post", "void", "reverse", "expire")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are looked after more often, and looks are small, so that one question takes several."""
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(partitions, "PARTITION_RETRY_S", 0.3)
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 5)
    monkeypatch.setattr(history, "DECLINED_ROWS_FIRST", 1)


def counters(balances: Any) -> tuple[int, ...]:
    return tuple(
        int(getattr(balances, name) if not isinstance(balances, dict) else balances[name]) for name in COUNTERS
    )


async def statement(ledger: Ledger, account: str, asked: Period, limit: int) -> Statement:
    """All pages of a statement, as one."""
    pages: list[Statement] = []
    cursor = None
    while not pages or cursor:
        page = await ledger.statements.page(TENANT, account, asked, cursor, limit)
        assert page is not None
        assert len(page.data) <= limit
        pages.append(page)
        cursor = page.next
    heads = {(page.opening, page.closing, page.since, page.until, page.debits, page.credits) for page in pages}
    assert len(heads) == 1, "each page has the same head"
    return Statement(**{name: getattr(pages[0], name) for name in pages[0].__struct_fields__} | {
        "data": [row for page in pages for row in page.data], "next": None,
    })  # fmt: skip


def check_statement(found: Statement, replay: Replay, account: str, asked: Period) -> None:
    """The statement says what the replay does."""
    since_ns, until_ns = nanoseconds(found.since), nanoseconds(found.until)
    expected: list[Seen] = [
        row
        for row in replay.seen[account]
        if since_ns <= row.recorded_ns < until_ns and (asked.holds or row.kind not in HOLDS)
    ]
    assert [row.id for row in found.data] == [row.id for row in expected]
    opening, closing = replay.at(account, since_ns), replay.at(account, until_ns)
    assert (counters(found.opening), counters(found.closing)) == (opening, closing)
    assert (int(found.debits), int(found.credits)) == (closing[1] - opening[1], closing[3] - opening[3])
    posted = int(found.opening.posted)
    for row, seen in zip(found.data, expected, strict=True):
        sign = 1 if found.side == "debit" else -1
        posted += sign * (int(row.debit or 0) - int(row.credit or 0))
        assert int(row.balances.posted) == posted
        assert counters(row.balances) == seen.after
        assert (row.kind, row.side, int(row.amount)) == (
            KINDS[seen.kind], "debit" if seen.is_debit else "credit", seen.amount
        )  # fmt: skip
        assert nanoseconds(row.recorded_at) == seen.recorded_ns
    assert posted == int(found.closing.posted)


async def check_moment(ledger: Ledger, replay: Replay, account: str, moment_ns: int) -> None:
    head_ns = ledger.stats.head_ns
    asking = ledger.statements.account(TENANT, account, moment_ns)
    if moment_ns < replay.opened[account]:
        with pytest.raises(NotOpenedYet):
            await asking
        return
    body = json.loads(await asking or b"")
    assert counters(body["balances"]) == replay.at(account, moment_ns + 1)
    assert body["as_of"] == instant(min(moment_ns, head_ns))
    assert "closed" not in body["flags"]


@both
async def test_any_moment_and_any_period_say_what_a_replay_says(database: Database) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    async with opened(database, seal_rows=1_000, scan_rows_max=1_000) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger, 3)
        for flag in ("debits_must_not_exceed_credits", "credits_must_not_exceed_debits"):
            more = [new_id(), new_id()]
            await ledger.writer.submit(open_accounts(more, flags=[flag], allowance="300"))
            accounts += more
        life = Life(ledger, dice, accounts)
        for _ in range(2):
            full = (await settled(database, ledger, leased))[0]
            await life.go_on(40)
            let_pass(ledger, full["end_ns"] - ledger._clock())
            await life.go_on(1)
        async with asyncio.timeout(20):
            while ledger.reads.indexed_ns < full["end_ns"]:
                await asyncio.sleep(0.05)
        await life.go_on(40)
        let_pass(ledger, 1_000 * SECOND_NS)  # whatever expires has done so
        await life.ledger.writer.submit(transfer(*accounts[:2]))
        replay = await Replay.of(database, TENANT)
        assert {row.kind for rows in replay.seen.values() for row in rows} == {3, 4, 5, 6, 7, 8}
        for _ in range(150):
            account = dice.choice(accounts)
            await check_moment(ledger, replay, account, replay.moment(dice))
        for _ in range(60):
            account, edges = dice.choice(accounts), sorted([replay.moment(dice), replay.moment(dice)])
            asked = Period(edges[0], edges[1], holds=dice.random() < 0.5)
            if edges[1] <= replay.opened[account]:
                with pytest.raises(NotOpenedYet):
                    await ledger.statements.page(TENANT, account, asked, None, 10)
                continue
            found = await statement(ledger, account, asked, dice.choice([1, 2, 3, 10, 100]))
            check_statement(found, replay, account, asked)
            following = Period(edges[1], None, holds=asked.holds)
            rest = await statement(ledger, account, following, 1_000)
            check_statement(rest, replay, account, following)
            if nanoseconds(rest.since) == nanoseconds(found.until):
                assert rest.opening == found.closing
        for account in accounts:
            asked = Period(holds=True)
            whole = await ledger.statements.whole(TENANT, account, asked)
            assert whole is not None
            check_statement(whole, replay, account, asked)
            assert counters(whole.opening) == NOTHING


async def test_what_was_answered_of_a_moment_stays_so_while_others_write(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        first: dict[str, Any] = {}

        async def write() -> None:
            for _ in range(60):
                await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(20)]))

        async def ask() -> None:
            while not writing.done():
                body = json.loads(await ledger.statements.account(TENANT, debit, 2**63 - 1) or b"")
                assert first.setdefault(body["as_of"], body) == body

        writing = asyncio.create_task(write())
        await asyncio.gather(writing, *(ask() for _ in range(8)))
        assert len(first) > 10
        replay = await Replay.of(database, TENANT)
        for moment, body in first.items():
            moment_ns = nanoseconds(moment)
            assert counters(body["balances"]) == replay.at(debit, moment_ns + 1)
            assert json.loads(await ledger.statements.account(TENANT, debit, moment_ns) or b"") == body


async def test_a_quiet_account_behind_too_many_rows_is_a_clear_no(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TAIL_ROWS_MAX", 2_000)
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


async def test_hundreds_of_declines_in_a_row_are_passed(database: Database) -> None:
    async with opened(database) as ledger:
        poor, rich = await make_accounts(ledger, 2, flags=["debits_must_not_exceed_credits"], allowance="5")
        await ledger.writer.submit(transfer(poor, rich, 5))
        for _ in range(3):
            await ledger.writer.submit(transfers([fields(poor, rich) for _ in range(300)]))
        replay = await Replay.of(database, TENANT)
        ledger.reads.indexed_ns = replay.moments[-1] - 10  # without the indexes it is slower, and says the same
        await check_moment(ledger, replay, poor, replay.moments[-2])
        check_statement(await statement(ledger, poor, Period(), 10), replay, poor, Period())


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


async def test_cursors_belong_to_one_statement_of_one_tenant(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for tenant in (TENANT + 1,):
            await ledger.writer.submit(open_book(1, tenant))
            await ledger.writer.submit(open_accounts([debit], tenant))  # the same id, and nothing else in common
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(5)]))
        page = await ledger.statements.page(TENANT, debit, Period(), None, 2)
        assert page is not None
        assert page.next
        again = await ledger.statements.page(TENANT, debit, Period(), page.next, 2)
        assert again is not None
        assert [row.id for row in again.data] != [row.id for row in page.data]
        wrong = [
            (TENANT, credit, Period(), page.next), (TENANT + 1, debit, Period(), page.next),
            (TENANT, debit, Period(holds=True), page.next), (TENANT, debit, Period(5), page.next),
            (TENANT, debit, Period(), page.next[:-1]), (TENANT, debit, Period(), "A" * 512),
            (TENANT, debit, Period(), "\u00e9"),
        ]  # fmt: skip
        for tenant, account, asked, cursor in wrong:
            with pytest.raises(BadCursor):
                await ledger.statements.page(tenant, account, asked, cursor, 2)
        other = await ledger.statements.page(TENANT + 1, debit, Period(), None, 2)
        assert other is not None
        assert (other.data, other.closing.posted) == ([], "0")
        assert await ledger.statements.page(TENANT + 2, debit, Period(), None, 2) is None
        assert await ledger.statements.account(TENANT + 1, credit, 2**63 - 1) is None


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
                    await ledger.statements.whole(TENANT, debit, Period())
            else:
                found = await ledger.statements.whole(TENANT, debit, Period())
                assert found is not None
                assert len(found.data) == rows
