"""The steps that move a partition's end: each whole or not at all, beside readers and appends, whatever is cut."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES
from pyledger.ledger.nouns import SEAL_AFTER_S
from tests.ledger.tools import fields, findings, make_accounts, opened, posted, run_as_admin, transfers
from tests.support.chance import replayable
from tests.support.clusters import Database
from tests.support.standby import standby_away, waits_for_standby

both = pytest.mark.postgres(15, 18)
SECOND_NS = 10**9
SOME_NS = 1_700_000_000 * SECOND_NS
MONDAY_NS = 1_699_833_600 * SECOND_NS
FIRST_NS, SECOND_PIECE_NS = SOME_NS + 900 * SECOND_NS, SOME_NS + 1_800 * SECOND_NS
WEEK_NS = 604_800 * SECOND_NS


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def bounds(connection: asyncpg.Connection) -> list[tuple[int, int]]:
    """The partitions' bounds, which PostgreSQL and our own table say alike and which have no gap."""
    async with connection.transaction(isolation="repeatable_read"):
        rows = await connection.fetch(
            "SELECT relname, pg_get_expr(relpartbound, oid) AS bound FROM pg_class"
            " WHERE relispartition AND relkind = 'r' AND relname LIKE 'journal%'"
        )
        said = await connection.fetch("SELECT name, start_ns, end_ns FROM pyledger.partition ORDER BY start_ns")
    real = {row["relname"]: tuple(map(int, re.findall(r"\d{10,}", row["bound"]))) for row in rows}
    assert real == {row["name"]: (row["start_ns"], row["end_ns"]) for row in said}
    spans = [(row["start_ns"], row["end_ns"]) for row in said]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    return spans


async def insert(connection: asyncpg.Connection, recorded_ns: int) -> None:
    await connection.execute(
        "INSERT INTO pyledger.journal (shard, seq, recorded_ns, id, tenant, kind, status, amount, ledger, code, flags,"
        " timeout_s, fingerprint) VALUES (0, 1, $1, gen_random_uuid(), 1, 3, 0, 5, 1, 1, 0, 0, '')",
        recorded_ns,
    )


SEAL = "SELECT pyledger.seal_partition($1, $2, $3, '', '')"


async def is_closed(server: asyncpg.Connection, start_ns: int, end_ns: int) -> None:
    """It takes no row any more, and its end is not moved."""
    with pytest.raises(asyncpg.RestrictViolationError, match=r"INSERT of .* is refused"):
        await insert(server, start_ns)
    assert not await server.fetchval("SELECT pyledger.merge_partition($1)", start_ns)
    assert not await server.fetchval("SELECT pyledger.split_partition($1, $2)", start_ns, end_ns - SECOND_NS)


