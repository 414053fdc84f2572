"""Cursors of the feed: nobody else's, no other question's, and never silently past what is missing."""

from __future__ import annotations

import pytest

from pyledger._rust import Corrupt
from pyledger.ledger import BadCursor, CursorGone, Reader
from pyledger.ledger.blocks import Place
from tests.ledger.feeding import forget, read_on
from tests.ledger.tools import TENANT, make_accounts, opened, run_as_admin, transfer
from tests.support.clusters import Database


async def test_cursors_belong_to_one_tenant_and_one_question(database: Database) -> None:
    async with opened(database) as ledger:
        debit, _ = await make_accounts(ledger)
        feed = ledger.reads.feed
        mine = (await read_on(ledger, Reader(TENANT)))[0]["cursor"]
        for reader in (Reader(8), Reader(TENANT, ledger=1), Reader(TENANT, account=debit), Reader(TENANT, code=1)):
            with pytest.raises(BadCursor):
                feed.place(reader, mine)
        bad = ["", "x", mine + "A", mine[:-1], mine + "=", "é" * 9, "LATEST", "A" * len(mine), "A" * 10_000]
        for cursor in bad:
            with pytest.raises(BadCursor):
                feed.place(Reader(TENANT), cursor)
        for impossible in (Place(1, 0), Place(0, 1), Place(2**63, 1), Place(1, 2**64 - 1)):
            with pytest.raises(BadCursor):
                feed.place(Reader(TENANT), Reader(TENANT).cursor(impossible))
        # Any other place that one makes up is only a place in one's own rows.
        other = Reader(8)
        forged = other.cursor(feed.place(Reader(TENANT), mine))
        assert await read_on(ledger, other, forged) == []


async def test_a_journal_that_does_not_go_on_from_a_cursor_says_so(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(5):
            await ledger.writer.submit(transfer(debit, credit))
        reader, feed = Reader(TENANT), ledger.reads.feed
        rows = await read_on(ledger, reader)
        middle = feed.place(reader, rows[4]["cursor"])
        last = feed.place(reader, rows[-1]["cursor"])
        for place in (Place(last.seq + 1, last.ns + 1), Place(last.seq, last.ns + 1), Place(last.seq - 1, middle.ns)):
            forget(ledger)
            with pytest.raises(CursorGone):
                await feed.page(reader, reader.asked(events=False), place, 10)
        forget(ledger)
        await run_as_admin(database, "DELETE FROM pyledger.batch WHERE seq <= $1", middle.seq)
        with pytest.raises(CursorGone):
            await read_on(ledger, reader, rows[3]["cursor"])
        assert await read_on(ledger, reader, rows[5]["cursor"]) == rows[6:]
        forget(ledger)
        await run_as_admin(database, "DELETE FROM pyledger.journal WHERE id = $1", rows[-2]["id"])
        with pytest.raises(Corrupt, match="rows are due"):
            await read_on(ledger, reader, rows[5]["cursor"])
        await run_as_admin(database, "DELETE FROM pyledger.batch WHERE seq = $1", last.seq - 1)
        with pytest.raises(Corrupt, match="missing"):
            await read_on(ledger, reader, rows[5]["cursor"])
