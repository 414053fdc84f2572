"""The feed against the journal: every row, in order, by every filter, from the writer and from PostgreSQL alike."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pyledger.ledger import Ledger, Reader, State, Unavailable, blocks
from pyledger.ledger.blocks import Place
from pyledger.ledger.connections import Pool
from pyledger.ledger.feed import LATEST
from pyledger.ledger.store import Session
from tests.ledger.feeding import Row, forget, ids_of, journal, kept, read_on
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
    transfer,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
QUIET_S = 0.3
BYTES_A_ROW = 500
"""As copied, without texts: the bound of bytes leaves room for as many rows as the bound of rows."""
LARGE = {"text": "x" * 1_000}


async def a_busy_day(ledger: Ledger, dice: random.Random) -> list[str]:
    """Ledgers, accounts, transfers of two codes, declines, holds and what became of them, and another tenant's."""
    accounts = await make_accounts(ledger, 5, flags=["debits_must_not_exceed_credits"], allowance="900")
    await ledger.writer.submit(open_book(2))
    await ledger.writer.submit(open_book(1, tenant=8))
    others = [new_id(), new_id()]
    await ledger.writer.submit(open_accounts(others, tenant=8))
    for _ in range(30):
        batch = []
        for _ in range(dice.randint(1, 60)):
            debit, credit = dice.sample(accounts, 2)
            batch.append(fields(debit, credit, dice.randint(1, 400), code=dice.randint(1, 2)))
        waiting = [ledger.writer.submit(transfers(batch)), ledger.writer.submit(transfer(*others, tenant=8))]
        held = [transfer(*dice.sample(accounts, 2), 1, flags=["pending"], timeout_s=9) for _ in range(3)]
        waiting += [ledger.writer.submit(each) for each in held]
        waiting += [ledger.writer.submit(resolve(verb, held[at].ids[0])) for at, verb in enumerate(("post", "void"))]
        await asyncio.gather(*waiting)
    let_pass(ledger, 10_000_000_000)
    await ledger.writer.submit(transfer(accounts[0], accounts[1]))
    return accounts


@both
async def test_every_row_in_order_by_every_filter_from_either_side(database: Database) -> None:
    dice = replayable()
    async with opened(database) as ledger:
        ledger.reads.feed.place(Reader(TENANT), LATEST)
        await ledger.reads.feed.more(Place(), 0.01)  # somebody asked, so the tail is kept
        accounts = await a_busy_day(ledger, dice)
        rows = await journal(database)
        assert {row["kind"] for row in rows} == {1, 2, 3, 4, 5, 6, 8}
        assert {row["status"] > 0 for row in rows} == {True, False}
        one = accounts[0]

        def of_account(row: Row) -> bool:
            return one in (row["id"], row["debit"], row["credit"])

        asked: list[tuple[Reader, Callable[[Row], bool]]] = [
            (Reader(TENANT), lambda row: row["status"] == 0),
            (Reader(TENANT, declined=True), lambda _: True),
            (Reader(TENANT, account=one, declined=True), of_account),
            (Reader(TENANT, code=2), lambda row: row["code"] == 2 and row["status"] == 0),
            (Reader(TENANT, ledger=1, code=1, account=one), lambda row: row["status"] == 0 and row["ledger"] == 1
             and row["code"] == 1 and of_account(row)),
            (Reader(TENANT, ledger=2), lambda row: row["status"] == 0 and row["ledger"] == 2),
            (Reader(TENANT, ledger=3), lambda _: False),
        ]  # fmt: skip
        for fresh in (True, False):
            for reader, keep in asked:
                if not fresh:
                    forget(ledger)
                found = await read_on(ledger, reader, limit=dice.choice([1, 7, 100, 1_000]))
                assert ids_of(found) == kept(rows, keep), (fresh, reader)
                assert all(row["cursor"] for row in found)
        found = await read_on(ledger, Reader(TENANT))
        assert [row["id"] for row in found if row["kind"] == "ledger"] == [1, 2]
        assert found[-1]["cursor"] == Reader(TENANT).cursor(Place(ledger.stats.head_seq, ledger.stats.head_ns))
        place = dice.randrange(len(found))
        forget(ledger)
        assert await read_on(ledger, Reader(TENANT), found[place]["cursor"]) == found[place + 1 :]
        assert {row["id"] for row in await read_on(ledger, Reader(8))}.isdisjoint(ids_of(found))


async def test_a_row_is_word_for_word_what_it_is_elsewhere(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger, 2, flags=["debits_must_not_exceed_credits"], allowance="10")
        for amount in (5, 50):
            await ledger.writer.submit(transfer(debit, credit, amount, metadata={"k": [1, "é\n"]}, reference='"\\'))
        for row in (await read_on(ledger, Reader(TENANT, declined=True)))[-2:]:
            alone = json.loads(await ledger.reads.transfer(TENANT, row["id"]) or b"")
            assert {name: value for name, value in row.items() if name != "cursor"} == alone
        reader = Reader(TENANT, declined=True)
        found = await ledger.reads.feed.page(reader, reader.asked(events=True), Place(), 100)
        events = b"".join(found.pieces).decode().split("\n\n")
        assert events.pop() == ""
        for event in events:
            where, data = event.split("\n")
            assert where == "id: " + json.loads(data.removeprefix("data: "))["cursor"]


