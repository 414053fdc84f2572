"""What an account held at a moment, and its statement for a period.

The invariant: a moment that is answered is over. Nothing can be recorded at or before it any more, so the same question
about it has one answer for ever; a later moment is answered as of the last commit, and the answer says so. And what
does not add up is not shown: the balance before the rows of a page and the rows themselves must lead, row by row, to
the balances that the journal keeps with each, and in the end to the closing balance.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from pyledger.ledger import cursors
from pyledger.ledger.connections import Pool
from pyledger.ledger.nouns import PAGE_ROWS_MAX, BadCursor
from pyledger.ledger.reads import Reads
from pyledger.ledger.statements.history import History
from pyledger.ledger.statements.nouns import (
    DOCUMENT_ROWS_MAX,
    KINDS,
    MOVES,
    NS_MAX,
    Counters,
    Disagrees,
    Entry,
    HistoryNotIndexed,
    NotOpenedYet,
    Period,
    Statement,
    StatementRow,
    StatementTooLong,
    Subject,
)
from pyledger.ledger.times import instant, nanoseconds
from pyledger.ledger.writer import Writer

_CURSOR_BYTES: Final = 24
_BREATH_ROWS: Final = 200
"""Rows that are made at once; some 2 ms, what the event loop may be held up."""


class Statements:
    """The statements of one shard. All raise `Busy` or `Unavailable` like the writer's own reads."""

    def __init__(self, pool: Pool, reads: Reads, writer: Writer, shard: int, *, scan_rows_max: int) -> None:
        self._reads, self._writer = reads, writer
        self._history = History(pool, reads, shard, scan_rows_max=scan_rows_max)

    async def account(self, tenant: int, account_id: str, moment_ns: int) -> bytes | None:
        """An account with its balances as of a moment, as JSON; None if there is none.

        Raises `NotOpenedYet`, `HistoryNotIndexed` or `HistoryArchived`."""
        subject = await self._subject(tenant, account_id)
        if subject is None:
            return None
        if moment_ns < subject.created_ns:
            raise NotOpenedYet("the account was opened later")
        moment_ns = min(moment_ns, subject.head_ns)
        held = await self._held(tenant, subject, moment_ns + 1)
        seq = subject.head_seq if moment_ns == subject.head_ns else await self._history.batch_at(moment_ns)
        body = subject.body | {"balances": subject.balances(held), "as_of": instant(moment_ns), "seq": seq}
        # Whether it was closed then takes more than the row that says its balances.
        body["flags"] = [flag for flag in subject.body["flags"] if flag != "closed"]
        await self._writer.read(lambda _: None)
        return msgspec.json.encode(body)

    async def page(
        self, tenant: int, account_id: str, asked: Period, cursor: str | None, limit: int
    ) -> Statement | None:
        """A page of a statement; None if there is no such account. Raises `BadCursor`, and as `account` does."""
        subject = await self._subject(tenant, account_id)
        if subject is None:
            return None
        from_ns, until_ns, at_ns = self._place(tenant, subject, asked, cursor)
        head, closing = await self._head(tenant, subject, from_ns, until_ns)
        running = await self._held(tenant, subject, at_ns)
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        entries, edge_ns = await self._history.entries(tenant, subject.id, at_ns, until_ns, limit, holds=asked.holds)
        rows: list[StatementRow] = []
        for at in range(0, len(entries), _BREATH_ROWS):
            for entry in entries[at : at + _BREATH_ROWS]:
                running = _follow(running, entry, exact=asked.holds)
                rows.append(_row(subject, entry))
            await asyncio.sleep(0)
        following = None
        if edge_ns < until_ns:
            place = b"".join(number.to_bytes(8) for number in (from_ns, until_ns, edge_ns))
            following = cursors.seal(tenant, _question(subject.id, asked), place)
        elif (running if asked.holds else running.posted) != (closing if asked.holds else closing.posted):
            raise Disagrees(f"account {subject.id}: its rows lead to {running}, and its closing balance is {closing}")
        await self._writer.read(lambda _: None)
        return Statement(**head, data=rows, next=following)

    async def whole(self, tenant: int, account_id: str, asked: Period) -> Statement | None:
        """A statement in one piece; None if there is no such account. Raises `StatementTooLong`, and as `page`."""
        rows: list[StatementRow] = []
        first: Statement | None = None
        cursor: str | None = None
        while first is None or cursor is not None:
            piece = await self.page(tenant, account_id, asked, cursor, PAGE_ROWS_MAX)
            if piece is None:
                return None
            if piece.next is not None and not piece.data:
                raise HistoryNotIndexed("too many rows of this period are not indexed yet")
            first, cursor = first or piece, piece.next
            rows += piece.data
            if len(rows) > DOCUMENT_ROWS_MAX or (len(rows) == DOCUMENT_ROWS_MAX and cursor is not None):
                raise StatementTooLong(f"it has more than {DOCUMENT_ROWS_MAX} rows")
        return msgspec.structs.replace(first, data=rows, next=None)

    async def _subject(self, tenant: int, account_id: str) -> Subject | None:
        found = await self._reads.account(tenant, account_id)
        if found is None:
            return None
        number = msgspec.json.decode(found)["ledger"]
        now, ledger = await self._writer.read(
            lambda engine: (
                engine.account_json(tenant, account_id, None, None), engine.ledger_json(tenant, number, None)
            )
        )  # fmt: skip
        # In the step that wakes us nothing was committed after what we were shown: a commit waits for PostgreSQL.
        head_seq, head_ns = self._writer.stats.head_seq, self._writer.stats.head_ns
        assert now is not None
        assert ledger is not None
        body, book = msgspec.json.decode(found), msgspec.json.decode(ledger)
        held = msgspec.json.decode(now)["balances"]
        counters = Counters(*(int(held[name]) for name in Counters._fields))
        created_ns = nanoseconds(body["created_at"])
        return Subject(body, created_ns, book["asset"], book["exponent"], counters, head_seq, head_ns)

    async def _held(self, tenant: int, subject: Subject, until_ns: int) -> Counters:
        """What it held right before a moment."""
        if until_ns > subject.head_ns:
            return subject.now
        if until_ns <= subject.created_ns:
            return Counters()
        await self._history.check_kept(subject.created_ns, until_ns)
        return await self._history.before(tenant, subject.id, subject.created_ns, until_ns)

    def _place(self, tenant: int, subject: Subject, asked: Period, cursor: str | None) -> tuple[int, int, int]:
        """From when until when, and where this page begins. The first page says until when, for all of them."""
        end_ns = subject.head_ns + 1
        if cursor is not None:
            raw = cursors.unseal(tenant, _question(subject.id, asked), cursor, _CURSOR_BYTES)
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
        head: dict[str, Any] = {
            "account_id": subject.id,
            "ledger": subject.body["ledger"],
            "asset": subject.asset,
            "exponent": subject.exponent,
            "code": subject.body["code"],
            "side": "debit" if subject.is_debit_account else "credit",
            "reference": subject.body.get("reference"),
            "since": instant(from_ns),
            "until": instant(until_ns),
            "seq": await self._history.batch_at(until_ns - 1),
            "opening": subject.balances(opening),
            "closing": subject.balances(closing),
            "debits": str(closing.debits_posted - opening.debits_posted),
            "credits": str(closing.credits_posted - opening.credits_posted),
        }
        return head, closing