@both
async def test_each_step_is_refused_or_whole(database: Database) -> None:
    async with session(database.server_dsn) as server:
        await server.execute("SELECT pyledger.open_shard(0::int2)")
        await server.fetchval("SELECT pyledger.make_partitions($1, 2)", SOME_NS)
        whole = [(MONDAY_NS, MONDAY_NS + WEEK_NS), (MONDAY_NS + WEEK_NS, MONDAY_NS + 2 * WEEK_NS)]
        assert await bounds(server) == whole
        await insert(server, SOME_NS)
        ask = server.fetchval
        for refused in (MONDAY_NS, MONDAY_NS + WEEK_NS, SOME_NS + 1):
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await ask("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, refused)
        assert not await ask("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, SOME_NS), "a row is beyond"
        assert not await ask("SELECT pyledger.merge_partition($1)", MONDAY_NS), "another week is never merged"
        assert await ask("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)
        assert await ask("SELECT pyledger.split_partition($1, $2)", FIRST_NS, SECOND_PIECE_NS)
        pieces = [(MONDAY_NS, FIRST_NS), (FIRST_NS, SECOND_PIECE_NS), (SECOND_PIECE_NS, whole[0][1]), whole[1]]
        assert await bounds(server) == pieces
        await insert(server, FIRST_NS)
        assert not await ask("SELECT pyledger.merge_partition($1)", MONDAY_NS), "the next one is not empty"
        await server.execute("SELECT pyledger.validate_partition($1)", FIRST_NS)
        assert await ask("SELECT pyledger.merge_partition($1)", FIRST_NS)
        merged = [(MONDAY_NS, FIRST_NS), (FIRST_NS, whole[0][1]), whole[1]]
        assert await bounds(server) == merged
        await insert(server, whole[0][1] - 1)
        assert await ask("SELECT pyledger.make_partitions($1, 2)", SOME_NS) == whole[1][1]
        assert await bounds(server) == merged, "no week is made twice"
        await run_as_admin(database, "DROP TABLE pyledger.journal_20231114_222820")
        assert await ask("SELECT pyledger.make_partitions($1, 2)", FIRST_NS) == whole[1][1]
        assert await bounds(server) == merged, "what is missing of it is made again"
        await insert(server, FIRST_NS)
        await insert(server, whole[0][1] - 1)
        assert not await ask("SELECT pyledger.index_partition($1)", MONDAY_NS), "the head is not past it"
        late_ns = FIRST_NS + SEAL_AFTER_S * SECOND_NS
        await run_as_admin(database, "UPDATE pyledger.head SET seq = 1, last_ns = $1", late_ns - 1)
        assert not await ask("SELECT pyledger.index_partition($1)", MONDAY_NS), "another clock may be behind"
        await run_as_admin(database, "UPDATE pyledger.head SET last_ns = $1", late_ns)
        assert not await ask(SEAL, MONDAY_NS, FIRST_NS, 1), "it has no indexes"
        done = [await ask("SELECT pyledger.index_partition($1)", MONDAY_NS) for _ in range(4)]
        assert done == [False, False, True, True], "one index after the other"
        assert not await ask(SEAL, MONDAY_NS, SOME_NS, 1), "it ends elsewhere"
        assert await ask(SEAL, MONDAY_NS, FIRST_NS, 1)
        assert not await ask(SEAL, MONDAY_NS, FIRST_NS, 2), "it has a seal"
        await is_closed(server, MONDAY_NS, FIRST_NS)
        assert not await ask("SELECT pyledger.index_partition($1)", FIRST_NS)
        assert await ask("SELECT count(*) FROM pyledger.journal") == 3
    async with session(database.admin_dsn) as admin:
        for table in ("journal", "journal_20231113", "journal_20231114_222820"):
            for change in ("DELETE FROM pyledger.{}", "TRUNCATE pyledger.{}"):
                with pytest.raises(asyncpg.RestrictViolationError, match="never rewritten"):
                    await admin.execute(change.format(table))


@both
async def test_a_merged_partition_is_merged_again_only_when_it_was_read(database: Database) -> None:
    async with session(database.server_dsn) as server:
        await server.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
        for piece in range(4):
            start_ns = MONDAY_NS + piece * 900 * SECOND_NS
            assert await server.fetchval(
                "SELECT pyledger.split_partition($1, $2)", start_ns, start_ns + 900 * SECOND_NS
            )
        await insert(server, MONDAY_NS)
        assert await server.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS)
        assert not await server.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS)
        await server.execute("SELECT pyledger.validate_partition($1)", MONDAY_NS)
        assert await server.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS)
        assert (await bounds(server))[0] == (MONDAY_NS, MONDAY_NS + 3 * 900 * SECOND_NS)


@both
async def test_a_long_reader_is_waited_for_a_moment_only(database: Database) -> None:
    async with session(database.server_dsn) as server, session(database.reader_dsn) as reader:
        await server.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
        before = await bounds(server)
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            await reader.fetch("SELECT * FROM pyledger.journal")
            async with asyncio.timeout(5):
                assert not await server.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)
            assert await bounds(server) == before
            await insert(server, FIRST_NS - 1)
        assert await server.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)


@both
async def test_a_partition_ends_without_a_standby_and_rows_wait_for_it_alone(database: Database) -> None:
    async with session(database.server_dsn) as server, session(database.server_dsn) as writer:
        await server.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
        await insert(server, SOME_NS)
        async with standby_away(database) as admin, asyncio.timeout(20):
            assert await server.fetchval(QUERIES["split_partition"], MONDAY_NS, FIRST_NS)
            assert await server.fetchval(QUERIES["split_partition"], FIRST_NS, SECOND_PIECE_NS)
            assert await server.fetchval(QUERIES["merge_partition"], MONDAY_NS)
            pieces = [(MONDAY_NS, SECOND_PIECE_NS), (SECOND_PIECE_NS, MONDAY_NS + WEEK_NS)]
            assert await bounds(server) == pieces
            adding = asyncio.ensure_future(insert(writer, FIRST_NS))
            assert await waits_for_standby(admin, writer.get_server_pid(), adding), "what is recorded waits for it"
        await adding
        assert await bounds(server) == pieces


@both
async def test_what_gets_no_lock_says_so_and_logs_no_error(database: Database) -> None:
    async with session(database.server_dsn) as server, session(database.admin_dsn) as other:
        await server.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
        await run_as_admin(
            database,
            "INSERT INTO pyledger.journal"
            " SELECT 0, 1, $1::int8 + i, gen_random_uuid(), 1, 3, 0, NULL, NULL, 5, NULL, 1, 1, 0, 0, NULL,"
            " repeat('x', 1900)::bytea FROM generate_series(0, 3000) AS i",
            SOME_NS,
        )
        await run_as_admin(database, "ALTER TABLE pyledger.journal_20231113 SET (autovacuum_enabled = false)")
        async with other.transaction():
            await other.execute("LOCK TABLE pyledger.journal_20231113 IN SHARE UPDATE EXCLUSIVE MODE")  # as vacuum does
            assert await server.fetchval("SELECT pyledger.summarize_journal('journal_20231113', 0)") is None
            await server.execute("SELECT pyledger.validate_partition($1)", MONDAY_NS)
            assert not await server.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)
        assert await server.fetchval("SELECT pyledger.summarize_journal('journal_20231113', 0)") > 0
        assert await server.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)


