"""The nouns of statements: balances, entries, periods, and what cannot be answered.

Guarded here: a number is shown if it is exact, else there is a clear no. Moments are nanoseconds since 1970; a period
goes from its first nanosecond to the one before its last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from pyledger.ledger.nouns import LedgerError
from pyledger.ledger.times import instant

LOOK_ROWS_FIRST: Final = 8_192
"""Rows of the tail that the first look for an account's last row passes; each further look four times as many."""
TAIL_ROWS_MAX: Final = 1_000_000
"""Rows without indexes of history that one balance may look at, some 0.4 s of one of PostgreSQL's connections."""
TAIL_BATCHES: Final = 16_384
"""Batches whose rows are added up at once, to see whether that is too much: 5 ms at most."""
LOOKS_MAX: Final = 32
"""Looks for the rows of one page; it is short if that is not enough."""
DECLINED_ROWS_FIRST: Final = 4
"""Rows of each side of an account that the first look for its last accepted one passes, by the index."""
DECLINED_ROWS_MAX: Final = 16_384
"""The same for later looks, each of which passes eight times as many: half a million declines in all."""
MANY_ACCOUNTS: Final = 1_000
"""Accounts whose last rows are looked for at once, by the index."""
MANY_ROWS_FIRST: Final = 8
"""Rows of each side of each of them that the first look passes; further looks, for those without an accepted one among
them, eight times as many."""
MANY_DECLINED_ROWS_MAX: Final = 500_000
"""Rows of each side that all further looks of one question pass, some 0.5 s."""
RECENT_MAX: Final = 8_192
"""Moments of accounts of which something is remembered, some 4 MiB."""
DATED_ROWS_MAX: Final = 50_000
"""Rows by effective date that are looked at, of each side of an account and in the tail: some 0.3 s, 10 MB."""
DOCUMENT_ROWS_MAX: Final = 10_000
"""Rows of a statement in one piece: some 2 MB of CSV, 200 printed pages."""
DOCUMENT_PAGES_MAX: Final = 100
"""Pages that one is made of: they are short, or empty, where many rows are not shown."""
MOVES: Final = (3, 5, 7)
"""Kinds of rows that change what is posted: transfer, post, reverse."""
ALL_KINDS: Final = (3, 4, 5, 6, 7, 8)
Kind = Literal["transfer", "pending", "post", "void", "reverse", "expire"]
KINDS: Final[dict[int, Kind]] = {3: "transfer", 4: "pending", 5: "post", 6: "void", 7: "reverse", 8: "expire"}
"""By their numbers in the journal."""
NS_MAX: Final = 2**63 - 1
_LARGEST: Final = 2**128 - 1


class HistoryNotIndexed(LedgerError):
    """So many rows around this moment have no indexes yet that it cannot be answered with bounded work."""


class HistoryArchived(LedgerError):
    """Rows that it takes are not in the journal any more; from `here_since_ns` on all are, where that is known."""

    def __init__(self, reason: str, here_since_ns: int | None = None) -> None:
        super().__init__(reason)
        self.here_since_ns = here_since_ns


class HistoryTooSlow(LedgerError):
    """PostgreSQL took longer for one look than it may."""


class TooManyRows(LedgerError):
    """It takes more rows than one question looks at."""


class LedgerTooLarge(LedgerError):
    """The ledger has more accounts than one answer looks at."""


class NotOpenedYet(LedgerError):
    """The account was opened later."""


class StatementTooLong(LedgerError):
    """More rows than one document has."""


class Disagrees(Exception):
    """Opening balance, rows and closing balance do not agree: a bug, or a journal that was changed. Never shown."""


class Counters(NamedTuple):
    """What an account holds, in minor units."""

    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0

    @classmethod
    def of(cls, stored: bytes) -> Counters:
        """As the journal keeps them: each a byte of length and that many bytes."""
        numbers, at = [], 0
        for _ in range(4):
            end = at + 1 + stored[at]
            numbers.append(int.from_bytes(stored[at + 1 : end]))
            at = end
        return cls(*numbers)

    @property
    def posted(self) -> tuple[int, int]:
        """Debits and credits that moved."""
        return self.debits_posted, self.credits_posted


Digits = Annotated[str, Meta(pattern="^[0-9]{1,39}$", description="A whole number of minor units.")]
SignedDigits = Annotated[str, Meta(pattern="^-?[0-9]{1,40}$", description="A whole number of minor units.")]
Moment = Annotated[str, Meta(description="RFC 3339 with nanoseconds.", extra_json_schema={"format": "date-time"})]
Side = Literal["debit", "credit"]
By = Literal["recorded", "effective"]


class BalancesAt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The four counters, and what they mean seen from the account's own side. By effective date only what is posted."""

    debits_pending: Digits | UnsetType = UNSET
    debits_posted: Digits
    credits_pending: Digits | UnsetType = UNSET
    credits_posted: Digits
    posted: SignedDigits
    pending: SignedDigits | UnsetType = UNSET
    available: SignedDigits | UnsetType = UNSET


