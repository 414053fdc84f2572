"""The database: what the migrations build, who may do what in it, and every named query."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from pyledger import sql
from pyledger.ledger import StartupRefused, migrate
from pyledger.ledger.nouns import SCHEMA_VERSION
from tests.ledger.tools import run_as_admin
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
WEEK_NS = 7 * 86_400 * 10**9
SOME_NS = 1_700_000_000 * 10**9
ROOM = Path(str(files("pyledger.ledger")))


def dump(database: Database) -> str:
    """The schema as PostgreSQL's own tool writes it down."""
    program = database.postgres.cluster.binaries.bin_dir / "pg_dump"
    if not program.exists():
        pytest.skip("this PostgreSQL came without pg_dump")
    command = [program, "--schema-only", "--schema=pyledger", "--exclude-table=pyledger.alembic_version"]
    text = subprocess.run([*command, database.admin_dsn], check=True, capture_output=True, text=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)


@both
async def test_migrations_build_the_committed_schema(database: Database, empty_database: Database) -> None:
    connection = await asyncpg.connect(empty_database.owner_dsn)
    await connection.execute("CREATE SCHEMA pyledger AUTHORIZATION pyledger_owner; SET ROLE pyledger_owner")
    await connection.execute((ROOM / "schema.sql").read_text())
    await connection.execute((ROOM / "views.sql").read_text())
    await connection.close()
    assert dump(database) == dump(empty_database)


@both
async def test_upgrades_at_once_migrate_once(empty_database: Database) -> None:
    url = empty_database.owner_dsn
    assert await asyncio.gather(*(migrate.upgrade(url) for _ in range(4))) == [SCHEMA_VERSION] * 4
    assert await migrate.upgrade(url) == SCHEMA_VERSION


async def test_a_newer_schema_is_left_alone(database: Database) -> None:
    await run_as_admin(database, "UPDATE pyledger.alembic_version SET version_num = '9999'")
    with pytest.raises(StartupRefused, match="schema 9999, newer"):
        await migrate.upgrade(database.owner_dsn)


async def test_migrating_waits_briefly_for_whoever_reads(database: Database) -> None:
    """Appends would wait in line behind it. The last revision is run again, as if it had not been."""
    await run_as_admin(database, "UPDATE pyledger.alembic_version SET version_num = '0009'")
    connection = await asyncpg.connect(database.admin_dsn)
    async with connection.transaction():
        await connection.execute("SELECT FROM pyledger.batch")
        with pytest.raises(StartupRefused, match="somebody reads it for long, a backup or a check"):
            await migrate.upgrade(database.owner_dsn)
    await connection.close()


async def test_migrating_without_the_right_says_so_in_one_line(empty_database: Database) -> None:
    with pytest.raises(StartupRefused, match=r"^cannot migrate the database: .*denied.*$"):
        await migrate.upgrade(empty_database.reader_dsn)


def test_the_last_revision_is_the_version_of_the_code() -> None:
    revisions = sorted(path.name[:4] for path in (ROOM / "migrations" / "versions").glob("[0-9]*.sql"))
    assert revisions[-1] == SCHEMA_VERSION


async def filled(database: Database) -> asyncpg.Connection:
    """A connection as the writer's role, after one row in each table that is never rewritten."""
    connection = await asyncpg.connect(database.server_dsn)
    await connection.execute("SELECT pyledger.open_shard(0::int2)")
    await connection.fetchval("SELECT pyledger.make_partitions($1, 1)", SOME_NS)
    await connection.execute(
        "INSERT INTO pyledger.journal (shard, seq, recorded_ns, id, tenant, kind, status, amount, ledger, code, flags,"
        " timeout_s, fingerprint) VALUES (0, 1, $1, gen_random_uuid(), 1, 3, 0, 5, 1, 1, 0, 0, '')",
        SOME_NS,
    )
    await connection.execute("INSERT INTO pyledger.batch VALUES (0, 1, 1, $1, $1, '', '')", SOME_NS)
    return connection


CHANGES = ["UPDATE {} SET seq = 2", "DELETE FROM {}", "TRUNCATE {}"]