@both
async def test_a_step_that_is_cut_off_changes_nothing(database: Database) -> None:
    async with session(database.server_dsn) as watching:
        await watching.execute("SELECT pyledger.open_shard(0::int2)")
        await watching.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
        await run_as_admin(database, "UPDATE pyledger.head SET seq = 1, last_ns = $1", FIRST_NS)
        steps: list[tuple[str, Any, int]] = [
            ("SELECT pyledger.split_partition($1, $2)", (MONDAY_NS, SOME_NS), 1),
            ("SELECT pyledger.split_partition($1, $2)", (SOME_NS, FIRST_NS), 1),
            ("SELECT pyledger.merge_partition($1)", (SOME_NS,), 1),
            ("SELECT pyledger.index_partition($1)", (MONDAY_NS,), 3),
            ("SELECT pyledger.seal_partition($1, $2, 0, '', '')", (MONDAY_NS, SOME_NS), 1),
        ]
        for step, arguments, times in steps:
            before = await bounds(watching)
            async with session(database.server_dsn) as cut:
                await cut.execute("BEGIN")
                assert any([await cut.fetchval(step, *arguments) for _ in range(times)])
                await run_as_admin(database, "SELECT pg_terminate_backend($1)", cut.get_server_pid())
            assert await bounds(watching) == before
            await insert(watching, FIRST_NS)
            await run_as_admin(database, "DELETE FROM pyledger.journal")
            assert any([await watching.fetchval(step, *arguments) for _ in range(times)])


@both
async def test_appends_go_on_while_ends_are_moved_and_movers_are_killed(database: Database) -> None:
    dice = replayable()
    async with opened(database, ahead_rows_min=1_000) as ledger:
        debit, credit = await make_accounts(ledger)
        stop, moved, killing = asyncio.Event(), [0, 0], list[asyncio.Task[Any]]()

        async def move() -> None:
            while not stop.is_set():
                with contextlib.suppress(*CONNECTION_ERRORS):
                    async with session(database.server_dsn) as mover:
                        now_ns = ledger._clock()
                        row = await mover.fetchrow(
                            "SELECT start_ns, end_ns FROM pyledger.partition WHERE end_ns > $1 ORDER BY start_ns",
                            now_ns,
                        )
                        assert row is not None
                        if dice.random() < 0.3:
                            pid, after_s = mover.get_server_pid(), 0.02 * dice.random()
                            kill = "SELECT pg_terminate_backend($1) FROM pg_sleep($2)"
                            killing.append(asyncio.create_task(run_as_admin(database, kill, pid, after_s)))
                        at_ns = (now_ns // SECOND_NS + dice.randint(2, 9)) * SECOND_NS
                        if at_ns < row["end_ns"]:
                            moved[0] += await mover.fetchval("SELECT pyledger.split_partition($1, $2)", row[0], at_ns)
                        await mover.execute("SELECT pyledger.validate_partition($1)", row[0])
                        moved[1] += await mover.fetchval("SELECT pyledger.merge_partition($1)", row[0])
                        await bounds(mover)
                await asyncio.sleep(0.05)

        moving = asyncio.create_task(move())
        rounds = 0
        while rounds < 6 or (not all(moved) and rounds < 60):
            rounds += 1
            riding = [ledger.writer.submit(transfers([fields(debit, credit) for _ in range(2_000)])) for _ in range(4)]
            await asyncio.wait_for(asyncio.gather(*riding), 20)
        stop.set()
        await moving
        await asyncio.gather(*killing)
        assert all(moved), moved
        assert await posted(ledger, credit) == rounds * 4 * 2_000
        assert ledger.stats.fences == 0, "no append has failed"
    assert await findings(database) == []


@both
async def test_partitions_that_were_there_before_are_known(empty_database: Database) -> None:
    folder = Path(str(files("pyledger.ledger"))) / "migrations" / "versions"
    scripts = sorted(folder.glob("[0-9]*.sql"))
    before = [script for script in scripts if script.name < "0007"]
    async with session(empty_database.owner_dsn) as owner:
        await owner.execute("CREATE SCHEMA pyledger AUTHORIZATION pyledger_owner; SET ROLE pyledger_owner")
        for script in before:
            await owner.execute(script.read_text())
        await owner.fetchval("SELECT pyledger.make_partitions($1, 2)", SOME_NS)
        await insert(owner, SOME_NS)
        for script in scripts[len(before) :]:
            await owner.execute(script.read_text())
        assert len(await bounds(owner)) == 2
        assert await owner.fetchval("SELECT pyledger.split_partition($1, $2)", MONDAY_NS, FIRST_NS)
        assert not await owner.fetchval("SELECT pyledger.merge_partition($1)", FIRST_NS), "another week"
        assert await owner.fetchval("SELECT pyledger.merge_partition($1)", MONDAY_NS)
        assert len(await bounds(owner)) == 2
