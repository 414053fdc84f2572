"""The rows of one account, found: where partitions have the indexes of history by these, and else in the tail, by
looking at whoever's rows.

The invariant: what is found is all that there is between two moments, or it says up to where it looked, or it raises
`HistoryNotIndexed`. No question looks at more than a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg

from pyledger import sql
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, Pool
from pyledger.ledger.nouns import PARTITIONS_AT_ONCE, Unavailable, first_line
from pyledger.ledger.reads import Reads
from pyledger.ledger.statements.nouns import (
    ALL_KINDS,
    DATED_ROWS_MAX,
    DECLINED_ROWS_FIRST,
    DECLINED_ROWS_MAX,
    LOOK_ROWS_FIRST,
    LOOKS_MAX,
    MOVES,
    RECENT_MAX,
    TAIL_BATCHES,
    TAIL_ROWS_MAX,
    Counters,
    DatedPlace,
    Entry,
    HistoryArchived,
    HistoryNotIndexed,
    HistoryTooSlow,
    Subject,
    TooManyRows,
)
from pyledger.ledger.statements.pace import Pace

_QUERIES: Final = sql.load("pyledger.ledger.statements")

T = TypeVar("T")


class Recent(Generic[T]):
    """What was found out about moments of accounts that are over, so long as there is room."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str, int], T] = {}

    def get(self, moment: tuple[int, str, int]) -> T | None:
        """What is known of an account of a tenant before a moment."""
        return self._found.get(moment)

    def keep(self, moment: tuple[int, str, int], what: T) -> None:
        """Know it, and forget what was kept longest ago if that is too much."""
        self._found.pop(moment, None)
        self._found[moment] = what
        if len(self._found) > RECENT_MAX:
            del self._found[next(iter(self._found))]


class Last(NamedTuple):
    """An account's last accepted row before a moment, or its opening, and what it held after that."""

    recorded_ns: int
    held: Counters

    @classmethod
    def of(cls, row: Any) -> Last:
        """As the queries have it."""
        return cls(row["recorded_ns"], Counters.of(row["after"]))


class Here(NamedTuple):
    """Which rows are in the journal: what was read between two that are alike was read of the same rows."""

    steps: int
    gaps: int


@dataclass(slots=True)
class _Looking:
    """Whose last row is looked for, and before when it must be, as far as is known."""

    tenant: int
    account: str
    opened_ns: int
    until_ns: int


