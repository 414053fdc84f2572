"""Partitions that are over: sealed one after the other beside postings, whatever is cut, and proven by `check`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from pyledger.ledger import Filter, Ledger, seals
from pyledger.ledger.connections import QUERIES, connect
from pyledger.ledger.nouns import SEAL_AFTER_S, SEAL_REST, SUSPECTS_MAX
from pyledger.ledger.sealing import Sealing
from pyledger.ledger.statements import Period
from tests.ledger.test_partitions import leased, midweek, settled, spans
from tests.ledger.test_reads import all_pages
from tests.ledger.tools import (
    TENANT,
    crash,
    fields,
    findings,
    let_pass,
    make_accounts,
    opened,
    posted,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

if TYPE_CHECKING:
    from pyledger.ledger.partitions import Partitions

pytestmark = pytest.mark.usefixtures("often")
both = pytest.mark.postgres(15, 18)
SEAL_AFTER_NS = SEAL_AFTER_S * 10**9
PARTITION_ROWS = 1_000


async def fill(database: Database, ledger: Ledger, accounts: list[str], rows: int = PARTITION_ROWS) -> list[str]:
    """Fill the newest partition and go past its end; the ids of its transfers."""
    full = (await settled(database, ledger, leased))[0]
    batch = [fields(*accounts[:2]) for _ in range(rows)]
    await ledger.writer.submit(transfers(batch))
    let_pass(ledger, full["end_ns"] - ledger._clock() + SEAL_AFTER_NS)
    await ledger.writer.submit(transfer(*accounts[:2]))
    return [row["id"] for row in batch]


async def all_sealed(database: Database, ledger: Ledger) -> list[Any]:
    """All partitions that are over, once they are sealed."""
    async with asyncio.timeout(30):
        while True:
            over = [each for each in await spans(database) if each["end_ns"] + SEAL_AFTER_NS <= ledger.stats.head_ns]
            if over and all(each["filter_bytes"] for each in over):
                return over
            await asyncio.sleep(0.05)


async def one_sealed(database: Database, ledger: Ledger) -> tuple[list[str], list[str]]:
    """Two accounts, and the ids of the transfers between them that are in a sealed partition."""
    midweek(ledger)
    accounts = await make_accounts(ledger)
    ids = await fill(database, ledger, accounts)
    await all_sealed(database, ledger)
    return accounts, ids


@both
async def test_partitions_are_sealed_and_their_seals_are_made_again(database: Database) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS, window_ids=8_190) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        for _ in range(3):
            await fill(database, ledger, accounts)
        over = await all_sealed(database, ledger)
        assert len(over) >= 3
    assert await findings(database) == []
    query = "SELECT string_agg(rows || root::text || filter::text, ' ' ORDER BY start_ns) FROM pyledger.partition"
    before = await run_as_admin(database, query)
    assert await run_as_admin(database, "SELECT sum(rows) FROM pyledger.partition") == 3 * PARTITION_ROWS + 2 + 3
    await seals.drop(database.owner_dsn)
    assert await run_as_admin(database, query) is None
    assert not any(row["indexed"] for row in await spans(database))
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        let_pass(ledger, over[-1]["end_ns"] - ledger._clock() + SEAL_AFTER_NS)
        await all_sealed(database, ledger)
    assert await run_as_admin(database, query) == before


CORRUPTIONS = {
    "rows": "UPDATE pyledger.partition SET rows = rows + 1 WHERE rows > 0",
    "root": "UPDATE pyledger.partition SET root = sha256('other') WHERE rows > 0",
    "filter": "UPDATE pyledger.partition SET filter = overlay(filter PLACING '\\x00000000' FROM 9) WHERE rows > 0",
}


async def test_a_wrong_seal_is_found_and_a_wrong_filter_is_not_believed(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        accounts, ids = await one_sealed(database, ledger)
        ahead_ns = ledger._clock.wall_ns()
    for what, statement in CORRUPTIONS.items():
        await run_as_admin(database, "CREATE TABLE kept AS TABLE pyledger.partition")
        await run_as_admin(database, statement)
        wrong = await findings(database)
        assert wrong
        assert all(each.step == "seals" for each in wrong), wrong
        if what == "filter":
            async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
                let_pass(ledger, ahead_ns - ledger._clock())
                async with asyncio.timeout(20):
                    while "a filter of ids is not what was stored" not in caplog.text:
                        await asyncio.sleep(0.05)
                again = await ledger.writer.submit(transfers([fields(*accounts, id=ids[0])]))
                assert again.replayed
        await run_as_admin(database, "TRUNCATE pyledger.partition")
        await run_as_admin(database, "INSERT INTO pyledger.partition TABLE kept")
        await run_as_admin(database, "DROP TABLE kept")
    assert await findings(database) == []


async def test_an_id_that_stands_twice_ends_sealing_and_not_posting(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        accounts, ids = await one_sealed(database, ledger)
        await run_as_admin(
            database,
            "INSERT INTO pyledger.journal"
            " SELECT (jsonb_populate_record(j, jsonb_build_object('recorded_ns', $2::int8))).*"
            " FROM pyledger.journal AS j WHERE id = $1",
            ids[5],
            ledger._clock(),
        )
        await fill(database, ledger, accounts)
        async with asyncio.timeout(20):
            while f"the id {ids[5]} of tenant 7 is in" not in caplog.text:
                await asyncio.sleep(0.05)
        assert "no partition is sealed any more, run `pyledger check`" in caplog.text
        await ledger.writer.submit(transfer(*accounts))
        assert await posted(ledger, accounts[1]) == 2 * PARTITION_ROWS + 3
        assert sum(bool(row["filter_bytes"]) for row in await spans(database)) >= 1
    assert any("id" in each.step for each in await findings(database))


async def test_a_page_looks_into_a_bounded_number_of_partitions_and_all_pages_have_all_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyledger.ledger.reads.PARTITIONS_AT_ONCE", 1)
    monkeypatch.setattr("pyledger.ledger.reads.PAGE_PARTS_MAX", 2)
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        *accounts, rare = await make_accounts(ledger, 3)
        first = fields(rare, accounts[0])
        await ledger.writer.submit(transfers([first]))
        ids = [each for _ in range(4) for each in await fill(database, ledger, accounts)]
        over = await all_sealed(database, ledger)
        async with asyncio.timeout(20):
            while ledger.reads.indexed_ns < over[-1]["end_ns"]:
                await asyncio.sleep(0.05)
        assert len(ledger.reads.borders_ns) >= 5
        page = await ledger.reads.transfers(7, Filter(rare), None, 10)
        assert page.items == []
        assert page.next is not None
        for up in (False, True):
            assert [row["id"] for row in await all_pages(ledger, Filter(rare, oldest_first=up), 10)] == [first["id"]]
            found = [row["id"] for row in await all_pages(ledger, Filter(accounts[0], oldest_first=up), 700)]
            assert [each for each in found if each in set(ids)] == ids[:: 1 if up else -1]


async def test_a_statement_goes_through_partition_after_partition(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyledger.ledger.statements.history.PARTITIONS_AT_ONCE", 2)
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        *accounts, rare = await make_accounts(ledger, 3)
        first = fields(rare, accounts[0], 7)
        await ledger.writer.submit(transfers([first]))
        ids = [each for _ in range(4) for each in await fill(database, ledger, accounts)]
        over = await all_sealed(database, ledger)
        async with asyncio.timeout(20):
            while ledger.reads.indexed_ns < over[-1]["end_ns"]:
                await asyncio.sleep(0.05)
        found, cursor = [], None
        while not found or cursor is not None:
            page = await ledger.statements.page(TENANT, accounts[1], Period(), cursor, 700)
            assert page is not None
            found += [row.id for row in page.data]
            cursor = page.next
        assert [each for each in found if each in set(ids)] == ids
        assert len(found) == len(ids) + 4, "and what each partition was ended with"
        for filled in over[-4:]:
            page = await ledger.statements.page(TENANT, rare, Period(filled["end_ns"]), None, 10)
            assert page is not None
            assert (page.opening.debits_posted, page.data, page.next) == ("7", [], None)


async def test_sealing_rests_only_from_what_is_posted_meanwhile(database: Database) -> None:
    async with opened(database) as ledger:
        sealing = Sealing(cast("Partitions", None), ledger.writer, ledger._clock, database.server_dsn, ledger._settings)
        debit, credit = await make_accounts(ledger)
        for posting in (False, True):
            sealing._rows, sealing._worked_s = ledger.stats.rows, time.monotonic() - 0.2
            if posting:
                await ledger.writer.submit(transfer(debit, credit))
            began_s = time.monotonic()
            await sealing._rest()
            assert (time.monotonic() - began_s >= 0.2 * SEAL_REST) == posting


@both
async def test_a_sealed_partition_is_frozen(database: Database) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        await fill(database, ledger, accounts)
        await all_sealed(database, ledger)
        name = next(row["name"] for row in await spans(database) if row["filter_bytes"] > 64)
        await run_as_admin(database, "ALTER SYSTEM SET autovacuum_naptime = '1s'")
        try:
            await run_as_admin(database, "SELECT pg_reload_conf()")
            query = (
                "SELECT relpages > 0 AND relallvisible = relpages AND age(relfrozenxid) < 100 FROM pg_class"
                " WHERE oid = to_regclass('pyledger.' || $1)"
            )
            async with asyncio.timeout(90):
                while not await run_as_admin(database, query, name):
                    await ledger.writer.submit(transfer(*accounts))
                    await asyncio.sleep(0.5)
        finally:
            await run_as_admin(database, "ALTER SYSTEM RESET autovacuum_naptime")
            await run_as_admin(database, "SELECT pg_reload_conf()")


@pytest.mark.parametrize("whom", ["server", "backends"])
async def test_sealing_goes_on_whatever_is_cut(database: Database, whom: str) -> None:
    """Servers that crash, or backends that end, at random moments of a seal, with postings under way."""
    dice = replayable()
    sent, passed_ns, accounts = 0, 0, list[str]()
    for turn in range(6):
        async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
            let_pass(ledger, passed_ns)
            if not accounts:
                midweek(ledger)
                accounts = await make_accounts(ledger)
            await fill(database, ledger, accounts)
            sent += PARTITION_ROWS + 1
            for _ in range(4):
                riding = [ledger.writer.submit(transfers([fields(*accounts) for _ in range(20)])) for _ in range(3)]
                sent += 60
                await asyncio.sleep(0.15 * dice.random())
                if whom == "backends":
                    await run_as_admin(
                        database,
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE application_name = 'pyledger sealing' AND datname = current_database()",
                    )
                replies = await asyncio.wait_for(asyncio.gather(*riding), 20)
                assert all(json.loads(reply.body)["accepted"] == 20 for reply in replies)
            passed_ns = ledger._clock() - time.time_ns()
            if turn == 5:
                await all_sealed(database, ledger)
                assert await posted(ledger, accounts[1]) == sent
            elif whom == "server":
                await crash(ledger)
    assert await findings(database) == []


@both
async def test_ids_are_looked_up_one_by_one_in_what_is_large(database: Database) -> None:
    """A planner that expects some to be found would read all of an older partition for the first of them."""
    async with opened(database, seal_rows=PARTITION_ROWS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        for _ in range(2):
            await fill(database, ledger, accounts, 8 * PARTITION_ROWS)
        older, newer = (await all_sealed(database, ledger))[-2:]
    connection = await connect(database.server_dsn, "test", seals.SETTINGS)
    ids = [uuid4() for _ in range(SUSPECTS_MAX)]
    bounds = (older["start_ns"], older["end_ns"], newer["start_ns"], newer["end_ns"])
    plan = await connection.fetch(f"EXPLAIN {QUERIES['recorded_twice']}", [1] * len(ids), ids, *bounds)
    await connection.close()
    said = "\n".join(row[0] for row in plan)
    assert said.count("_id_unique on") == 3, said
    assert "Seq Scan" not in said, said
