"""The views for people against the engine: each row says what the API would say, whatever the checkpoint includes.

Guarded here: words and numbers are those of the core's own encoder; balances are those of the head, not those of
the checkpoint; the books add up in SQL; and a reader sees the views, and one tenant's analyst that tenant only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from pyledger._rust import REFUSALS
from tests.ledger.kept import Kept
from tests.model.book import PLACE, read_copy, record, write_copy
from tests.model.forms import time
from tests.model.nouns import MAX, SECOND
from tests.model.plans import TENANTS, random_requests
from tests.model.test_engine import Pair
from tests.support.chance import replayable
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
BATCHES = 240
LOOKS = 8
OLD_ROWS = 50_000
VIEWS = {"refusals", "ledgers", "accounts", "transfers", "entries", "holds", "trial_balance"}


@pytest_asyncio.fixture
async def kept(database: Database) -> AsyncIterator[Kept]:
    """A database and an engine, in which two tenants have some accounts."""
    connection = await asyncpg.connect(database.admin_dsn)
    made = Kept(connection, Pair(1_000))
    await made.open()
    yield made
    await connection.close()


def tenant_of(row: dict[str, Any]) -> int:
    return int(row["tenant"].removeprefix("tenant "))


def as_api(row: dict[str, Any], numbers: tuple[str, ...] = ()) -> dict[str, Any]:
    """A view's row in the types of JSON: what is NULL is left out, times are cut to what a timestamptz holds."""
    said = {
        name: value for name, value in row.items() if value is not None and name not in ("tenant", "recorded_ns", "seq")
    }
    for name, value in said.items():
        if name.endswith("_at"):
            said[name] = f"{value:%Y-%m-%dT%H:%M:%S.%f}"
        elif name == "id" or name.endswith("_id") or name == "reverses" or name in numbers:
            said[name] = str(value)
        elif name == "metadata":
            said[name] = json.loads(value)
    return said


def from_api(body: bytes, *without: str) -> dict[str, Any]:
    """An answer's object with its times cut alike."""
    said = json.loads(body)
    for name in [name for name in said if name.endswith("_at")]:
        said[name] = said[name][:-4]
    return {name: value for name, value in said.items() if value is not None and name not in without}


COUNTERS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
BALANCES = (*COUNTERS, "posted", "pending", "available")


async def compare_accounts(kept: Kept) -> list[dict[str, Any]]:
    """All of them, with their balances now."""
    rows, engine = await kept.rows("accounts"), kept.pair.book.engine
    assert len(rows) == engine.accounts
    for row in rows:
        body = engine.account_json(tenant_of(row), str(row["id"]), row["reference"], row["metadata"])
        assert body is not None
        seen = as_api(row, (*BALANCES, "allowance"))
        assert (seen.pop("asset"), seen.pop("exponent")) == ("EUR", 2)
        balances = {name: seen.pop(name) for name in BALANCES}
        assert {**seen, "balances": balances} == from_api(body), row["id"]
    return rows


async def compare_transfers(kept: Kept) -> None:
    """Every row of the journal that is none of a ledger or an account."""
    expected = {}
    for fields in kept.pair.book.by_id.values():
        if int.from_bytes(fields[PLACE["kind"]] or b"") >= 3:
            body = kept.pair.book.engine.row_json(record(fields))
            expected[int.from_bytes(fields[PLACE["tenant"]] or b""), json.loads(body)["id"]] = body
    rows = await kept.rows("transfers")
    assert len(rows) == len(expected)
    for row in rows:
        said = from_api(expected[tenant_of(row), str(row["id"])])
        for side in ("debit_account", "credit_account"):
            if side in said:
                said[f"{side}_id"] = said.pop(side)["id"]
        assert as_api(row, ("amount",)) == said


async def compare_entries(kept: Kept, accounts: list[dict[str, Any]]) -> None:
    """Their changes add up to the balance, and the last one says what the account has now."""
    last: dict[tuple[str, Any], dict[str, Any]] = {}
    added: dict[tuple[str, Any], int] = {}
    for row in await kept.rows("entries", "ORDER BY recorded_ns"):
        key = (row["tenant"], row["account_id"])
        last[key] = row
        added[key] = added.get(key, 0) + int(row["change"])
        assert row["posted"] == added[key]
    for account in accounts:
        key = (account["tenant"], account["id"])
        if key in last:
            assert {name: account[name] for name in BALANCES} == {name: last[key][name] for name in BALANCES}
        else:
            assert not any(account[name] for name in COUNTERS)


