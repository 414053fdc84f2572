"""The trial balance of a ledger at a moment: by code of accounts in one answer, or account by account in pages.

The invariant: it is complete and it balances, or it is not answered. Debits and credits are summed over the accounts,
as the engine has them or, of the past, as the journal says that they were; not over the transfers, where they are equal
by construction. Ledger, accounts and head are of one look, between two batches.
"""

from __future__ import annotations

import struct
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pyledger._rust import Engine, held_accounts
from pyledger.ledger import cursors
from pyledger.ledger.nouns import PAGE_ROWS_MAX, BadCursor
from pyledger.ledger.statements.history import History
from pyledger.ledger.statements.many import Many
from pyledger.ledger.statements.nouns import (
    Counters,
    Digits,
    Disagrees,
    LedgerTooLarge,
    Moment,
    NotOpenedYet,
)
from pyledger.ledger.statements.pace import Pace
from pyledger.ledger.times import instant, nanoseconds
from pyledger.ledger.writer import Writer

ACCOUNTS_MAX: Final = 10_000
"""Accounts of a ledger whose trial balance is one answer: a millisecond between two batches, and a megabyte."""
_PIECE_ACCOUNTS: Final = 250
"""Accounts that are added up at once, see `Pace`."""
_CURSOR_BYTES: Final = 24
_HELD: Final = struct.Struct(">16sHQ16s16s16s16s")
"""An account as `held_accounts` writes it."""


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


class _Account(NamedTuple):
    """What of an account is looked at."""

    id: str
    code: int
    created_ns: int
    now: Counters

    @classmethod
    def of(cls, fields: tuple[Any, ...]) -> _Account:
        """As the engine writes it."""
        digits = fields[0].hex()
        own_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        return cls(own_id, fields[1], fields[2], Counters(*map(int.from_bytes, fields[3:])))


@dataclass(frozen=True, slots=True)
class _Look:
    """A ledger as JSON has it, accounts of it as they are now, and the moment that is answered."""

    ledger: dict[str, Any]
    held: bytes
    at_ns: int
    head_seq: int
    head_ns: int

    @property
    def is_now(self) -> bool:
        """Whether what is held now is the answer."""
        return self.at_ns == self.head_ns


@dataclass(slots=True)
class _Adding:
    """Sums over accounts, as they grow."""

    accounts: int = 0
    counters: list[int] = field(default_factory=lambda: [0] * 4)
    debit_balance: int = 0
    credit_balance: int = 0

    def add(self, held: Counters) -> None:
        """One more."""
        self.accounts += 1
        for at, counter in enumerate(held):
            self.counters[at] += counter
        surplus = held.debits_posted - held.credits_posted
        if surplus > 0:
            self.debit_balance += surplus
        else:
            self.credit_balance -= surplus

    def sums(self, code: int | UnsetType = UNSET) -> Sums:
        """What it came to."""
        return Sums(
            code=code,
            accounts=self.accounts,
            **dict(zip(Counters._fields, map(str, self.counters), strict=True)),
            debit_balance=str(self.debit_balance),
            credit_balance=str(self.credit_balance),
        )


