"""Where another server moved an end: no seal is stored that does not know all ids."""

from __future__ import annotations

import pytest

from pyledger.ledger import partitions, sealing, seals
from pyledger.ledger.connections import connect
from tests.ledger.test_partitions import leased, midweek, settled, spans
from tests.ledger.tools import let_pass, make_accounts, opened, run_as_admin, transfer
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