async def compare_holds(kept: Kept, accounts: list[dict[str, Any]]) -> None:
    """Those of the model, and their sums are what accounts say is pending."""
    rows = await kept.rows("holds")
    assert {(tenant_of(row), row["id"].int) for row in rows} == set(kept.pair.model.holds)
    for row in rows:
        hold = kept.pair.model.holds[tenant_of(row), row["id"].int]
        assert (row["amount"], row["recorded_ns"]) == (hold.amount, hold.recorded_ns)
        assert row["debit_account_id"].int == hold.terms.debit
        assert set(row["flags"]) == hold.command.flags
        expires_ns = hold.recorded_ns + hold.command.timeout_s * SECOND if hold.command.timeout_s else 0
        assert as_api(row).get("expires_at") == (time(expires_ns)[:-4] if expires_ns else None)
    for account in accounts:
        for side in ("debit", "credit"):
            of_account = [
                r for r in rows if (r["tenant"], r[f"{side}_account_id"]) == (account["tenant"], account["id"])
            ]
            assert sum(int(row["amount"]) for row in of_account) == account[f"{side}s_pending"]


async def compare_trial_balance(kept: Kept, accounts: list[dict[str, Any]]) -> None:
    """In each ledger both sides are equal; and it is the sum of the accounts."""
    rows = await kept.rows("trial_balance")
    assert sum(row["accounts"] for row in rows) == len(accounts)
    for name in COUNTERS:
        assert sum(int(row[name]) for row in rows) == sum(int(account[name]) for account in accounts)
    for place in {(row["tenant"], row["ledger"]) for row in rows}:
        ledger = [row for row in rows if (row["tenant"], row["ledger"]) == place]
        for debit, credit in (COUNTERS[::2], COUNTERS[1::2], ("debit_balance", "credit_balance")):
            assert sum(int(row[debit]) for row in ledger) == sum(int(row[credit]) for row in ledger), place


async def look(kept: Kept) -> None:
    """Compare every view with what the engine says at this moment."""
    await kept.append()
    ledgers = await kept.rows("ledgers", "ORDER BY tenant, ledger")
    assert [(tenant_of(row), row["ledger"]) for row in ledgers] == sorted(
        (tenant, number) for tenant in TENANTS for number in kept.pair.book.engine.ledger_numbers(tenant, None, 100)
    )
    for row in ledgers:
        body = kept.pair.book.engine.ledger_json(tenant_of(row), row["ledger"], None)
        assert as_api({"id": None, **row}) | {"id": row["ledger"]} == from_api(body or b"") | {"ledger": row["ledger"]}
    accounts = await compare_accounts(kept)
    await compare_transfers(kept)
    await compare_entries(kept, accounts)
    await compare_holds(kept, accounts)
    await compare_trial_balance(kept, accounts)


@both
async def test_views_say_what_the_engine_says(kept: Kept) -> None:
    """At random moments of random traffic, right after a checkpoint, long after it and without one."""
    chance = replayable()
    moments = {BATCHES - 1, *chance.sample(range(BATCHES), LOOKS - 1)}
    await look(kept)
    for batch in range(BATCHES):
        kept.pair.plan(random_requests(chance), chance.choice([0, 1, 1_000, 5_000]), undone=False)
        if chance.random() < 0.03:
            kept.pair.save()
        if batch in moments:
            await look(kept)
    kept.pair.save()
    await look(kept)


@both
async def test_words_are_those_of_the_core(kept: Kept) -> None:
    """Every flag and every refusal that the journal can keep, by the encoder that answers clients."""
    await kept.append()
    declined = [number for number, _code, kind, _detail in REFUSALS if kind == "declined"]
    assert {row["number"] for row in await kept.rows("refusals")} == set(declined)
    template = next(row for batch in kept.pair.book.journal for row in read_copy(batch.copy))
    rows, bits = [], 2**11 - 1
    for index, number in enumerate(declined):
        row = list(template)
        flags = [bits, 0, *(1 << bit for bit in range(11))][index % 13]
        amount = MAX if index % 2 else 5
        row[PLACE["recorded_ns"]] = (kept.pair.now + index + 1).to_bytes(8)
        row[PLACE["id"]] = (1 << 90 | index).to_bytes(16)
        row[PLACE["kind"]] = (3 + index % 6).to_bytes(2)
        row[PLACE["status"]], row[PLACE["flags"]] = number.to_bytes(2), flags.to_bytes(4)
        row[PLACE["amount"]] = await kept.connection.fetchval("SELECT numeric_send($1)", amount)
        row[PLACE["target"]], row[PLACE["timeout_s"]] = (index + 1).to_bytes(16), index.to_bytes(4)
        row[PLACE["reference"]], row[PLACE["metadata"]] = b"text", b'{"a":"\\n","b":[1]}'
        rows.append(row)
    await kept.copy("journal", write_copy(rows))
    seen = {str(row["id"]): row for row in await kept.rows("transfers", f"WHERE recorded_ns > {kept.pair.now}")}
    for row in rows:
        said = from_api(kept.pair.book.engine.row_json(record(row)))
        assert as_api(seen[said["id"]], ("amount",)) == said


