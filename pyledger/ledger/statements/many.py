"""What many accounts held at one moment: forward from what they hold now, or back to the last row of each.

The invariant: whichever way, no more rows are passed than a bound, and what is found is exact. Forward, of an account
that has changed since, the first row after the moment says what it held right after that row, and so right before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyledger.ledger.statements.history import History, Last
from pyledger.ledger.statements.nouns import (
    KINDS,
    LOOK_ROWS_FIRST,
    MANY_ACCOUNTS,
    MANY_DECLINED_ROWS_MAX,
    MANY_ROWS_FIRST,
    TAIL_ROWS_MAX,
    Counters,
    HistoryArchived,
    HistoryNotIndexed,
    TooManyRows,
)
from pyledger.ledger.statements.pace import Pace
from pyledger.ledger.statements.rows import undone

_PIECE_ROWS: Final = 250
"""Balances that are read at once, see `Pace`."""


class Many:
    """The accounts of one shard."""

    def __init__(self, history: History, pace: Pace) -> None:
        self._history, self._pace = history, pace

    async def before(
        self, tenant: int, opened: Mapping[str, int], until_ns: int, now: Mapping[str, Counters], head_ns: int
    ) -> dict[str, Counters]:
        """What each account held right before a moment, of accounts with when they were opened and what they hold now.

        Raises `HistoryNotIndexed`, `HistoryArchived` or `TooManyRows`."""
        border_ns = min(until_ns, self._history.indexed_ns)
        behind = await self._history.rows_between(border_ns, until_ns)
        if behind > LOOK_ROWS_FIRST:
            ahead = await self._history.rows_between(until_ns, head_ns + 1)
            if min(behind, ahead) > TAIL_ROWS_MAX:
                raise HistoryNotIndexed("too many rows around this moment are not indexed yet")
            if ahead < behind:
                return dict(now) | await self._forward(tenant, list(opened), until_ns, head_ns)
        return await self._back(tenant, opened, border_ns, until_ns)

    async def _forward(self, tenant: int, accounts: list[str], until_ns: int, head_ns: int) -> dict[str, Counters]:
        """What those held that have changed since."""
        held: dict[str, Counters] = {}

        def keep(rows: Sequence[Any]) -> None:
            for row in rows:
                if KINDS[row["kind"]] == "post" and row["held"] is None:
                    raise HistoryArchived("rows that this takes were archived")
                held[row["id"]] = undone(
                    Counters.of(row["after"]), row["kind"], int(row["amount"]), int(row["held"] or 0), row["is_debit"]
                )

        here = await self._history.here()
        rows = await self._history.fetch("many_changed", tenant, accounts, until_ns, head_ns + 1)
        await self._pace.each(rows, keep, _PIECE_ROWS)
        await self._history.check_kept(here, until_ns, head_ns + 1)
        return held

    async def _back(self, tenant: int, opened: Mapping[str, int], border_ns: int, until_ns: int) -> dict[str, Counters]:
        found: dict[str, Last] = {}

        def keep(rows: Sequence[Any]) -> None:
            found.update({row["id"]: Last.of(row) for row in rows if row["after"] is not None})

        here = await self._history.here()
        rows = await self._history.fetch("many_scanned", tenant, list(opened), border_ns, until_ns)
        await self._pace.each(rows, keep, _PIECE_ROWS)
        rest = [account for account in opened if account not in found and opened[account] < border_ns]
        rows_left = MANY_DECLINED_ROWS_MAX
        for at in range(0, len(rest), MANY_ACCOUNTS):
            asked, rows_max = rest[at : at + MANY_ACCOUNTS], MANY_ROWS_FIRST
            while asked:
                rows = await self._history.fetch("many_indexed", tenant, asked, border_ns, rows_max)
                await self._pace.each(rows, keep, _PIECE_ROWS)
                asked, rows_max = [row["id"] for row in rows if row["unsure"]], 8 * rows_max
                rows_left -= len(asked) * rows_max
                if rows_left < 0:
                    raise TooManyRows("too many commands were declined before this moment")
        last = {account: found.get(account) or Last(opened_ns, Counters()) for account, opened_ns in opened.items()}
        kept = await self._history.kept(here, tenant, last, until_ns)
        return {account: each.held for account, each in kept.items()}
