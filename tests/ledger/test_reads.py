"""Reads: pages that add up, cursors that belong to one query, and nobody else's rows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pyledger.ledger import BadCursor, Filter, Ledger, Page, Reads, cursors
from tests.ledger.tools import (
    TENANT,
    fields,
    make_accounts,
    new_id,
    open_accounts,
    open_book,
    opened,
    resolve,
    transfer,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)


async def all_pages(ledger: Ledger, asked: Filter, limit: int, tenant: int = TENANT) -> list[dict[str, Any]]:
    """Every page of a list, one after the other."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(10_000):
        page: Page = await ledger.reads.transfers(tenant, asked, cursor, limit)
        assert len(page.items) <= limit
        items += [json.loads(item) for item in page.items]
        cursor = page.next
        if cursor is None:
            return items
    raise AssertionError("the pages never end")


@both
async def test_lists_by_account_ledger_reference_and_time(database: Database) -> None:
    dice = replayable()
    async with opened(database, scan_rows_max=1_000) as ledger:
        accounts = await make_accounts(ledger, 6)
        rows: list[dict[str, Any]] = []
        for _ in range(40):
            batch = []
            for _ in range(dice.randint(1, 100)):
                debit, credit = dice.sample(accounts, 2)
                batch.append(fields(debit, credit, dice.randint(1, 9), reference=dice.choice(["red", "blue", "green"])))
            reply = json.loads((await ledger.writer.submit(transfers(batch))).body)
            rows += [
                row | {"recorded_at": got["recorded_at"]} for row, got in zip(batch, reply["results"], strict=True)
            ]
        everything = [row["id"] for row in rows]
        for up in (False, True):
            order = 1 if up else -1
            found = await all_pages(ledger, Filter(oldest_first=up), dice.randint(1, 1_000))
            assert [row["id"] for row in found] == everything[::order]
            one = accounts[0]
            found = await all_pages(ledger, Filter(account=one, oldest_first=up), 7)
            of_one = [row["id"] for row in rows if one in (row["debit_account_id"], row["credit_account_id"])]
            assert [row["id"] for row in found] == of_one[::order]
            found = await all_pages(ledger, Filter(reference="red", account=one, ledger=1, oldest_first=up), 50)
            red = [row["id"] for row in rows if row["id"] in set(of_one) and row["reference"] == "red"]
            assert [row["id"] for row in found] == red[::order]
            assert await all_pages(ledger, Filter(ledger=2, oldest_first=up), 50) == []
        asked = (0, TENANT, 0, 2**63 - 1, 2**62, None, None, None, 5_000, 10_000)
        times = await ledger.reads._fetch("page_oldest_first", *asked)
        low, high = sorted(dice.sample(range(len(times)), 2))
        low_ns, high_ns = times[low]["recorded_ns"], times[high]["recorded_ns"]
        for up in (False, True):
            found = await all_pages(ledger, Filter(from_ns=low_ns, until_ns=high_ns, oldest_first=up), 100)
            assert [row["id"] for row in found] == everything[low:high][:: 1 if up else -1]
        for account in (None, one):
            for from_ns, until_ns in ((high_ns, low_ns), (None, 0), (2**70, 2**70), (2**62, None), (2**62, low_ns)):
                nothing = Filter(account=account, from_ns=from_ns, until_ns=until_ns)
                assert await all_pages(ledger, nothing, 100) == []


async def test_a_page_may_be_short_and_still_go_on(database: Database) -> None:
    async with opened(database, scan_rows_max=1_000) as ledger:
        busy, quiet, rare = await make_accounts(ledger, 3)
        first = fields(quiet, rare)
        await ledger.writer.submit(transfers([first]))
        for _ in range(8):
            await ledger.writer.submit(transfers([fields(busy, quiet) for _ in range(500)]))
        page = await ledger.reads.transfers(TENANT, Filter(account=rare), None, 10)
        assert (page.items, page.next is None) == ([], False)
        assert [row["id"] for row in await all_pages(ledger, Filter(account=rare), 10)] == [first["id"]]


async def test_what_is_read_is_what_was_replied(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger, 2, flags=["debits_must_not_exceed_credits"], allowance="10")
        commands = [transfer(debit, credit, amount, metadata={"k": [1, "é"]}, reference="r") for amount in (5, 50)]
        held = transfer(debit, credit, 2, flags=["pending"], timeout_s=100)
        commands += [held, resolve("post", held.ids[0]), resolve("reverse", commands[0].ids[0], amount="1")]
        for each in commands:
            reply = await ledger.writer.submit(each)
            body = await ledger.reads.transfer(TENANT, each.ids[0])
            assert body is not None
            read = json.loads(body)
            assert read["status"] == ("accepted" if reply.outcome == "accepted" else "declined")
            if reply.outcome == "accepted":
                assert body == reply.body
        listed = await ledger.reads.transfers(TENANT, Filter(oldest_first=True), None, 100)
        assert [json.loads(item)["id"] for item in listed.items] == [each.ids[0] for each in commands]
        assert await ledger.reads.transfer(TENANT, new_id()) is None
        assert await ledger.reads.transfer(TENANT, debit) is None, "an account is no transfer"


