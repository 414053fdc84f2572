"""Reads: current ones ride with the writer, history comes from PostgreSQL.

The invariant: every query names the tenant, and no answer speaks of a batch that was not acknowledged:
history ends at the last batch that the writer saw committed, and each answer waits for the writer once,
which proves that the head is still ours.
"""

import asyncio
import uuid
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

from pyledger._rust import Engine, decode_ledger
from pyledger.ledger import cursors
from pyledger.ledger.archived import Archived, Gone, Span, clamp, refusal
from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.feed import Feed
from pyledger.ledger.nouns import (
    ACCOUNT_ROWS_MAX,
    PAGE_PARTS_MAX,
    PAGE_ROWS_MAX,
    PARTITIONS_AT_ONCE,
    SCAN_ROWS_FIRST,
    BadCursor,
    Unavailable,
    first_line,
)
from pyledger.ledger.writer import Writer

T = TypeVar("T")

Texts = dict[str, tuple[str | None, str | None]]
"""Reference and metadata of accounts, by id."""

_NS_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of transfers asks for; all that is set must hold. Times in nanoseconds, `from_ns`
    included, `until_ns` not."""

    account: str | None = None
    ledger: int | None = None
    reference: str | None = None
    from_ns: int | None = None
    until_ns: int | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """JSON objects of one page, and the cursor of the next one; None at the end.

    A page may be short, even empty, and still have a next one: a scan is bounded."""

    items: list[bytes]
    next: str | None


class Reads:
    """Reads of one shard. All raise `Busy` or `Unavailable` like the writer's own."""

    def __init__(self, pool: Pool, writer: Writer, shard: int, *, scan_rows_max: int) -> None:
        self._pool, self._writer, self._shard = pool, writer, shard
        self._scan_rows_max = scan_rows_max
        self.gone = Gone(pool, shard)
        self.feed = Feed(pool, writer, shard, scan_rows_max=scan_rows_max)
        self.borders_ns = [0]
        """Where the first partitions begin, those that have the indexes of history, and where the last of them ends."""

    @property
    def indexed_ns(self) -> int:
        """All rows before it are in partitions that have the indexes of history."""
        return self.borders_ns[-1]

    def border_above(self, moment_ns: int, partitions: int) -> int:
        """Where the so-manieth partition with indexes ends from a moment on, or the last of them."""
        above = [each for each in self.borders_ns if each > moment_ns]
        return above[min(partitions, len(above)) - 1] if above else self.indexed_ns

    def border_below(self, moment_ns: int, partitions: int) -> int:
        """Where the so-manieth partition with indexes begins back from a moment, or the first of them."""
        below = [each for each in self.borders_ns if each < moment_ns]
        return below[-min(partitions, len(below))] if below else 0

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        try:
            return await self._pool.rows(name, *arguments)
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error

    async def ledger(self, tenant: int, number: int) -> bytes | None:
        """One ledger as JSON, current."""
        texts = await self._ledger_texts(tenant, [number])
        found = await self._writer.read(lambda engine: engine.ledger_json(tenant, number, texts.get(number)))
        if found is None or texts:
            return found
        # Opened between the two looks: its texts are there now.
        late = await self._ledger_texts(tenant, [number])
        return await self._writer.read(lambda engine: engine.ledger_json(tenant, number, late.get(number)))

    async def ledgers(self, tenant: int, cursor: str | None, limit: int) -> Page:
        """Ledgers in order of number, current. Raises `BadCursor`."""
        limit = _clamp(limit)
        after = None if cursor is None else int.from_bytes(cursors.unseal(tenant, "ledgers", cursor, 4))
        numbers = await self._writer.read(lambda engine: engine.ledger_numbers(tenant, after, limit + 1))
        more, numbers = len(numbers) > limit, numbers[:limit]
        metadata = await self._ledger_texts(tenant, numbers)
        items = await self._writer.read(
            lambda engine: [engine.ledger_json(tenant, number, metadata.get(number)) for number in numbers]
        )
        following = cursors.seal(tenant, "ledgers", numbers[-1].to_bytes(4)) if more else None
        return Page([item for item in items if item is not None], following)

    async def _ledger_texts(self, tenant: int, numbers: list[int]) -> dict[int, str | None]:
        # The id of the row that opened a ledger follows from its number; the core derives it.
        asked = (b'{"id": %d, "asset": "X", "exponent": 0}' % number for number in numbers)
        ids = [decode_ledger(body, tenant).ids[0] for body in asked]
        rows = await self._fetch("ledger_texts", self._shard, tenant, ids)
        return {row["ledger"]: row["metadata"] for row in rows}

    async def account(self, tenant: int, account_id: str) -> bytes | None:
        """One account with its balances now, as JSON."""
        texts = await self._account_texts(tenant, [account_id])
        found = await self._account_json(tenant, account_id, texts)
        if found is None or texts:
            return found
        # Opened between the two looks: its texts are there now.
        return await self._account_json(tenant, account_id, await self._account_texts(tenant, [account_id]))

    async def _account_json(self, tenant: int, account_id: str, texts: Texts) -> bytes | None:
        given = texts.get(account_id.lower(), (None, None))
        return await self._writer.read(lambda engine: engine.account_json(tenant, account_id, *given))

    async def accounts(self, tenant: int, ledger: int | None, cursor: str | None, limit: int) -> Page:
        """Accounts in order of creation with their balances now. Raises `BadCursor`."""
        limit, question = _clamp(limit), f"accounts\0{ledger}"
        after = None if cursor is None else str(uuid.UUID(bytes=cursors.unseal(tenant, question, cursor, 16)))

        def list_ids(engine: Engine) -> list[str]:
            try:
                return engine.account_ids(tenant, ledger, after, limit + 1)
            except ValueError as error:
                raise BadCursor("this cursor names no account") from error

        ids = await self._writer.read(list_ids)
        more, ids = len(ids) > limit, ids[:limit]
        texts = await self._account_texts(tenant, ids)
        items = await self._writer.read(
            lambda engine: [engine.account_json(tenant, each, *texts.get(each, (None, None))) for each in ids]
        )
        following = cursors.seal(tenant, question, uuid.UUID(ids[-1]).bytes) if more else None
        return Page([item for item in items if item is not None], following)

    async def _account_texts(self, tenant: int, ids: list[str]) -> Texts:
        rows = await self._fetch("account_texts", self._shard, tenant, ids)
        return {str(row["id"]): (row["reference"], row["metadata"]) for row in rows}

    async def texts_of(self, tenant: int, account_id: str, created_ns: int) -> tuple[str | None, str | None]:
        """Reference and metadata of an account that was opened at that time: one partition knows them."""
        rows = await self._fetch("texts_of_account", self._shard, tenant, account_id, created_ns)
        return (rows[0]["reference"], rows[0]["metadata"]) if rows else (None, None)

    async def transfer(self, tenant: int, transfer_id: str) -> bytes | None:
        """One transfer as its reply was, accepted or declined, as JSON. Raises `Archived`."""
        items = await self._transfer(tenant, transfer_id)
        if not items and await self.gone.look_for(tenant, transfer_id):
            items = await self._transfer(tenant, transfer_id)
        return items[0] if items else None

    async def _transfer(self, tenant: int, transfer_id: str) -> list[bytes]:
        rows = await self._fetch("transfer_by_id", self._shard, tenant, transfer_id, self._writer.stats.head_seq)
        return await self._rows_json([row["record"] for row in rows])

    async def _rows_json(self, records: list[bytes]) -> list[bytes]:
        return await self._writer.read(lambda engine: [engine.row_json(record) for record in records])

    async def transfers(self, tenant: int, asked: Filter, cursor: str | None, limit: int) -> Page:
        """Transfers newest first (or oldest first). Raises `BadCursor`, and `Archived` once there is nothing before it.

        A page looks at the rows of whole batches, `scan_rows_max` of them and the rest of the last batch, or at so
        many of an account where there are indexes for it; where it stopped is where the next one goes on."""
        limit, question, up = _clamp(limit), f"transfers\0{asked!r}", asked.oldest_first
        low_ns = min(asked.from_ns or 0, _NS_MAX)
        # Nothing after the head is asked for, so that PostgreSQL leaves out the partitions that are still to come.
        high_ns = min(_NS_MAX if asked.until_ns is None else asked.until_ns, self._writer.stats.head_ns + 1)
        if cursor is not None:
            position_ns = int.from_bytes(cursors.unseal(tenant, question, cursor, 8))
            low_ns, high_ns = (max(low_ns, position_ns), high_ns) if up else (low_ns, min(high_ns, position_ns))
        low_ns = min(low_ns, high_ns)
        # Rows that were read may have been dropped meanwhile; then it is known now, and read again.
        while True:
            refused: Archived | None = None
            rows: list[Any] = []
            edge_ns: int | None = None
            stop: Span | None = None
            spans = self.gone.spans
            try:
                from_ns, until_ns, stop = clamp(spans, low_ns, high_ns, up=up)
                rows, edge_ns = await self._look(tenant, asked, from_ns, until_ns, limit)
            except Archived as error:
                refused = error
            now, items = await asyncio.gather(self.gone.look(), self._rows_json([row["record"] for row in rows]))
            if now == spans:
                break
        if edge_ns is None and stop is not None:
            edge_ns = stop.start_ns if up else stop.end_ns
            refused = None if rows else refusal(stop)
        if refused is not None:
            raise refused
        return Page(items, None if edge_ns is None else cursors.seal(tenant, question, edge_ns.to_bytes(8)))

    async def _look(
        self, tenant: int, asked: Filter, low_ns: int, high_ns: int, limit: int
    ) -> tuple[list[Any], int | None]:
        """The rows of a page, and where to go on, if that is not all."""
        rows: list[Any] = []
        edge_ns: int | None = None
        for look, *bounds in self._parts(asked, low_ns, high_ns):
            found, edge_ns = await look(tenant, asked, *bounds, limit + 1 - len(rows))
            rows += found
            if edge_ns is not None or len(rows) > limit:
                break
        if len(rows) > limit:
            last_ns = rows[limit - 1]["recorded_ns"]
            edge_ns = last_ns + 1 if asked.oldest_first else last_ns
        return rows[:limit], edge_ns

    def _parts(self, asked: Filter, low_ns: int, high_ns: int) -> list[Any]:
        """How to look, and from when until when, in the order of the page; one partition at first, which is enough for
        who is busy, then a bounded number of them at once, and of those in all."""
        up = asked.oldest_first
        border_ns = min(max(low_ns, self.indexed_ns), high_ns) if asked.account else low_ns
        first_ns = max(low_ns, self.borders_ns[0])
        inner = [each for each in self.borders_ns if first_ns < each < border_ns][:: 1 if up else -1]
        edges = sorted({low_ns, *inner[::PARTITIONS_AT_ONCE], border_ns})
        parts: list[Any] = [(self._by_account, *pair) for pair in pairwise(edges)]
        parts += [(self._by_scan, border_ns, high_ns)] if border_ns < high_ns else []
        parts = parts[:: 1 if up else -1]
        if len(parts) > PAGE_PARTS_MAX:
            rest = parts[PAGE_PARTS_MAX]
            parts[PAGE_PARTS_MAX:] = [(self._later, rest[1] if up else low_ns, high_ns if up else rest[2])]
        return parts

    async def _later(self, _: int, asked: Filter, low_ns: int, high_ns: int, __: int) -> tuple[list[Any], int | None]:
        """Nothing: the next page begins there."""
        return [], low_ns if asked.oldest_first else high_ns

    async def _by_account(
        self, tenant: int, asked: Filter, low_ns: int, high_ns: int, limit: int
    ) -> tuple[list[Any], int | None]:
        """Rows of an account by the indexes of history, and where to go on, if that is not all."""
        order = "oldest_first" if asked.oldest_first else "newest_first"
        looked_max = limit if asked.ledger is None and asked.reference is None else max(limit, ACCOUNT_ROWS_MAX)
        rows = await self._fetch(
            f"page_of_account_{order}", self._shard, tenant, low_ns, high_ns, self._writer.stats.head_seq,
            asked.account, asked.ledger, asked.reference, looked_max, limit,
        )  # fmt: skip
        last_ns = rows[0]["last_ns"]
        if last_ns is not None and asked.oldest_first:
            last_ns += 1
        return [row for row in rows if row["recorded_ns"] is not None], last_ns

    async def _by_scan(
        self, tenant: int, asked: Filter, low_ns: int, high_ns: int, limit: int
    ) -> tuple[list[Any], int | None]:
        """Rows of whole batches, whoever's they are, and where to go on, if that is not all. Few at first: a page of
        who is busy needs no more."""
        rows: list[Any] = []
        looked, rows_max = 0, min(SCAN_ROWS_FIRST, self._scan_rows_max)
        while True:
            found, edge_ns = await self._scan(tenant, asked, low_ns, high_ns, limit - len(rows), rows_max)
            rows, looked = rows + found, looked + rows_max
            if edge_ns is None or len(rows) >= limit or looked >= self._scan_rows_max:
                return rows, edge_ns
            low_ns, high_ns = (edge_ns, high_ns) if asked.oldest_first else (low_ns, edge_ns)
            rows_max = min(4 * rows_max, self._scan_rows_max - looked)

    async def _scan(
        self, tenant: int, asked: Filter, low_ns: int, high_ns: int, limit: int, rows_max: int
    ) -> tuple[list[Any], int | None]:
        order = "oldest_first" if asked.oldest_first else "newest_first"
        rows = await self._fetch(
            f"page_{order}", self._shard, tenant, low_ns, high_ns, self._writer.stats.head_seq,
            asked.account, asked.ledger, asked.reference, limit, rows_max,
        )  # fmt: skip
        if not rows:
            return [], None
        return [row for row in rows if row["recorded_ns"] is not None], rows[0]["edge_ns"] if rows[0]["more"] else None


def _clamp(limit: int) -> int:
    return max(1, min(limit, PAGE_ROWS_MAX))
