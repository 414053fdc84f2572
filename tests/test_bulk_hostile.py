"""Files that are not what they should be: cells of megabytes, quotes that never end, other encodings, other types.

Guarded here: what can be read row by row is told row by row, what cannot be is refused before anything is sent, and
none of it costs time or memory without bound.
"""

from __future__ import annotations

import csv
import decimal
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pyledger import cli
from pyledger._rust import ReadRows, decode_transfers, decode_transfers_binary
from pyledger.bulk.cursor import Position
from pyledger.bulk.nouns import BulkError, Reading
from pyledger.bulk.reading import requests

HEADER = b"id,debit_account_id,credit_account_id,amount,ledger,code,reference\n"
TIME_S_MAX = 20.0


def row(place: int, reference: bytes = b"") -> bytes:
    """A line of a good row."""
    id, debit, credit = (uuid.UUID(int=place + kind) for kind in (1 << 100, 1, 2))
    return f"{id},{debit},{credit},5,1,1,".encode() + reference + b"\n"


def prepared(file: Path, reading: Reading | None = None) -> list[ReadRows]:
    """The requests of a file."""
    form = file.suffix.removeprefix(".")
    return list(requests(file, form, reading or Reading("transfers"), Position("", "", ""), lambda _read: None))


def told(file: Path, reading: Reading | None = None) -> tuple[int, dict[int, str]]:
    """How many rows are sent, and by line what is said of the others."""
    found = prepared(file, reading)
    bad = {line: code for request in found for line, _id, code, _detail in request.wrong}
    return sum(request.rows for request in found), bad


def test_hostile_cells_are_told_by_themselves(tmp_path: Path) -> None:
    cells = {
        b"x" * 60_000: "invalid_reference",
        b'"' + b"x" * 60_000 + b'"': "invalid_reference",
        b"\xff\xfe": "invalid_utf8",
        "Zoë".encode("latin-1"): "invalid_utf8",
        b"\xed\xa0\x80": "invalid_utf8",
        b"a\x00b": "invalid_reference",
        b'"closed" twice': "invalid_csv",
        b"a\rb": "invalid_csv",
        b"x,y": "wrong_fields",
    }
    file = tmp_path / "hostile.csv"
    lines = [line for place, cell in enumerate(cells) for line in (row(2 * place), row(2 * place + 1, cell))]
    file.write_bytes(HEADER + b"".join(lines) + row(999))
    sent, bad = told(file)
    assert bad == {2 * place + 3: code for place, code in enumerate(cells.values())}
    assert sent == len(cells) + 1


def test_a_line_or_a_quote_without_an_end_costs_no_memory_and_little_time(tmp_path: Path) -> None:
    began_s = time.monotonic()
    quotes = tmp_path / "quotes.csv"
    quotes.write_bytes(HEADER + b"".join(row(place, b'"open') for place in range(5_000)))
    sent, bad = told(quotes)
    # What one line opens the next one closes.
    assert (sent, len(bad), {*bad.values()}) == (0, 2_500, {"invalid_csv"})
    quotes.write_bytes(HEADER + row(1) + row(2, b'"open') + b"".join(row(place) for place in range(3, 200_000)))
    with pytest.raises(BulkError, match="line 3 opens a quote that is not closed"):
        prepared(quotes)
    long = tmp_path / "long.csv"
    long.write_bytes(HEADER + row(1) + row(2, b'"' + b"x" * 10_000_000 + b'"'))
    with pytest.raises(BulkError, match="line 3 is longer than 65536 bytes"):
        prepared(long)
    assert time.monotonic() - began_s < TIME_S_MAX


@pytest.mark.parametrize("lines", [63, 64, 65, 700, 70_000])
def test_what_stands_in_quotes_is_never_a_row(tmp_path: Path, lines: int) -> None:
    """A text with line ends, and with what would be a row of its own, by whoever could write one cell of a file."""
    forged = str(uuid.UUID(int=7 << 100))
    text = "\n" * lines + row(7).decode().replace(str(uuid.UUID(int=7 + (1 << 100))), forged)
    file = tmp_path / "forged.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(HEADER.decode().strip().split(","))
        for place, reference in enumerate(("", text, "")):
            table.writerow([*row(place).decode().strip().split(",")[:-1], reference])
    (request,) = prepared(file)
    assert forged not in decode_transfers_binary(request.body, 1).ids
    assert (request.rows, [each[::2] for each in request.wrong]) == (2, [(3, "invalid_reference")])
    assert request.row(1)[0] == 3 + lines + 2


