"""One session by itself: the two halves of an append, and what it refuses."""

from __future__ import annotations

import time

import asyncpg
import pytest

from pyledger.ledger.store import Session
from tests.ledger.tools import new_engine, open_book, opened, run_as_admin
from tests.support.clusters import Database


async def test_half_an_append_is_none(database: Database) -> None:
    """The end without the rows, or rows upon other rows, never reach PostgreSQL."""
    engine = new_engine()
    batch = engine.apply([open_book()], time.time_ns(), [])
    async with opened(database):
        session = await Session.open(database.server_dsn, 0)
        await session.make_partitions(batch.first_ns, 1)
        with pytest.raises(asyncpg.InterfaceError, match="are not here"):
            await session.finish(1, batch)
        await session.send_ahead(batch)
        for again in (session.append(1, batch), session.send_ahead(batch)):
            with pytest.raises(asyncpg.InterfaceError, match="other rows"):
                await again
        await session.close()
        with pytest.raises(asyncpg.InterfaceError, match="has ended"):
            await session.append(1, batch)
    assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal") == 0
