"""A statement as a document: CSV for programs and spreadsheets, HTML to print or to send.

Guards: the same numbers as in JSON, exact, no float on their way. Whatever a client wrote is text here: in HTML it is
escaped, and the page may load and run nothing; in CSV no cell of it is a formula to a spreadsheet.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import msgspec
from msgspec import UNSET

from pyledger.ledger.times import instant, nanoseconds
from pyledger.server.replies import COMMON, CSV_TYPE, HTML_TYPE, Headers

if TYPE_CHECKING:
    from pyledger.ledger.statements.nouns import BalancesAt, Statement, StatementRow
    from pyledger.ledger.statements.pace import Pace

_PAGE: Final = (resources.files(__package__) / "statement.html").read_text("utf-8").split("$rows")
"""What is before its rows, and what is after them."""
_STYLE: Final = "".join(re.findall(r"<style>(.*?)</style>", _PAGE[0], flags=re.DOTALL))
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_THIN_SPACE: Final = "\u202f"

HTML: Final[Headers] = [
    ("content-type", f"{HTML_TYPE}; charset=utf-8"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    *COMMON,
]
CSV: Final[Headers] = [
    ("content-type", f"{CSV_TYPE}; charset=utf-8; header=present"),
    ("content-disposition", 'attachment; filename="statement.csv"'),
    *COMMON,
]
COLUMNS: Final = (
    "kind", "recorded_at", "effective_at", "id", "debit", "credit", "balance", "asset", "exponent", "amount_minor",
    "debit_minor", "credit_minor", "balance_minor", "pending_minor", "other_account_id", "code", "reference",
    "metadata",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_KINDS: Final = {
    "transfer": "Transfer", "pending": "Hold", "post": "Hold captured", "void": "Hold released",
    "reverse": "Reversal", "expire": "Hold expired",
}  # fmt: skip


def major(minor: str, exponent: int) -> str:
    """Minor units as people write them: "-1250" with the exponent 2 is "-12.50"."""
    sign, digits = ("-", minor[1:]) if minor.startswith("-") else ("", minor)
    digits = digits.rjust(exponent + 1, "0")
    return sign + (f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits)


class Document(Protocol):
    """A statement as a document, which grows page by page."""

    headers: ClassVar[Headers]

    def __init__(self, first: Statement) -> None: ...
    def add(self, rows: Sequence[StatementRow]) -> None:
        """The next rows."""

    def done(self) -> bytes:
        """All of it."""


async def made(form: type[Document], pages: AsyncIterator[Statement], pace: Pace) -> bytes | None:
    """A document of all pages; None if there is none."""
    document: Document | None = None
    async for page in pages:
        document = document or form(page)
        await pace.each(page.data, document.add)
    return None if document is None else await pace.piece(document.done)


class Csv:
    """A line of names, the opening balance, the rows, the closing balance."""

    headers: ClassVar[Headers] = CSV

    def __init__(self, first: Statement) -> None:
        self._of, self._pieces = first, [_lines([COLUMNS, _edge(first, "opening", first.since, first.opening)])]

    def add(self, rows: Sequence[StatementRow]) -> None:
        """The next rows."""
        self._pieces.append(_lines([_cells(self._of, row) for row in rows]))

    def done(self) -> bytes:
        """All of it."""
        last = _lines([_edge(self._of, "closing", self._of.until, self._of.closing)])
        return b"".join((*self._pieces, last))


def _lines(lines: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode()


def _edge(statement: Statement, kind: str, moment: str, held: BalancesAt) -> list[object]:
    cells: dict[str, object] = {"kind": kind, "recorded_at": moment} | _balance(statement, held)
    return [cells.get(column) for column in COLUMNS]


def _cells(statement: Statement, row: StatementRow) -> list[object]:
    exponent = statement.exponent
    cells = {
        "kind": row.kind,
        "recorded_at": row.recorded_at,
        "effective_at": "" if row.effective_at is UNSET else row.effective_at,
        "id": row.id,
        "amount_minor": row.amount,
        "debit": row.debit and major(row.debit, exponent),
        "debit_minor": row.debit,
        "credit": row.credit and major(row.credit, exponent),
        "credit_minor": row.credit,
        "other_account_id": row.other_account_id,
        "code": row.code,
        "reference": "" if row.reference is UNSET else as_text(row.reference),
        "metadata": "" if row.metadata is UNSET else msgspec.json.encode(row.metadata).decode(),
    } | _balance(statement, row.balances)
    return [cells.get(column) for column in COLUMNS]


def _balance(statement: Statement, held: BalancesAt) -> dict[str, object]:
    return {
        "balance": major(held.posted, statement.exponent),
        "balance_minor": held.posted,
        "pending_minor": None if held.pending is UNSET else held.pending,
        "asset": as_text(statement.asset),
        "exponent": statement.exponent,
    }


def as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


class Html:
    """A page with everything in it."""

    headers: ClassVar[Headers] = HTML

    def __init__(self, first: Statement) -> None:
        self._of = first
        given = _texts(first)
        escaped = {name: html.escape(text) for name, text in given.items()}
        self._pieces = [Template(_PAGE[0]).substitute(escaped).encode()]
        self._end = Template(_PAGE[1]).substitute(escaped).encode()

    def add(self, rows: Sequence[StatementRow]) -> None:
        """The next rows."""
        exponent, dated = self._of.exponent, self._of.by == "effective"
        self._pieces.append("".join(_html_row(row, exponent, dated=dated) for row in rows).encode())

    def done(self) -> bytes:
        """All of it."""
        return b"".join((*self._pieces, self._end))


FORMS: Final[dict[str, type[Document]]] = {"csv": Csv, "html": Html}
"""By what `format` says."""


def _texts(statement: Statement) -> dict[str, str]:
    last = instant(max(nanoseconds(statement.since), nanoseconds(statement.until) - 1))
    return {
        "name": statement.reference or statement.account_id,
        "account": statement.account_id,
        "asset": statement.asset,
        "first": _clock(statement.since),
        "last": _clock(last),
        "first_day": statement.since[:10],
        "last_day": last[:10],
        "seq": str(statement.seq),
        "held": _held(statement),
        "by": "date" if statement.by == "effective" else "recording",
        **{
            name: _grouped(major(minor, statement.exponent))
            for name, minor in (
                ("opening", statement.opening.posted),
                ("closing", statement.closing.posted),
                ("debits", statement.debits),
                ("credits", statement.credits),
            )
        },
    }


def _held(statement: Statement) -> str:
    """What is held of the account's own balance, in a sentence; by effective date nobody knows."""
    closing = statement.closing
    held = closing.debits_pending if statement.side == "credit" else closing.credits_pending
    if held is UNSET or closing.available is UNSET:
        return ""
    amounts = [f"{_grouped(major(each, statement.exponent))} {statement.asset}" for each in (held, closing.available)]
    return f"At the end of the period {amounts[0]} were held, and {amounts[1]} were available."


