"""What statements, balances and trial balances say, held against a replay."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from pyledger.ledger import Ledger
from pyledger.ledger.statements import NotOpenedYet, Period
from pyledger.ledger.statements.nouns import Statement
from pyledger.ledger.times import instant, nanoseconds
from tests.ledger.replaying import MOVES, Replay, Seen
from tests.ledger.tools import TENANT

COUNTERS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
HOLDS = (4, 6, 8)
KINDS = ("", "", "", "transfer", "pending", "post", "void", "reverse", "expire")


def counters(balances: Any) -> tuple[int, ...]:
    return tuple(
        int(getattr(balances, name) if not isinstance(balances, dict) else balances[name]) for name in COUNTERS
    )


async def statement(ledger: Ledger, account: str, asked: Period, limit: int, tenant: int = TENANT) -> Statement:
    """All pages of a statement, as one."""
    pages: list[Statement] = []
    cursor = None
    while not pages or cursor:
        page = await ledger.statements.page(tenant, account, asked, cursor, limit)
        assert page is not None
        assert len(page.data) <= limit
        pages.append(page)
        cursor = page.next
    heads = {(page.opening, page.closing, page.since, page.until, page.debits, page.credits) for page in pages}
    assert len(heads) == 1, "each page has the same head"
    return msgspec.structs.replace(pages[0], data=[row for page in pages for row in page.data], next=None)


async def whole(ledger: Ledger, account: str, asked: Period) -> Statement:
    """The pages of a document, as one."""
    pages = [page async for page in ledger.statements.pages(TENANT, account, asked)]
    return msgspec.structs.replace(pages[0], data=[row for page in pages for row in page.data], next=None)


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
    asking = ledger.statements.account(replay.tenant, account, moment_ns)
    if moment_ns < replay.opened[account]:
        with pytest.raises(NotOpenedYet):
            await asking
        return
    body = json.loads(await asking or b"")
    assert counters(body["balances"]) == replay.at(account, moment_ns + 1)
    assert body["as_of"] == instant(min(moment_ns, head_ns))
    assert "closed" not in body["flags"]


async def check_by_date(ledger: Ledger, replay: Replay, dice: random.Random, account: str) -> None:
    """Balances and a statement by effective date say what the replay does."""
    dates = [row.date[0] for row in replay.seen[account]] + [replay.moment(dice)]
    low_ns, high_ns = sorted([dice.choice(dates) + dice.choice([-1, 0, 1]), dice.choice(dates) + dice.choice([0, 1])])
    body = json.loads(await ledger.statements.account(replay.tenant, account, high_ns - 1, "effective") or b"")
    posted = body["balances"]
    assert (int(posted["debits_posted"]), int(posted["credits_posted"])) == replay.by_date(account, high_ns)
    assert set(posted) == {"debits_posted", "credits_posted", "posted"}
    found = await statement(
        ledger, account, Period(low_ns, high_ns, by="effective"), dice.choice([7, 50, 1_000]), replay.tenant
    )
    expected = sorted(
        (row for row in replay.seen[account] if row.kind in MOVES and (low_ns, 0) <= row.date < (high_ns, 0)),
        key=lambda row: row.date,
    )
    assert [row.id for row in found.data] == [row.id for row in expected]
    running = replay.by_date(account, low_ns)
    assert (int(found.opening.debits_posted), int(found.opening.credits_posted)) == running
    for row, seen in zip(found.data, expected, strict=True):
        running = (running[0] + seen.amount * seen.is_debit, running[1] + seen.amount * (not seen.is_debit))
        assert (int(row.balances.debits_posted), int(row.balances.credits_posted)) == running
    assert (int(found.closing.debits_posted), int(found.closing.credits_posted)) == running


async def check_trial(ledger: Ledger, replay: Replay, moment_ns: int, codes: dict[str, int]) -> None:
    """A trial balance says what the replay does, in one answer and in pages."""
    there = [account for account in codes if replay.opened[account] <= moment_ns]
    held = {account: replay.at(account, moment_ns + 1) for account in there}
    sums_of_all = await ledger.statements.trial.whole(replay.tenant, 1, moment_ns)
    assert sums_of_all is not None
    assert sums_of_all.totals.debits_posted == sums_of_all.totals.credits_posted
    assert sums_of_all.totals.debit_balance == sums_of_all.totals.credit_balance
    for sums in (*sums_of_all.codes, sums_of_all.totals):
        of_it = [held[account] for account in there if sums is sums_of_all.totals or codes[account] == sums.code]
        assert sums.accounts == len(of_it)
        for place, name in enumerate(COUNTERS):
            assert int(getattr(sums, name)) == sum(each[place] for each in of_it)
    found: list[tuple[str, tuple[int, ...]]] = []
    cursor = None
    while not found or cursor:
        page = await ledger.statements.trial.page(replay.tenant, 1, moment_ns, cursor, 3)
        assert page is not None
        assert page.data
        assert (page.as_of, page.seq) == (sums_of_all.as_of, sums_of_all.seq)
        found += [(row.id, counters(row)) for row in page.data]
        cursor = page.next
    assert found == list(held.items())