class History:
    """The rows of one shard's accounts. Callers ask for acknowledged moments only."""

    def __init__(self, pool: Pool, reads: Reads, shard: int, pace: Pace, *, scan_rows_max: int) -> None:
        self._pool, self._reads, self._shard, self._pace = pool, reads, shard, pace
        self._scan_rows_max = scan_rows_max
        self._known: Recent[Last] = Recent()
        self._passed: Recent[int] = Recent()

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """All rows of a named query of this shard."""
        try:
            of = _QUERIES if name in _QUERIES else QUERIES
            return await self._pool.rows(name, self._shard, *arguments, of=of)
        except asyncpg.QueryCanceledError as error:
            raise HistoryTooSlow(f"PostgreSQL took too long: {first_line(error)}") from error
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error

    async def batch_at(self, moment_ns: int) -> int:
        """The last batch that has a row at or before a moment; 0 if there is none."""
        return int((await self.fetch("batch_at", moment_ns))[0][0])

    async def here(self) -> Here:
        """Which rows are here. Asked for before rows are."""
        row = (await self.fetch("archived", 0, 0))[0]
        return Here(row["steps"], row["gaps"])

    async def check_kept(self, here: Here | None, from_ns: int, until_ns: int) -> None:
        """Raises `HistoryArchived` if rows between two moments are not in the journal any more, and `Unavailable` if
        some went since `here`, or came back: what was read since then may lack them."""
        row = (await self.fetch("archived", from_ns, until_ns))[0]
        if row["gone"]:
            raise HistoryArchived("rows that this takes were archived", row["here_since_ns"])
        if here is not None and here != (row["steps"], row["gaps"]):
            raise Unavailable("rows were archived or restored meanwhile")

    def know(self, tenant: int, account: str, until_ns: int, held: Counters) -> None:
        """What an account held right before a moment that is over: it stays so for ever."""
        self._known.keep((tenant, account, until_ns), Last(until_ns, held))

    async def before(self, tenant: int, account: str, opened_ns: int, until_ns: int) -> Counters:
        """What an account held right before a moment.

        Raises `HistoryArchived` or `HistoryNotIndexed`, and then looks further back the next time."""
        moment = (tenant, account, until_ns)
        last, here = self._known.get(moment), None
        if last is None:
            here = await self.here()
            passed_ns = self._passed.get(moment)
            looking = _Looking(tenant, account, opened_ns, until_ns if passed_ns is None else passed_ns)
            try:
                found = await self._last_of_tail(looking) or await self._last_indexed(looking)
            except HistoryNotIndexed:
                # Nothing is noted of rows that were not there to be looked at: they may be restored.
                await self.check_kept(here, looking.until_ns, until_ns)
                self._passed.keep(moment, looking.until_ns)
                raise
            last = Last(opened_ns, Counters()) if found is None else Last.of(found)
        last = (await self.kept(here, tenant, {account: last}, until_ns))[account]
        self._known.keep(moment, last)
        return last.held

    async def kept(self, here: Here | None, tenant: int, found: dict[str, Last], until_ns: int) -> dict[str, Last]:
        """What was found of accounts, if all rows since then are here; else what they held where what is archived ends,
        if that is later. Asked for after the rows, which may have gone since. Raises as `check_kept` does."""
        try:
            await self.check_kept(here, min((last.recorded_ns for last in found.values()), default=until_ns), until_ns)
            return found
        except HistoryArchived:
            rows = await self.fetch("begins", tenant, list(found))
            if not rows or rows[0]["last_ns"] >= until_ns:
                raise
        begins_ns = rows[0]["last_ns"] + 1
        held = {row["id"]: Counters(*(int(row[name]) for name in Counters._fields)) for row in rows if row["id"]}
        await self.check_kept(here, begins_ns, until_ns)
        return {
            account: last if last.recorded_ns >= begins_ns else Last(begins_ns, held.get(account, Counters()))
            for account, last in found.items()
        }

    async def _last_indexed(self, looking: _Looking) -> Any | None:
        rows_max, partitions = DECLINED_ROWS_FIRST, 1
        for _ in range(LOOKS_MAX):
            if looking.until_ns <= looking.opened_ns:
                return None
            low_ns = max(looking.opened_ns, self._reads.border_below(looking.until_ns, partitions))
            asked = (looking.tenant, looking.account, low_ns, looking.until_ns)
            row = (await self.fetch("last_indexed", *asked, rows_max))[0]
            rows_max, partitions = min(8 * rows_max, DECLINED_ROWS_MAX), PARTITIONS_AT_ONCE
            # What one side's first look did not reach may still be later than what the other side has.
            if row["recorded_ns"] is not None and (row["edge_ns"] is None or row["recorded_ns"] >= row["edge_ns"]):
                return row
            looking.until_ns = low_ns if row["edge_ns"] is None else row["edge_ns"]
        raise HistoryNotIndexed("too many commands of this account were declined before this moment")

    async def _last_of_tail(self, looking: _Looking) -> Any | None:
        from_ns = max(looking.opened_ns, self._reads.indexed_ns)
        rows_max, looked = LOOK_ROWS_FIRST, 0
        while from_ns < looking.until_ns:
            if looked >= TAIL_ROWS_MAX:
                raise HistoryNotIndexed("too many rows before this moment are not indexed yet")
            edge_ns, more = (await self.fetch("scan_newest_first", looking.until_ns, from_ns, rows_max))[0]
            low_ns = from_ns if edge_ns is None else max(from_ns, edge_ns)
            found = await self.fetch("last_scanned", looking.tenant, looking.account, low_ns, looking.until_ns)
            if found:
                return found[0]
            looking.until_ns = low_ns if more else from_ns
            looked += rows_max
            rows_max = min(4 * rows_max, self._scan_rows_max)
        return None

    async def entries(
        self, tenant: int, account: str, from_ns: int, until_ns: int, limit: int, *, holds: bool
    ) -> tuple[list[Entry], int]:
        """At most `limit` entries from a moment on and before another, in order, and up to where was looked."""
        kinds = ALL_KINDS if holds else MOVES
        entries: list[Entry] = []
        rows_max, partitions = LOOK_ROWS_FIRST, 1
        for _ in range(LOOKS_MAX):
            if from_ns >= until_ns or len(entries) == limit:
                break
            border_ns = min(until_ns, self._reads.border_above(from_ns, partitions))
            partitions = PARTITIONS_AT_ONCE
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
        rows = await self.fetch("entries_indexed", tenant, account, from_ns, until_ns, kinds, looked_max, limit)
        edge_ns = rows[0]["edge_ns"]
        found = await self._entries([row for row in rows if row["recorded_ns"] is not None])
        return found, until_ns if edge_ns is None else edge_ns + 1

    async def _scanned(
        self, tenant: int, account: str, from_ns: int, until_ns: int, kinds: tuple[int, ...], limit: int, rows_max: int
    ) -> tuple[list[Entry], int]:
        """The same in the tail, of so many rows whoever's they are."""
        edge_ns, _ = (await self.fetch("scan_oldest_first", from_ns, until_ns, rows_max))[0]
        if edge_ns is None:
            return [], until_ns
        edge_ns = min(edge_ns, until_ns)
        rows = await self.fetch("entries_scanned", tenant, account, from_ns, edge_ns, kinds, limit)
        return await self._entries(rows), edge_ns

    async def rows_between(self, from_ns: int, until_ns: int) -> int:
        """Rows of the batches that begin between two moments, whoever's they are; or more than `TAIL_ROWS_MAX`."""
        rows = 0
        for _ in range(TAIL_ROWS_MAX // TAIL_BATCHES + 1):
            found = (await self.fetch("rows_between", from_ns, until_ns, TAIL_BATCHES))[0]
            rows += found["rows"]
            if rows > TAIL_ROWS_MAX or found["batches"] < TAIL_BATCHES:
                break
            from_ns = found["last_ns"] + 1
        return rows

    @property
    def indexed_ns(self) -> int:
        """All rows before it can be found by account."""
        return self._reads.indexed_ns

    async def dated(
        self, tenant: int, subject: Subject, place: DatedPlace, limit: int
    ) -> tuple[dict[str, tuple[int, int]], list[Entry]]:
        """The first entries by effective date from a place on, and what moved before its period, its end and itself.

        Raises `TooManyRows`, `HistoryNotIndexed` or `HistoryArchived`."""
        border_ns = min(place.known_ns, max(subject.created_ns, self._reads.indexed_ns))
        if await self.rows_between(border_ns, place.known_ns) > TAIL_ROWS_MAX:
            raise HistoryNotIndexed("too many rows are not indexed yet")
        here = await self.here()
        rows = await self.fetch(
            "dated", tenant, subject.id, subject.created_ns, border_ns, place.known_ns, DATED_ROWS_MAX + 1,
            place.from_ns, place.until_ns, place.moment_ns, place.recorded_ns, limit,
        )  # fmt: skip
        if rows[0]["looked"] > DATED_ROWS_MAX:
            raise TooManyRows("the account has too many rows")
        await self.check_kept(here, subject.created_ns, place.known_ns)
        sums = {
            name: (int(rows[0][f"debits_{name}"]), int(rows[0][f"credits_{name}"]))
            for name in ("opening", "closing", "before")
        }
        return sums, await self._entries([row for row in rows if row["recorded_ns"] is not None])

    async def _entries(self, rows: Sequence[Any]) -> list[Entry]:
        pieces = await self._pace.each(rows, lambda piece: [_entry(row) for row in piece])
        return [entry for piece in pieces for entry in piece]


def _entry(row: Any) -> Entry:
    return Entry(
        row["seq"], row["recorded_ns"], row["id"], row["kind"], row["is_debit"], int(row["amount"]), row["other"],
        row["target"], row["code"], row["effective_ns"], row["reference"], row["metadata"],
        Counters.of(row["after"]) if "after" in row else Counters(),
    )  # fmt: skip
