"""A decline that names no ledger of its tenant keeps nothing for ever, and no legal hold overlooks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyledger.ledger.nouns import WEEK_NS
from pyledger.retention import holds
from pyledger.retention.books import Books
from pyledger.retention.policy import Policy, Terms
from tests.ledger.tools import (
    TENANT,
    fields,
    findings,
    let_pass,
    make_accounts,
    open_book,
    opened,
    resolve,
    run_as_admin,
    transfer,
)
from tests.retention.tools import archive, asking, seal, transfer_of
from tests.support.clusters import Database

LISTED = Policy(Terms(None, None), {("shop", 1): Terms(7, 7)})
"""Every ledger that there is has its terms, and nothing else ever goes."""
OTHER = TENANT + 1


async def write(database: Database, named: int, *, single: bool) -> tuple[list[str], list[str]]:
    """Three weeks: a hold and a transfer, what is declined of either, and a transfer. The accounts, and the partitions'
    names."""
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger)
        pending, moved = fields(*accounts, flags=["pending"]), fields(*accounts)
        for each in (pending, moved):
            assert (await ledger.writer.submit(transfer_of(each))).outcome == "accepted"
        let_pass(ledger, WEEK_NS)
        if not single:
            assert (await ledger.writer.submit(transfer(*accounts))).outcome == "accepted"
        post = fields(*accounts, ledger=named, flags=["post_pending"], pending_id=moved["id"])
        declined = await ledger.writer.submit(transfer_of(post) if named else resolve("reverse", pending["id"]))
        refusal = "pending_transfer_not_pending" if named else "transfer_not_reversible"
        assert (declined.outcome, declined.refusal) == ("declined", refusal)
        let_pass(ledger, WEEK_NS)
        assert (await ledger.writer.submit(transfer(*accounts))).outcome == "accepted"
    names = await seal(database)
    await run_as_admin(database, "INSERT INTO pyledger.tenant (id, name) VALUES ($1, 'till')", OTHER)
    async with asking(database) as connection:
        found = await connection.fetch("SELECT ledger FROM pyledger.journal WHERE status <> 0")
    assert [row["ledger"] for row in found] == [named]
    return accounts, names


async def held(database: Database, names: list[str]) -> list[bool]:
    """Which partitions a legal hold keeps."""
    async with Books.open(database.owner_dsn) as books:
        seen = {each.partition.name: bool(each.holds) for each in await books.see(None, 0)}
    return [seen[name] for name in names]


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("named", [0, 99])
async def test_it_is_dropped_when_its_tenants_ledgers_are(
    database: Database, tmp_path: Path, named: int, single: bool
) -> None:
    accounts, names = await write(database, named, single=single)
    assert await held(database, names) == [False] * 3
    async with Books.open(database.owner_dsn, alone=False) as books:
        await holds.place(books, "till", None, None, "another tenant's")
        for account, ledger in ((None, 1), (accounts[0], None)):
            number = await holds.place(books, "shop", ledger, account, "a case")
            assert await held(database, names) == [True, True, False]
            assert not await archive(database, tmp_path, policy=LISTED)
            await holds.lift(books, number, "closed")
    async with asking(database) as connection:
        end_ns = await connection.fetchval("SELECT end_ns FROM pyledger.partition WHERE name = $1", names[1])
    (first,) = await archive(database, tmp_path, policy=LISTED, now_ns=end_ns + WEEK_NS - 1)
    assert (first.partition.name, first.do) == (names[0], ("archive", "drop"))
    (second,) = await archive(database, tmp_path, policy=LISTED, now_ns=end_ns + WEEK_NS)
    assert (second.partition.name, second.do) == (names[1], ("archive", "drop"))
    assert not await findings(database)


async def test_a_ledger_is_known_once_it_is_open(database: Database, alone: None) -> None:
    async with opened(database) as ledger, Books.open(database.owner_dsn) as books:
        assert await books.ledgers() == frozenset()
        await make_accounts(ledger)
        assert await books.ledgers() == {(TENANT, 1)}
        assert ledger._checkpointer is not None
        await ledger._checkpointer.take()
        assert await books.ledgers() == {(TENANT, 1)}
        await ledger.writer.submit(open_book(2, OTHER))
        assert await books.ledgers() == {(TENANT, 1), (OTHER, 2)}
    async with Books.open(database.owner_dsn) as books:
        assert await books.ledgers() == {(TENANT, 1), (OTHER, 2)}
