"""Statements and trial balances that are asked for while two tenants write, held against a replay afterwards."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

import pytest

from pyledger.ledger import Ledger
from pyledger.ledger.statements import Period, history, many
from pyledger.ledger.times import nanoseconds
from tests.ledger.replaying import Life, Replay
from tests.ledger.statement_checks import COUNTERS, check_statement, counters, statement
from tests.ledger.tools import TENANT, make_accounts, open_accounts, open_book, opened
from tests.support.chance import replayable
from tests.support.clusters import Database

Check = Callable[[Replay], None]
TENANTS = (TENANT, TENANT + 1)


class Asking:
    """Somebody of one tenant, who asks for whatever there is, and keeps what was answered."""

    def __init__(self, ledger: Ledger, dice: random.Random, tenant: int, accounts: list[str]) -> None:
        self.statements, self.ledger, self.dice = ledger.statements, ledger, dice
        self.tenant, self.accounts = tenant, accounts
        self.checks: list[Check] = []

    async def balance(self) -> None:
        account = self.dice.choice(self.accounts)
        body = json.loads(await self.statements.account(self.tenant, account, 2**63 - 1) or b"")
        moment_ns = nanoseconds(body["as_of"])

        def check(replay: Replay) -> None:
            assert counters(body["balances"]) == replay.at(account, moment_ns + 1)

        self.checks.append(check)

    async def statement(self) -> None:
        account, asked = self.dice.choice(self.accounts), Period(holds=self.dice.random() < 0.5)
        found = await statement(self.ledger, account, asked, self.dice.choice([3, 50]), self.tenant)
        self.checks.append(lambda replay: check_statement(found, replay, account, asked))

    async def trial(self) -> None:
        found = await self.statements.trial.whole(self.tenant, 1, None)
        assert found is not None
        sums, moment_ns = found.totals, nanoseconds(found.as_of)

        def check(replay: Replay) -> None:
            held = [replay.at(account, moment_ns + 1) for account in self.accounts]
            assert sums.accounts == len(held)
            for place, name in enumerate(COUNTERS):
                assert int(getattr(sums, name)) == sum(each[place] for each in held)

        self.checks.append(check)

    async def trial_pages(self) -> None:
        page = await self.statements.trial.page(self.tenant, 1, None, None, 2)
        assert page is not None
        as_of, rows, cursor = page.as_of, page.data, page.next
        assert rows
        while cursor:
            await asyncio.sleep(self.dice.random() / 100)
            page = await self.statements.trial.page(self.tenant, 1, None, cursor, 2)
            assert page is not None
            assert page.as_of == as_of
            rows, cursor = [*rows, *(page.data or [])], page.next

        def check(replay: Replay) -> None:
            before_ns = nanoseconds(as_of) + 1
            assert [(row.id, counters(row)) for row in rows] == [
                (account, replay.at(account, before_ns)) for account in self.accounts
            ]

        self.checks.append(check)

    async def go_on(self, writing: asyncio.Task[None]) -> None:
        """Until nobody writes any more."""
        while not writing.done():
            await self.dice.choice([self.balance, self.statement, self.trial, self.trial_pages])()


async def test_what_is_answered_while_others_write_is_what_a_replay_says(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = replayable()
    monkeypatch.setattr(many, "LOOK_ROWS_FIRST", 0)
    monkeypatch.setattr(history, "LOOK_ROWS_FIRST", 100)
    async with opened(database, scan_rows_max=1_000) as ledger:
        accounts = await make_accounts(ledger, 7)
        await ledger.writer.submit(open_book(1, TENANTS[1]))
        await ledger.writer.submit(open_accounts(accounts, TENANTS[1]))
        lives = [Life(ledger, dice, accounts, tenant) for tenant in TENANTS]
        for life in lives:
            await life.go_on(5)

        async def write() -> None:
            for _ in range(30):
                await dice.choice(lives).go_on(1)

        writing = asyncio.create_task(write())
        asking = [Asking(ledger, dice, tenant, accounts) for tenant in TENANTS * 2]
        await asyncio.gather(writing, *(each.go_on(writing) for each in asking))
        for each in asking:
            replay = await Replay.of(database, each.tenant)
            assert each.checks
            for check in each.checks:
                check(replay)
