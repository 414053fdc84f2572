"""Balances as of any moment and statements, held against a replay of the journal's rows."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from pyledger.ledger import BadCursor, Ledger, partitions
from pyledger.ledger.nouns import SEAL_AFTER_S
from pyledger.ledger.statements import NotOpenedYet, Period, history, many
from pyledger.ledger.times import nanoseconds
from tests.ledger.replaying import NOTHING, Life, Replay
from tests.ledger.statement_checks import (
    check_by_date,
    check_moment,
    check_statement,
    check_trial,
    counters,
    statement,
    whole,
)
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
    transfer,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
SECOND_NS = 10**9


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are looked after more often, and looks are small, so that one question takes several."""
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(partitions, "PARTITION_RETRY_S", 0.3)
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 5)
    monkeypatch.setattr(history, "DECLINED_ROWS_FIRST", 1)
    monkeypatch.setattr(many, "LOOK_ROWS_FIRST", 50)
    monkeypatch.setattr(many, "MANY_ROWS_FIRST", 1)


async def live(ledger: Ledger, database: Database, dice: random.Random) -> dict[str, int]:
    """A life over two partitions that are over and one that is not; its accounts, with their codes."""
    midweek(ledger)
    accounts = await make_accounts(ledger, 3)
    codes = dict.fromkeys(accounts, 1)
    for flag in ("debits_must_not_exceed_credits", "credits_must_not_exceed_debits"):
        more = [new_id(), new_id()]
        await ledger.writer.submit(open_accounts(more, flags=[flag], allowance="300", code=len(accounts)))
        codes |= dict.fromkeys(more, len(accounts))
        accounts += more
    life = Life(ledger, dice, accounts)
    for _ in range(2):
        full = (await settled(database, ledger, leased))[0]
        await life.go_on(40)
        # Never back: the partition of the rows that are there already would have no end.
        let_pass(ledger, max(0, full["end_ns"] + SEAL_AFTER_S * SECOND_NS - ledger._clock()))
        await life.go_on(1)
    async with asyncio.timeout(20):
        while ledger.reads.indexed_ns < full["end_ns"]:
            await asyncio.sleep(0.05)
    await life.go_on(40)
    let_pass(ledger, 1_000 * SECOND_NS)  # whatever expires has done so
    await life.ledger.writer.submit(transfer(*accounts[:2]))
    return codes


@both
async def test_any_moment_and_any_period_say_what_a_replay_says(database: Database) -> None:
    dice = replayable()
    async with opened(database, seal_rows=1_000, scan_rows_max=1_000) as ledger:
        codes = await live(ledger, database, dice)
        accounts = list(codes)
        replay = await Replay.of(database, TENANT)
        assert {row.kind for rows in replay.seen.values() for row in rows} == {3, 4, 5, 6, 7, 8}
        for _ in range(100):
            account = dice.choice(accounts)
            await check_moment(ledger, replay, account, replay.moment(dice))
        for _ in range(25):
            account, edges = dice.choice(accounts), sorted([replay.moment(dice), replay.moment(dice)])
            asked = Period(edges[0], edges[1], holds=dice.random() < 0.5)
            if edges[1] <= replay.opened[account]:
                with pytest.raises(NotOpenedYet):
                    await ledger.statements.page(TENANT, account, asked, None, 10)
                continue
            found = await statement(ledger, account, asked, dice.choice([2, 7, 30, 100]))
            check_statement(found, replay, account, asked)
            following = Period(edges[1], None, holds=asked.holds)
            rest = await statement(ledger, account, following, 1_000)
            check_statement(rest, replay, account, following)
            if nanoseconds(rest.since) == nanoseconds(found.until):
                assert rest.opening == found.closing
        for _ in range(12):
            await check_by_date(ledger, replay, dice, dice.choice(accounts))
        first_ns = replay.opened[accounts[0]]
        for _ in range(8):
            await check_trial(ledger, replay, max(first_ns, replay.moment(dice)), codes)
        await check_trial(ledger, replay, 2**63 - 1, codes)
        for account in accounts:
            asked = Period(holds=True)
            document = await whole(ledger, account, asked)
            check_statement(document, replay, account, asked)
            assert counters(document.opening) == NOTHING


async def test_what_was_answered_of_a_moment_stays_so_while_others_write(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        first: dict[str, Any] = {}

        async def write() -> None:
            turn = 0
            while (turn := turn + 1) <= 60 or len(first) <= 10:
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


async def test_by_date_what_is_recorded_meanwhile_is_not_in_later_pages(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for amount in range(1, 7):
            await ledger.writer.submit(transfer(debit, credit, amount, effective_at="2030-01-01T00:00:00Z"))
        asked = Period(None, nanoseconds("2031-01-01T00:00:00Z"), by="effective")
        page = await ledger.statements.page(TENANT, debit, asked, None, 2)
        assert page is not None
        await ledger.writer.submit(transfer(debit, credit, 99, effective_at="2030-01-01T00:00:00Z"))
        await ledger.writer.submit(transfer(debit, credit, 98, effective_at="2029-01-01T00:00:00Z"))
        rows = page.data
        while page.next:
            page = await ledger.statements.page(TENANT, debit, asked, page.next, 3)
            assert page is not None
            rows += page.data
            assert page.closing.posted == "-21"
        assert [row.amount for row in rows] == ["1", "2", "3", "4", "5", "6"]
        now = json.loads(await ledger.statements.account(TENANT, debit, 2**63 - 1, "effective") or b"")
        assert now["balances"]["posted"] == "-218"
        assert (
            json.loads(await ledger.statements.account(TENANT, debit, 0, "effective") or b"")["balances"]["posted"]
            == "0"
        )


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