class Trial:
    """The trial balances of one shard's ledgers. Raises `Busy` or `Unavailable` like the writer's own reads."""

    def __init__(self, writer: Writer, history: History, pace: Pace) -> None:
        self._writer, self._history, self._pace = writer, history, pace
        self._many = Many(history, pace)

    async def whole(self, tenant: int, number: int, moment_ns: int | None) -> TrialBalance | None:
        """By code, in one answer; None if there is no such ledger.

        Raises `LedgerTooLarge`, `NotOpenedYet`, `HistoryNotIndexed`, `HistoryArchived` or `TooManyRows`."""
        look = await self._look(tenant, number, moment_ns, None, ACCOUNTS_MAX + 1)
        if look is None:
            return None
        accounts = await self._accounts(look)
        if len(accounts) > ACCOUNTS_MAX:
            raise LedgerTooLarge(f"it has more than {ACCOUNTS_MAX} accounts")
        answer = await self._answer(look, accounts, await self._held(tenant, look, accounts))
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
        limit = max(1, min(limit, PAGE_ROWS_MAX))
        look = await self._look(tenant, number, at_ns, after, limit + 1)
        if look is None:
            return None
        if cursor is not None and at_ns != look.at_ns:
            raise BadCursor("this is no place in this trial balance")
        accounts = await self._accounts(look)
        following = None
        if len(accounts) > limit:
            last = uuid.UUID(accounts[limit - 1].id).bytes
            following = cursors.seal(tenant, question, look.at_ns.to_bytes(8) + last)
        accounts = accounts[:limit]
        held = await self._held(tenant, look, accounts)
        rows = [TrialAccount(each.id, each.code, *map(str, then)) for each, then in zip(accounts, held, strict=True)]
        return msgspec.structs.replace(await self._answer(look, accounts, held), data=rows, next=following)

    async def _look(
        self, tenant: int, number: int, moment_ns: int | None, after: str | None, limit: int
    ) -> _Look | None:
        def look(engine: Engine) -> tuple[bytes, bytes] | None:
            ledger = engine.ledger_json(tenant, number, None)
            try:
                return None if ledger is None else (ledger, held_accounts(engine, tenant, number, after, limit))
            except ValueError as error:
                raise BadCursor("this cursor names no account") from error

        found = await self._writer.read(look)
        # In the step that wakes us nothing was committed after what we were shown: a commit waits for PostgreSQL.
        head_seq, head_ns = self._writer.stats.head_seq, self._writer.stats.head_ns
        if found is None:
            return None
        ledger: dict[str, Any] = msgspec.json.decode(found[0])
        at_ns = head_ns if moment_ns is None else min(moment_ns, head_ns)
        if at_ns < nanoseconds(ledger["created_at"]):
            raise NotOpenedYet("the ledger was opened later")
        return _Look(ledger, found[1], at_ns, head_seq, head_ns)

    async def _accounts(self, look: _Look) -> list[_Account]:
        """Those that were there then, and at most one more than was asked for."""

        def read(piece: Sequence[int]) -> list[_Account]:
            part = look.held[piece[0] * _HELD.size : (piece[-1] + 1) * _HELD.size]
            return [_Account.of(fields) for fields in _HELD.iter_unpack(part)]

        every = await self._pace.each(range(len(look.held) // _HELD.size), read, _PIECE_ACCOUNTS)
        return [account for piece in every for account in piece if account.created_ns <= look.at_ns]

    async def _held(self, tenant: int, look: _Look, accounts: list[_Account]) -> list[Counters]:
        """What each of them held then."""
        if look.is_now:
            return [account.now for account in accounts]
        opened = {account.id: account.created_ns for account in accounts}
        now = {account.id: account.now for account in accounts}
        held = await self._many.before(tenant, opened, look.at_ns + 1, now, look.head_ns)
        return [held[account.id] for account in accounts]

    async def _answer(self, look: _Look, accounts: list[_Account], held: list[Counters]) -> TrialBalance:
        by_code: defaultdict[int, _Adding] = defaultdict(_Adding)
        totals = _Adding()

        def add(piece: Sequence[tuple[_Account, Counters]]) -> None:
            for account, counters in piece:
                by_code[account.code].add(counters)
                totals.add(counters)

        await self._pace.each(list(zip(accounts, held, strict=True)), add, _PIECE_ACCOUNTS)
        seq = look.head_seq
        if not look.is_now:
            seq = await self._history.batch_at(look.at_ns)
            await self._writer.read(lambda _: None)
        return TrialBalance(
            ledger=look.ledger["id"],
            asset=look.ledger["asset"],
            exponent=look.ledger["exponent"],
            as_of=instant(look.at_ns),
            seq=seq,
            codes=[by_code[code].sums(code) for code in sorted(by_code)],
            totals=totals.sums(),
        )