@both
@pytest.mark.parametrize("change", CHANGES)
async def test_the_writer_may_not_rewrite(database: Database, change: str) -> None:
    connection = await filled(database)
    day = "20231113"
    for table in ("journal", "batch", f"journal_{day}", f"batch_{day}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change.format(f"pyledger.{table}"))
    for refused in ("DROP TABLE pyledger.journal", "ALTER TABLE pyledger.journal DISABLE TRIGGER ALL"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(refused)
    await connection.close()


@both
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", ["journal", "batch", "journal_20231113", "batch_20231113"])
async def test_triggers_stop_even_the_superuser(database: Database, change: str, table: str) -> None:
    await (await filled(database)).close()
    connection = await asyncpg.connect(database.admin_dsn)
    with pytest.raises(asyncpg.RestrictViolationError, match="never rewritten"):
        await connection.execute(change.format(f"pyledger.{table}"))
    await connection.close()


async def test_the_writer_signs_and_never_takes_back(database: Database) -> None:
    writer = await filled(database)
    await writer.execute("INSERT INTO pyledger.subtree VALUES (0, 1, 0, sha256(''))")
    await writer.execute("INSERT INTO pyledger.signed_checkpoint VALUES (0, 1, 1, 'key', 'note')")
    admin = await asyncpg.connect(database.admin_dsn)
    for change in ("UPDATE {} SET shard = 1", "DELETE FROM {}", "TRUNCATE {}"):
        for table in ("pyledger.subtree", "pyledger.signed_checkpoint"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await writer.execute(change.format(table))
        with pytest.raises(asyncpg.RestrictViolationError, match="never rewritten"):
            await admin.execute(change.format("pyledger.signed_checkpoint"))
    await writer.close()
    await admin.close()


async def test_the_reader_reads_and_nothing_else(database: Database) -> None:
    await (await filled(database)).close()
    connection = await asyncpg.connect(database.reader_dsn)
    assert await connection.fetchval("SELECT count(*) FROM pyledger.journal") == 1
    for statement in (
        "INSERT INTO pyledger.tenant (name) VALUES ('x')",
        "UPDATE pyledger.head SET seq = 9",
        "SELECT pyledger.make_partitions(1700000000000000000, 1)",
        "SELECT hash FROM pyledger.api_key",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


@both
async def test_an_impossible_time_finds_no_partition(database: Database) -> None:
    connection = await filled(database)
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await connection.execute("INSERT INTO pyledger.batch VALUES (0, 2, 1, 1, 1, '', '')")
    await connection.close()


@both
async def test_partitions_are_weeks_from_monday_without_gaps(database: Database) -> None:
    connection = await asyncpg.connect(database.server_dsn)
    end_ns = await connection.fetchval("SELECT pyledger.make_partitions($1, 60)", SOME_NS)
    assert end_ns % WEEK_NS == 4 * 86_400 * 10**9, "a Monday: 1970 began on a Thursday"
    bounds = await connection.fetch(
        "SELECT relname, pg_get_expr(relpartbound, oid) AS bound FROM pg_class"
        " WHERE relispartition AND relname LIKE 'journal%' ORDER BY relname"
    )
    edges = [tuple(map(int, re.findall(r"\d{10,}", row["bound"]))) for row in bounds]
    assert len(edges) == 60
    assert edges[0][0] <= SOME_NS < edges[0][1]
    assert all(high - low == WEEK_NS for low, high in edges)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
    assert edges[-1][1] == end_ns
    for refused in ((0, 1), (SOME_NS, 0), (SOME_NS, 61)):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await connection.fetchval("SELECT pyledger.make_partitions($1, $2)", *refused)
    await connection.close()


async def test_the_hot_partition_has_these_indexes_and_no_other(database: Database) -> None:
    await (await filled(database)).close()
    connection = await asyncpg.connect(database.admin_dsn)
    rows = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'journal_20231113'")
    kinds = sorted(row["indexdef"].split("USING ")[1] for row in rows)
    assert kinds == [
        "brin (recorded_ns)",
        "btree (id, tenant, shard)",
        "btree (target, tenant) WHERE ((target IS NOT NULL) AND (status = 0))",
    ]
    await connection.close()


async def test_partitions_are_made_beside_an_open_append(database: Database) -> None:
    """Neither waits for the other: an append goes on while the next weeks are made."""
    writing = await filled(database)
    await writing.execute("BEGIN")
    await writing.execute("INSERT INTO pyledger.batch VALUES (0, 2, 1, $1, $1, '', '')", SOME_NS)
    making = await asyncpg.connect(database.server_dsn, server_settings={"lock_timeout": "2000"})
    await making.fetchval("SELECT pyledger.make_partitions($1, 5)", SOME_NS)
    await writing.execute("COMMIT")
    await making.close()
    await writing.close()


@both
async def test_every_constraint_has_a_name_of_its_own(database: Database) -> None:
    connection = await asyncpg.connect(database.admin_dsn)
    names = await connection.fetch(
        "SELECT conname FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace"
        " WHERE nspname = 'pyledger' AND contype <> 'n' AND conname ~ '_(pkey|key|check|fkey)\\d*$'"
        " AND conrelid <> 'pyledger.alembic_version'::regclass"
    )
    assert names == []
    await connection.close()


@both
@pytest.mark.parametrize(
    "file", ["queries.sql", "checkpoint.sql", "check.sql", "migrations/version.sql", "proofs/queries.sql"]
)
async def test_every_query_is_understood_and_used(database: Database, file: str) -> None:
    source = "".join(path.read_text() for path in ROOM.rglob("*.py"))
    connection = await asyncpg.connect(database.admin_dsn)
    for name, query in sql.load("pyledger.ledger", file).items():
        made_up = ("stage_", "merge_", "scan_", "page_", "unreached_", "copy_")  # their last word is put in by the code
        assert f'"{name}"' in source or name.startswith(made_up), f"{name} is not used"
        if query.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")) and "{" not in query:
            await connection.prepare(query)
        if query.startswith("CREATE TEMPORARY"):  # the merges are about these
            await connection.execute(query)
    await connection.close()


def test_a_file_of_queries_is_parsed_strictly() -> None:
    parsed = sql.parse("-- a file\n\n-- name: one\n-- says what\nSELECT 1;\n\n-- name: two\nSELECT 2\n")
    assert dict(parsed) == {"one": "SELECT 1", "two": "SELECT 2"}
    for bad in ("-- name: one\n\n-- name: two\nSELECT 2", "-- name: one\nSELECT 1\n-- name: one\nSELECT 2"):
        with pytest.raises(ValueError, match="empty or named twice"):
            sql.parse(bad)
