"""The harm that is done to processes. Each function does one kind, undoes what must be undone, and returns when a
server serves again.

Guarded here: signals go to processes that were just looked up as what they are meant to be; no postmaster.pid
is ever removed, a dead PostgreSQL is started again when its last process is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from random import Random
from typing import Any, Final

from tests.faults.ground import LOOK_S, Ground

WRITER: Final = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pyledger writer %'"
WAL_WRITER: Final = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
CHECKPOINTER: Final = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
NOTICE_TIMEOUT_S: Final = 30.0


async def kill_server(place: Ground, chance: Random) -> dict[str, Any]:
    """kill -9 of the server; a start at once, or after PostgreSQL has noticed."""
    await killed(place)
    if chance.random() < 0.3:
        await asyncio.sleep(chance.uniform(0, 0.3))
    return await again(place)


async def killed(place: Ground) -> None:
    """The server that serves, killed."""
    assert place.server.process is not None
    os.kill(place.server.pid, signal.SIGKILL)
    await asyncio.to_thread(place.server.process.wait)


async def again(place: Ground) -> dict[str, Any]:
    """The server that has ended, started."""
    began = time.monotonic()
    await place.start_again(place.server)
    return {"start_s_max": round(time.monotonic() - began, 3)}


async def kill_postmaster(place: Ground, chance: Random) -> dict[str, Any]:
    """kill -9 of the postmaster: its children end by themselves, some of them after what they were at."""
    process = place.cluster.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    if chance.random() < 0.3:
        await asyncio.sleep(chance.uniform(0, 0.3))
    return await postgres_again(place)


async def postgres_again(place: Ground) -> dict[str, Any]:
    """A dead PostgreSQL started, and the server back on it."""
    began = time.monotonic()
    await place.start_postgres()
    started = time.monotonic()
    await back(place)
    return {"postgres_s_max": round(started - began, 3), "back_s_max": round(time.monotonic() - started, 3)}


async def back(place: Ground) -> None:
    """The server takes commands again. Before it has noticed, it may still say so: the clients will tell."""
    await place.serving()


async def kill_writer_backend(place: Ground, chance: Random) -> dict[str, Any]:
    """kill -9 of the backend that the writer talks to: PostgreSQL ends all sessions and recovers."""
    return await crashed(place, WRITER, chance)


async def kill_wal_writer(place: Ground, chance: Random) -> dict[str, Any]:
    """kill -9 of the WAL writer: the same."""
    return await crashed(place, WAL_WRITER, chance)


async def kill_checkpointer(place: Ground, chance: Random) -> dict[str, Any]:
    """kill -9 of the checkpointer: the same."""
    return await crashed(place, CHECKPOINTER, chance)


async def crashed(place: Ground, query: str, chance: Random) -> dict[str, Any]:
    """A child of PostgreSQL killed; the postmaster lives, and starts all the others anew."""
    del chance
    process_id = await find(place, query)
    began = time.monotonic()
    os.kill(process_id, signal.SIGKILL)
    while await still(place, query, process_id):
        assert time.monotonic() < began + NOTICE_TIMEOUT_S, "PostgreSQL does not notice that its child was killed"
        await asyncio.sleep(LOOK_S)
    recovered = time.monotonic()
    await back(place)
    return {"postgres_s_max": round(recovered - began, 3), "back_s_max": round(time.monotonic() - recovered, 3)}


async def end_writer_session(place: Ground, chance: Random) -> dict[str, Any]:
    """pg_terminate_backend of the writer's session, as an operator may do at any time."""
    del chance
    os.kill(await find(place, WRITER), signal.SIGTERM)
    await back(place)
    return {}


async def find(place: Ground, query: str) -> int:
    """The process that a query of pg_stat_activity names, once there is one."""
    deadline = time.monotonic() + NOTICE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            async with place.connected() as connection:
                process_id = await connection.fetchval(query)
        except OSError:
            process_id = None
        if process_id is not None:
            return int(process_id)
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"no such process: {query}")


async def still(place: Ground, query: str, process_id: int) -> bool:
    """Whether it has not been replaced yet, or PostgreSQL does not take connections."""
    import asyncpg

    try:
        async with place.connected() as connection:
            found = await connection.fetchval(query)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return True
    return found == process_id or (found is None and query != WRITER)


async def kill_both(place: Ground, chance: Random) -> dict[str, Any]:
    """Server and postmaster, in either order, as when a machine dies."""
    process = place.cluster.process
    assert process is not None
    first = chance.random() < 0.5
    if first:
        await killed(place)
    os.kill(process.pid, signal.SIGKILL)
    if not first:
        await killed(place)
    began = time.monotonic()
    await place.start_postgres()
    notes = {"postgres_s_max": round(time.monotonic() - began, 3)}
    return notes | await again(place)


async def freeze(place: Ground, chance: Random) -> dict[str, Any]:
    """The server stands still for a moment, perhaps longer than PostgreSQL lets a transaction idle."""
    os.kill(place.server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(chance.choice((0.2, 0.5, 1.0, 2.5)))
    finally:
        os.kill(place.server.pid, signal.SIGCONT)
    await back(place)
    return {}