def test_an_import_of_parquet_goes_on_with_the_next_row(tmp_path: Path) -> None:
    """Also after texts of many lines, which are valid metadata."""
    rows = 20_000
    long = json.dumps({f"k{place}": place for place in range(70)}, indent=1)
    texts = pyarrow.array([long if place % 1_000 == 5 else None for place in range(rows)])
    file = parquet(tmp_path / "long.parquet", amount=pyarrow.array([1] * rows), metadata=texts)
    found, after = prepared(file), Position("", "", "")
    ids = [id for request in found for id in decoded(request)]
    assert (len(ids), [row for request in found for row in request.wrong]) == (rows, [])
    for place, request in enumerate(found):
        after.bytes, after.number = after.bytes + request.bytes, request.next_number
        assert after.number - 1 == sum(each.covers for each in found[: place + 1])
        rest = list(requests(file, "parquet", Reading("transfers"), after, lambda _read: None))
        assert [id for each in rest for id in decoded(each)] == ids[after.number - 1 :]


def lose(file: Path, group: int, column: int) -> None:
    """A column of a row group becomes nothing that can be read."""
    about = pyarrow.parquet.read_metadata(file).row_group(group).column(column)
    first = about.dictionary_page_offset or about.data_page_offset
    with file.open("r+b") as out:
        out.seek(first)
        out.write(b"\xff" * about.total_compressed_size)


def test_of_parquet_is_read_what_is_needed(tmp_path: Path) -> None:
    """No column that is not looked at, and of an import that goes on no row group that is done."""
    rows, group_rows = 25_000, 10_000
    columns = {"kind": pyarrow.array(["transfer"] * rows), "amount": pyarrow.array([1] * rows)}
    file = parquet(tmp_path / "groups.parquet", group_rows, **columns)
    for group in range(3):
        lose(file, group, 1)
    ids = [id for request in prepared(file) for id in decoded(request)]
    assert len(ids) == rows
    lose(file, 0, 0)
    for done in (9_999, 10_000, 12_345, 20_000, rows):
        heard: list[int] = []
        rest = requests(file, "parquet", Reading("transfers"), Position("", "", "", number=done + 1), heard.append)
        if done < group_rows:
            with pytest.raises(BulkError, match="this Parquet file cannot be read"):
                list(rest)
        else:
            assert [id for each in rest for id in decoded(each)] == ids[done:]
            assert (heard[0], sum(heard)) == (rows if done == rows else done - done % group_rows, rows)


def decoded(request: ReadRows) -> list[str]:
    """The ids of a request."""
    return (decode_transfers_binary if request.binary else decode_transfers)(request.body, 1).ids


