"""The trial balance of a ledger at a moment: by code of accounts in one answer, or account by account in pages.

The invariant: it is complete and it balances, or it is not answered. Debits and credits are summed over the accounts as
the journal says that they were, not over the transfers, where they are equal by construction.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pyledger._rust import Engine
from pyledger.ledger import cursors
from pyledger.ledger.nouns import PAGE_ROWS_MAX, BadCursor
from pyledger.ledger.statements.history import History
from pyledger.ledger.statements.nouns import (
    NS_MAX,
    Counters,
    Digits,
    Disagrees,
    LedgerTooLarge,
    Moment,
    NotOpenedYet,
)
from pyledger.ledger.times import instant, nanoseconds
from pyledger.ledger.writer import Writer

ACCOUNTS_MAX: Final = 10_000
"""Accounts of a ledger whose trial balance is one answer: ten pages of 1,000."""
_CURSOR_BYTES: Final = 24


class Sums(Struct, frozen=True, kw_only=True):
    """Sums over accounts. The balances are of those with more debits than credits posted, and of the others."""

    code: Annotated[int, Meta(description="Of the accounts.")] | UnsetType = UNSET
    accounts: int
    debits_pending: Digits
    debits_posted: Digits
    credits_pending: Digits
    credits_posted: Digits
    debit_balance: Digits
    credit_balance: Digits


class TrialAccount(Struct, frozen=True):
    """One account of a trial balance."""

    id: str
    code: int
    debits_pending: Digits
    debits_posted: Digits
    credits_pending: Digits
    credits_posted: Digits


class TrialBalance(Struct, frozen=True, kw_only=True):
    """A trial balance. `codes` and `totals` are of the whole ledger, or with `data` of that page of its accounts."""

    ledger: int
    asset: str
    exponent: int
    as_of: Moment
    seq: Annotated[int, Meta(description="The last batch that is counted.")]
    codes: list[Sums]
    totals: Sums
    data: list[TrialAccount] | UnsetType = UNSET
    next: str | None = None


class _Account(Struct):
    """What of an account's JSON is looked at."""

    id: str
    code: int
    created_at: str
    balances: dict[str, str]


