"""`check` finds what was planted, names it, and finds nothing where nothing is wrong."""

from __future__ import annotations

import asyncio

import pytest

from pyledger._rust import prove_row
from pyledger.ledger import StartupRefused
from pyledger.ledger.check import Progress, check
from pyledger.ledger.proofs.store import PROOFS
from tests.ledger.tools import (
    copy_of,
    fields,
    findings,
    make_accounts,
    new_engine,
    new_id,
    opened,
    resolve,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)

ONE_TRANSFER = "id = (SELECT id FROM pyledger.journal WHERE kind = 3 AND status = 0 ORDER BY recorded_ns LIMIT 1)"
PLANTED = {
    "an amount": (f"UPDATE pyledger.journal SET amount = amount + 1 WHERE {ONE_TRANSFER}", {"chain", "balances"}),
    "a row's fingerprint": (f"UPDATE pyledger.journal SET fingerprint = '\\x00' WHERE {ONE_TRANSFER}", {"chain"}),
    "a missing row": (f"DELETE FROM pyledger.journal WHERE {ONE_TRANSFER}", {"chain", "rows", "balances"}),
    "an extra row": (
        "INSERT INTO pyledger.journal SELECT shard, seq, recorded_ns, gen_random_uuid(), tenant, kind, status,"
        " debit_account, credit_account, amount, target, ledger, code, flags, timeout_s, effective_ns, fingerprint"
        f" FROM pyledger.journal WHERE {ONE_TRANSFER}",
        {"rows", "balances"},
    ),
    "a row twice": (
        "INSERT INTO pyledger.journal SELECT shard, seq, recorded_ns + 604800000000000, id, tenant, kind, status,"
        " debit_account, credit_account, amount, target, ledger, code, flags, timeout_s, effective_ns, fingerprint"
        f" FROM pyledger.journal WHERE {ONE_TRANSFER}",
        {"ids", "rows", "balances"},
    ),
    "a missing batch": ("DELETE FROM pyledger.batch WHERE seq = 2", {"sequence", "rows", "chain"}),
    "a batch's root": ("UPDATE pyledger.batch SET root = sha256('x') WHERE seq = 3", {"chain"}),
    "a batch's hash": ("UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 3", {"chain"}),
    "a batch's rows": ("UPDATE pyledger.batch SET rows = rows + 1 WHERE seq = 3", {"rows", "chain"}),
    "the head": ("UPDATE pyledger.head SET seq = seq + 1", {"head", "chain"}),
    "the head's hash": ("UPDATE pyledger.head SET hash = sha256('x')", {"head", "chain"}),
    "the head's time": ("UPDATE pyledger.head SET last_ns = last_ns + (1::int8 << 40)", {"head"}),
    "the checkpoint's hash": ("UPDATE pyledger.checkpoint SET hash = sha256('x')", {"head"}),
    "an epoch to come": ("UPDATE pyledger.checkpoint SET epoch = epoch + 1", {"head"}),
    "a balance": (
        "UPDATE pyledger.account SET credits_posted = credits_posted + 1 WHERE slot = 1",
        {"balances", "trial_balance", "checkpoint"},
    ),
    "a balance on both sides": (
        "UPDATE pyledger.account SET credits_posted = credits_posted + 1, debits_posted = debits_posted + 1"
        " WHERE slot = 1",
        {"balances", "checkpoint"},
    ),
    "an account's code": ("UPDATE pyledger.account SET code = 9 WHERE slot = 1", {"accounts"}),
    "a missing account": ("DELETE FROM pyledger.account WHERE slot = 1", {"accounts", "balances", "checkpoint"}),
    "a missing hold": ("DELETE FROM pyledger.hold", {"holds"}),
    "a hold's amount": ("UPDATE pyledger.hold SET amount = amount + 1", {"holds"}),
    "a hold resolved twice": (
        "INSERT INTO pyledger.journal SELECT shard, seq, recorded_ns + 1, gen_random_uuid(), tenant, kind, status,"
        " debit_account, credit_account, amount, target, ledger, code, flags, timeout_s, effective_ns, fingerprint"
        " FROM pyledger.journal WHERE kind = 5",
        {"targets", "rows"},
    ),
}


