"""The same by effective date: when things happened, as far as anybody knew at the last commit.

The invariant: each row counts at its effective date, or where it has none when it was recorded. Only what is posted has
a balance then, for a hold has no such date. All rows of the account are looked at, of which there is a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pyledger.ledger import cursors
from pyledger.ledger.nouns import PAGE_ROWS_MAX, BadCursor
from pyledger.ledger.statements.history import History
from pyledger.ledger.statements.nouns import (
    NS_MAX,
    BalancesAt,
    DatedPlace,
    Disagrees,
    Entry,
    Period,
    Statement,
    StatementRow,
    Subject,
    head_of,
    question_of,
)
from pyledger.ledger.statements.pace import Pace
from pyledger.ledger.statements.rows import row_of
from pyledger.ledger.statements.subjects import Subjects
from pyledger.ledger.times import instant

_CURSOR_BYTES: Final = 40


class ByDate:
    """Balances and statements by effective date."""

    def __init__(self, subjects: Subjects, history: History, pace: Pace) -> None:
        self._subjects, self._history, self._pace = subjects, history, pace

    async def account(self, tenant: int, account_id: str, moment_ns: int) -> bytes | None:
        """An account with what was posted to it with a date up to a moment, as JSON; None if there is none."""
        subject = await self._subjects.find(tenant, account_id)
        if subject is None:
            return None
        until_ns = min(moment_ns + 1, NS_MAX)
        place = DatedPlace(until_ns, until_ns, subject.head_ns + 1, until_ns, 0)
        sums, _ = await self._history.dated(tenant, subject, place, 0)
        await self._subjects.confirm()
        then = {"as_of": instant(moment_ns), "by": "effective", "seq": subject.head_seq}
        return msgspec.json.encode(subject.as_before | {"balances": _balances(subject, sums["closing"])} | then)

    async def page(
        self, tenant: int, account_id: str, asked: Period, cursor: str | None, limit: int
    ) -> Statement | None:
        """A page of a statement in the order of effective dates; None if there is no such account."""
        subject = await self._subjects.find(tenant, account_id)
        if subject is None:
            return None
        place = self._place(tenant, subject, asked, cursor)
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        sums, entries = await self._history.dated(tenant, subject, place, limit + 1)
        running = sums["before"]
        rows: list[StatementRow] = []

        def show(piece: Sequence[Entry]) -> None:
            nonlocal running
            for entry in piece:
                running = running[0] + entry.moved[0], running[1] + entry.moved[1]
                rows.append(row_of(entry, _balances(subject, running)))

        await self._pace.each(entries[:limit], show)
        following = None
        if len(entries) > limit:
            effective_ns = entries[limit].effective_ns
            after = DatedPlace(
                place.from_ns,
                place.until_ns,
                place.known_ns,
                entries[limit].recorded_ns if effective_ns is None else effective_ns,
                entries[limit].recorded_ns,
            )
            following = cursors.seal(tenant, question_of(subject.id, asked), after.sealed())
        elif running != sums["closing"]:
            raise Disagrees(f"account {subject.id}: its rows lead to {running}, and its sum is {sums['closing']}")
        if cursor is None and sums["before"] != sums["opening"]:
            raise Disagrees(f"account {subject.id}: its first page begins with {sums['before']}, not {sums['opening']}")
        head: dict[str, Any] = head_of(
            subject,
            place.from_ns,
            place.until_ns,
            _balances(subject, sums["opening"]),
            _balances(subject, sums["closing"]),
            await self._history.batch_at(place.known_ns - 1),
        )
        await self._subjects.confirm()
        return Statement(**head, by="effective", data=rows, next=following)

    def _place(self, tenant: int, subject: Subject, asked: Period, cursor: str | None) -> DatedPlace:
        end_ns = subject.head_ns + 1
        if cursor is None:
            until_ns = end_ns if asked.until_ns is None else asked.until_ns
            from_ns = min(asked.from_ns or 0, until_ns)
            return DatedPlace(from_ns, until_ns, end_ns, from_ns, 0)
        raw = cursors.unseal(tenant, question_of(subject.id, asked), cursor, _CURSOR_BYTES)
        place = DatedPlace(*(int.from_bytes(raw[at : at + 8]) for at in range(0, _CURSOR_BYTES, 8)))
        in_order = place.from_ns <= place.moment_ns <= place.until_ns <= NS_MAX
        if not in_order or max(place.known_ns, place.recorded_ns) > end_ns:
            raise BadCursor("this is no place in this statement")
        return place


def _balances(subject: Subject, moved: tuple[int, int]) -> BalancesAt:
    sign = 1 if subject.is_debit_account else -1
    return BalancesAt(
        debits_posted=str(moved[0]), credits_posted=str(moved[1]), posted=str(sign * (moved[0] - moved[1]))
    )
