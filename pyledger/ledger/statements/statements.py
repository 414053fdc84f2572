"""What an account held at a moment, and its statement for a period.

The invariant: a moment that is answered is over. Nothing can be recorded at or before it any more, so the same question
about it has one answer for ever; a later moment is answered as of the last commit, and the answer says so. And what
does not add up is not shown: the balance before the rows of a page and the rows themselves must lead, row by row, to
the balances that the journal keeps with each, and in the end to the closing balance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from pyledger.ledger import cursors
from pyledger.ledger.connections import Pool
from pyledger.ledger.nouns import PAGE_ROWS_MAX, BadCursor
from pyledger.ledger.reads import Reads
from pyledger.ledger.statements.dated import ByDate
from pyledger.ledger.statements.history import History
from pyledger.ledger.statements.nouns import (
    DOCUMENT_PAGES_MAX,
    DOCUMENT_ROWS_MAX,
    NS_MAX,
    By,
    Counters,
    Disagrees,
    Entry,
    NotOpenedYet,
    Period,
    Statement,
    StatementRow,
    StatementTooLong,
    Subject,
    head_of,
    question_of,
)
from pyledger.ledger.statements.pace import Pace
from pyledger.ledger.statements.rows import follow, row_of
from pyledger.ledger.statements.subjects import Subjects
from pyledger.ledger.statements.trial import Trial
from pyledger.ledger.times import instant
from pyledger.ledger.writer import Writer

_CURSOR_BYTES: Final = 24


class Statements:
    """The statements of one shard. All raise `Busy` or `Unavailable` like the writer's own reads."""

    def __init__(self, pool: Pool, reads: Reads, writer: Writer, shard: int, *, scan_rows_max: int) -> None:
        self.pace = Pace()
        self._subjects = Subjects(reads, writer)
        self._history = History(pool, reads, shard, self.pace, scan_rows_max=scan_rows_max)
        self._by_date = ByDate(self._subjects, self._history, self.pace)
        self.trial = Trial(writer, self._history, self.pace)

    async def account(self, tenant: int, account_id: str, moment_ns: int, by: By = "recorded") -> bytes | None:
        """An account with its balances as of a moment, as JSON; None if there is none.

        Raises `NotOpenedYet`, `HistoryNotIndexed`, `HistoryArchived` or, by effective date, `TooManyRows`."""
        if by == "effective":
            return await self._by_date.account(tenant, account_id, moment_ns)
        subject = await self._subjects.find(tenant, account_id)
        if subject is None:
            return None
        if moment_ns < subject.created_ns:
            raise NotOpenedYet("the account was opened later")
        moment_ns = min(moment_ns, subject.head_ns)
        held = await self._held(tenant, subject, moment_ns + 1)
        seq = subject.head_seq if moment_ns == subject.head_ns else await self._history.batch_at(moment_ns)
        await self._subjects.confirm()
        then = {"as_of": instant(moment_ns), "by": "recorded", "seq": seq}
        return msgspec.json.encode(subject.as_before | {"balances": subject.balances(held)} | then)

    async def page(
        self, tenant: int, account_id: str, asked: Period, cursor: str | None, limit: int
    ) -> Statement | None:
        """A page of a statement; None if there is no such account. Raises `BadCursor`, and as `account` does."""
        if asked.by == "effective":
            return await self._by_date.page(tenant, account_id, asked, cursor, limit)
        subject = await self._subjects.find(tenant, account_id)
        if subject is None:
            return None
        from_ns, until_ns, at_ns = self._place(tenant, subject, asked, cursor)
        head, closing = await self._head(tenant, subject, from_ns, until_ns)
        running = await self._held(tenant, subject, at_ns)
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        here = await self._history.here()
        entries, edge_ns = await self._history.entries(tenant, subject.id, at_ns, until_ns, limit, holds=asked.holds)
        await asyncio.gather(self._history.check_kept(here, at_ns, edge_ns), self._subjects.confirm())
        rows: list[StatementRow] = []

        def show(piece: Sequence[Entry]) -> None:
            nonlocal running
            for entry in piece:
                running = follow(running, entry, exact=asked.holds)
                rows.append(row_of(entry, subject.balances(entry.after)))

        await self.pace.each(entries, show)
        following = None
        if edge_ns < until_ns:
            place = b"".join(number.to_bytes(8) for number in (from_ns, until_ns, edge_ns))
            following = cursors.seal(tenant, question_of(subject.id, asked), place)
        elif (running if asked.holds else running.posted) != (closing if asked.holds else closing.posted):
            raise Disagrees(f"account {subject.id}: its rows lead to {running}, and its closing balance is {closing}")
        return Statement(**head, by="recorded", data=rows, next=following)

    async def pages(self, tenant: int, account_id: str, asked: Period) -> AsyncIterator[Statement]:
        """All pages of a statement, for a document; none if there is no such account.

        Raises `StatementTooLong`, and as `page`."""
        rows, cursor = 0, None
        for _ in range(DOCUMENT_PAGES_MAX):
            page = await self.page(tenant, account_id, asked, cursor, PAGE_ROWS_MAX)
            if page is None:
                return
            rows, cursor = rows + len(page.data), page.next
            if rows > DOCUMENT_ROWS_MAX:
                break
            yield page
            if cursor is None:
                return
        raise StatementTooLong(f"it has more than {DOCUMENT_ROWS_MAX} rows, or too many that are not shown")

    async def _held(self, tenant: int, subject: Subject, until_ns: int) -> Counters:
        """What it held right before a moment."""
        if until_ns > subject.head_ns:
            self._history.know(tenant, subject.id, until_ns, subject.now)
            return subject.now
        if until_ns <= subject.created_ns:
            return Counters()
        return await self._history.before(tenant, subject.id, subject.created_ns, until_ns)

    def _place(self, tenant: int, subject: Subject, asked: Period, cursor: str | None) -> tuple[int, int, int]:
        """From when until when, and where this page begins. The first page says until when, for all of them."""
        end_ns = subject.head_ns + 1
        if cursor is not None:
            raw = cursors.unseal(tenant, question_of(subject.id, asked), cursor, _CURSOR_BYTES)
            from_ns, until_ns, at_ns = (int.from_bytes(raw[at : at + 8]) for at in (0, 8, 16))
            if not subject.created_ns <= from_ns <= at_ns <= until_ns <= end_ns:
                raise BadCursor("this is no place in this statement")
            return from_ns, until_ns, at_ns
        until_ns = min(NS_MAX if asked.until_ns is None else asked.until_ns, end_ns)
        from_ns = max(asked.from_ns or 0, subject.created_ns)
        if until_ns <= subject.created_ns:
            raise NotOpenedYet("the account was opened later")
        from_ns = min(from_ns, until_ns)
        return from_ns, until_ns, from_ns

    async def _head(
        self, tenant: int, subject: Subject, from_ns: int, until_ns: int
    ) -> tuple[dict[str, Any], Counters]:
        opening = await self._held(tenant, subject, from_ns)
        closing = await self._held(tenant, subject, until_ns)
        seq = subject.head_seq if until_ns > subject.head_ns else await self._history.batch_at(until_ns - 1)
        head = head_of(subject, from_ns, until_ns, subject.balances(opening), subject.balances(closing), seq)
        return head, closing