async def some_books(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        rows = [fields(debit, credit, 10) for _ in range(4)]
        await ledger.writer.submit(transfers(rows))
        await ledger.writer.submit(resolve("reverse", rows[0]["id"], amount="4"))
        held = fields(debit, credit, 6, flags=["pending"])
        await ledger.writer.submit(transfers([held, fields(debit, credit, 7, flags=["pending"])]))
        await ledger.writer.submit(resolve("post", held["id"], amount="5"))
        await ledger.writer.submit(transfer(debit, new_id(), 1))


@both
async def test_right_books_have_no_findings(database: Database) -> None:
    await some_books(database)
    reports = [report async for report in check(database.owner_dsn, 0, new_engine)]
    assert all(isinstance(report, Progress) for report in reports), reports
    for step in ("books", "replay"):
        last = [report for report in reports if isinstance(report, Progress) and report.step == step][-1]
        assert last.done == last.total > 0


@pytest.mark.parametrize("what", PLANTED)
async def test_what_was_planted_is_found(database: Database, what: str) -> None:
    await some_books(database)
    statement, expected = PLANTED[what]
    await run_as_admin(database, statement)
    found = await findings(database)
    assert expected <= {finding.step for finding in found}, found
    assert all(finding.place and finding.wrong for finding in found)


@pytest.mark.parametrize("fits", [False, True])
async def test_a_row_that_was_changed_with_its_root_is_named(database: Database, fits: bool) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for rows in (2, 3):
            sent = [fields(debit, credit, reference=f"{rows} {number}") for number in range(rows)]
            await ledger.writer.submit(transfers(sent))
    for rows, seq in ((2, 3), (3, 4)):
        change = f"UPDATE pyledger.journal SET amount = amount + 1 WHERE reference = '{rows} 1'"
        root = f"UPDATE pyledger.batch SET root = $1 WHERE seq = {seq} RETURNING first_ns"
        first_ns = await run_as_admin(database, f"WITH changed AS ({change}) {root}", b"x" * 32)
        if fits:
            copied = await copy_of(database, PROOFS["copy_batch"], 0, first_ns, first_ns + rows - 1)
            await run_as_admin(database, root, prove_row(copied, 0)[1])
    found = await findings(database)
    named = {each.place.split()[-1] for each in found if "written later" in each.wrong}
    ids = "SELECT array_agg(id::text) FROM pyledger.journal WHERE reference IN ('2 1', '3 1')"
    assert named == set(await run_as_admin(database, ids))
    wrong = "its hash is not that" if fits else "its rows are not those"
    assert {"batch 3", "batch 4"} <= {each.place for each in found if wrong in each.wrong}


async def test_it_runs_beside_a_server_that_goes_on(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(5):
            await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(200)]))
            assert await findings(database) == []


async def test_an_empty_shard_and_a_missing_one(database: Database, empty_database: Database) -> None:
    with pytest.raises(StartupRefused, match="no shard 0"):
        await findings(database)
    with pytest.raises(StartupRefused, match="the database has no schema"):
        await findings(empty_database)
    async with opened(database):
        pass
    assert await findings(database) == []


async def test_many_open_holds_are_checked_in_seconds(database: Database) -> None:
    """Right after they were written, when PostgreSQL's planner knows nothing of them yet."""
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(4):
            held = [fields(debit, credit, 1, flags=["pending"]) for _ in range(5_000)]
            assert (await ledger.writer.submit(transfers(held))).outcome == "batch"
    async with asyncio.timeout(20):
        assert await findings(database) == []


async def test_an_older_schema_is_left_alone(database: Database) -> None:
    await run_as_admin(database, "UPDATE pyledger.alembic_version SET version_num = '0009'")
    with pytest.raises(StartupRefused, match="has schema 0009, this version needs"):
        await findings(database)
    assert await run_as_admin(database, "SELECT version_num FROM pyledger.alembic_version") == "0009"
