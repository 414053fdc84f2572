"""What the core writes, PostgreSQL stores and gives back to the byte; without that, no hash would hold.

Guarded here: the COPY encoding of journal rows and checkpoint tables is PostgreSQL's own, on every version
that is supported, and whatever a client can make the engine accept can be stored.
"""

import io
import json

import asyncpg
import pytest

from tests.support.clusters import Database
from tests.support.shop import Shop, a_day, many, new_engine, numbered, one, record, transfer, tuples

pytestmark = pytest.mark.postgres(15, 18)

ACCOUNTS: list[dict[str, object]] = [
    {"id": numbered(1)},
    {"id": numbered(2), "flags": ["debits_must_not_exceed_credits"], "allowance": "50"},
]


def busy_shop() -> Shop:
    shop = Shop()
    shop.open(*ACCOUNTS)
    a_day(shop)
    return shop


async def store(connection: asyncpg.Connection, shop: Shop) -> None:
    await connection.fetchval("SELECT pyledger.make_partitions($1, 2)", shop.now_ns)
    for batch in shop.batches:
        await connection.copy_to_table(
            "journal", schema_name="pyledger", source=io.BytesIO(batch.copy), format="binary"
        )


async def copy_out(connection: asyncpg.Connection, query: str) -> bytes:
    out = io.BytesIO()
    await connection.copy_from_query(query, output=out, format="binary")
    return out.getvalue()


async def test_the_journal_comes_back_to_the_byte(database: Database) -> None:
    shop = busy_shop()
    connection = await asyncpg.connect(database.server_dsn)
    try:
        await store(connection, shop)
        stream = await copy_out(connection, "SELECT * FROM pyledger.journal ORDER BY recorded_ns")
        assert list(tuples(stream)) == shop.rows
        query = "SELECT record_send(journal) FROM pyledger.journal ORDER BY recorded_ns"
        records = [row[0] for row in await connection.fetch(query)]
        assert records == [record(row) for row in shop.rows]
        engine = new_engine()
        engine.replay(stream, [shop.link(batch) for batch in shop.batches])
        assert engine.digest() == shop.engine.digest()
        shown = [shop.engine.row_json(one) for one in records]
        assert [json.loads(one)["kind"] for one in shown].count("expire") == 1
    finally:
        await connection.close()


async def test_every_amount_and_text_that_is_accepted_is_stored(database: Database) -> None:
    shop = Shop()
    shop.open(*ACCOUNTS)
    amounts = [0, 1, 9_999, 10_000, 10_001, 10**8, 10**38, 2**53, 2**64, 2**127, 2**128 - 2]
    texts = ["a", "é" * 64, "\u0001\u001f\u007f", '"\\/\b\f\n\r\t', "\ufeff\u2028\U0001f600\ufffe", "'; DROP TABLE"]
    values = [5e-324, 1e-300, 1.5e15, 0.1, -0.0, 2**53 - 1, -(2**53 - 1), 1e15 + 0.5, None, True, [[[[[[1]]]]]]]
    shop.run(many(*(transfer(100 + place, amount=str(amount)) for place, amount in enumerate(amounts))))
    shop.run(many(*(transfer(200 + place, amount="1", reference=text) for place, text in enumerate(texts))))
    metadata = [*({text: text} for text in texts), *({"a": value} for value in values), {}]
    shop.run(many(*(transfer(300 + place, amount="1", metadata=one) for place, one in enumerate(metadata))))
    ends = ["1970-01-01T00:00:00.000000001Z", "2261-12-31T23:59:59.999999999Z"]
    shop.run(one(transfer(400, amount="1", effective_at=ends[0])), one(transfer(401, amount="1", effective_at=ends[1])))
    shop.run(one(transfer(402, amount="1", flags=["pending"], timeout_s=2**31 - 1, code=2**16 - 1)))
    connection = await asyncpg.connect(database.server_dsn)
    try:
        await store(connection, shop)
        stream = await copy_out(connection, "SELECT * FROM pyledger.journal ORDER BY recorded_ns")
        assert list(tuples(stream)) == shop.rows
        stored = await connection.fetch(
            "SELECT amount, reference, metadata::jsonb::text AS metadata, status"
            " FROM pyledger.journal WHERE kind >= 3 ORDER BY recorded_ns"
        )
        assert len(stored) == len(amounts) - 1 + len(texts) + len(metadata) + 3
        accepted = {int(row["amount"]) for row in stored if row["status"] == 0}
        assert {1, 9_999, 10_000, 10_001, 10**8, 10**38, 2**53, 2**64, 2**127} <= accepted
        assert 2**128 - 2 in {int(row["amount"]) for row in stored if row["status"] != 0}
        assert {row["reference"] for row in stored} >= set(texts)
        kept = [json.loads(row["metadata"]) for row in stored if row["metadata"] is not None]
        assert kept == metadata
    finally:
        await connection.close()


async def test_a_checkpoint_comes_back_to_the_byte(database: Database) -> None:
    shop = busy_shop()
    shop.run(
        one(transfer(500, flags=["pending", "linked"])),
        many(transfer(501, flags=["pending", "linked"]), transfer(502, flags=["pending"])),
    )
    checkpoint = shop.engine.checkpoint()
    accounts, holds = (shop.engine.checkpoint_rows(table, 1_000) for table in ("account", "hold"))
    assert accounts is not None
    assert holds is not None
    engine = new_engine()
    connection = await asyncpg.connect(database.server_dsn)
    tables = {
        "ledger": (checkpoint.ledger_copy, "tenant, number"),
        "account": (accounts[0], "slot"),
        "hold": (holds[0], "recorded_ns"),
    }
    try:
        for table, (copy, order) in tables.items():
            source = io.BytesIO(copy)
            await connection.copy_to_table(table, schema_name="pyledger", source=source, format="binary")
            back = await copy_out(connection, f"SELECT * FROM pyledger.{table} ORDER BY {order}")
            assert sorted(tuples(back)) == sorted(tuples(copy))  # holds are given as the engine has them
            assert engine.load(table, back) == len(list(tuples(copy)))
        engine.set_head(checkpoint.seq, checkpoint.hash, checkpoint.last_ns)
        assert engine.digest() == shop.engine.digest()
        assert engine.holds == 2
    finally:
        await connection.close()


def test_a_checkpoint_has_rows_for_three_tables_only() -> None:
    with pytest.raises(ValueError, match="no table"):
        new_engine().checkpoint_rows("ledger", 3)