async def test_the_end_costs_postgresql_nothing_and_one_wake_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten who follow get each batch from the writer itself."""
    asked: list[str] = []
    rows, copy = Pool.rows, Pool.copy

    async def count_rows(self: Pool, name: str, *arguments: object) -> Any:
        asked.append(name)
        return await rows(self, name, *arguments)

    async def count_copy(self: Pool, name: str, *arguments: object) -> bytes:
        asked.append(name)
        return await copy(self, name, *arguments)

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        feed = ledger.reads.feed
        readers = [Reader(TENANT, code=1 + number % 2) for number in range(10)]
        places = [feed.place(reader, LATEST) for reader in readers]
        waiting = [asyncio.create_task(feed.more(place, 10)) for place in places]
        await asyncio.sleep(0)
        monkeypatch.setattr(Pool, "rows", count_rows)
        monkeypatch.setattr(Pool, "copy", count_copy)
        for number in range(20):
            await ledger.writer.submit(transfer(debit, credit, code=1 + number % 2))
        await asyncio.gather(*waiting)
        found = [
            await feed.page(reader, reader.asked(events=False), place, 100)
            for reader, place in zip(readers, places, strict=True)
        ]
        assert [each.rows for each in found] == [10] * 10
        assert [name for name in asked if name.startswith("feed_")] == [], "but for the upkeep beside it"


async def test_a_page_is_bounded_and_what_is_rare_is_still_found(database: Database) -> None:
    async with opened(database, scan_rows_max=1_000) as ledger:
        busy, quiet, rare = await make_accounts(ledger, 3)
        for _ in range(8):
            await ledger.writer.submit(transfers([fields(busy, quiet) for _ in range(2_500)]))
        last = fields(quiet, rare)
        await ledger.writer.submit(transfers([last]))
        reader = Reader(TENANT, account=rare)
        feed = ledger.reads.feed
        found = await feed.page(reader, reader.asked(events=False), Place(), 10)
        assert [row["id"] for row in await read_on(ledger, reader)] == [rare, last["id"]]
        found = await feed.page(reader, reader.asked(events=False), found.place, 10)
        assert (found.rows, found.looked < 12_000) == (0, True)
        everything = Reader(TENANT)
        found = await feed.page(everything, everything.asked(events=False), Place(), 1_000_000)
        assert sum(map(len, found.pieces)) < 600_000, "a page has a bound of bytes too"


async def test_the_tail_is_bounded_and_let_go(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        feed, tail = ledger.reads.feed, ledger.reads.feed._tail
        assert not tail.blocks, "nobody asked"
        waiting = asyncio.create_task(feed.more(Place(2**62, 2**62), 60))
        await asyncio.sleep(0)
        monkeypatch.setattr(blocks, "TAIL_ROWS_MAX", 5_000)
        for _ in range(10):
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(1_000)]))
        assert (len(tail.blocks), tail.rows) == (5, 5_000)
        assert tail.size == sum(block.size for block in tail.blocks) < 5_000 * BYTES_A_ROW
        assert len(await read_on(ledger, Reader(TENANT))) == 10_003, "from PostgreSQL, then from the tail"
        bound = tail.size
        monkeypatch.setattr(blocks, "TAIL_BYTES_MAX", bound)
        for _ in range(3):
            await ledger.writer.submit(transfers([fields(debit, credit, metadata=LARGE) for _ in range(1_000)]))
            assert 0 < tail.size <= bound or len(tail.blocks) == 1
        assert tail.rows < 3_000, "large rows are fewer"
        assert len(await read_on(ledger, Reader(TENANT))) == 13_003
        waiting.cancel()
        monkeypatch.setattr("pyledger.ledger.feed.TAIL_LINGER_S", 0.0)
        await asyncio.gather(waiting, return_exceptions=True)
        await ledger.writer.submit(transfer(debit, credit))
        assert (len(tail.blocks), tail.rows, tail.size) == (0, 0, 0)
        assert blocks.TAIL_BATCHES_MAX > 0


async def test_only_what_is_acknowledged_is_shown(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may be visible in PostgreSQL before their commit was acknowledged: nobody hears of them."""
    gate = asyncio.Event()
    real = Session.append

    async def held_up(self: Session, *arguments: Any) -> list[str]:
        warnings = await real(self, *arguments)
        await gate.wait()
        return warnings

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        before = await read_on(ledger, Reader(TENANT))
        monkeypatch.setattr(Session, "append", held_up)
        commands = transfer(debit, credit)
        riding = ledger.writer.submit(commands)
        async with asyncio.timeout(15):
            while len(await journal(database)) != len(before) + 1:
                await asyncio.sleep(0.02)
        await asyncio.sleep(QUIET_S)
        for _ in range(2):
            assert await read_on(ledger, Reader(TENANT)) == before
            forget(ledger)
        gate.set()
        await riding
        assert (await read_on(ledger, Reader(TENANT)))[-1]["id"] == commands.ids[0]


async def test_a_server_that_does_not_own_the_shard_shows_nothing(database: Database) -> None:
    async with opened(database) as ledger:
        await make_accounts(ledger)
        reader, feed = Reader(TENANT), ledger.reads.feed
        asked = reader.asked(events=False)
        for state in (State.STANDBY, State.RECOVERING, State.RECONNECTING, State.FENCED, State.HALTED):
            ledger.stats.state = state
            with pytest.raises(Unavailable, match=state.value):
                await feed.page(reader, asked, Place(), 10)
            await asyncio.wait_for(feed.more(Place(2**62, 2**62), 60), 1)
        ledger.stats.state = State.SERVING
        waiting = asyncio.create_task(feed.more(Place(2**62, 2**62), 60))
        await asyncio.sleep(0)
        feed.close()
        await asyncio.wait_for(waiting, 1)
        assert feed.ended()
        with pytest.raises(Unavailable, match="ended"):
            await feed.page(reader, asked, Place(), 10)