@both
async def test_numbers_and_times_are_read_exactly(database: Database) -> None:
    connection = await asyncpg.connect(database.reader_dsn)
    edges = [0, 1, 255, 256, 2**55, 2**56 - 1, 2**56, 2**63, 2**64 - 1, 2**64, 2**96 - 1, 2**127 + 7, MAX]
    chance = replayable()
    for _ in range(200):
        four = [chance.choice([chance.choice(edges), chance.getrandbits(chance.randrange(1, 129))]) for _ in range(4)]
        digits = [number.to_bytes((number.bit_length() + 7) // 8) for number in four]
        after = b"".join(bytes([len(each)]) + each for each in digits)
        assert [int(each) for each in await connection.fetchrow("SELECT * FROM pyledger.counters($1)", after)] == four
    for ns in (1, 999, 1_000, 1_800_000_000_123_456_789, 9_214_646_399_999_999_999):
        at = await connection.fetchval("SELECT pyledger.at($1)", ns)
        assert f"{at:%Y-%m-%dT%H:%M:%S.%f}" == time(ns)[:-4]
        assert await connection.fetchval("SELECT pyledger.ns(pyledger.at($1))", ns) == ns // 1_000 * 1_000
    for amount, exponent, said in ((1250, 2, "12.50"), (7, 0, "7"), (MAX, 18, f"{MAX // 10**18}.{MAX % 10**18:018}")):
        assert str(await connection.fetchval("SELECT pyledger.major($1, $2)", amount, exponent)) == said
    await connection.close()


@both
async def test_the_reader_sees_documented_views_and_nothing_of_what_they_stand_on(database: Database) -> None:
    connection = await asyncpg.connect(database.reader_dsn)
    views = await connection.fetch(
        "SELECT relname, has_table_privilege(oid, 'SELECT') AS granted, obj_description(oid) AS said, ARRAY("
        "SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0"
        " AND col_description(attrelid, attnum) IS NULL) AS unsaid FROM pg_class"
        " WHERE relnamespace = 'pyledger'::regnamespace AND relkind = 'v'"
    )
    assert {row["relname"] for row in views if row["granted"]} == VIEWS
    for row in views:
        if row["granted"]:
            assert row["said"], row["relname"]
            assert row["unsaid"] == [], row["relname"]
            await connection.fetch(f"SELECT * FROM pyledger.{row['relname']}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM pyledger.recent")
    await connection.close()


async def test_recent_rows_are_found_by_their_time(kept: Kept) -> None:
    """With the statistics that autovacuum keeps, nothing reads the journal from its beginning."""
    await kept.append()
    await kept.connection.execute(
        "INSERT INTO pyledger.journal (shard, seq, recorded_ns, id, tenant, kind, status, amount, ledger, code, flags,"
        " timeout_s, fingerprint) SELECT 0, 9, $1::bigint + n, gen_random_uuid(), 1, 3, 59, 5, 1, 1, 0, 0, ''"
        " FROM generate_series(1, $2::integer) AS n",
        kept.pair.now,
        OLD_ROWS,
    )
    await kept.connection.execute("ANALYZE pyledger.journal")
    for table in ("checkpoint", "head"):
        await kept.connection.execute(f"UPDATE pyledger.{table} SET last_ns = $1", kept.pair.now + OLD_ROWS - 1)
    plan = await kept.connection.fetch("EXPLAIN (COSTS OFF) SELECT * FROM pyledger.accounts")
    said = "\n".join(row[0] for row in plan)
    assert "Bitmap Index Scan on journal_20270111_recorded" in said, said
    assert "Seq Scan on journal_20270111" not in said, said
    since = await kept.connection.fetch(
        "EXPLAIN (COSTS OFF) SELECT * FROM pyledger.transfers WHERE recorded_ns >= pyledger.ns('2027-01-20Z')"
    )
    assert "journal_20270111" not in "\n".join(row[0] for row in since)
