"""What is not in the journal any more because it is in an archive, for whoever reads.

The invariant: what was archived is never shown as if it had not been. A list stops in front of it and says so, an id
that is in an archive has its name, and none of it is looked for where it cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyledger.ledger.connections import CONNECTION_ERRORS, Pool
from pyledger.ledger.nouns import NS_PER_S, LedgerError, Unavailable, first_line


class Archived(LedgerError):
    """What was asked for was recorded, and is in an archive by now. `str()` is one clear line.

    `name` is that of the archive, where it is one; what was recorded from `until_ns` on is still here."""

    def __init__(self, reason: str, until_ns: int, name: str | None = None) -> None:
        super().__init__(reason)
        self.until_ns, self.name = until_ns, name


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when rows are archived."""

    start_ns: int
    end_ns: int


class Gone:
    """Of one shard. Raises `Unavailable` where PostgreSQL is away.

    `spans` are those that were there when somebody looked last. Who reads by them looks again afterwards, for rows may
    have gone meanwhile, and compares with those it read by: others look, too."""

    def __init__(self, pool: Pool, shard: int) -> None:
        self._pool, self._shard = pool, shard
        self.spans: tuple[Span, ...] = ()

    async def look(self) -> tuple[Span, ...]:
        """Those that there are now."""
        self.spans = found = tuple([Span(*row) for row in await self._rows("archived_spans", self._shard)])
        return found

    async def look_for(self, tenant: int, row_id: str) -> bool:
        """Raises `Archived` if a row that was not found in the journal is in an archive. Whether it was
        restored, and may be found by now."""
        for row in await self._rows("archive_of_id", self._shard, tenant, row_id):
            if row["name"] is not None:
                raise Archived(f"this transfer is in the archive {row['name']}", row["end_ns"], row["name"])
            return True
        return False

    async def require(self, recorded_ns: int) -> None:
        """Raises `Archived` if what was recorded at this time is archived."""
        span = await self.between(recorded_ns, recorded_ns)
        if span is not None:
            raise refusal(span)

    async def between(self, first_ns: int, last_ns: int) -> Span | None:
        """The first span that has to do with a stretch of time, its ends included."""
        return next((span for span in await self.look() if span.start_ns <= last_ns and span.end_ns > first_ns), None)

    async def last_of(self, span: Span) -> tuple[int, int]:
        """The last batch that ends in a span: its number and time."""
        rows = await self._rows("last_batch_before", self._shard, span.end_ns)
        return (rows[0]["seq"], rows[0]["last_ns"]) if rows else (0, 0)

    async def _rows(self, name: str, *arguments: object) -> list[Any]:
        try:
            return await self._pool.rows(name, *arguments)
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"PostgreSQL is away: {first_line(error)}") from error


def clamp(spans: tuple[Span, ...], low_ns: int, high_ns: int, *, up: bool) -> tuple[int, int, Span | None]:
    """The part of a stretch that can be read from its near end on, and what it stops at, if anything.

    Raises `Archived` if there is no such part."""
    within = [span for span in spans if span.start_ns < high_ns and span.end_ns > low_ns]
    if not within or low_ns >= high_ns:
        return low_ns, high_ns, None
    near = within[0] if up else within[-1]
    if (near.start_ns <= low_ns) if up else (near.end_ns >= high_ns):
        raise refusal(near)
    return (low_ns, near.start_ns, near) if up else (near.end_ns, high_ns, near)


def refusal(span: Span) -> Archived:
    """What is said of rows of a span."""
    until = datetime.fromtimestamp(span.end_ns // NS_PER_S, UTC)
    return Archived(f"what was recorded before {until:%Y-%m-%dT%H:%M:%SZ} is archived", span.end_ns)
