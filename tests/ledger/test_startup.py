"""Start-up on real databases that would break a promise: refused, each in one clear line."""

from __future__ import annotations

import logging
import time

import pytest

from pyledger.ledger import Database as Where
from pyledger.ledger import Ledger, StartupRefused, State
from tests.ledger.tools import Wire, ledger_settings, opened, run_as_admin
from tests.support.clusters import SERVER, Database

both = pytest.mark.postgres(15, 18)


async def refused(where: Where, **clock: object) -> str:
    with pytest.raises(StartupRefused) as raised:
        await Ledger.open(ledger_settings(), where, **clock)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    return str(raised.value)


@both
async def test_a_database_that_was_never_migrated(empty_database: Database) -> None:
    assert "no pyledger schema" in await refused(Where(empty_database.server_dsn))


@both
async def test_migrations_run_as_the_owner_on_the_way(empty_database: Database) -> None:
    ledger = await Ledger.open(ledger_settings(), Where(empty_database.server_dsn, empty_database.owner_dsn))
    await ledger.serving()
    await ledger.close()


async def test_another_schema(database: Database) -> None:
    await run_as_admin(database, "UPDATE pyledger.alembic_version SET version_num = '0000'")
    assert "schema 0000" in await refused(Where(database.server_dsn))


@both
async def test_roles_that_could_rewrite_the_journal(database: Database) -> None:
    assert "superuser" in await refused(Where(database.admin_dsn))
    assert "owns the journal" in await refused(Where(database.owner_dsn))
    await run_as_admin(database, f"GRANT UPDATE ON pyledger.journal TO {SERVER}")
    assert "may update, delete or truncate" in await refused(Where(database.server_dsn))


async def test_the_embedded_database_only_warns(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pyledger.ledger"):
        ledger = await Ledger.open(ledger_settings(), Where(database.admin_dsn, embedded=True))
        await ledger.serving()
        await ledger.close()
    assert [record.message for record in caplog.records if "superuser" in record.message]


async def test_a_role_that_may_not_append(database: Database) -> None:
    assert "may not append" in await refused(Where(database.reader_dsn))


async def test_synchronous_commit_off(database: Database) -> None:
    await run_as_admin(database, f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    assert "synchronous_commit is off" in await refused(Where(database.server_dsn))


async def test_a_clock_that_is_off(database: Database) -> None:
    fast = await refused(Where(database.server_dsn), wall_ns=lambda: time.time_ns() + 2 * 10**9)
    assert "2.0 s ahead" in fast
    slow = await refused(Where(database.server_dsn), wall_ns=lambda: time.time_ns() - 2 * 10**9)
    assert "2.0 s behind" in slow


async def test_nobody_there(database: Database, wire: Wire) -> None:
    wire.away = True
    assert "cannot use the database" in await refused(Where(wire.url))
    assert "cannot migrate" in await refused(Where(wire.url, wire.url))


async def test_a_hosting_s_timeouts_do_not_reach_the_writer(database: Database) -> None:
    """Such a default would cancel a commit that waits."""
    for setting in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
        await run_as_admin(database, f"ALTER DATABASE {database.name} SET {setting} = '1s'")
    async with opened(database) as ledger:
        assert ledger.state is State.SERVING
        assert ledger._committer is not None
        connection = ledger._committer.session._connection
        for setting in ("statement_timeout", "lock_timeout", "idle_session_timeout"):
            assert await connection.fetchval("SELECT current_setting($1)", setting) == "0"
        assert await connection.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')") == "2s"
