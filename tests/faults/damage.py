"""What can be read of a database, and what a server shows of it: to tell whether a flipped bit did harm.

Guarded here: tables are read from end to end whatever their indexes say, and look-ups go through the indexes
whatever their size; an error of PostgreSQL is a difference like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES
from pyledger.ledger.nouns import first_line
from tests.faults.ground import LOOK_S, TENANTS, Ground
from tests.faults.load import Connection
from tests.faults.rows.e3_memory import Client
from tests.faults.traffic import account_id, text
from tests.faults.values import PROVEN

Reading = dict[str, str]
"""A digest, or PostgreSQL's error, by what was read."""
RELATIONS: Final = """
SELECT relname AS name, pg_relation_filepath(oid) AS path FROM pg_class LEFT JOIN pg_index ON indexrelid = oid
WHERE relnamespace = 'pyledger'::regnamespace AND relkind = $1::text::"char" AND relname ~ $2
    AND pg_relation_size(coalesce(indrelid, oid)) > 0
ORDER BY relname
"""
"""Where bits can be flipped: in tables that have rows, and in the indexes of those."""
TABLE: Final = """
SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (SELECT ROW({columns})::text AS line FROM pyledger.{table})
AS lines
"""
STRETCH: Final = "SELECT count(*) FROM pyledger.journal WHERE shard = 0 AND recorded_ns BETWEEN $1 AND $2"
IN_ORDER: Final = {
    "accounts": "SELECT slot, id FROM pyledger.account WHERE shard = 0 ORDER BY slot",
    "holds": "SELECT tenant, id FROM pyledger.hold WHERE shard = 0 ORDER BY tenant, id",
    "ledgers": "SELECT tenant, number FROM pyledger.ledger WHERE shard = 0 ORDER BY tenant, number",
    "subtrees": "SELECT level, number FROM pyledger.subtree WHERE shard = 0 ORDER BY level, number",
    "signatures": "SELECT size, key_number FROM pyledger.signed_checkpoint WHERE shard = 0 ORDER BY size, key_number",
}
_TIMEOUT: Final = {"statement_timeout": "20s"}
FROM_END_TO_END: Final = _TIMEOUT | {
    "enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off",
}  # fmt: skip
THROUGH_INDEXES: Final = _TIMEOUT | {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
WELL_TIMEOUT_S: Final = 60.0
MORE: Final = 20
"""Transfers after the last checkpoint."""
LISTS: Final = ("/v1/ledgers", "/v1/accounts", "/v1/transfers")
OF_HISTORY: Final = ("reference", "metadata")
"""Of accounts and ledgers: what their rows in the journal say, read anew each time."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the server may look up, from before the flip."""

    ids: list[tuple[int, UUID]]
    targets: list[tuple[int, UUID]]
    stretches: list[tuple[int, int]]


async def keys(place: Ground) -> Keys:
    """All of a database."""
    async with place.connected() as connection:
        rows = await connection.fetch("SELECT tenant, id, target FROM pyledger.journal")
        batches = await connection.fetch("SELECT first_ns, last_ns FROM pyledger.batch ORDER BY seq")
    targets = [(row["tenant"], row["target"]) for row in rows if row["target"] is not None]
    return Keys([(row["tenant"], row["id"]) for row in rows], targets, [tuple(row) for row in batches])


async def read(place: Ground, known: Keys) -> Reading:
    """Everything that is proven, both ways."""
    found: Reading = {}
    for table, columns in PROVEN.items():
        async with _reading(place, FROM_END_TO_END, found, f"table {table}") as lines:
            lines.append((TABLE.format(table=table, columns=", ".join(columns)),))
    lookup, batches = QUERIES["lookup"], QUERIES["batches_after"]
    async with _reading(place, THROUGH_INDEXES, found, "index for ids") as lines:
        lines.append((lookup, 0, *_split(known.ids), [], []))
    async with _reading(place, THROUGH_INDEXES, found, "index for targets") as lines:
        lines.append((lookup, 0, [], [], *_split(known.targets)))
    async with _reading(place, THROUGH_INDEXES, found, "index for batches") as lines:
        lines.append((batches, 0, 0, 2**31))
    async with _reading(place, THROUGH_INDEXES, found, "index for times") as lines:
        lines += [(STRETCH, *stretch) for stretch in known.stretches]
    for what, query in IN_ORDER.items():
        async with _reading(place, THROUGH_INDEXES, found, f"index for {what}") as lines:
            lines.append((query,))
    return found


def _split(pairs: list[tuple[int, UUID]]) -> tuple[list[int], list[UUID]]:
    return [tenant for tenant, _ in pairs], [each for _, each in pairs]


@contextlib.asynccontextmanager
async def _reading(place: Ground, settings: dict[str, str], found: Reading, name: str) -> AsyncIterator[list[Any]]:
    """Ask what is put into the list, on a connection of its own; keep the digest, or the error."""
    asked: list[Any] = []
    yield asked
    digest = hashlib.sha256()
    try:
        async with place.connected(**settings) as connection:
            for query, *arguments in asked:
                rows = await connection.fetch(query, *arguments)
                for row in sorted(map(repr, rows)):
                    digest.update(row.encode())
        found[name] = digest.hexdigest()
    except CONNECTION_ERRORS as error:
        found[name] = f"{type(error).__name__}: {first_line(error)}"
        await well(place)


def compared(truth: Reading, now: Reading) -> str:
    """What reads otherwise; "" if nothing does."""
    return "; ".join(f"{what} reads otherwise: {now[what][:120]}" for what in truth if truth[what] != now[what])


async def well(place: Ground) -> None:
    """PostgreSQL takes connections: a process of its that broke over a page has it recover."""
    deadline = time.monotonic() + WELL_TIMEOUT_S
    while True:
        if place.cluster.has_died():
            await place.start_postgres()
        with contextlib.suppress(*CONNECTION_ERRORS):
            async with place.connected() as connection:
                await connection.fetchval("SELECT 1")
                return
        assert time.monotonic() < deadline, "PostgreSQL takes no connections"
        await asyncio.sleep(LOOK_S)


async def some_more(place: Ground) -> None:
    """Rows after the last checkpoint, if the server is killed at once."""
    client = Client(place, place.server.url)
    for number in range(MORE):
        sent = {"id": str(UUID(int=(5 << 100) + number)), "debit_account_id": text(account_id(number % 3)),
                "credit_account_id": text(account_id(3)), "amount": "1", "ledger": 1, "code": 1}  # fmt: skip
        status, body = await client.post("/v1/transfers", json.dumps(sent).encode())
        assert status in (201, 422), body


REFUSED: Final = "refused "
"""Begins the name of a list that the server answers with 503."""


async def served(place: Ground, url: str) -> dict[str, str]:
    """Every ledger, account and transfer that the server lists, by tenant, list and id; and what of it is history."""
    found: dict[str, str] = {}
    for tenant in TENANTS:
        for path in LISTS:
            async for item in _listed(place, url, tenant, path):
                name = f"{tenant} {path} {item['id']}"
                if "refused" in item:
                    found[f"{'history ' * (path == '/v1/transfers')}{REFUSED}{tenant} {path}"] = item["refused"]
                    continue
                if path == "/v1/transfers":
                    found[f"history {name}"] = json.dumps(item)
                    continue
                texts = {word: item.pop(word, None) for word in OF_HISTORY}
                found[f"history {name}"], found[name] = json.dumps(texts), json.dumps(item)
    return found


def is_state(name: str) -> bool:
    """Whether it follows from what a start has verified, not from a row that is read when it is asked for."""
    return not name.startswith("history ")


def otherwise(truth: dict[str, str], now: dict[str, str]) -> Iterable[str]:
    """What is shown and is not the truth; a state that is not shown at all, or refused, is not the truth either."""
    refused = tuple(f"{name.partition(REFUSED)[2]} " for name in now if REFUSED in name)
    missing = [name for name in truth if is_state(name) and name not in now and not name.startswith(refused)]
    return missing + [name for name, item in now.items() if truth.get(name) != item]


async def _listed(place: Ground, url: str, tenant: str, path: str) -> AsyncIterator[dict[str, Any]]:
    """All items of a list, page by page, as far as the server shows them."""
    connection, cursor = Connection(), ""
    try:
        while True:
            await connection.open(url)
            head = f"GET {path}?limit=1000{cursor} HTTP/1.1\r\nhost: {url[7:]}\r\n"
            answer = await connection.ask(f"{head}authorization: Bearer {place.keys[tenant]}\r\n\r\n".encode())
            if not answer.startswith(b"HTTP/1.1 200"):
                if answer.startswith(b"HTTP/1.1 503"):
                    yield {"id": "", "refused": "503"}
                return
            page = json.loads(answer.partition(b"\r\n\r\n")[2])
            for item in page["data"]:
                yield item
            if page["next"] is None:
                return
            cursor = f"&cursor={quote(page['next'])}"
    finally:
        connection.close()
