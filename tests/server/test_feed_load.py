"""Ten who follow while others post as fast as they can: each gets every row of the journal, once, in its order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import asyncpg

from pyledger.client import Client, Feed, NewTransfer
from tests.server.events import Events
from tests.server.talk import Talker, new_id, open_books
from tests.support.clusters import Database
from tests.support.process import ServerProcess

POSTING_S: Final = 1.0
CATCHING_UP_S: Final = 30.0
BATCH_ROWS: Final = 250
BATCHES_MIN: Final = 6
Seen = list[str]


async def post(url: str, debit: UUID, credit: UUID) -> None:
    """Batches, one after the other."""
    until_s, sent = time.monotonic() + POSTING_S, 0
    async with Client(url) as client:
        while time.monotonic() < until_s or sent < BATCHES_MIN:
            sent += 1
            batch = [
                NewTransfer(debit_account_id=debit, credit_account_id=credit, amount=1, ledger=1, code=1)
                for _ in range(BATCH_ROWS)
            ]
            assert (await client.transfers(batch, as_binary=True)).accepted == BATCH_ROWS


async def poll(url: str, page_rows: int, seen: Seen, last: str) -> None:
    """By long-poll, until the last row has come."""
    async with Client(url) as client:
        async for page in Feed(client, page_rows=page_rows, wait_s=1).pages(None):
            seen += [str(event.row.id) for event in page.events]
            if seen[-1] == last:
                return


def stream(talker: Talker, limit: int, seen: Seen, last: str) -> None:
    """By events, asked for again from the last one whenever the stream has ended."""
    cursor = ""
    while True:
        headers = [f"Last-Event-ID: {cursor}"] if cursor else []
        with Events(talker, f"/v1/feed?limit={limit}", *headers) as events:
            for where, row in events:
                cursor = where
                seen += [] if row is None else [str(row["id"])]
                if seen[-1] == last:
                    return


async def test_ten_readers_beside_full_posting(start_server: Callable[..., ServerProcess], database: Database) -> None:
    server = start_server(database)
    books = await asyncio.to_thread(open_books, server.url)
    last = new_id()
    seen: list[Seen] = [[] for _ in range(10)]
    reading = [poll(server.url, 50 + 111 * number, seen[number], last) for number in range(5)]
    reading += [asyncio.to_thread(stream, books, 100 * number, seen[number], last) for number in range(5, 10)]
    readers = asyncio.gather(*reading)
    await asyncio.gather(*(post(server.url, UUID(books.cash), UUID(books.wallet)) for _ in range(2)))
    await asyncio.to_thread(books.moved, id=last)
    await asyncio.wait_for(readers, CATCHING_UP_S)
    connection = await asyncpg.connect(database.reader_dsn)
    rows = await connection.fetch("SELECT id, kind, ledger FROM pyledger.journal ORDER BY recorded_ns")
    await connection.close()
    journal = [str(row["ledger"] if row["kind"] == 1 else row["id"]) for row in rows]
    assert len(journal) > 10 * BATCH_ROWS
    for number, found in enumerate(seen):
        assert found == journal, f"reader {number}: {len(found)} rows of {len(journal)}"
    assert server.stop() == 0
    assert "Traceback" not in server.log()
