"""Brings a database to the schema that this code is written for. Forward only, all or nothing.

Guarded here: two servers that start at once migrate once, and a database that is newer than this code
is left alone.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg

from pyledger import sql
from pyledger.ledger.nouns import CONNECT_TIMEOUT_S, SCHEMA_VERSION, StartupRefused, first_line

_QUERIES: Final = sql.load("pyledger.ledger", "migrations/version.sql")


async def schema_version(connection: asyncpg.Connection) -> str | None:
    """The version of the schema in this database; None if there is none."""
    if not await connection.fetchval(_QUERIES["version_exists"]):
        return None
    version = await connection.fetchval(_QUERIES["version"])
    return None if version is None else str(version)


async def require_schema(connection: asyncpg.Connection) -> None:
    """Refuse a database of another version, where an older server may be at work. Raises `StartupRefused`."""
    if (found := await schema_version(connection)) != SCHEMA_VERSION:
        has = "no schema" if found is None else f"schema {found}"
        raise StartupRefused(f"the database has {has}, this version needs {SCHEMA_VERSION}: serve with it first")


async def upgrade(owner_url: str) -> str:
    """Bring the database to `SCHEMA_VERSION`, as a role that may own the schema; returns the version.

    Idempotent, and safe to run twice at once. Raises `StartupRefused`."""
    try:
        connection = await asyncpg.connect(owner_url, timeout=CONNECT_TIMEOUT_S)
        try:
            found = await schema_version(connection)
        finally:
            await connection.close()
        if found is not None and found > SCHEMA_VERSION:
            raise StartupRefused(
                f"the database has schema {found}, newer than {SCHEMA_VERSION} of this server: upgrade the server"
            )
        if found != SCHEMA_VERSION:
            await _run(owner_url)
    except asyncpg.LockNotAvailableError as error:
        raise StartupRefused(
            "cannot migrate the database: somebody reads it for long, a backup or a check; start again after that"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupRefused(f"cannot migrate the database: {first_line(error)}") from error
    return SCHEMA_VERSION


async def _run(owner_url: str) -> None:
    """Run what is missing inside one transaction, behind a lock."""
    # Imported here: a server that finds its schema in place starts without them.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import Connection
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    folder = Path(str(files("pyledger.ledger").joinpath("migrations")))
    bootstrap = (folder / "bootstrap.sql").read_text(encoding="utf-8")
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(owner_url, timeout=CONNECT_TIMEOUT_S)

    def migrate(connection: Connection) -> None:
        connection.exec_driver_sql(_QUERIES["lock"])
        driver = connection.connection.dbapi_connection
        driver.run_async(lambda raw: raw.execute(bootstrap))  # type: ignore[union-attr]
        connection.exec_driver_sql(_QUERIES["become_owner"])
        connection.exec_driver_sql(_QUERIES["wait_briefly"])
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.exec_driver_sql(_QUERIES["grant_version"])

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    except (SQLAlchemyError, CommandError) as error:
        raise StartupRefused(f"cannot migrate the database: {first_line(error)}") from error
    finally:
        await engine.dispose()
