"""The embedded PostgreSQL in tests: how to hold it in a process of its own, and to kill that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from pyledger.embedded.binaries import find_binaries
from pyledger.embedded.nouns import Place
from pyledger.settings import Settings
from tests.support.process import environment

WAL_MIB = 96
"""The least that makes sense, so that a start is quick."""

# Opens the embedded PostgreSQL in a process of its own, says so, and waits to be killed. It becomes another
# user only once it has imported everything, because root's Python may lie where nobody else can read it.
HOLDER = """
import asyncio, os, pwd, sys
import asyncpg, concurrent.futures.thread, encodings.idna, subprocess, uuid
from pyledger.embedded import EmbeddedPostgres
from pyledger.settings import Settings
async def hold():
    async with EmbeddedPostgres(settings) as database:
        print(database.owner_dsn, flush=True)
        await asyncio.sleep(3600)
settings = Settings.load()
if len(sys.argv) > 1:
    user = pwd.getpwnam(sys.argv[1])
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
asyncio.run(hold())
"""


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def place_of(settings: Settings) -> Place:
    return Place(settings.data_dir, find_binaries().major)


def hold(settings: Settings, *user: str) -> subprocess.Popen[str]:
    """A process that owns the embedded PostgreSQL; as another user if one is named."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *user],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(data_dir=settings.data_dir, wal_mib_max=WAL_MIB),
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("postgresql://")
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def process_owner(process_id: int) -> int:
    """Who a process runs as."""
    return Path(f"/proc/{process_id}").stat().st_uid