class Trial:
    """The trial balances of one shard's ledgers. Raises `Busy` or `Unavailable` like the writer's own reads."""

    def __init__(self, writer: Writer, history: History) -> None:
        self._writer, self._history = writer, history

    async def whole(self, tenant: int, number: int, moment_ns: int | None) -> TrialBalance | None:
        """By code, in one answer; None if there is no such ledger.

        Raises `LedgerTooLarge`, `NotOpenedYet`, `HistoryNotIndexed` or `HistoryArchived`."""
        ledger = await self._ledger(tenant, number, moment_ns)
        if ledger is None:
            return None
        held: list[tuple[_Account, Counters]] = []
        after: str | None = None
        while True:
            page, after = await self._accounts(tenant, number, ledger["at_ns"], after, PAGE_ROWS_MAX)
            held += page
            if after is None:
                break
            if len(held) >= ACCOUNTS_MAX:
                raise LedgerTooLarge(f"it has more than {ACCOUNTS_MAX} accounts")
        answer = await self._answer(ledger, held)
        posted = answer.totals.debits_posted == answer.totals.credits_posted
        if not posted or answer.totals.debits_pending != answer.totals.credits_pending:
            raise Disagrees(f"ledger {number}: debits and credits are {answer.totals}")
        return answer

    async def page(
        self, tenant: int, number: int, moment_ns: int | None, cursor: str | None, limit: int
    ) -> TrialBalance | None:
        """A page of its accounts in the order of their opening; None if there is no such ledger.

        Raises `BadCursor`, and as `whole` does, but for its size."""
        question = f"trial\0{number}\0{moment_ns}"
        after: str | None = None
        at_ns = moment_ns
        if cursor is not None:
            raw = cursors.unseal(tenant, question, cursor, _CURSOR_BYTES)
            at_ns, after = int.from_bytes(raw[:8]), str(uuid.UUID(bytes=raw[8:]))
        ledger = await self._ledger(tenant, number, at_ns)
        if ledger is None:
            return None
        if cursor is not None and at_ns != ledger["at_ns"]:
            raise BadCursor("this is no place in this trial balance")
        held, after = await self._accounts(tenant, number, ledger["at_ns"], after, max(1, min(limit, PAGE_ROWS_MAX)))
        following = None
        if after is not None:
            following = cursors.seal(tenant, question, ledger["at_ns"].to_bytes(8) + uuid.UUID(after).bytes)
        rows = [TrialAccount(account.id, account.code, *map(str, counters)) for account, counters in held]
        return msgspec.structs.replace(await self._answer(ledger, held), data=rows, next=following)

    async def _ledger(self, tenant: int, number: int, moment_ns: int | None) -> dict[str, Any] | None:
        """The ledger as JSON has it, with the moment that is answered as `at_ns`."""
        found = await self._writer.read(lambda engine: engine.ledger_json(tenant, number, None))
        if found is None:
            return None
        ledger: dict[str, Any] = msgspec.json.decode(found)
        head_ns = self._writer.stats.head_ns
        ledger["at_ns"] = head_ns if moment_ns is None else min(moment_ns, head_ns)
        if ledger["at_ns"] < nanoseconds(ledger["created_at"]):
            raise NotOpenedYet("the ledger was opened later")
        return ledger

    async def _accounts(
        self, tenant: int, number: int, at_ns: int, after: str | None, limit: int
    ) -> tuple[list[tuple[_Account, Counters]], str | None]:
        """Accounts with what they held then, and after which the next ones are; None at the end."""

        def look(engine: Engine) -> list[bytes | None]:
            try:
                ids = engine.account_ids(tenant, number, after, limit + 1)
            except ValueError as error:
                raise BadCursor("this cursor names no account") from error
            return [engine.account_json(tenant, each, None, None) for each in ids]

        found = await self._writer.read(look)
        # In the step that wakes us nothing was committed after what we were shown: a commit waits for PostgreSQL.
        is_now = self._writer.stats.head_ns == at_ns
        await asyncio.sleep(0)
        every = [msgspec.json.decode(each, type=_Account) for each in found if each is not None]
        there = [account for account in every if nanoseconds(account.created_at) <= at_ns]
        more = len(there) > limit
        accounts = there[:limit]
        if is_now:
            held = {each.id: Counters(*(int(each.balances[name]) for name in Counters._fields)) for each in accounts}
        else:
            held = await self._history.of_many(tenant, [each.id for each in accounts], min(at_ns + 1, NS_MAX))
        return [(each, held[each.id]) for each in accounts], accounts[-1].id if more else None

    async def _answer(self, ledger: dict[str, Any], held: list[tuple[_Account, Counters]]) -> TrialBalance:
        by_code: dict[int, list[Counters]] = {}
        for account, counters in held:
            by_code.setdefault(account.code, []).append(counters)
        seq = await self._history.batch_at(ledger["at_ns"])
        await self._writer.read(lambda _: None)
        return TrialBalance(
            ledger=ledger["id"],
            asset=ledger["asset"],
            exponent=ledger["exponent"],
            as_of=instant(ledger["at_ns"]),
            seq=seq,
            codes=[_sums(by_code[code], code) for code in sorted(by_code)],
            totals=_sums(counters for _, counters in held),
        )


def _sums(held: Iterable[Counters], code: int | UnsetType = UNSET) -> Sums:
    every = list(held)
    surplus = [each.debits_posted - each.credits_posted for each in every]
    return Sums(
        code=code,
        accounts=len(every),
        debits_pending=str(sum(each.debits_pending for each in every)),
        debits_posted=str(sum(each.debits_posted for each in every)),
        credits_pending=str(sum(each.credits_pending for each in every)),
        credits_posted=str(sum(each.credits_posted for each in every)),
        debit_balance=str(sum(each for each in surplus if each > 0)),
        credit_balance=str(-sum(each for each in surplus if each < 0)),
    )