def _question(account_id: str, asked: Period) -> str:
    return f"statement\0{account_id}\0{asked!r}"


def _follow(running: Counters, entry: Entry, *, exact: bool) -> Counters:
    """What an account holds after an entry. Raises `Disagrees` unless that is what the journal says.

    Without the rows of holds, what is pending changes between entries, and only what is posted is followed."""
    moved, after = entry.moved, entry.after
    agrees = after.posted == (running.debits_posted + moved[0], running.credits_posted + moved[1])
    if exact and agrees:
        own, other = ("debits_pending", "credits_pending")[:: 1 if entry.is_debit else -1]
        change = getattr(after, own) - getattr(running, own)
        kind = KINDS[entry.kind]
        agrees = getattr(after, other) == getattr(running, other) and (
            change <= -entry.amount if kind == "post"
            else change == {"pending": entry.amount, "void": -entry.amount, "expire": -entry.amount}.get(kind, 0)
        )  # fmt: skip
    if not agrees:
        raise Disagrees(f"row {entry.id} leads from {running} to {after}")
    return after


def _row(subject: Subject, entry: Entry) -> StatementRow:
    more: dict[str, Any] = {}
    if entry.target is not None:
        more["reverses" if KINDS[entry.kind] == "reverse" else "pending_id"] = entry.target
    if entry.effective_ns is not None:
        more["effective_at"] = instant(entry.effective_ns)
    if entry.reference is not None:
        more["reference"] = entry.reference
    if entry.metadata is not None:
        more["metadata"] = msgspec.Raw(entry.metadata.encode())
    moves = entry.kind in MOVES
    amount = str(entry.amount)
    return StatementRow(
        id=entry.id,
        kind=KINDS[entry.kind],
        recorded_at=instant(entry.recorded_ns),
        side="debit" if entry.is_debit else "credit",
        amount=amount,
        debit=amount if moves and entry.is_debit else None,
        credit=amount if moves and not entry.is_debit else None,
        balances=subject.balances(entry.after),
        other_account_id=entry.other,
        code=entry.code,
        **more,
    )
