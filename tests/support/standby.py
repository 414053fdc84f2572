"""A synchronous standby that is away: every commit waits for it, as long as a test wants.

Guarded here: the setting is in force when the test goes on, and gone when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from tests.support.clusters import Database

_NEVER = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
_AS_BEFORE = "ALTER SYSTEM RESET synchronous_standby_names"
_WRITE = "SELECT pg_logical_emit_message(true, '', '')"


async def waits_for_standby(admin: asyncpg.Connection, pid: int, task: asyncio.Future[Any]) -> bool:
    """Whether that backend waits for the standby before its task is done."""
    async with asyncio.timeout(15):
        while not task.done():
            if await admin.fetchval("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", pid) == "SyncRep":
                return True
            await asyncio.sleep(0.01)
    return False


@contextlib.asynccontextmanager
async def standby_away(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Every commit in that PostgreSQL waits for a standby that there is not. A superuser's session, to look on."""
    admin, probe = [await asyncpg.connect(database.admin_dsn) for _ in range(2)]
    writes: list[asyncio.Future[Any]] = []
    try:
        await admin.execute(_NEVER)
        await admin.execute("SELECT pg_reload_conf()")
        # It is the checkpointer that makes commits wait, once it has read the setting.
        while not writes or not await waits_for_standby(admin, probe.get_server_pid(), writes[-1]):
            writes.append(asyncio.ensure_future(probe.execute(_WRITE)))
        yield admin
    finally:
        await admin.execute(_AS_BEFORE)
        await admin.execute("SELECT pg_reload_conf()")
        await asyncio.gather(*writes)
        await probe.close()
        await admin.close()
