"""What accounts held at a moment, statements, and trial balances.

    found = await Statements(client).statement(account, since_ns=...)

Guarded here: a statement that comes in pages is put together again, and adds up, or it is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal
from uuid import UUID

import msgspec

from pyledger.client.client import Client
from pyledger.client.nouns import Metadata, rfc3339
from pyledger.client.transport import path, query

By = Literal["recorded", "effective"]
PAGE_ROWS = 1_000


class BalancesThen(msgspec.Struct, frozen=True, kw_only=True):
    """Balances at a moment. By effective date only what was posted is known."""

    debits_posted: int
    credits_posted: int
    posted: int
    debits_pending: int | None = None
    credits_pending: int | None = None
    pending: int | None = None
    available: int | None = None


class AccountThen(msgspec.Struct, frozen=True, kw_only=True):
    """An account at the moment `as_of`; `seq` is the last batch that is counted."""

    id: UUID
    ledger: int
    code: int
    flags: list[str]
    balances: BalancesThen
    as_of: str
    seq: int
    by: str
    reference: str | None = None
    metadata: Metadata | None = None


class StatementRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a statement; `debit` or `credit` is what it moved, `balances` what there was after it."""

    id: UUID
    kind: str
    recorded_at: str
    side: str
    amount: int
    debit: int | None
    credit: int | None
    balances: BalancesThen
    other_account_id: UUID
    code: int
    pending_id: UUID | None = None
    reverses: UUID | None = None
    effective_at: str | None = None
    reference: str | None = None
    metadata: Metadata | None = None


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement. `until` is the moment after its last one, and `since` of the next."""

    account_id: UUID
    ledger: int
    asset: str
    exponent: int
    code: int
    side: str
    reference: str | None
    since: str
    until: str
    seq: int
    by: str
    opening: BalancesThen
    closing: BalancesThen
    debits: int
    credits: int
    data: list[StatementRow]
    next: str | None = None


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over accounts, of one code or of all."""

    accounts: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    debit_balance: int
    credit_balance: int
    code: int | None = None


class TrialBalance(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger's trial balance by code of accounts at the moment `as_of`."""

    ledger: int
    asset: str
    exponent: int
    as_of: str
    seq: int
    codes: list[Sums]
    totals: Sums


class Statements:
    """What a client can ask about the past. Moments are nanoseconds since 1970."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def account(self, id: UUID, as_of_ns: int, *, by: By = "recorded") -> AccountThen:
        """The account with its balances at a moment; one that is not over is answered as of the last commit."""
        target = path("accounts", id) + query({"as_of": rfc3339(as_of_ns), "by": by})
        return msgspec.json.decode(await self._get(target), type=AccountThen, strict=False)

    async def statement(
        self,
        id: UUID,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        holds: bool = False,
        by: By = "recorded",
    ) -> Statement:
        """All pages of a statement, as one."""
        pages = [page async for page in self.pages(id, since_ns=since_ns, until_ns=until_ns, holds=holds, by=by)]
        rows = [row for page in pages for row in page.data]
        moved = sum((row.credit or 0) - (row.debit or 0) for row in rows)
        first, sign = pages[0], -1 if pages[0].side == "debit" else 1
        if first.opening.posted + sign * moved != first.closing.posted:
            raise ValueError(f"the statement of {id} does not add up")
        return msgspec.structs.replace(first, data=rows, next=None)

    async def pages(
        self,
        id: UUID,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        holds: bool = False,
        by: By = "recorded",
        page_rows: int = PAGE_ROWS,
    ) -> AsyncIterator[Statement]:
        """The same page by page. One may be short, even empty, and still have a next one."""
        asked = _asked(since_ns, until_ns, holds, by) | {"limit": page_rows, "cursor": None}
        while True:
            page = msgspec.json.decode(
                await self._get(path("accounts", id, "statement") + query(asked)), type=Statement, strict=False
            )
            yield page
            if page.next is None:
                return
            asked["cursor"] = page.next

    async def document(
        self,
        id: UUID,
        form: Literal["csv", "html"],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        holds: bool = False,
        by: By = "recorded",
    ) -> bytes:
        """A statement as CSV or as a page to print."""
        asked = _asked(since_ns, until_ns, holds, by) | {"format": form}
        return await self._get(path("accounts", id, "statement") + query(asked))

    async def trial_balance(self, ledger: int, as_of_ns: int | None = None) -> TrialBalance:
        """By code of accounts, of a ledger with up to 10,000."""
        asked = {"as_of": None if as_of_ns is None else rfc3339(as_of_ns)}
        target = path("ledgers", ledger, "trial-balance") + query(asked)
        return msgspec.json.decode(await self._get(target), type=TrialBalance, strict=False)

    async def _get(self, target: str) -> bytes:
        return (await self._client._transport.send("GET", target)).body


def _asked(since_ns: int | None, until_ns: int | None, holds: bool, by: By) -> dict[str, object]:
    return {
        "since": None if since_ns is None else rfc3339(since_ns),
        "until": None if until_ns is None else rfc3339(until_ns),
        "holds": "true" if holds else None,
        "by": by,
    }
