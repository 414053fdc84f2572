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
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from pyledger.server.replies import COMMON, CSV_TYPE, HTML_TYPE, Headers

if TYPE_CHECKING:
    from pyledger.ledger.statements.nouns import BalancesAt, Statement, StatementRow

_PAGE: Final = (resources.files(__package__) / "statement.html").read_text("utf-8")
_STYLE: Final = "".join(re.findall(r"<style>(.*?)</style>", _PAGE, flags=re.DOTALL))
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_TEMPLATE: Final = Template(_PAGE)
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


def as_csv(statement: Statement) -> bytes:
    """A line of names, the opening balance, the rows, the closing balance."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(COLUMNS)
    first = {"kind": "opening", "recorded_at": statement.since}
    last = {"kind": "closing", "recorded_at": statement.until}
    lines.writerow(_cells(statement, first, statement.opening))
    for row in statement.data:
        lines.writerow(_cells(statement, _fields(statement, row), row.balances))
    lines.writerow(_cells(statement, last, statement.closing))
    return out.getvalue().encode()


def _fields(statement: Statement, row: StatementRow) -> dict[str, object]:
    exponent = statement.exponent
    return {
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
    }


def _cells(statement: Statement, fields: Mapping[str, object], held: BalancesAt) -> list[object]:
    whole = dict(fields) | {
        "balance": major(held.posted, statement.exponent),
        "balance_minor": held.posted,
        "pending_minor": None if held.pending is UNSET else held.pending,
        "asset": as_text(statement.asset),
        "exponent": statement.exponent,
    }
    return [whole.get(column) for column in COLUMNS]


def as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def as_html(statement: Statement) -> bytes:
    """A page with everything in it."""
    given = {
        "name": statement.reference or statement.account_id,
        "account": statement.account_id,
        "asset": statement.asset,
        "first": _clock(statement.since),
        "last": _clock(statement.until),
        "first_day": statement.since[:10],
        "last_day": statement.until[:10],
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
    rows = "".join(_html_row(row, statement.exponent, dated=statement.by == "effective") for row in statement.data)
    escaped = {name: html.escape(text) for name, text in given.items()}
    return _TEMPLATE.substitute(escaped, rows=rows).encode()


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
