"""Readers of the feed share what was read, but no reader is given another one's history, and none holds up the rest."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from pyledger._rust import Sides
from pyledger.ledger import CursorGone, Reader
from pyledger.ledger.blocks import Place
from pyledger.ledger.store import Session
from tests.ledger.feeding import forget, read_on
from tests.ledger.tools import TENANT, make_accounts, opened, run_as_admin, transfer
from tests.support.clusters import Database

BATCHES = 300


async def test_a_page_over_many_small_batches_lets_others_have_their_turns(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        feed = ledger.reads.feed
        for _ in range(BATCHES):
            feed._asked_s = time.monotonic()
            await ledger.writer.submit(transfer(debit, credit))
        assert len(feed._tail.blocks) >= BATCHES - 1
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        nothing = Reader(TENANT, code=65_535)
        oldest = feed._tail.blocks[0]
        found = await feed.page(nothing, nothing.asked(events=False), Place(oldest.seq, oldest.last_ns), 1_000)
        counting.cancel()
        assert (found.rows, found.looked) == (0, len(feed._tail.blocks) - 1)
        assert turns >= found.looked


async def test_what_another_reader_has_read_is_no_way_around_the_history(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(8):
            await ledger.writer.submit(transfer(debit, credit))
        reader, feed = Reader(TENANT), ledger.reads.feed
        asked = reader.asked(events=False)
        rows = await read_on(ledger, reader)
        here = feed.place(reader, rows[3]["cursor"])
        never = Place(here.seq + 3, here.ns + 1)
        for by_another in (False, True):
            forget(ledger)
            if by_another:
                assert (await feed.page(reader, asked, here, 100)).rows == len(rows) - 4
            with pytest.raises(CursorGone):
                await feed.page(reader, asked, never, 100)
        gone = feed.place(reader, rows[6]["cursor"])
        await run_as_admin(database, "DELETE FROM pyledger.batch WHERE seq <= $1", gone.seq)
        await run_as_admin(database, "DELETE FROM pyledger.journal WHERE seq <= $1", gone.seq)
        for by_another in (False, True):
            forget(ledger)
            if by_another:
                assert len(await read_on(ledger, reader)) == len(rows) - 7
            with pytest.raises(CursorGone):
                await read_on(ledger, reader, rows[3]["cursor"])


async def test_who_does_not_know_of_its_successor_calls_no_cursor_gone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm, frozen, thawed = Session.confirm, set[Session](), asyncio.Event()

    async def held_up(self: Session, *arguments: Any, **options: Any) -> Any:
        if self in frozen:
            await thawed.wait()
        return await confirm(self, *arguments, **options)

    monkeypatch.setattr(Session, "confirm", held_up)
    async with opened(database) as first:
        debit, credit = await make_accounts(first)
        frozen.add(first._committer.session)
        try:
            async with opened(database, lease_ms=1_000) as successor:
                await successor.writer.submit(transfer(debit, credit))
                rows = await read_on(successor, Reader(TENANT))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await read_on(first, Reader(TENANT), rows[-1]["cursor"])
        finally:
            thawed.set()


async def test_accounts_that_do_not_fit_into_memory_together_are_learnt_again(database: Database) -> None:
    async with opened(database) as ledger:
        house, *others = await make_accounts(ledger, 12)
        ledger.reads.feed._sides = Sides(10)
        for each in others:
            await ledger.writer.submit(transfer(house, each))
        rows = await read_on(ledger, Reader(TENANT), limit=3)
        assert [row["kind"] for row in rows].count("transfer") == len(others)