def test_other_encodings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marked, wide = tmp_path / "marked.csv", tmp_path / "wide.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + HEADER + row(1, "Zoë".encode()))
    assert told(marked) == (1, {})
    objects = tmp_path / "marked.jsonl"
    objects.write_bytes(b'\xef\xbb\xbf{"id":"%s","amount":"5"}\r\n\r\n' % str(uuid.UUID(int=1 << 100)).encode())
    assert told(objects) == (1, {})
    wide.write_bytes((HEADER + row(1)).decode().encode("utf-16"))
    assert cli.main(["import", "transfers", str(wide), "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("pyledger: the first line ")


def parquet(file: Path, group_rows: int | None = None, /, **columns: Any) -> Path:
    """A Parquet file with ids and these columns, in row groups of so many rows."""
    rows = len(next(iter(columns.values())))
    ids = pyarrow.array([str(uuid.UUID(int=(1 << 100) + place)) for place in range(rows)])
    pyarrow.parquet.write_table(pyarrow.table({"id": ids, **columns}), file, row_group_size=group_rows)
    return file


def test_what_a_parquet_column_may_be(tmp_path: Path) -> None:
    whole = [decimal.Decimal(2**128 + place) for place in (-2, -1, 0)]
    amounts = pyarrow.array([*whole, -1, None, 5], pyarrow.decimal256(76, 0))
    pending = pyarrow.array([["pending"]] * 6)
    sent, bad = told(parquet(tmp_path / "amounts.parquet", amount=amounts, flags=pending))
    assert (sent, bad) == (2, dict.fromkeys((2, 3, 4), "invalid_amount") | {5: "missing_field"})
    cents = pyarrow.array([decimal.Decimal("5.00")], pyarrow.decimal128(38, 2))
    assert told(parquet(tmp_path / "cents.parquet", amount=cents)) == (0, {1: "invalid_amount"})
    for unit, wrong in (("s", [-1, 2**40]), ("ms", [0]), ("us", [-1, 2**61]), ("ns", [-1, 2**63 - 1])):
        times = pyarrow.array([1_700_000_000_000_000_000 // 10 ** {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit], *wrong])
        file = tmp_path / f"{unit}.parquet"
        one = pyarrow.array([1] * len(times))
        sent, bad = told(parquet(file, amount=one, effective_at=times.cast(pyarrow.timestamp(unit))))
        assert (sent, bad) == (1, dict.fromkeys(range(2, 2 + len(wrong)), "invalid_time")), unit
    ids = pyarrow.array([bytes(16), uuid.UUID(int=7).bytes], pyarrow.binary(16))
    codes = pyarrow.array(["1", "2"]).dictionary_encode()
    found = prepared(
        parquet(tmp_path / "ids.parquet", amount=codes, debit_account_id=ids, seq=pyarrow.array([{"a": 1}, None]))
    )
    assert [request.rows for request in found] == [2]
    assert found[0].body[128 + 16 : 128 + 32] == uuid.UUID(int=7).bytes[::-1]


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([1.0]), pyarrow.array([True]), pyarrow.array([b"\xff"], pyarrow.binary()),
        pyarrow.array([{"a": 1}]), pyarrow.array([1], pyarrow.date32()), pyarrow.array([[1]]),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_what_a_parquet_column_may_not_be(tmp_path: Path, column: Any) -> None:
    with pytest.raises(BulkError, match="the column amount is of "):
        prepared(parquet(tmp_path / "wrong.parquet", amount=column))


def test_lines_of_a_parquet_file_are_its_rows(tmp_path: Path) -> None:
    """Also where a text has lines of its own: derived ids must never be those of other rows."""
    rows = 20_000
    texts = pyarrow.array(["a\nb" if place % 50 == 7 else None for place in range(rows)])
    amounts = pyarrow.array([None if place % 1_000 == 999 else 1 for place in range(rows)])
    file = tmp_path / "lines.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"amount": amounts, "reference": texts}), file)
    reading = Reading("transfers", "old books")
    sent, bad = told(file, reading)
    assert (sent, list(bad)) == (rows - rows // 1_000, list(range(1_000, rows + 1, 1_000)))
    bodies = [request.body for request in prepared(file, reading)]
    assert len({id for body in bodies for id in decode_transfers(body, 1).ids}) == sent


def test_a_table_comes_back_from_its_own_reader(tmp_path: Path) -> None:
    """What Python's csv writes, with every way to quote."""
    texts = ['say "yes"', "a,b", "Zoë", " x ", "'", "\\", "a\tb"]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        file = tmp_path / "written.csv"
        with file.open("w", encoding="utf-8", newline="") as out:
            table = csv.writer(out, quoting=quoting)
            table.writerow(["id", "amount", "reference"])
            table.writerows([uuid.UUID(int=(1 << 100) + place), "5", text] for place, text in enumerate(texts))
        (request,) = prepared(file)
        assert (request.rows, request.wrong) == (len(texts), [])
        assert [each["reference"] for each in json.loads(request.body)["transfers"]] == texts
