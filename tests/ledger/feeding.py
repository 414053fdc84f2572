"""What the tests of the feed share: the journal as PostgreSQL has it, and a reader that goes on page by page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import asyncpg

from pyledger.ledger import Ledger, Reader
from tests.ledger.tools import TENANT
from tests.support.clusters import Database

Row = dict[str, Any]


async def journal(database: Database, tenant: int = TENANT) -> list[Row]:
    """A tenant's rows as PostgreSQL has them."""
    connection = await asyncpg.connect(database.reader_dsn)
    try:
        return [
            dict(row)
            for row in await connection.fetch(
                "SELECT id::text, kind, status, ledger, code, debit_account::text AS debit, "
                "credit_account::text AS credit FROM pyledger.journal WHERE tenant = $1 ORDER BY recorded_ns",
                tenant,
            )
        ]
    finally:
        await connection.close()


async def read_on(ledger: Ledger, reader: Reader, cursor: str | None = None, limit: int = 1_000) -> list[Row]:
    """All that is there after a cursor, page by page, each asked for with the cursor of the one before."""
    feed, asked, rows = ledger.reads.feed, reader.asked(events=False), []
    while True:
        place = feed.place(reader, cursor)
        found = await feed.page(reader, asked, place, limit)
        page = json.loads(b"[%b]" % b",".join(found.pieces))
        assert len(page) == found.rows <= limit
        rows += page
        if found.place == place:
            return rows
        cursor = reader.cursor(found.place)


def forget(ledger: Ledger) -> None:
    """Make the feed forget what it has, so that it must ask PostgreSQL."""
    feed = ledger.reads.feed
    feed._tail.clear()
    feed._past.clear()


def ids_of(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows if row["kind"] != "ledger"]


def kept(rows: list[Row], keep: Callable[[Row], bool]) -> list[str]:
    return [row["id"] for row in rows if row["kind"] != 1 and keep(row)]
