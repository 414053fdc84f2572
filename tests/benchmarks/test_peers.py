"""Other ledgers beside ours: what TigerBeetle prints is read, what pgledger stores is added up."""

from __future__ import annotations

import asyncpg
import pytest

from benchmarks import peers
from benchmarks.nouns import ProofFailed
from tests.support.clusters import Database

STAND_IN = """
CREATE TABLE pgledger_accounts (id text DEFAULT gen_random_uuid()::text PRIMARY KEY, balance numeric DEFAULT 0);
CREATE TABLE pgledger_transfers (id bigint GENERATED ALWAYS AS IDENTITY);
CREATE FUNCTION pgledger_create_account(name text, currency text) RETURNS SETOF pgledger_accounts LANGUAGE sql AS
    'INSERT INTO pgledger_accounts DEFAULT VALUES RETURNING *';
CREATE FUNCTION pgledger_create_transfer(debit text, credit text, amount numeric) RETURNS SETOF pgledger_transfers
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pgledger_accounts WHERE id IN (debit, credit) ORDER BY id FOR UPDATE;
    UPDATE pgledger_accounts SET balance = balance - amount WHERE id = debit;
    UPDATE pgledger_accounts SET balance = balance + amount WHERE id = credit;
    RETURN QUERY INSERT INTO pgledger_transfers DEFAULT VALUES RETURNING id;
END $$;
"""
"""As much of a ledger with pgledger's functions as its benchmark calls."""

LOSES_MONEY = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.balance := NEW.balance - 1; RETURN NEW; END';
CREATE TRIGGER lose BEFORE UPDATE ON pgledger_accounts FOR EACH ROW EXECUTE FUNCTION lose();
"""


def test_what_tigerbeetle_prints_is_read() -> None:
    text = "load accepted = 491329 tx/s\nbatch latency p1   = 9 ms\nbatch latency p100 = 35 ms\n"
    assert peers.read(text) == (491_329.0, {"1": 9.0, "100": 35.0})
    with pytest.raises(ValueError, match="no rate"):
        peers.read("panic")


async def test_pgledger_is_timed_and_its_books_are_added_up(empty_database: Database) -> None:
    connection = await asyncpg.connect(empty_database.admin_dsn)
    await connection.execute(STAND_IN)
    measured = await peers.pgledger(empty_database.admin_dsn, 10, 0.5)
    assert measured.accepted == await connection.fetchval("SELECT count(*) FROM pgledger_transfers") > 0
    assert measured.connections == 20
    await connection.execute(LOSES_MONEY)
    with pytest.raises(ProofFailed, match="add up to -"):
        await peers.pgledger(empty_database.admin_dsn, 10, 0.2)
    await connection.close()
