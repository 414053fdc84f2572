"""What the tests of retention share: books of several weeks, and the verbs as the command line calls them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from pyledger._rust import Engine
from pyledger.ledger import Ledger, seals
from pyledger.ledger.check import Finding, check
from pyledger.ledger.connections import QUERIES, connect
from pyledger.ledger.nouns import WEEK_NS
from pyledger.ledger.proofs.outside import place
from pyledger.retention.archiving import Archiving
from pyledger.retention.books import Books
from pyledger.retention.dropping import Dropping
from pyledger.retention.plan import Step, plan
from pyledger.retention.policy import Policy, Terms
from pyledger.retention.restoring import restore
from pyledger.retention.signatures import KeyOf
from tests.ledger.tools import (
    TENANT,
    fields,
    let_pass,
    make_accounts,
    opened,
    resolve,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database

POLICY: Final = Policy(Terms(7, 7), {})
"""Whatever is over for a week goes."""
WEEKS: Final = 3


def ignore(step: str, done: int, total: int) -> None:
    """Nobody looks."""


@dataclass
class History:
    """What was recorded: bodies of the first answers by id, in the order of the weeks."""

    accounts: list[str] = field(default_factory=list)
    weeks: list[list[dict[str, Any]]] = field(default_factory=list)
    open_hold: str = ""
    resolved_hold: str = ""
    declined: str = ""
    names: list[str] = field(default_factory=list)


async def write_history(database: Database, weeks: int = WEEKS, rows: int = 40, **settings: Any) -> History:
    """Books of this week and those after it; all but the last one are sealed."""
    history = History()
    async with opened(database, **settings) as ledger:
        history.accounts = await make_accounts(ledger, 4, reference="kept", metadata={"kept": True})
        for week in range(weeks):
            await write_week(ledger, history, week, rows)
            if week + 1 < weeks:
                let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfer(*history.accounts[:2]))
    await seal(database, history)
    return history


async def write_week(ledger: Ledger, history: History, week: int, rows: int) -> None:
    """Batches large and small, holds, a decline, a reversal."""
    debit, credit, *others = history.accounts
    some = [fields(debit, credit, 100 + each, reference=f"week {week}", metadata={"n": each}) for each in range(rows)]
    assert json.loads((await ledger.writer.submit(transfers(some))).body)["accepted"] == rows
    for each in range(3):
        some.append(fields(*others, 7 + each))
        assert (await ledger.writer.submit(transfer_of(some[-1]))).outcome == "accepted"
    back = resolve("reverse", some[0]["id"])
    assert (await ledger.writer.submit(back)).outcome == "accepted"
    if week == 0:
        held = [fields(debit, credit, 50, flags=["pending"]) for _ in range(2)]
        for each in held:
            assert (await ledger.writer.submit(transfer_of(each))).outcome == "accepted"
        assert (await ledger.writer.submit(resolve("post", held[1]["id"]))).outcome == "accepted"
        history.open_hold, history.resolved_hold = held[0]["id"], held[1]["id"]
        declined = fields(debit, credit, 1, flags=["post_pending"], pending_id=some[0]["id"])
        assert (await ledger.writer.submit(transfer_of(declined))).outcome == "declined"
        history.declined = declined["id"]
    history.weeks.append(some)


def transfer_of(body: dict[str, Any], tenant: int = TENANT) -> Any:
    from pyledger import _rust

    return _rust.decode_transfer(json.dumps(body).encode(), tenant, None)


async def seal(database: Database, history: History | None = None) -> list[str]:
    """Seal the partitions that are over as a server does, and give tenant 7 its name; the names of those with rows."""
    await run_as_admin(
        database, "INSERT INTO pyledger.tenant (id, name) VALUES ($1, 'shop') ON CONFLICT DO NOTHING", TENANT
    )
    connection = await connect(database.server_dsn, "pyledger test", seals.SETTINGS)
    try:
        names = []
        for row in await connection.fetch(QUERIES["partitions"]):
            span = seals.Span(*row)
            if await _indexed(connection, span) and not span.sealed:
                await _seal(connection, span)
            if await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM pyledger.journal WHERE tableoid = 'pyledger.{span.name}'::regclass)"
            ):
                names.append(span.name)
    finally:
        await connection.close()
    if history is not None:
        history.names = names
    return names


async def sign(database: Database, key: str) -> None:
    """A server with this key signs all that there is."""
    async with opened(database, signing_key=key, signing_interval_s=86_400) as ledger:
        assert ledger.proofs.signer is not None
        await ledger.proofs.signer.cover(ledger.stats.head_seq)


async def _indexed(connection: asyncpg.Connection, span: seals.Span) -> bool:
    """One index at a time; whether it has them all."""
    for _ in range(3):
        if await connection.fetchval("SELECT pyledger.index_partition($1)", span.start_ns):
            return True
    return False


async def _seal(connection: asyncpg.Connection, span: seals.Span) -> None:
    root, rows = await seals.batches(connection, span)
    made, added = seals.new_filter(rows), 0
    async for copy in seals.ids(connection, span):
        added += made.add(copy)
    assert added == rows
    assert await connection.fetchval(QUERIES["seal_partition"], span.start_ns, span.end_ns, rows, root, made.stored())


@dataclass(frozen=True)
class KilledDatabase:
    """As much of a database as the verbs need, for a process that is to be killed."""

    owner_dsn: str


def new_engine_of(shard: int) -> Engine:
    """An empty engine of a shard."""
    return Engine(shard, ledgers_max=100, accounts_max=2_000_000, holds_max=100_000, window_ids=100_000, seed=1)


async def findings_of(database: Database, shard: int) -> list[Finding]:
    """What `check` finds in a shard."""
    reports = check(database.owner_dsn, shard, lambda: new_engine_of(shard), place("", shard), [])
    return [report async for report in reports if isinstance(report, Finding)]


async def archive(
    database: Database | KilledDatabase,
    directory: Path,
    *,
    policy: Policy = POLICY,
    now_ns: int | None = None,
    again: str | None = None,
    allow_unsigned: bool = True,
    key_of: KeyOf = lambda _: None,
    report: Callable[[str, int, int], None] = ignore,
) -> list[Step]:
    """`pyledger archive`, at a time."""
    now_ns = time.time_ns() + 9 * WEEK_NS if now_ns is None else now_ns
    async with Books.open(database.owner_dsn) as books:
        seen = await books.see(policy, now_ns)
        steps = plan(seen, policy, await books.tenants(), now_ns, again)
        for step, each in zip(steps, seen, strict=True):
            if "archive" in step.do:
                await Archiving(books, directory, key_of, report, allow_unsigned=allow_unsigned).archive(each)
            if "drop" in step.do:
                await Dropping(books, directory, key_of, new_engine_of, report).drop(each)
    return [step for step in steps if step.do]


async def bring_back(
    database: Database | KilledDatabase, path: Path, report: Callable[[str, int, int], None] = ignore
) -> None:
    """`pyledger restore`."""
    async with Books.open(database.owner_dsn) as books:
        await restore(books, path, report)


@asynccontextmanager
async def asking(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner."""
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def count(database: Database) -> int:
    """Rows of the journal."""
    async with asking(database) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM pyledger.journal"))


async def digest(ledger: Ledger) -> bytes:
    """Of all balances and holds that an engine has."""
    return await ledger.writer.read(lambda engine: engine.digest())


async def takes_no_row(database: Database, name: str) -> None:
    """A partition that is over refuses rows, whatever table is in its place, and keeps its end."""
    async with asking(database) as connection:
        start_ns, end_ns = await connection.fetchrow(
            "SELECT start_ns, end_ns FROM pyledger.partition WHERE name = $1", name
        )
        with pytest.raises(asyncpg.RestrictViolationError, match=r"INSERT of .* is refused"):
            await connection.execute(
                "INSERT INTO pyledger.journal (shard, seq, recorded_ns, id, tenant, kind, status, amount, ledger, code,"
                " flags, timeout_s, fingerprint) VALUES (0, 1, $1, gen_random_uuid(), 1, 3, 0, 5, 1, 1, 0, 0, '')",
                end_ns - 1,
            )
        assert await connection.fetchval("SELECT pyledger.index_partition($1)", start_ns)
        assert not await connection.fetchval("SELECT pyledger.split_partition($1, $2)", start_ns, end_ns - 10**9)
        assert not await connection.fetchval("SELECT pyledger.merge_partition($1)", start_ns)
