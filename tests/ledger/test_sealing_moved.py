"""Where another server moved an end, or its clock is behind: no seal is stored that does not know all ids."""

from __future__ import annotations

import asyncio

import pytest

from pyledger.ledger import Exit, Unavailable, UnknownOutcome, partitions, rules, sealing, seals
from pyledger.ledger.connections import QUERIES, connect
from tests.ledger.test_partition_steps import MONDAY_NS, SOME_NS, WEEK_NS, both, session
from tests.ledger.test_partitions import leased, midweek, settled, spans
from tests.ledger.tools import fields, let_pass, make_accounts, opened, posted, run_as_admin, transfer, transfers
from tests.support.clusters import Database

SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS


async def test_what_another_server_has_widened_is_not_sealed_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(sealing, "PARTITION_LOOK_S", 3600.0)
    async with opened(database, seal_rows=1000) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        first = (await settled(database, ledger, leased))[0]
        stale = seals.Span(first["name"], first["start_ns"], first["end_ns"], False, 0)
        await run_as_admin(database, "SELECT pyledger.validate_partition($1)", stale.start_ns)
        assert await run_as_admin(database, "SELECT pyledger.merge_partition($1)", stale.start_ns)
        wide_ns = next(span["end_ns"] for span in await spans(database) if span["start_ns"] == stale.start_ns)
        assert wide_ns > stale.end_ns
        let_pass(ledger, wide_ns + 11 * SECOND_NS - ledger._clock())
        await ledger.writer.submit(transfer(*accounts, 1))

        class Behind:
            """What the server remembers, where its looks have failed."""

            spans = [stale]

            async def look(self) -> None:
                pass

        behind = sealing.Sealing(Behind(), ledger.writer, ledger._clock, database.server_dsn, ledger._settings)  # type: ignore[arg-type]
        connection = await connect(database.server_dsn, "a server that is behind", seals.SETTINGS)
        try:
            await behind._seal(connection, stale, [])
        finally:
            connection.terminate()
        assert not any(span["filter_bytes"] for span in await spans(database))


async def test_a_partition_that_is_over_takes_no_row_of_a_clock_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard was hours ahead for a while, and another one begins now: it halts before an id is in no filter."""
    monkeypatch.setattr(partitions, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(sealing, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(rules, "CLOCK_SKEW_MAX_NS", 10**18)  # both are days ahead of PostgreSQL's here
    async with opened(database, seal_rows=1000) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        first = (await settled(database, ledger, leased))[0]
        let_pass(ledger, HOUR_NS)
        await ledger.writer.submit(transfer(*accounts, 1))
        async with asyncio.timeout(30):
            while not any(each["name"] == first["name"] and each["filter_bytes"] for each in await spans(database)):
                await asyncio.sleep(0.05)
        async with opened(database, seal_rows=1000, shard=1) as other:
            let_pass(other, first["end_ns"] - 60 * SECOND_NS - other._clock())
            with pytest.raises((UnknownOutcome, Unavailable)):
                await asyncio.wait_for(make_accounts(other), 30)
            assert await asyncio.wait_for(other.ended(), 20) is Exit.HALTED
            assert "is refused" in other.stats.reason
        assert await posted(ledger, accounts[1]) == 1
    assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE shard = 1") == 0


async def test_rows_that_were_moved_while_they_were_read_are_not_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VACUUM FULL writes a partition anew: as many rows may be read as there are, and others."""
    monkeypatch.setattr(partitions, "next_step", lambda *_, **__: None)
    monkeypatch.setattr(seals, "SEAL_PAGES", 2)
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(*accounts) for _ in range(300)]))
        span = seals.Span(*(await spans(database, ledger.stats.head_ns))[0])
        connection = await connect(database.server_dsn, "reads ids", seals.SETTINGS)
        try:
            whole = [copy async for copy in seals.ids(connection, span)]
            assert len(whole) > 3

            async def read_while_it_moves() -> None:
                async for copy in seals.ids(connection, span):
                    if copy == whole[1]:
                        await run_as_admin(database, f"VACUUM FULL pyledger.{span.name}")

            with pytest.raises(Unavailable, match="written anew"):
                await read_while_it_moves()
            again = [copy async for copy in seals.ids(connection, span)]
            assert sum(map(seals.new_filter(1).add, again)) == sum(map(seals.new_filter(1).add, whole)) > 300
        finally:
            connection.terminate()


@both
async def test_an_index_that_is_not_valid_or_is_gone_is_none(database: Database) -> None:
    async with session(database.server_dsn) as server:
        await server.execute("SELECT pyledger.open_shard(0::int2)")
        await server.fetchval("SELECT pyledger.make_partitions($1, 2)", SOME_NS)
        await run_as_admin(database, "UPDATE pyledger.head SET seq = 1, last_ns = $1", MONDAY_NS + 2 * WEEK_NS)

        async def indexed() -> list[bool]:
            return [row["indexed"] for row in await server.fetch(QUERIES["partitions"])]

        assert await indexed() == [False, False]
        for _ in range(3):
            await server.fetchval("SELECT pyledger.index_partition($1)", MONDAY_NS)
        assert await indexed() == [True, False]
        valid = "UPDATE pg_index SET indisvalid = $1 WHERE indexrelid = 'pyledger.journal_20231113_debit'::regclass"
        for is_valid in (False, True):
            await run_as_admin(database, valid, is_valid)
            assert await indexed() == [is_valid, False]
        await run_as_admin(database, "DROP INDEX pyledger.journal_20231113_credit")
        assert await indexed() == [False, False]
