"""Statements over a real socket: the same numbers as JSON, CSV and HTML, and what is asked wrong."""

from __future__ import annotations

import csv
import html
import io
import json
import random
import re
import time
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from pyledger.server import schemas
from pyledger.server.documents import COLUMNS, as_text, major
from tests.server.talk import Answer, Books, new_id

NOW_S = time.time()
CLOCK = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


@pytest.fixture
def busy(books: Books) -> Books:
    """The wallet has had transfers, holds, a capture in part, a decline, a reversal, and texts that mean harm."""
    first = books.moved(amount="1250", reference="=HYPERLINK(1)")
    for reference in ("+1", "-1", "@SUM(A1)", "<script>alert(1)</script>", 'a "quoted", text', "\tx", "plain"):
        books.moved(amount="100", reference=reference, metadata={"k": "=1", "<b>": [1]})
    away = {"debit_account_id": books.wallet, "credit_account_id": books.cash}
    hold = books.moved(**away, amount="500", flags=["pending"], reference="hotel")
    assert books.post(f"/v1/transfers/{hold['id']}/post", {"id": new_id(), "amount": "300"}).status == 201
    books.moved(**away, amount="70", flags=["pending"])
    assert books.post("/v1/transfers", books.transfer(**away, amount="999999")).status == 422
    assert books.post(f"/v1/transfers/{first['id']}/reverse", {"id": new_id(), "amount": "250"}).status == 201
    return books


def statement(books: Books, query: str = "") -> Answer:
    return books.get(f"/v1/accounts/{books.wallet}/statement{query}")


def whole(books: Books, query: str = "") -> dict[str, Any]:
    """All pages as one."""
    found: dict[str, Any] = {}
    cursor = ""
    while not found or cursor:
        page = statement(books, f"?limit=3{query}" + (f"&cursor={cursor}" if cursor else "")).json
        cursor, page["next"] = page["next"], None
        page["data"] = found.get("data", []) + page["data"]
        found = page
    return found


def test_a_page_is_what_the_document_says(busy: Books) -> None:
    page = statement(busy, "?limit=2&holds=true").json
    strict = msgspec.convert(page, schemas.Statement)
    assert json.loads(msgspec.json.encode(strict)) == page
    assert set(page) == {field.name for field in msgspec.structs.fields(schemas.Statement)}
    for row in page["data"]:
        assert set(row) <= {field.name for field in msgspec.structs.fields(type(strict.data[0]))}


def test_all_forms_have_the_same_numbers(busy: Books) -> None:
    for holds in ("false", "true"):
        pages = whole(busy, f"&holds={holds}")
        opening, closing = int(pages["opening"]["posted"]), int(pages["closing"]["posted"])
        moved = sum(int(row["credit"] or 0) - int(row["debit"] or 0) for row in pages["data"])
        assert (opening, opening + moved, closing) == (0, closing, 1250 + 700 - 300 - 250)
        assert int(pages["credits"]) - int(pages["debits"]) == closing
        assert closing == int(busy.get(f"/v1/accounts/{busy.wallet}").json["balances"]["posted"])
        assert pages["closing"] == busy.get(f"/v1/accounts/{busy.wallet}").json["balances"]
        assert len(pages["data"]) == (12 if holds == "true" else 10)

        answer = statement(busy, f"?format=csv&holds={holds}")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
        assert tuple(rows[0]) == COLUMNS
        first, last, between = rows[0], rows[-1], rows[1:-1]
        assert (first["kind"], first["balance_minor"], last["kind"]) == ("opening", "0", "closing")
        assert (last["balance_minor"], last["balance"]) == (str(closing), "14.00")
        for row, line in zip(pages["data"], between, strict=True):
            for column in ("id", "kind", "recorded_at"):
                assert line[column] == row[column]
            for column in ("debit", "credit"):
                assert line[f"{column}_minor"] == (row[column] or "")
                assert line[column].replace(".", "").lstrip("0") == (row[column] or "").lstrip("0")
            assert line["balance_minor"] == row["balances"]["posted"]
            assert line["reference"].removeprefix("'") == row.get("reference", "")
            if line["metadata"]:
                assert json.loads(line["metadata"]) == row["metadata"]

        page = statement(busy, f"?format=html&holds={holds}").body.decode()
        for row in pages["data"]:
            assert row["id"] in page
            assert html.escape(row.get("reference", "")) in page
        assert page.count("14.00") >= 2


