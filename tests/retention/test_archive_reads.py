"""Whoever reads what is archived is told: by id, in lists, in statements and in the feed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import Archived, CursorGone, Filter, Ledger, Reader
from pyledger.ledger.feed import Found
from pyledger.ledger.nouns import WEEK_NS
from pyledger.ledger.statements import HistoryArchived, Period, many
from tests.ledger.tools import TENANT, new_id, opened, resolve
from tests.retention.tools import archive, asking, bring_back, write_history
from tests.support.clusters import Database


async def test_readers_are_told(database: Database, tmp_path: Path) -> None:
    history = await write_history(database)
    await archive(database, tmp_path)
    gone, here = history.weeks[1][0]["id"], history.weeks[2][0]["id"]
    account = history.accounts[0]
    async with opened(database) as ledger:
        for ask in (ledger.reads.transfer, ledger.proofs.transfer):
            with pytest.raises(Archived, match=history.names[1]) as told:
                await ask(TENANT, gone)
            assert told.value.name == history.names[1]
            assert await ask(TENANT, here) is not None
            assert await ask(TENANT, new_id()) is None
            assert await ask(TENANT + 1, gone) is None
        body = json.loads(await ledger.reads.account(TENANT, account) or b"")
        assert (body["reference"], body["metadata"]) == ("kept", {"kept": True}), "openings stay"
        with pytest.raises(Archived, match="is archived"):
            await list_all(ledger, account)
        with pytest.raises(Archived) as told:
            await ledger.reads.transfers(TENANT, Filter(oldest_first=True), None, 10)
        later = await ledger.reads.transfers(TENANT, Filter(oldest_first=True, from_ns=told.value.until_ns), None, 10)
        assert len(later.items) == 10
        assert (await ledger.statements.page(TENANT, account, Period(from_ns=told.value.until_ns), None, 5)) is not None
        for asked in (Period(), Period(by="effective"), Period(until_ns=told.value.until_ns - 1, holds=True)):
            with pytest.raises(HistoryArchived):
                await ledger.statements.page(TENANT, account, asked, None, 5)
        with pytest.raises(HistoryArchived):
            await ledger.statements.trial.whole(TENANT, 1, told.value.until_ns - WEEK_NS)
        for other in history.accounts:
            now = json.loads(await ledger.reads.account(TENANT, other) or b"")["balances"]
            as_of = json.loads(await ledger.statements.account(TENANT, other, ledger._clock() + 9 * WEEK_NS) or b"")
            assert as_of["balances"]["posted"] == now["posted"]
            before = json.loads(await ledger.statements.account(TENANT, other, told.value.until_ns) or b"")
            assert before["balances"] == await balances_of_base(database, other)


async def test_lists_that_cross_are_all_told(database: Database, tmp_path: Path) -> None:
    """After a start nothing is known of what is archived, and each of them finds it out for itself."""
    history = await write_history(database)
    await archive(database, tmp_path)
    for _ in range(5):
        async with opened(database) as ledger:
            lists = [list_all(ledger, history.accounts[0]) for _ in range(8)]
            ended = await asyncio.gather(*lists, return_exceptions=True)
            assert all(isinstance(each, Archived) for each in ended), ended


async def list_all(ledger: Ledger, account: str) -> int:
    """How many transfers a list has to its end, if it comes to one."""
    page = await ledger.reads.transfers(TENANT, Filter(account=account), None, 10)
    seen = len(page.items)
    while page.next is not None:
        page = await ledger.reads.transfers(TENANT, Filter(account=account), page.next, 10)
        seen += len(page.items)
    return seen


async def balances_of_base(database: Database, account: str) -> dict[str, str]:
    async with asking(database) as connection:
        row = await connection.fetchrow("SELECT * FROM pyledger.base_account WHERE id = $1", account)
    assert row is not None
    names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
    held = {name: str(row[name]) for name in names}
    posted, pending = (int(held[f"credits_{each}"]) - int(held[f"debits_{each}"]) for each in ("posted", "pending"))
    available = int(held["credits_posted"]) - int(held["debits_posted"]) - int(held["debits_pending"])
    return held | {"posted": str(posted), "pending": str(pending), "available": str(available)}


async def test_a_trial_balance_right_before_an_archived_hold_is_posted(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found back from what is held now; what the hold held is not in the journal any more."""
    monkeypatch.setattr(many, "LOOK_ROWS_FIRST", 0)
    history = await write_history(database)
    await archive(database, tmp_path)
    async with opened(database) as ledger:
        before = await ledger.statements.trial.whole(TENANT, 1, None)
        moment_ns = ledger.stats.head_ns
        posted = await ledger.writer.submit(resolve("post", history.open_hold, amount="20"))
        assert posted.outcome == "accepted"
        found = await ledger.statements.trial.whole(TENANT, 1, moment_ns)
        assert before is not None
        assert found is not None
        assert found.codes == before.codes
        now = await ledger.statements.trial.whole(TENANT, 1, None)
        assert now is not None
        assert now.codes != before.codes


async def test_the_feed_goes_on_behind_what_is_archived(database: Database, tmp_path: Path) -> None:
    history = await write_history(database)
    reader = Reader(TENANT)

    async def read(ledger: Ledger, place: Any) -> Found:
        return await ledger.reads.feed.page(reader, reader.asked(events=False), place, 30)

    async with opened(database) as ledger:
        early = await read(ledger, ledger.reads.feed.place(reader, None))
        cursor = reader.cursor(early.place)
    await archive(database, tmp_path)
    async with opened(database) as ledger:
        place = ledger.reads.feed.place(reader, cursor)
        with pytest.raises(CursorGone) as gone:
            await read(ledger, place)
        assert gone.value.after is not None
        place = type(place)(*gone.value.after)
        found = await read(ledger, place)
        assert history.weeks[2][0]["id"].encode() in b"".join(found.pieces)
        # With the first week restored it can be read, up to where the second one is missing.
        await bring_back(database, tmp_path / history.names[0])
    async with opened(database) as ledger:
        place, rows = ledger.reads.feed.place(reader, None), 0
        with contextlib.suppress(CursorGone):
            while place.ns < ledger.stats.head_ns:
                found = await read(ledger, place)
                place, rows = found.place, rows + found.rows
        assert rows > 40
        assert place.ns < gone.value.after[1]