@both
async def test_accounts_and_ledgers_in_pages_with_their_texts(database: Database) -> None:
    async with opened(database) as ledger:
        for number in (3, 1, 2):
            assert (await ledger.writer.submit(open_book(number))).outcome == "accepted"
        await ledger.writer.submit(open_book(9, tenant=8))
        ids = [new_id() for _ in range(25)]
        await ledger.writer.submit(open_accounts(ids, metadata={"colour": "red"}, reference="shelf"))
        other = new_id()
        for tenant in (TENANT, 8):
            await ledger.writer.submit(open_book(1, tenant))
        await ledger.writer.submit(open_accounts([other], tenant=8))

        async def pages(fetch: Any) -> list[dict[str, Any]]:
            items, cursor = [], None
            while True:
                page = await fetch(cursor)
                items += [json.loads(item) for item in page.items]
                if (cursor := page.next) is None:
                    return items

        found = await pages(lambda cursor: ledger.reads.accounts(TENANT, None, cursor, 10))
        assert [row["id"] for row in found] == ids
        assert all(row["metadata"] == {"colour": "red"} and row["reference"] == "shelf" for row in found)
        assert await pages(lambda cursor: ledger.reads.accounts(TENANT, 2, cursor, 10)) == []
        found = await pages(lambda cursor: ledger.reads.ledgers(TENANT, cursor, 2))
        assert [row["id"] for row in found] == [1, 2, 3]
        assert json.loads(await ledger.reads.ledger(TENANT, 3) or b"")["asset"] == "EUR"
        assert await ledger.reads.ledger(TENANT, 9) is None
        assert await ledger.reads.ledger(8, 9) is not None
        assert await ledger.reads.account(TENANT, other) is None, "another tenant's does not exist"
        assert await ledger.reads.account(8, other) is not None


async def test_another_tenant_sees_nothing(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        commands = transfer(debit, credit, 5)
        await ledger.writer.submit(commands)
        assert await ledger.reads.transfer(8, commands.ids[0]) is None
        assert await all_pages(ledger, Filter(), 10, tenant=8) == []
        assert await all_pages(ledger, Filter(account=debit), 10, tenant=8) == []


async def test_a_cursor_belongs_to_one_tenant_and_one_query(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = (await make_accounts(ledger, 3))[:2]
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(5)]))
        mine = (await ledger.reads.transfers(TENANT, Filter(), None, 2)).next
        accounts = (await ledger.reads.accounts(TENANT, None, None, 1)).next
        assert mine is not None
        assert accounts is not None
        for attempt in (
            ledger.reads.transfers(8, Filter(), mine, 2),
            ledger.reads.transfers(TENANT, Filter(account=debit), mine, 2),
            ledger.reads.transfers(TENANT, Filter(oldest_first=True), mine, 2),
            ledger.reads.transfers(TENANT, Filter(), accounts, 2),
            ledger.reads.accounts(TENANT, None, mine, 2),
            ledger.reads.accounts(TENANT, 1, accounts, 2),
            ledger.reads.accounts(8, None, accounts, 2),
            ledger.reads.ledgers(TENANT, mine, 2),
            *(ledger.reads.transfers(TENANT, Filter(), bad, 2) for bad in ("", "x", mine + "A", mine[:-1], "é" * 9)),
            *(ledger.reads.transfers(TENANT, Filter(), bad, 2) for bad in (mine + "=", mine + "\n", "A" * 10_000)),
        ):
            with pytest.raises(BadCursor):
                await attempt
        assert len((await ledger.reads.transfers(TENANT, Filter(), mine, 2)).items) == 2


def test_every_flipped_character_of_a_cursor_is_refused_or_the_same() -> None:
    cursor = cursors.seal(1, "q", (12).to_bytes(8))
    assert cursors.unseal(1, "q", cursor, 8) == (12).to_bytes(8)
    for place in range(16):  # the tag; what follows is only a place in one's own list
        flipped = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(BadCursor):
            cursors.unseal(1, "q", flipped, 8)


async def test_history_ends_at_what_was_acknowledged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row may be visible before its commit was: nobody hears of it."""
    from pyledger.ledger.store import Session

    gate = asyncio.Event()
    real = Session.append

    async def held_up(self: Session, *arguments: Any) -> list[str]:
        warnings = await real(self, *arguments)
        await gate.wait()
        return warnings

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        monkeypatch.setattr(Session, "append", held_up)
        commands = transfer(debit, credit, 5)
        riding = ledger.writer.submit(commands)
        await asyncio.sleep(0.3)
        rows = await ledger.reads._fetch("transfer_by_id", 0, TENANT, commands.ids[0], ledger.stats.head_seq)
        assert rows == []
        gate.set()
        await riding
        assert await ledger.reads.transfer(TENANT, commands.ids[0]) is not None


async def test_an_account_opened_between_the_two_looks_has_its_texts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database) as ledger:
        await make_accounts(ledger)
        real, late = Reads._account_texts, new_id()

        async def just_before(self: Reads, tenant: int, ids: list[str]) -> Any:
            texts = await real(self, tenant, ids)
            await ledger.writer.submit(open_accounts([late], reference="till 7"))
            return texts

        monkeypatch.setattr(Reads, "_account_texts", just_before)
        found = await ledger.reads.account(TENANT, late)
        assert found is not None
        assert json.loads(found)["reference"] == "till 7"
