"""`pyledger key`: API keys made, listed and revoked by whoever can connect as the schema's owner.

Guards: a key is printed once, alone on stdout, and nowhere else; what is stored is its hash.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from pyledger import identity
from pyledger.embedded import open_database
from pyledger.ledger import migrate
from pyledger.settings import Settings

CONNECT_TIMEOUT_S: Final = 10


async def create(settings: Settings, tenant: str, name: str, scopes: list[str] | None, days: int) -> identity.KeyMade:
    """Make a key that ends after so many days, 0 for never."""
    expires_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days) if days else None
    async with _owner(settings) as connection:
        return await identity.create_key(connection, tenant, name, scopes, expires_at)


async def listed(settings: Settings) -> list[identity.KeyRow]:
    """All keys, without their secrets."""
    async with _owner(settings) as connection:
        return await identity.list_keys(connection)


async def revoke(settings: Settings, key_id: str) -> bool:
    """End a key for ever. False if there is none that is not ended already."""
    async with _owner(settings) as connection:
        return await identity.revoke_key(connection, key_id)


@asynccontextmanager
async def _owner(settings: Settings) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the schema's owner, to a database that has the schema."""
    async with open_database(settings) as database:
        connection = await asyncpg.connect(database.owner_dsn, timeout=CONNECT_TIMEOUT_S)
        try:
            # One that an older server may be at work on is left as it is.
            if database.embedded and await migrate.schema_version(connection) is None:
                await migrate.upgrade(database.owner_dsn)
            yield connection
        finally:
            await connection.close()


def show_made(made: identity.KeyMade) -> None:
    """The key alone on stdout, for export PYLEDGER_KEY=$(pyledger key create ...)."""
    print(made.key)
    scopes = ", ".join(made.scopes)
    sys.stderr.write(f"key {made.id} of tenant {made.tenant_name} may: {scopes}. It is not shown again.\n")


def show_list(rows: list[identity.KeyRow]) -> None:
    """A table for a person; one key a line, whatever the width."""
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "tenant", "name", "scopes", "created", "state", box=None, pad_edge=False)
    for row in rows:
        state = "revoked" if row.revoked_at else f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "valid"
        created = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.add_row(row.id, row.tenant_name, row.name, " ".join(row.scopes), created, state)
    Console(width=None if sys.stdout.isatty() else sys.maxsize).print(table, crop=False)