def test_no_cell_is_a_formula_and_no_text_is_markup(busy: Books) -> None:
    lines = csv.reader(io.StringIO(statement(busy, "?format=csv").body.decode(), newline=""))
    for line in lines:
        for column, cell in zip(COLUMNS, line, strict=True):
            assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
            assert not cell.startswith("-") or column not in ("reference", "metadata", "asset")
    answer = statement(busy, "?format=html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.body.decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r"<[^>]*\b(?:src|href|style|on\w+)\s*=", page)
    assert "$" not in page
    for text in ("=1", "+1", "-1", "@1", "\t1", "\r1", "\n1"):
        assert as_text(text) == f"'{text}"
    assert as_text("plain-1") == "plain-1"


def test_the_printed_page_says_what_it_is_of_on_each_sheet(busy: Books) -> None:
    pages = whole(busy)
    page = statement(busy, "?format=html").body.decode()
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert page.count("<thead>") == 1
    assert busy.wallet in head, "what is repeated on each sheet names the account"
    end = page[page.index('<tbody class="end">') :]
    for name in ("debits", "credits"):
        assert f">{major(pages[name], 2)}<" in end
    assert "14.00" in end


def test_a_period_ends_with_its_last_day(busy: Books) -> None:
    march = "since=2026-03-01T00:00:00Z&until=2026-04-01T00:00:00Z&by=effective"
    page = statement(busy, f"?format=html&{march}").body.decode()
    assert "2026-03-01 00:00:00 to 2026-03-31 23:59:59 (UTC)" in page
    assert "2026-04-01" not in page


def test_minor_units_as_people_write_them() -> None:
    dice = random.Random(0)
    assert [major("5", 2), major("-5", 2), major("0", 0), major("-1250", 2), major("7", 3)] == [
        "0.05", "-0.05", "0", "-12.50", "0.007"
    ]  # fmt: skip
    for _ in range(200):
        number, exponent = dice.randint(-(2**128), 2**128), dice.randint(0, 38)
        text = major(str(number), exponent)
        whole, _, fraction = text.lstrip("-").partition(".")
        assert len(fraction) == exponent
        assert int(whole + fraction) == abs(number)
        assert text.startswith("-") == (number < 0)


def test_as_of_a_moment(busy: Books) -> None:
    rows = whole(busy, "&holds=true")["data"]
    path = f"/v1/accounts/{busy.wallet}"
    now = busy.get(path).json
    for before, row in zip([None, *rows], rows, strict=False):
        then = busy.get(f"{path}?as_of={row['recorded_at']}").json
        assert then["balances"] == row["balances"]
        assert then["as_of"] == row["recorded_at"]
        assert set(then) - set(now) == {"as_of", "by", "seq"}
        assert {name: then[name] for name in now if name != "balances"} == {
            name: now[name] for name in now if name != "balances"
        }
        moment, fraction = row["recorded_at"][:-10], int(row["recorded_at"][-10:-1])
        if before and fraction:
            then = busy.get(f"{path}?as_of={moment}{fraction - 1:09d}Z").json
            assert then["balances"] == before["balances"]
    late = busy.get(f"{path}?as_of=2200-01-01T00:00:00Z").json
    assert late["balances"] == now["balances"]
    assert CLOCK.fullmatch(late["as_of"])
    assert late["as_of"] >= rows[-1]["recorded_at"]
    assert busy.get(f"{path}?as_of={late['as_of']}").json == late


def test_a_period_ends_where_the_next_begins(busy: Books) -> None:
    rows = whole(busy)["data"]
    middle = quote(rows[4]["recorded_at"])
    first, second = whole(busy, f"&until={middle}"), whole(busy, f"&since={middle}")
    assert [row["id"] for row in first["data"]] == [row["id"] for row in rows[:4]]
    assert [row["id"] for row in second["data"]] == [row["id"] for row in rows[4:]]
    assert first["closing"] == second["opening"]
    assert first["until"] == second["since"] == rows[4]["recorded_at"]
    nothing = whole(busy, f"&since={middle}&until={middle}")
    assert (nothing["data"], nothing["opening"]) == ([], nothing["closing"])


def test_by_effective_date(busy: Books) -> None:
    for day, amount in (("2020-01-03", "3"), ("2020-01-01", "1"), ("2020-01-02", "2")):
        busy.moved(amount=amount, effective_at=f"{day}T12:00:00Z", reference=day)
    path = f"/v1/accounts/{busy.wallet}"
    for day, posted in (("2019-12-31", "0"), ("2020-01-01", "1"), ("2020-01-02", "3"), ("2020-01-31", "6")):
        then = busy.get(f"{path}?as_of={day}T23:59:59Z&by=effective").json
        assert (then["balances"]["posted"], then["as_of"], then["by"]) == (
            posted, f"{day}T23:59:59.000000000Z", "effective"
        )  # fmt: skip
        msgspec.convert(then, schemas.Account)
    january = "by=effective&since=2020-01-02T00:00:00Z&until=2020-02-01T00:00:00Z"
    pages = whole(busy, f"&{january}")
    msgspec.convert(pages, schemas.Statement)
    assert [row["reference"] for row in pages["data"]] == ["2020-01-02", "2020-01-03"]
    assert [row["balances"]["posted"] for row in pages["data"]] == ["3", "6"]
    assert (pages["opening"]["posted"], pages["closing"]["posted"], pages["credits"]) == ("1", "6", "5")
    lines = list(csv.DictReader(io.StringIO(statement(busy, f"?{january}&format=csv").body.decode(), newline="")))
    assert [line["balance"] for line in lines] == ["0.01", "0.03", "0.06", "0.06"]
    page = statement(busy, f"?{january}&format=html").body.decode()
    assert "2020-01-03 12:00:00" in page
    assert "were held" not in page


@pytest.mark.parametrize(("query", "status", "code"), [
    ("?as_of=NaN", 400, "parameter_invalid"),
    ("?as_of=", 400, "parameter_invalid"),
    ("?as_of=2026-02-30T00:00:00Z", 400, "parameter_invalid"),
    ("?as_of=2026-01-01", 400, "parameter_invalid"),
    ("?as_of=10000-01-01T00:00:00Z", 400, "parameter_invalid"),
    ("?as_of=9999-12-31T23:59:59Z", 400, "parameter_invalid"),
    ("?as_of=1969-12-31T23:59:59Z", 400, "parameter_invalid"),
    ("?as_of=2026-01-01T00:00:00Z&as_of=2026-01-01T00:00:00Z", 400, "parameter_invalid"),
    ("?as_of=1970-01-01T00:00:00Z", 404, "account_not_found"),
    ("?when=1", 400, "parameter_unknown"),
    ("/statement?since=NaN", 400, "parameter_invalid"),
    ("/statement?until=1e9", 400, "parameter_invalid"),
    ("/statement?until=2026-01-01T00:00:00.0000000001Z", 400, "parameter_invalid"),
    ("/statement?until=1970-01-01T00:00:00Z", 404, "account_not_found"),
    ("/statement?cursor=AAAA", 400, "cursor_invalid"),
    (f"/statement?cursor={'A' * 512}", 400, "cursor_invalid"),
    (f"/statement?cursor={'A' * 513}", 400, "parameter_invalid"),
    ("/statement?limit=0", 400, "parameter_invalid"),
    ("/statement?limit=1001", 400, "parameter_invalid"),
    ("/statement?limit=1&format=csv", 400, "parameter_invalid"),
    ("/statement?format=pdf", 400, "parameter_invalid"),
    ("/statement?holds=1", 400, "parameter_invalid"),
    ("/statement?holds=%00", 400, "parameter_invalid"),
    ("/statement?holds=true&by=effective", 400, "parameter_invalid"),
    ("/statement?by=booking", 400, "parameter_invalid"),
    ("?by=effective", 400, "parameter_invalid"),
    ("?by=effective&as_of=NaN", 400, "parameter_invalid"),
])  # fmt: skip
def test_what_is_asked_wrong(busy: Books, query: str, status: int, code: str) -> None:
    answer = busy.get(f"/v1/accounts/{busy.wallet}{query}")
    assert (answer.status, answer.code) == (status, code)


def test_a_trial_balance(busy: Books) -> None:
    number = 1_000_000 + int(new_id()[:6], 16)
    assert busy.post("/v1/ledgers", {"id": number, "asset": "USD", "exponent": 2}).status == 201
    debit, credit = busy.account(ledger=number), busy.account(ledger=number)
    first = busy.moved(debit_account_id=debit, credit_account_id=credit, ledger=number, amount="7")
    busy.moved(debit_account_id=debit, credit_account_id=credit, ledger=number, amount="5", flags=["pending"])
    path = f"/v1/ledgers/{number}/trial-balance"
    found = busy.get(path).json
    msgspec.convert(found, schemas.TrialBalance)
    sums = {"accounts": 2, "debits_pending": "5", "debits_posted": "7", "credits_pending": "5", "credits_posted": "7",
            "debit_balance": "7", "credit_balance": "7"}  # fmt: skip
    assert (found["totals"], found["codes"]) == (sums, [{"code": 1, **sums}])
    before = busy.get(f"{path}?as_of={first['recorded_at']}").json
    assert (before["totals"], before["as_of"]) == (sums | {"debits_pending": "0", "credits_pending": "0"},
                                                   first["recorded_at"])  # fmt: skip
    page = busy.get(f"{path}?accounts=true&limit=1").json
    rest = busy.get(f"{path}?accounts=true&limit=1&cursor={page['next']}").json
    msgspec.convert(page, schemas.TrialBalance)
    assert ([row["id"] for row in page["data"] + rest["data"]], rest["next"]) == ([debit, credit], None)
    for query, code in (
        ("?as_of=NaN", "parameter_invalid"), ("?limit=1", "parameter_invalid"), ("?accounts=1", "parameter_invalid"),
        ("?accounts=true&cursor=AAAA", "cursor_invalid"), ("?as_of=1970-01-01T00:00:00Z", "ledger_not_found"),
        ("?accounts=true&limit=0", "parameter_invalid"), ("?by=effective", "parameter_unknown"),
    ):  # fmt: skip
        assert busy.get(path + query).code == code, query
    assert busy.get("/v1/ledgers/2147483647/trial-balance").code == "ledger_not_found"
    assert busy.get(f"/v1/ledgers/{debit}/trial-balance").code == "id_invalid"


def test_an_account_that_is_not_there(books: Books) -> None:
    for path in (
        f"{new_id()}/statement",
        f"{new_id()}?as_of=2026-01-01T00:00:00Z",
        f"{new_id()}/statement?format=html",
    ):
        answer = books.get(f"/v1/accounts/{path}")
        assert (answer.status, answer.code) == (404, "account_not_found")
    assert books.get("/v1/accounts/1/statement").code == "id_invalid"
