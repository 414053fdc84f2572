"""The upkeep of the journal's partitions: what a page of history looks at stays bounded as the newest one grows."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import asyncpg
import pytest

from pyledger.ledger import Ledger
from pyledger.ledger.connections import QUERIES
from pyledger.ledger.partitions import week_name
from tests.ledger.tools import TENANT, fields, make_accounts, opened, transfers
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
ROWS = 64_000
RANGE_PAGES = 128
UNSETTLED_PAGES = 512
"""Of `pyledger.summarize_journal`."""


async def looked_at(ledger: Ledger, *arguments: Any) -> tuple[int, str]:
    """The pages of the journal that a page of history reads, and how, by PostgreSQL's own account."""
    rows = await (await ledger.reads._pool._get()).fetch(
        "EXPLAIN (ANALYZE, COSTS OFF) " + QUERIES["page_newest_first"], *arguments
    )
    plan = "\n".join(row[0] for row in rows)
    return sum(map(int, re.findall(r"lossy=(\d+)", plan))), plan


@both
async def test_a_page_looks_at_a_bounded_part_of_a_partition_that_nobody_has_analyzed(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        began_ns = ledger.stats.head_ns
        for _ in range(ROWS // 8_000):
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(8_000)]))
        connection = await asyncpg.connect(database.server_dsn)
        size = await connection.fetchval("SELECT pg_relation_size('pyledger.' || $1::text)", week_name(began_ns))
        await connection.close()
        pages = size // 8_192
        assert pages > UNSETTLED_PAGES + 4 * RANGE_PAGES
        oldest = (0, TENANT, 0, began_ns + 1, ledger.stats.head_seq, debit, None, None, 101)
        async with asyncio.timeout(20):
            while (looked := await looked_at(ledger, *oldest))[0] > UNSETTLED_PAGES + 2 * RANGE_PAGES:
                await asyncio.sleep(0.05)
        assert "Seq Scan" not in looked[1]
        assert "id_unique" not in looked[1]


async def test_only_a_partition_is_summarized(database: Database) -> None:
    connection = await asyncpg.connect(database.server_dsn)
    await connection.fetchval("SELECT pyledger.make_partitions($1, 1)", 1_700_000_000 * 10**9)
    assert await connection.fetchval("SELECT pyledger.summarize_journal('journal_20231113', 1000)") == 896
    for refused in (("journal", 0), ("batch_20231113", 0), ("journal_20231113", -1), ("x; DROP TABLE y", 0)):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await connection.fetchval("SELECT pyledger.summarize_journal($1, $2)", *refused)
    await connection.close()
