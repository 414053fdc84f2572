"""A checkpoint that is cut off, and PostgreSQL killed right after: it must start again at the first attempt."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pyledger.embedded import processes
from pyledger.ledger import State
from tests.ledger.tools import findings, make_accounts, opened, posted, transfer, until
from tests.support.clusters import VERSIONS, Clusters, Database, NotHere, make_directory, remove_directory

STAGED = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pyledger checkpoint%' AND wait_event_type = 'Lock'"
)
UNLOGGED = "SELECT count(*) FROM pg_class WHERE relpersistence <> 'p' AND relnamespace = 'pyledger'::regnamespace"


@pytest.fixture(params=VERSIONS)
async def own_database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """A database in a cluster of its own, which the test kills."""
    clusters = Clusters(make_directory())
    try:
        yield await clusters.make_database(request.param)
    except NotHere as reason:
        pytest.skip(f"PostgreSQL {request.param}: {reason}")
    finally:
        await clusters.stop()
        remove_directory(clusters.directory)


async def test_postgresql_starts_after_a_checkpoint_was_cut_off(own_database: Database) -> None:
    cluster = own_database.postgres.cluster
    admin = await asyncpg.connect(own_database.admin_dsn)
    async with opened(own_database) as ledger:
        debit, credit = await make_accounts(ledger)
        holder = await asyncpg.connect(own_database.admin_dsn)
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM pyledger.checkpoint FOR UPDATE")
        assert ledger._checkpointer is not None
        storing = asyncio.ensure_future(ledger._checkpointer.take())
        while (waiting := await admin.fetchval(STAGED)) is None:
            await asyncio.sleep(0.01)
        # Its commit carries what the checkpoint has written of the log so far.
        assert (await ledger.writer.submit(transfer(debit, credit, 5))).outcome == "accepted"
        os.kill(waiting, signal.SIGTERM)
        while await admin.fetchval("SELECT true FROM pg_stat_activity WHERE pid = $1", waiting):
            await asyncio.sleep(0.005)
        for process_id in processes.processes_on(cluster.directory):
            os.kill(process_id, signal.SIGKILL)
        assert cluster.process is not None
        await asyncio.to_thread(cluster.process.wait)
        cluster.process = None
        while processes.processes_on(cluster.directory):
            await asyncio.sleep(0.01)
        await cluster.start()
        assert await storing is False
        await until(lambda: ledger.state is State.SERVING)
        assert await posted(ledger, credit) == 5
    assert await findings(own_database) == []
    for connection in (admin, holder):
        connection.terminate()


async def test_no_table_is_unlogged_before_or_after_a_checkpoint(own_database: Database) -> None:
    """A new file of one, as CREATE and TRUNCATE make it, can keep PostgreSQL from recovering after a loss of power."""
    admin = await asyncpg.connect(own_database.admin_dsn)
    async with opened(own_database) as ledger:
        await make_accounts(ledger)
        assert await admin.fetchval(UNLOGGED) == 0
        assert ledger._checkpointer is not None
        assert await ledger._checkpointer.take()
        assert await admin.fetchval(UNLOGGED) == 0
        assert await admin.fetchval("SELECT count(*) FROM pyledger.account") == 2
    admin.terminate()