class Entry(NamedTuple):
    """An accepted row, seen from one of its accounts."""

    seq: int
    recorded_ns: int
    id: str
    kind: int
    is_debit: bool
    amount: int
    other: str
    target: str | None
    code: int
    effective_ns: int | None
    reference: str | None
    metadata: str | None
    after: Counters

    @property
    def moved(self) -> tuple[int, int]:
        """By how much it changed debits and credits posted."""
        amount = self.amount if self.kind in MOVES else 0
        return (amount, 0) if self.is_debit else (0, amount)


@dataclass(frozen=True, slots=True)
class Period:
    """What a statement is asked for. None is from the opening of the account, or up to the last commit."""

    from_ns: int | None = None
    until_ns: int | None = None
    holds: bool = False
    by: By = "recorded"


@dataclass(frozen=True, slots=True)
class DatedPlace:
    """A period, up to where of the journal it is known, and the date and time of recording at which a page begins."""

    from_ns: int
    until_ns: int
    known_ns: int
    moment_ns: int
    recorded_ns: int

    def sealed(self) -> bytes:
        """As a cursor has it."""
        numbers = (self.from_ns, self.until_ns, self.known_ns, self.moment_ns, self.recorded_ns)
        return b"".join(number.to_bytes(8) for number in numbers)


@dataclass(frozen=True, slots=True)
class Subject:
    """An account as it is now, the asset of its ledger, and the last batch that this includes."""

    body: dict[str, Any]
    created_ns: int
    asset: str
    exponent: int
    now: Counters
    head_seq: int
    head_ns: int

    @property
    def id(self) -> str:
        """The account's."""
        return str(self.body["id"])

    @property
    def as_before(self) -> dict[str, Any]:
        """What never changes of it. Whether it was closed takes more than the row that says its balances."""
        return self.body | {"flags": [flag for flag in self.body["flags"] if flag != "closed"]}

    @property
    def is_debit_account(self) -> bool:
        """Whether its own side is the debit side."""
        return "credits_must_not_exceed_debits" in self.body["flags"]

    def balances(self, held: Counters) -> BalancesAt:
        """Its balances when it had these counters."""
        sides = (held.debits_posted, held.debits_pending), (held.credits_posted, held.credits_pending)
        own, other = sides if self.is_debit_account else sides[::-1]
        room = min(own[0] + int(self.body["allowance"] or 0), _LARGEST)
        return BalancesAt(
            debits_pending=str(held.debits_pending),
            debits_posted=str(held.debits_posted),
            credits_pending=str(held.credits_pending),
            credits_posted=str(held.credits_posted),
            posted=str(own[0] - other[0]),
            pending=str(own[1] - other[1]),
            available=str(room - other[0] - other[1]),
        )


class StatementRow(Struct, frozen=True, omit_defaults=True):
    """One entry of a statement. `debit` or `credit` is what it moved; a hold and its end move nothing."""

    id: str
    kind: Kind
    recorded_at: Moment
    side: Annotated[Side, Meta(description="On which side of the transfer the account stands.")]
    amount: Digits
    debit: Digits | None
    credit: Digits | None
    balances: Annotated[BalancesAt, Meta(description="Right after it.")]
    other_account_id: str
    code: int
    pending_id: str | UnsetType = UNSET
    reverses: str | UnsetType = UNSET
    effective_at: Moment | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    metadata: Any = UNSET


class StatementHead(Struct, frozen=True):
    """What a statement is of: account, period, and the balances at both of its ends."""

    account_id: str
    ledger: int
    asset: str
    exponent: int
    code: int
    side: Annotated[Side, Meta(description="The account's own side, from which `posted` is seen.")]
    reference: str | None
    since: Annotated[Moment, Meta(description="Its first moment.")]
    until: Annotated[Moment, Meta(description="The moment after its last one; at most right after the last commit.")]
    seq: Annotated[int, Meta(description="The last batch that is counted.")]
    by: Annotated[By, Meta(description="Which of its times puts a row into a period.")]
    opening: BalancesAt
    closing: BalancesAt
    debits: Annotated[Digits, Meta(description="Debits posted in the whole period.")]
    credits: Annotated[Digits, Meta(description="Credits posted in the whole period.")]


class Statement(StatementHead, frozen=True):
    """A statement, or a page of it; what its head says is of the whole period on each page."""

    data: list[StatementRow]
    next: str | None


def question_of(account_id: str, asked: Period) -> str:
    """What binds a cursor to a statement."""
    return f"statement\0{account_id}\0{asked!r}"


def head_of(
    subject: Subject, from_ns: int, until_ns: int, opening: BalancesAt, closing: BalancesAt, seq: int
) -> dict[str, Any]:
    """The head of a statement but for what it goes by."""
    return {
        "account_id": subject.id,
        "ledger": subject.body["ledger"],
        "asset": subject.asset,
        "exponent": subject.exponent,
        "code": subject.body["code"],
        "side": "debit" if subject.is_debit_account else "credit",
        "reference": subject.body.get("reference"),
        "since": instant(from_ns),
        "until": instant(until_ns),
        "seq": seq,
        "opening": opening,
        "closing": closing,
        "debits": str(int(closing.debits_posted) - int(opening.debits_posted)),
        "credits": str(int(closing.credits_posted) - int(opening.credits_posted)),
    }
