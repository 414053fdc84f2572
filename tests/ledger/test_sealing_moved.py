"""Where another server moved an end, or its clock is behind: no seal is stored that does not know all ids."""

from __future__ import annotations

import asyncio

import pytest

from pyledger.ledger import Exit, Unavailable, UnknownOutcome, partitions, rules, sealing, seals
from pyledger.ledger.connections import connect
from tests.ledger.test_partitions import leased, midweek, settled, spans
from tests.ledger.tools import let_pass, make_accounts, opened, posted, run_as_admin, transfer
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

        behind = sealing.Sealing(Behind(), ledger.writer, database.server_dsn, 128)  # type: ignore[arg-type]
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
