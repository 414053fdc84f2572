"""What is proven at the end of every cycle, by SQL and by `pyledger check`, not by the server's word.

Guarded here: each acknowledged id is stored once, with the outcome and the time that its client was told; the
books are right from the first row on; and the balances that the server serves are the sums of the rows, debits
equal to credits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote
from uuid import UUID

from pyledger import _rust
from pyledger.ledger.check import Finding, check
from tests.faults.checker.words import nanoseconds
from tests.faults.ground import Ground
from tests.faults.load import Connection, Log

FOUND_MAX: Final = 10
"""Of one kind, that a cycle names."""
STORED: Final = "SELECT tenant, id, status, recorded_ns FROM pyledger.journal WHERE shard = 0 AND id = ANY ($1::uuid[])"
SUMS: Final = """
WITH accepted AS (
    SELECT * FROM pyledger.journal WHERE shard = 0 AND tenant = $1 AND status = 0
), open AS (
    SELECT * FROM accepted AS held WHERE kind = 4 AND NOT EXISTS (
        SELECT FROM accepted AS done WHERE done.target = held.id AND done.kind IN (5, 6, 8))
), sides AS (
    SELECT debit_account AS id, amount AS dd, 0 AS dp, 0 AS cc, 0 AS cp FROM accepted WHERE kind IN (3, 5, 7)
    UNION ALL SELECT credit_account, 0, 0, amount, 0 FROM accepted WHERE kind IN (3, 5, 7)
    UNION ALL SELECT debit_account, 0, amount, 0, 0 FROM open
    UNION ALL SELECT credit_account, 0, 0, 0, amount FROM open
)
SELECT id, sum(dp)::text AS dp, sum(dd)::text AS dd, sum(cp)::text AS cp, sum(cc)::text AS cc FROM sides GROUP BY id
"""
COUNTERS: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")


async def audit(ground: Ground, log: Log) -> list[str]:
    """Everything that is wrong with the books as they are now."""
    ground.look_after(ground.server)
    wrong = few(log.wrong)
    wrong += await acknowledged(ground, log.told)
    wrong += [f"check: {each.step}: {each.place}: {each.wrong}" for each in await findings(ground)]

    for name in ground.keys:
        wrong += await balances(ground, name)
    return wrong


def few(found: Iterable[str]) -> list[str]:
    """Some of many."""
    every = list(found)
    return every[:FOUND_MAX] + ([f"and {len(every) - FOUND_MAX} more"] if len(every) > FOUND_MAX else [])


async def acknowledged(ground: Ground, told: dict[tuple[str, str], tuple[bool, str]]) -> list[str]:
    """Each acknowledged id once, with its outcome."""
    stored: dict[tuple[int, str], list[tuple[bool, int]]] = defaultdict(list)
    async with ground.connected() as connection:
        for row in await connection.fetch(STORED, [UUID(each) for _, each in told]):
            stored[row["tenant"], str(row["id"])].append((row["status"] == 0, row["recorded_ns"]))
    wrong = []
    for (tenant, each), (accepted, at) in told.items():
        found = stored[ground.tenants[tenant], each]
        if not found:
            wrong.append(f"{tenant} {each} was acknowledged and is lost")
        elif len(found) > 1:
            wrong.append(f"{tenant} {each} is stored {len(found)} times")
        elif found[0] != (accepted, nanoseconds(at)):
            wrong.append(f"{tenant} {each} was told {(accepted, at)}, stored is {found[0]}")
    return few(wrong)


async def findings(ground: Ground) -> list[Finding]:
    """What `pyledger check` finds."""
    assert ground.database is not None
    found = [each async for each in check(ground.database.owner_dsn, 0, new_engine) if isinstance(each, Finding)]
    return found[:FOUND_MAX]


def new_engine() -> _rust.Engine:
    """An empty one with room for any cycle."""
    return _rust.Engine(0, ledgers_max=100, accounts_max=3_000_000, holds_max=1_000_000, window_ids=8_190, seed=1)


NOTHING: Final = (0, 0, 0, 0)
POSTED: Final = (1, 3)


async def balances(ground: Ground, tenant: str) -> list[str]:
    """The balances that are served, against the rows. Holds may expire meanwhile: those accounts by what is posted."""
    before = await sums(ground, tenant)
    served = await served_balances(ground, tenant)
    after = await sums(ground, tenant)
    wrong = []
    for each in served.keys() | after.keys():
        rows, said = after.get(each, NOTHING), served.get(each, ())
        whole = before.get(each, NOTHING) == rows
        if len(said) != len(rows) or any(said[place] != rows[place] for place in (range(4) if whole else POSTED)):
            wrong.append(f"{tenant} account {each} is served as {said}, its rows give {rows}")
    total = [sum(values) for values in zip(*served.values(), strict=True)] or list(NOTHING)
    if total[1] != total[3] or (before == after and total[0] != total[2]):
        wrong.append(f"{tenant}: debits are {total[:2]}, credits are {total[2:]}")
    return few(wrong)


async def sums(ground: Ground, tenant: str) -> dict[str, tuple[int, ...]]:
    """The counters of every account that has rows, added up by PostgreSQL."""
    async with ground.connected() as connection:
        rows = await connection.fetch(SUMS, ground.tenants[tenant])
    return {str(row["id"]): tuple(int(row[name]) for name in ("dp", "dd", "cp", "cc")) for row in rows}


async def served_balances(ground: Ground, tenant: str) -> dict[str, tuple[int, ...]]:
    """Every account as the server lists it."""
    connection, found, cursor = Connection(), {}, ""
    try:
        while True:
            await connection.open(ground.server.url)
            path = f"/v1/accounts?limit=1000{cursor}"
            head = f"GET {path} HTTP/1.1\r\nhost: {ground.server.url[7:]}\r\n"
            answer = await connection.ask(f"{head}authorization: Bearer {ground.keys[tenant]}\r\n\r\n".encode())
            page = json.loads(answer.partition(b"\r\n\r\n")[2])
            for account in page["data"]:
                found[account["id"]] = tuple(int(account["balances"][name]) for name in COUNTERS)
            if page["next"] is None:
                return found
            cursor = f"&cursor={quote(page['next'])}"
    finally:
        connection.close()
