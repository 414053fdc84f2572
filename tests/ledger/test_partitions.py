"""The upkeep of the journal's partitions: what a page of history looks at stays bounded as the newest one grows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import asyncpg
import pytest

from pyledger.ledger import Filter, Ledger, partitions
from pyledger.ledger.connections import QUERIES
from pyledger.ledger.nouns import SEAL_AFTER_S, SUMMARY_ROWS, Stats
from pyledger.ledger.partitions import Fill, Merge, Partitions, Split, indexed_borders, next_step
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.seals import Span
from tests.ledger.test_reads import all_pages
from tests.ledger.tools import (
    TENANT,
    fields,
    findings,
    ledger_settings,
    let_pass,
    make_accounts,
    opened,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database

pytestmark = pytest.mark.usefixtures("often")
both = pytest.mark.postgres(15, 18)
ROWS = 64_000
SECOND_NS = 10**9
HOUR_NS = 3_600 * SECOND_NS
RANGE_PAGES = 128
UNSETTLED_PAGES = 256
"""Of `pyledger.summarize_journal`."""


async def spans(database: Database, from_ns: int = 0) -> list[Any]:
    """The partitions of the journal that end after a time, in order."""
    connection = await asyncpg.connect(database.server_dsn)
    try:
        return [row for row in await connection.fetch(QUERIES["partitions"]) if row["end_ns"] > from_ns]
    finally:
        await connection.close()


async def settled(database: Database, ledger: Ledger, true: Callable[[list[Any]], bool]) -> list[Any]:
    """The partitions from the newest one on, once that is true of them."""
    async with asyncio.timeout(20):
        while not true(found := await spans(database, ledger._clock())):
            await asyncio.sleep(0.05)
    return found


def leased(found: list[Any]) -> bool:
    """Whether the newest partition and the next both have an end of their own."""
    return len(found) > 2 and found[1]["name"].count("_") == 2 and found[1]["end_ns"] - found[1]["start_ns"] < HOUR_NS


def midweek(ledger: Ledger) -> None:
    """Go on to a Wednesday, for at the end of a week no partition goes on over the next."""
    monday_ns, wednesday_ns = 4 * 24 * HOUR_NS, 2 * 24 * HOUR_NS
    let_pass(ledger, (wednesday_ns - (ledger._clock() - monday_ns)) % (7 * 24 * HOUR_NS))


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
        newest = (await spans(database, began_ns))[0]["name"]
        pages = await run_as_admin(database, f"SELECT pg_relation_size('pyledger.{newest}') / 8192")
        bound_pages = UNSETTLED_PAGES + 3 * RANGE_PAGES + SUMMARY_ROWS * pages // ROWS
        assert pages > bound_pages + RANGE_PAGES
        oldest = (0, TENANT, 0, began_ns + 1, ledger.stats.head_seq, debit, None, None, 101, 8_192)
        async with asyncio.timeout(20):
            while (looked := await looked_at(ledger, *oldest))[0] > bound_pages:
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


DAY_S = 86_400
WEEK = 604_800
LEASED = [(0, 900), (900, 1_800), (1_800, WEEK), (WEEK, 2 * WEEK)]


def pieces(count: int) -> list[tuple[int, int]]:
    """A week with so many partitions of a quarter of an hour, the rest of it, and the next one."""
    ends = [900 * (1 + place) for place in range(count)]
    return [*((end - 900, end) for end in ends), (ends[-1], WEEK), (WEEK, 2 * WEEK)]


def made(bounds: list[tuple[int, int]]) -> list[Span]:
    """Partitions by their seconds from the start of a week, named as PostgreSQL names them."""
    names = [f"journal_{start // WEEK:08d}" + (f"_{start:06d}" if start % WEEK else "") for start, _ in bounds]
    return [Span(name, a * SECOND_NS, b * SECOND_NS, False, 0) for name, (a, b) in zip(names, bounds, strict=True)]


@pytest.mark.parametrize(
    ("bounds", "now_s", "rows", "rows_per_s", "step"),
    [
        ([(0, WEEK), (WEEK, 2 * WEEK)], 5, 0, 0, Split(0, 906 * SECOND_NS)),
        ([(0, WEEK), (WEEK, 2 * WEEK)], 5, 9, 10, Split(0, 106 * SECOND_NS)),
        ([(0, WEEK), (WEEK, 2 * WEEK)], 5, 9, 10_000, Split(0, 16 * SECOND_NS)),
        ([(0, 900), (900, WEEK), (WEEK, 2 * WEEK)], 5, 0, 0, Split(900 * SECOND_NS, 1_801 * SECOND_NS)),
        (LEASED, 5, 0, 0, None),
        (LEASED, 839, 200, 0, None),
        (LEASED, 850, 200, 0, Merge(0)),
        (LEASED, 850, 200, 1, None),
        (LEASED, 850, 250, 0, None),
        (LEASED, 850, 10_000, 0, None),
        ([(0, DAY_S - 100), (DAY_S - 100, DAY_S + 700), (DAY_S + 700, WEEK)], DAY_S - 110, 0, 0, None),
        ([(0, WEEK), (WEEK, 2 * WEEK)], WEEK - 890, 0, 0, Split(WEEK * SECOND_NS, (WEEK + 901) * SECOND_NS)),
        ([(0, WEEK), (WEEK, WEEK + 901), (WEEK + 901, 2 * WEEK)], WEEK - 30, 0, 0, None),
        ([(0, 900)], 900, 0, 0, None),
        ([], 5, 0, 0, None),
        # After eight pieces the next is twice as large, and after 64 there is none.
        (pieces(7), 6_200, 0, 0, Split(6_300 * SECOND_NS, 7_201 * SECOND_NS)),
        (pieces(8), 7_100, 0, 0, Split(7_200 * SECOND_NS, 9_001 * SECOND_NS)),
        (pieces(9)[:-1], 7_150, 499, 0, Merge(6_300 * SECOND_NS)),
        (pieces(9)[:-1], 7_150, 500, 0, None),
        (pieces(63), 63 * 900 - 100, 0, 0, Split(63 * 900 * SECOND_NS, (63 * 900 + DAY_S + 1) * SECOND_NS)),
        (pieces(64), 64 * 900 - 100, 0, 0, None),
        (pieces(64), 64 * 900 + 100, 0, 0, Split(WEEK * SECOND_NS, (WEEK + 901) * SECOND_NS)),
        (pieces(64)[:-1], 64 * 900 + 100, 0, 0, None),
    ],
)
def test_what_is_done_about_the_end_of_the_newest_partition(
    bounds: list[tuple[int, int]],
    now_s: int,
    rows: int,
    rows_per_s: float,
    step: Split | Merge | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partitions, "LEASE_LAST_S", 900)
    fill = Fill(rows, rows_per_s)
    assert next_step(made(bounds), now_s * SECOND_NS, fill, seal_rows=1_000, seal_interval_s=DAY_S) == step


def test_what_is_indexed_ends_at_the_first_that_is_not() -> None:
    spans = [Span(str(place), place, place + 1, place != 3, 0) for place in range(1, 5)]
    asked: list[list[Span]] = [[], spans[:1], spans[:2], spans, spans[2:]]
    assert [indexed_borders(some) for some in asked] == [[0], [1, 2], [1, 2, 3], [1, 2, 3], [0]]


@both
async def test_a_full_partition_ends_and_gets_its_indexes_and_pages_are_the_same(database: Database) -> None:
    async with opened(database, seal_rows=1_000, scan_rows_max=1_000) as ledger:
        midweek(ledger)
        busy, other, rare = await make_accounts(ledger, 3)
        rows: list[dict[str, Any]] = []
        for turn in range(2):
            full = (await settled(database, ledger, leased))[0]
            first = fields(rare, other, reference=f"turn {turn}")
            batches = [[first], *([fields(busy, other) for _ in range(400)] for _ in range(4))]
            for batch in batches:
                await ledger.writer.submit(transfers(batch))
                rows += batch
            let_pass(ledger, full["end_ns"] - ledger._clock() + SEAL_AFTER_S * SECOND_NS)
        await ledger.writer.submit(transfer(busy, other))  # all before it are over
        async with asyncio.timeout(20):
            while ledger.reads.indexed_ns < full["end_ns"]:
                await asyncio.sleep(0.05)
        assert all(row["indexed"] == (row["end_ns"] <= full["end_ns"]) for row in await spans(database))
        assert sum(row["indexed"] for row in await spans(database)) >= 2
        for up in (False, True):
            for account in (busy, other, rare):
                of_it = [row["id"] for row in rows if account in (row["debit_account_id"], row["credit_account_id"])]
                found = [row["id"] for row in await all_pages(ledger, Filter(account, oldest_first=up), 700)]
                assert [each for each in found if each in set(of_it)] == of_it[:: 1 if up else -1]
                assert len(found) == len(of_it) + (account != rare)
            asked = Filter(rare, 1, "turn 1", oldest_first=up)
            page = await ledger.reads.transfers(TENANT, asked, None, 10)
            assert len(page.items) == 1, "the first page, past thousands of others' rows"
            window = Filter(rare, from_ns=full["start_ns"], until_ns=full["end_ns"], oldest_first=up)
            assert len(await all_pages(ledger, window, 10)) == 1
        again = await ledger.writer.submit(transfers([rows[0]]))
        assert again.replayed, "an id is known in whichever partition it is"
        plan = "\n".join(
            row[0]
            for row in await (await ledger.reads._pool._get()).fetch(
                "EXPLAIN " + QUERIES["page_of_account_newest_first"],
                *(0, TENANT, 0, full["end_ns"], 2**62, rare, None, None, 11, 11),
            )
        )
        assert "_debit" in plan
        assert "_credit" in plan
        assert "Bitmap" not in plan
    assert await findings(database) == []


async def test_a_shard_at_rest_counts_the_rows_of_the_others(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        protocol, settings = cast("CommitProtocol", None), replace(ledger_settings(), shard=1)
        idle = Partitions(ledger._pool, Stats(), ledger._clock, protocol, ledger.reads, settings)
        for turn in range(1, 4):
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(400)]))
            await idle.look()
            fill = await idle._fill()
            assert fill.rows == 3 + 400 * turn
            assert (fill.rows_per_s > 0) == (turn > 1), "the first look says nothing of a rate"
            assert fill.rows_per_s <= (turn - 1) * 400 / 0.5 / 10, "a look that came late has seen more"
            await asyncio.sleep(0.5)


async def test_a_partition_with_few_rows_goes_on_over_the_next(database: Database) -> None:
    async with opened(database, seal_rows=1_000) as ledger:
        midweek(ledger)
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(40)]))
        for _ in range(3):
            before = (await settled(database, ledger, leased))[0]
            let_pass(ledger, before["end_ns"] - ledger._clock() - 30 * SECOND_NS)
            after = (await settled(database, ledger, lambda found, old=before: found[0]["end_ns"] > old["end_ns"]))[0]
            assert (after["name"], after["start_ns"]) == (before["name"], before["start_ns"])
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(40)]))
        assert (await settled(database, ledger, leased))[0]["name"] == before["name"]
    assert await findings(database) == []
