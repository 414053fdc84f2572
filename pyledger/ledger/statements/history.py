"""The rows of one account, found: where partitions have the indexes of history by these, and else in the tail, by
looking at whoever's rows.

The invariant: what is found is all that there is between two moments, or it says up to where it looked, or it raises
`HistoryNotIndexed`. No question looks at more than a bounded number of rows.
"""

from __future__ import annotations

from typing import Any, Final

from pyledger import sql
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, Pool
from pyledger.ledger.nouns import Unavailable, first_line
from pyledger.ledger.reads import Reads
from pyledger.ledger.statements.nouns import (
    ALL_KINDS,
    DATED_ROWS_MAX,
    DECLINED_ROWS_FIRST,
    DECLINED_ROWS_MAX,
    LOOK_ROWS_FIRST,
    LOOKS_MAX,
    MANY_DECLINED_ROWS_MAX,
    MOVES,
    TAIL_ROWS_MAX,
    Counters,
    DatedPlace,
    Entry,
    HistoryArchived,
    HistoryNotIndexed,
    Subject,
    TooManyRows,
)

_QUERIES: Final = sql.load("pyledger.ledger.statements")


class History:
    """The rows of one shard's accounts. Callers ask for acknowledged moments only."""

    def __init__(self, pool: Pool, reads: Reads, shard: int, *, scan_rows_max: int) -> None:
        self._pool, self._reads, self._shard, self._scan_rows_max = pool, reads, shard, scan_rows_max

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        try:
            of = _QUERIES if name in _QUERIES else QUERIES
            return await self._pool.rows(name, self._shard, *arguments, of=of)
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error

    async def batch_at(self, moment_ns: int) -> int:
        """The last batch that has a row at or before a moment; 0 if there is none."""
        return int((await self._fetch("batch_at", moment_ns))[0][0])

    async def check_kept(self, from_ns: int, until_ns: int) -> None:
        """Raises `HistoryArchived` if rows between two moments are not in the journal any more."""
        if (await self._fetch("archived", from_ns, until_ns))[0][0]:
            raise HistoryArchived("rows that this takes were archived")

    async def before(self, tenant: int, account: str, opened_ns: int, until_ns: int) -> Counters:
        """What an account held right before a moment."""
        border_ns = min(until_ns, max(opened_ns, self._reads.indexed_ns))
        found = await self._last_of_tail(tenant, account, border_ns, until_ns)
        rows_max = DECLINED_ROWS_FIRST
        for _ in range(LOOKS_MAX):
            if found is not None or border_ns <= opened_ns:
                return Counters() if found is None else Counters.of(found)
            row = (await self._fetch("last_indexed", tenant, account, opened_ns, border_ns, rows_max))[0]
            rows_max = min(8 * rows_max, DECLINED_ROWS_MAX)
            # What one side's first look did not reach may still be later than what the other side has.
            if row["recorded_ns"] is not None and (row["edge_ns"] is None or row["recorded_ns"] >= row["edge_ns"]):
                found = row["after"]
            else:
                border_ns = opened_ns if row["edge_ns"] is None else row["edge_ns"]
        raise HistoryNotIndexed("too many commands of this account were declined before this moment")

    async def _last_of_tail(self, tenant: int, account: str, from_ns: int, until_ns: int) -> bytes | None:
        rows_max, looked = LOOK_ROWS_FIRST, 0
        while from_ns < until_ns:
            if looked >= TAIL_ROWS_MAX:
                raise HistoryNotIndexed("too many rows before this moment are not indexed yet")
            edge_ns, more = (await self._fetch("scan_newest_first", until_ns, from_ns, rows_max))[0]
            if edge_ns is None:
                return None
            found = await self._fetch("last_scanned", tenant, account, max(from_ns, edge_ns), until_ns)
            if found:
                return bytes(found[0]["after"])
            if not more:
                return None
            looked += rows_max
            until_ns, rows_max = edge_ns, min(4 * rows_max, self._scan_rows_max)
        return None

    async def entries(
        self, tenant: int, account: str, from_ns: int, until_ns: int, limit: int, *, holds: bool
    ) -> tuple[list[Entry], int]:
        """At most `limit` entries from a moment on and before another, in order, and up to where was looked."""
        kinds = ALL_KINDS if holds else MOVES
        entries: list[Entry] = []
        rows_max = LOOK_ROWS_FIRST
        for _ in range(LOOKS_MAX):
            if from_ns >= until_ns or len(entries) == limit:
                break
            border_ns = min(until_ns, self._reads.indexed_ns)
            asked = (tenant, account, from_ns, border_ns, kinds, limit - len(entries))
            if from_ns < border_ns:
                rows, edge_ns = await self._indexed(*asked)
            else:
                rows, edge_ns = await self._scanned(*asked[:3], until_ns, *asked[4:], rows_max)
                rows_max = min(4 * rows_max, self._scan_rows_max)
            entries += rows
            from_ns = rows[-1].recorded_ns + 1 if len(entries) == limit else edge_ns
        return entries, min(from_ns, until_ns)

    async def _indexed(
        self, tenant: int, account: str, from_ns: int, until_ns: int, kinds: tuple[int, ...], limit: int
    ) -> tuple[list[Entry], int]:
        """The first entries by one look, and where the next look begins if these are all of it."""
        looked_max = 2 * limit + 1  # some rows are declined, or of holds
        rows = await self._fetch("entries_indexed", tenant, account, from_ns, until_ns, kinds, looked_max, limit)
        edge_ns = rows[0]["edge_ns"]
        found = [_entry(row) for row in rows if row["recorded_ns"] is not None]
        return found, until_ns if edge_ns is None else edge_ns + 1

    async def _scanned(
        self, tenant: int, account: str, from_ns: int, until_ns: int, kinds: tuple[int, ...], limit: int, rows_max: int
    ) -> tuple[list[Entry], int]:
        """The same in the tail, of so many rows whoever's they are."""
        edge_ns, _ = (await self._fetch("scan_oldest_first", from_ns, until_ns, rows_max))[0]
        if edge_ns is None:
            return [], until_ns
        edge_ns = min(edge_ns, until_ns)
        rows = await self._fetch("entries_scanned", tenant, account, from_ns, edge_ns, kinds, limit)
        return [_entry(row) for row in rows], edge_ns

    async def of_many(self, tenant: int, accounts: list[str], until_ns: int) -> dict[str, Counters]:
        """What each account held right before a moment. Raises `HistoryNotIndexed` or `HistoryArchived`."""
        await self.check_kept(0, until_ns)
        border_ns = min(until_ns, self._reads.indexed_ns)
        if (await self._fetch("scan_oldest_first", border_ns, until_ns, TAIL_ROWS_MAX))[0]["more"]:
            raise HistoryNotIndexed("too many rows before this moment are not indexed yet")
        held = dict.fromkeys(accounts, Counters())
        rows = await self._fetch("many_scanned", tenant, accounts, border_ns, until_ns)
        found = {row["id"]: Counters.of(row["after"]) for row in rows}
        held |= found
        rest = [account for account in accounts if account not in found]
        rows = await self._fetch("many_indexed", tenant, rest, 0, border_ns, MANY_DECLINED_ROWS_MAX) if rest else []
        held |= {row["id"]: Counters.of(row["after"]) for row in rows if row["after"] is not None}
        for row in rows:
            if row["unsure"]:
                held[row["id"]] = await self.before(tenant, row["id"], 0, border_ns)
        return held

    async def dated(
        self, tenant: int, subject: Subject, place: DatedPlace, limit: int
    ) -> tuple[dict[str, tuple[int, int]], list[Entry]]:
        """The first entries by effective date from a place on, and what moved before its period, its end and itself.

        Raises `TooManyRows`, `HistoryNotIndexed` or `HistoryArchived`."""
        await self.check_kept(subject.created_ns, place.known_ns)
        border_ns = min(place.known_ns, max(subject.created_ns, self._reads.indexed_ns))
        if (await self._fetch("scan_oldest_first", border_ns, place.known_ns, TAIL_ROWS_MAX))[0]["more"]:
            raise HistoryNotIndexed("too many rows are not indexed yet")
        rows = await self._fetch(
            "dated", tenant, subject.id, subject.created_ns, border_ns, place.known_ns, DATED_ROWS_MAX + 1,
            place.from_ns, place.until_ns, place.moment_ns, place.recorded_ns, limit,
        )  # fmt: skip
        if rows[0]["looked"] > DATED_ROWS_MAX:
            raise TooManyRows("the account has too many rows")
        sums = {
            name: (int(rows[0][f"debits_{name}"]), int(rows[0][f"credits_{name}"]))
            for name in ("opening", "closing", "before")
        }
        return sums, [_entry(row, Counters()) for row in rows if row["recorded_ns"] is not None]


def _entry(row: Any, after: Counters | None = None) -> Entry:
    return Entry(
        row["seq"], row["recorded_ns"], row["id"], row["kind"], row["is_debit"], int(row["amount"]), row["other"],
        row["target"], row["code"], row["effective_ns"], row["reference"], row["metadata"],
        Counters.of(row["after"]) if after is None else after,
    )  # fmt: skip
