"""A shard at rest is taken past the ends of partitions, so that what a burst left is sealed before the next one: and
then no row of it is earlier, whatever clocks say and whoever owns it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import asyncpg
import pytest

from pyledger.ledger import Filter, Ledger, archived, seals
from pyledger.ledger.archived import clamp
from pyledger.ledger.connections import QUERIES, connect
from pyledger.ledger.nouns import SEAL_AFTER_S
from pyledger.ledger.sealing import Sealing
from pyledger.ledger.seals import Span
from tests.ledger.test_partition_steps import (
    FIRST_NS,
    MONDAY_NS,
    SECOND_NS,
    SECOND_PIECE_NS,
    SOME_NS,
    bounds,
    insert,
    session,
)
from tests.ledger.test_partitions import leased, midweek, settled, spans
from tests.ledger.test_reads import all_pages
from tests.ledger.test_sealing import PARTITION_ROWS, SEAL_AFTER_NS
from tests.ledger.tools import crash, fields, findings, let_pass, make_accounts, opened, run_as_admin, transfers
from tests.support.clusters import Database

pytestmark = pytest.mark.usefixtures("often")
both = pytest.mark.postgres(15, 18)
HEAD_NS = "SELECT last_ns FROM pyledger.head WHERE shard = 0"


async def burst(database: Database, ledger: Ledger, accounts: list[str]) -> tuple[Any, list[str]]:
    """Fill the newest partition, and then nothing is posted; the partition, and the ids of its transfers."""
    full = (await settled(database, ledger, leased))[0]
    batch = [fields(*accounts) for _ in range(PARTITION_ROWS)]
    await ledger.writer.submit(transfers(batch))
    return full, [row["id"] for row in batch]


async def rest(database: Database, ledger: Ledger, full: Any) -> int:
    """Let time pass until a partition is over, and wait for its seal; the time that the shard was taken past."""
    past_ns = int(full["end_ns"]) + SEAL_AFTER_NS
    let_pass(ledger, past_ns - ledger._clock())
    async with asyncio.timeout(30):
        while not all(each["filter_bytes"] for each in await spans(database) if each["start_ns"] <= full["start_ns"]):
            await asyncio.sleep(0.05)
    return past_ns


async def recorded_ns(database: Database, id_: str) -> int:
    """When a transfer was recorded."""
    return int(await run_as_admin(database, "SELECT recorded_ns FROM pyledger.journal WHERE id = $1", id_))


@both
async def test_what_a_burst_left_is_sealed_while_nothing_is_posted(database: Database) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS, window_ids=8_190) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        ids: list[str] = []
        for _ in range(2):
            full, more = await burst(database, ledger, accounts)
            ids += more
            head_ns = ledger.stats.head_ns
            past_ns = await rest(database, ledger, full)
            assert ledger.stats.head_ns == head_ns < past_ns
            assert await run_as_admin(database, HEAD_NS) == past_ns
            assert await findings(database) == []
            found = await all_pages(ledger, Filter(accounts[0], oldest_first=True), 700)
            assert [row["id"] for row in found] == ids
        again = await ledger.writer.submit(transfers([fields(*accounts, id=ids[0])]))
        assert again.replayed
        await ledger.writer.submit(transfers([fields(*accounts)]))
        assert await run_as_admin(database, HEAD_NS) == ledger.stats.head_ns >= past_ns
    assert await findings(database) == []


async def test_no_row_is_earlier_whatever_clocks_say_later(database: Database) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        full, _ = await burst(database, ledger, accounts)
        past_ns = await rest(database, ledger, full)
        let_pass(ledger, time.time_ns() - ledger._clock.wall_ns())
        assert ledger._clock.wall_ns() < full["end_ns"]
        first = fields(*accounts)
        await ledger.writer.submit(transfers([first]))
        assert await recorded_ns(database, first["id"]) == past_ns
        await crash(ledger)
    assert await findings(database) == []


@pytest.mark.parametrize("crashed", [True, False])
async def test_the_next_owner_begins_after_it(database: Database, *, crashed: bool) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        full, _ = await burst(database, ledger, accounts)
        past_ns = await rest(database, ledger, full)
        if crashed:
            await crash(ledger)
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        assert ledger._clock.wall_ns() < full["end_ns"]
        first = fields(*accounts)
        await ledger.writer.submit(transfers([first]))
        assert await recorded_ns(database, first["id"]) == past_ns
    assert await findings(database) == []


async def test_a_time_in_the_head_that_no_partition_ends_before_is_not_believed(database: Database) -> None:
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger)
    await run_as_admin(database, "UPDATE pyledger.head SET last_ns = last_ns + (1::int8 << 58)")
    assert [each.place for each in await findings(database)] == ["head of shard 0"]
    async with opened(database) as ledger:
        first = fields(*accounts)
        await ledger.writer.submit(transfers([first]))
        assert abs(await recorded_ns(database, first["id"]) - time.time_ns()) < 60 * 10**9
    assert await findings(database) == []


async def test_who_owns_the_shard_no_more_takes_it_nowhere(database: Database) -> None:
    async with opened(database) as ledger:
        await make_accounts(ledger)
        sealing = Sealing(cast("Any", None), ledger.writer, ledger._clock, database.server_dsn, ledger._settings)
        head_ns = await run_as_admin(database, HEAD_NS)
        over = Span("journal_over", 0, head_ns // 10**9 * 10**9 + 10**9, False, 0)
        connection = await connect(database.server_dsn, "test", seals.SETTINGS)
        try:
            ledger.stats.epoch -= 1
            await sealing._go_past(connection, over)
            assert await run_as_admin(database, HEAD_NS) == head_ns
            ledger.stats.epoch += 1
            await sealing._go_past(connection, over)
            assert await run_as_admin(database, HEAD_NS) == over.end_ns + SEAL_AFTER_NS
            assert await connection.execute(QUERIES["go_past"], 0, ledger.stats.epoch, head_ns) == "UPDATE 0"
        finally:
            connection.terminate()


async def test_it_waits_for_what_was_decided_before(database: Database) -> None:
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger)
        sealing = Sealing(cast("Any", None), ledger.writer, ledger._clock, database.server_dsn, ledger._settings)
        head_ns = await run_as_admin(database, HEAD_NS)
        over = Span("journal_over", 0, head_ns // 10**9 * 10**9 + 60 * 10**9, False, 0)
        holding = await connect(database.owner_dsn, "test")
        connection = await connect(database.server_dsn, "test", seals.SETTINGS)
        try:
            async with holding.transaction():
                await holding.execute("LOCK TABLE pyledger.journal IN SHARE MODE")
                first = fields(*accounts)
                riding = ledger.writer.submit(transfers([first]))
                await asyncio.sleep(0.2)
                passing = asyncio.create_task(sealing._go_past(connection, over))
                await asyncio.sleep(0.3)
                assert not riding.done()
                assert not passing.done()
                assert await run_as_admin(database, HEAD_NS) == head_ns
            await riding
            await passing
            assert await recorded_ns(database, first["id"]) < over.end_ns
            assert await run_as_admin(database, HEAD_NS) == over.end_ns + SEAL_AFTER_NS
        finally:
            holding.terminate()
            connection.terminate()


async def at_rest(server: asyncpg.Connection, database: Database) -> None:
    """A partition that is over, and an empty one after it that may be given to it."""
    await server.execute("SELECT pyledger.open_shard(0::int2)")
    await server.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
    assert await server.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)
    assert await server.fetchval("SELECT pyledger.split_partition($1, $2)", FIRST_NS, SECOND_PIECE_NS)
    past_ns = FIRST_NS + SEAL_AFTER_S * SECOND_NS
    await run_as_admin(database, "UPDATE pyledger.head SET seq = 1, last_ns = $1", past_ns)


@both
async def test_what_was_moved_on_is_not_closed(database: Database) -> None:
    async with session(database.server_dsn) as server, session(database.server_dsn) as other:
        await at_rest(server, database)
        moving = other.transaction()
        await moving.start()
        assert await other.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS)
        closing = asyncio.ensure_future(server.fetchval("SELECT pyledger.index_partition($1)", MONDAY_NS))
        await asyncio.sleep(0.3)
        assert not closing.done()
        await moving.commit()
        assert not await closing
        assert not await server.fetchval("SELECT pyledger.index_partition($1)", MONDAY_NS)
        assert (await bounds(server))[0] == (MONDAY_NS, SECOND_PIECE_NS)
        await insert(server, FIRST_NS + 15 * SECOND_NS)


@both
async def test_what_was_closed_is_not_moved_on(database: Database) -> None:
    async with session(database.server_dsn) as server, session(database.server_dsn) as other:
        await at_rest(server, database)
        async with session(database.admin_dsn) as reader:
            reading = reader.transaction()
            await reading.start()
            await reader.execute("LOCK TABLE ONLY pyledger.journal IN ACCESS SHARE MODE")
            moving = asyncio.ensure_future(other.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS))
            await asyncio.sleep(0.03)
            await server.fetchval("SELECT pyledger.index_partition($1)", MONDAY_NS)
            await reading.commit()
        assert not await moving
        assert (await bounds(server))[0] == (MONDAY_NS, FIRST_NS)
        await insert(server, FIRST_NS + 15 * SECOND_NS)


async def test_the_databases_own_isolation_is_not_ours(database: Database) -> None:
    """An append that began before the head was taken past an end would fail, and cost an epoch."""
    await run_as_admin(database, f"ALTER DATABASE {database.name} SET default_transaction_isolation = 'serializable'")
    connection = await connect(database.server_dsn, "test")
    try:
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
    finally:
        connection.terminate()


def test_what_ends_where_it_begins_is_in_no_archive() -> None:
    """A shard at rest may have all of its rows in one."""
    assert clamp((archived.Span(0, 100),), 50, 50, up=True) == (50, 50, None)
    assert clamp((archived.Span(0, 100),), 50, 50, up=False) == (50, 50, None)


def test_a_flipped_bit_in_a_whole_second_is_none() -> None:
    for seconds in (0, 1_700_000_000, 1_795_000_001):
        assert not any((seconds * 10**9 ^ 1 << bit) % 10**9 == 0 for bit in range(63))