def _html_row(row: StatementRow, exponent: int, *, dated: bool) -> str:
    moment = row.effective_at if dated and row.effective_at is not UNSET else row.recorded_at
    said = row.reference if row.reference is not UNSET else _KINDS[row.kind]
    what = [] if row.reference is UNSET or row.kind == "transfer" else [_KINDS[row.kind]]
    if row.debit is None and row.credit is None:
        what.append(_grouped(major(row.amount, exponent)))
    small = " ".join(html.escape(each) for each in (*what, row.id))
    cells = [
        f"<td>{_clock(moment)}</td>",
        f'<td class="text">{html.escape(said)}<div class="soft id">{small}</div></td>',
        *(
            f'<td class="number">{_grouped(major(each, exponent)) if each else ""}</td>'
            for each in (row.debit, row.credit)
        ),
        f'<td class="number">{_grouped(major(row.balances.posted, exponent))}</td>',
    ]
    is_hold = row.debit is None and row.credit is None
    return f"<tr{' class=hold' if is_hold else ''}>{''.join(cells)}</tr>\n"


def _clock(moment: str) -> str:
    """To the second: 2026-03-01 12:00:00."""
    return moment[:19].replace("T", " ")


def _grouped(number: str) -> str:
    """With thin spaces between thousands."""
    whole, point, fraction = number.partition(".")
    sign, digits = ("\u2212", whole[1:]) if whole.startswith("-") else ("", whole)
    return sign + f"{int(digits):,}".replace(",", _THIN_SPACE) + point + fraction
