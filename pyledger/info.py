"""`pyledger info`: which pyledger this is, what it is set to, and where its data is.

Guards: it only looks. It starts no PostgreSQL and writes nothing, and it shows no secret.
"""

from __future__ import annotations

import platform
from typing import Any, Final

import asyncpg

import pyledger
from pyledger import sql
from pyledger.embedded import Connectable, EmbeddedError, find_running
from pyledger.embedded.binaries import find_binaries
from pyledger.settings import Settings

QUERIES: Final = sql.load("pyledger", "info.sql")
CONNECT_TIMEOUT_S: Final = 5


async def collect(settings: Settings) -> dict[str, Any]:
    """Everything that `show` shows, as JSON would have it."""
    return {
        "version": pyledger.__version__,
        "engine": _engine(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "embedded_postgresql": _embedded(settings),
        "database": await _database(settings),
        "settings": {name: value for name, value, _, _ in settings.rows()},
    }


def _engine() -> dict[str, Any]:
    from pyledger import _rust

    return {"limits": dict(_rust.LIMITS), "refusals": len(_rust.REFUSALS)}


def _embedded(settings: Settings) -> dict[str, Any]:
    try:
        binaries = find_binaries(settings.postgres_bin)
    except EmbeddedError as error:
        return {"error": str(error)}
    return {"version": binaries.version, "programs": str(binaries.bin_dir), "data_dir": str(settings.data_dir)}


async def _database(settings: Settings) -> dict[str, Any]:
    """What the database says, or why it says nothing."""
    try:
        if settings.embedded:
            running = find_running(settings)
            if running is None:
                return {"state": "no server runs on the data directory"}
        else:
            running = Connectable(settings.owner_url, settings.database_url, "", embedded=False)
        connection = await asyncpg.connect(running.server_dsn, timeout=CONNECT_TIMEOUT_S)
    except (EmbeddedError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        return {"state": "cannot be reached", "error": " ".join(str(error).split())}
    try:
        about = await connection.fetchrow(QUERIES["server"])
        found = {"state": "reached", "postgresql": about["version"], "name": about["database"]}
        if about["has_schema"]:
            found["heads"] = [dict(head) for head in await connection.fetch(QUERIES["heads"])]
        return found
    except asyncpg.PostgresError as error:
        return {"state": "refused", "error": " ".join(str(error).split())}
    finally:
        await connection.close()


def show(found: dict[str, Any], settings: Settings) -> None:
    """For a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    embedded, database = found["embedded_postgresql"], found["database"]
    console.print(f"pyledger {found['version']} on Python {found['python']}, {found['platform']}")
    limits = ", ".join(f"{name} {value}" for name, value in found["engine"]["limits"].items())
    console.print(f"engine: {found['engine']['refusals']} refusals; {limits}")
    if "error" in embedded:
        console.print(f"embedded PostgreSQL: {embedded['error']}")
    else:
        console.print(f"embedded PostgreSQL {embedded['version']}, data in {embedded['data_dir']}")
    console.print(f"database: {database['state']}{': ' + database['error'] if 'error' in database else ''}")
    for head in database.get("heads", []):
        console.print(f"  shard {head['shard']}: batch {head['seq']}, epoch {head['epoch']}, owner {head['owner']}")
    table = Table("setting", "value", "default", "what it bounds and why", box=None, pad_edge=False)
    for name, value, default, reason in settings.rows():
        table.add_row(name, value, "" if value == default else default, reason)
    console.print()
    console.print(table)
