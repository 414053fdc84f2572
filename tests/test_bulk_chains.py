"""Linked chains in files: all of one is sent in one request, or nothing of it.

Guarded here: a leg is never booked without the others of its chain, whatever is wrong with one of them, however long
the chain is, wherever in a file it stands, and wherever an import that goes on begins.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pyledger._rust import LIMITS, ReadRows, decode_transfers, decode_transfers_binary
from pyledger.bulk.cursor import Position
from pyledger.bulk.nouns import Reading
from pyledger.bulk.reading import requests
from tests.server.talk import Talker
from tests.support.process import ServerProcess
from tests.test_bulk import BANK, LEDGER, SHOP, balances, imported, number, open_books, reported

BATCH_ROWS_MAX = LIMITS["batch_rows_max"]
NAMES = ("id", "debit_account_id", "credit_account_id", "amount", "ledger", "code", "flags", "reference", "status")


def leg(place: int, *, linked: bool = False, **more: Any) -> dict[str, Any]:
    """A row, of a chain that goes on or not."""
    row = {"id": number(place), "debit_account_id": BANK, "credit_account_id": SHOP, "amount": "1", "ledger": LEDGER}
    return row | {"code": 1, "flags": ["linked"] if linked else [], "reference": f"row {place}"} | more


def line_of(row: dict[str, Any], form: str) -> str:
    """A row as a line."""
    if form == "jsonl":
        return json.dumps(row)
    return ",".join(" ".join(cell) if isinstance(cell := row.get(name, ""), list) else str(cell) for name in NAMES)


def written(folder: Path, form: str, lines: list[str]) -> Path:
    """A file of lines."""
    file = folder / f"chains.{form}"
    head = [",".join(NAMES)] if form == "csv" else []
    file.write_bytes("\n".join([*head, *lines, ""]).encode("utf-8", "surrogateescape"))
    return file


def prepared(file: Path, position: Position | None = None) -> list[ReadRows]:
    """The requests of a file, from a position on."""
    form, after = file.suffix.removeprefix("."), position or Position("", "", "")
    return list(requests(file, form, Reading("transfers"), after, lambda _read: None))


def sent(found: list[ReadRows]) -> list[list[int]]:
    """The places of the rows that are sent, request by request."""
    decoded = [
        (decode_transfers_binary if each.binary else decode_transfers)(each.body, 1) for each in found if each.rows
    ]
    first = uuid.UUID(number(0)).int
    return [[uuid.UUID(id).int - first for id in each.ids] for each in decoded]


def told(found: list[ReadRows]) -> dict[int, str]:
    """What is said of the others, by line."""
    return {line: code for each in found for line, _id, code, _detail in each.wrong}


WRONG = {
    "csv": {
        "wrong_fields": lambda line: line + ",",
        "invalid_csv": lambda line: line.replace("row 1", '"row" 1'),
        "invalid_utf8": lambda line: line.replace("row 1", "\udcff"),
        "invalid_amount": lambda line: line.replace(",1,", ",one,", 1),
        "invalid_flags": lambda line: line.replace("linked", "linked linked"),
    },
    "jsonl": {
        "invalid_json": lambda line: line[:-1] + ",}",
        "duplicate_field": lambda line: line[:-1] + ', "flags": []}',
        "wrong_type": lambda line: line.replace('["linked"]', '"linked"'),
        "invalid_flags": lambda line: line.replace('["linked"]', '["linked", "no_such"]'),
        "invalid_amount": lambda line: line.replace('"amount": "1"', '"amount": "one"'),
        "unknown_field": lambda line: line[:-1] + ', "more": 1}',
    },
}  # fmt: skip


@pytest.mark.parametrize(("form", "code"), [(form, code) for form, codes in WRONG.items() for code in codes])
def test_a_leg_that_is_wrong_takes_its_chain_along(tmp_path: Path, form: str, code: str) -> None:
    """Whichever it is, and nothing else."""
    for wrong in (1, 2):
        lines = [line_of(leg(place, linked=place in (1, 2)), form) for place in range(5)]
        lines[wrong] = WRONG[form][code](lines[wrong].replace(f"row {wrong}", "row 1"))
        found = prepared(written(tmp_path, form, lines))
        first = 2 if form == "csv" else 1
        others = dict.fromkeys((1, 2, 3), "linked_chain_refused")
        assert {line - first: what for line, what in told(found).items()} == others | {wrong: code}
        assert sent(found) == [[0, 4]]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_chain_whose_last_leg_is_wrong_or_was_declined(tmp_path: Path, form: str) -> None:
    for last in ({"amount": "one"}, {"status": "declined"}, {"ledger": "seven", "reference": "linked"}):
        rows = [leg(0), leg(1, linked=True), leg(2, **last), leg(3)]
        found = prepared(written(tmp_path, form, [line_of(row, form) for row in rows]))
        # What is wrong and has the word may be linked: nobody can say whether the chain goes on.
        goes_on = last.get("reference") == "linked"
        assert sent(found) == [[0] if goes_on else [0, 3]]
        assert len(told(found)) == (1 if "status" in last else 3 if goes_on else 2)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_chain_of_which_a_leg_was_declined_is_not_sent_without_it(tmp_path: Path, form: str) -> None:
    rows = [leg(0), leg(1, linked=True, status="declined"), leg(2), leg(3)]
    found = prepared(written(tmp_path, form, [line_of(row, form) for row in rows]))
    assert (sent(found), [*told(found).values()]) == ([[0, 3]], ["linked_chain_refused"])
    # Without flags a declined row is of no chain, as in an export.
    rows = [leg(0), leg(1, status="declined", reference="linked"), leg(2)]
    found = prepared(written(tmp_path, form, [line_of(row, form) for row in rows]))
    assert (sent(found), told(found), sum(each.skipped for each in found)) == ([[0, 2]], {}, 1)


def long_file(folder: Path, form: str, chain: int, before: int = 1) -> Path:
    """Some rows, a chain, and a row after it."""
    rows = [leg(place, linked=before <= place < before + chain - 1) for place in range(before + chain + 1)]
    if form == "parquet":
        file = folder / "chains.parquet"
        columns = {name: [row[name] for row in rows] for name in NAMES if name in rows[0]}
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
        return file
    return written(folder, form, [line_of(row, form) for row in rows])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_chain_that_no_request_can_hold_is_not_sent_at_all(tmp_path: Path, form: str) -> None:
    """As long as a request, and longer by one, by a request, by two."""
    for before, chain in ((5, BATCH_ROWS_MAX), (5, BATCH_ROWS_MAX + 1), (1, 2 * BATCH_ROWS_MAX), (8_000, 20_000)):
        file = long_file(tmp_path, form, chain, before)
        found = prepared(file)
        places = [place for each in sent(found) for place in each]
        outside = [*range(before), before + chain]
        assert places == (outside if chain > BATCH_ROWS_MAX else [*range(before + chain + 1)])
        assert {*told(found).values()} == ({"linked_chain_too_long"} if chain > BATCH_ROWS_MAX else set())
        assert len(told(found)) + len(places) == before + chain + 1
        # Going on from the end of any request comes to the same.
        after = Position("", "", "")
        for place, request in enumerate(found):
            after.bytes += request.bytes
            after.number, after.torn = request.next_number, request.torn
            rest = prepared(file, after)
            assert (sent(rest), told(rest)) == (sent(found[place + 1 :]), told(found[place + 1 :]))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_chain_is_whole_wherever_it_stands(tmp_path: Path, form: str) -> None:
    """Across the rows of a request, of a block of a Parquet file, and of the core's reading."""
    for before in (BATCH_ROWS_MAX - 2, BATCH_ROWS_MAX - 1, 2 * BATCH_ROWS_MAX - 1):
        found = prepared(long_file(tmp_path, form, 3, before))
        chain = {before, before + 1, before + 2}
        assert [chain & {*places} for places in sent(found) if chain & {*places}] == [chain]
        assert told(found) == {}


def test_a_chain_of_heavy_rows_is_not_cut_by_its_bytes(tmp_path: Path) -> None:
    """Of 24 MB, which no request can hold."""
    spaces = " " * 60_000
    lines = [line_of(leg(place, linked=place < 399), "jsonl")[:-1] + spaces + "}" for place in range(401)]
    found = prepared(written(tmp_path, "jsonl", lines))
    assert sent(found) == [[400]]
    assert told(found) == dict.fromkeys(range(1, 401), "linked_chain_too_long")


def test_no_leg_is_booked_alone(server: ServerProcess, tmp_path: Path) -> None:
    """An exchange of which one leg cannot be read."""
    talker = Talker(server.url)
    open_books(talker)
    lines = [line_of(leg(place, linked=place in (1, 3)), "jsonl") for place in range(6)]
    lines[1] = lines[1][:-1] + ",}"
    file = written(tmp_path, "jsonl", lines)
    done = imported("transfers", file, server.url)
    assert (done["accepted"], done["malformed"]) == (4, 2)
    assert reported(tmp_path / "chains.jsonl.rejected.csv") == [2, 3]
    assert balances(talker)[SHOP]["posted"] == "4"


@pytest.mark.parametrize("wrong", [{"id": 5, "flags": ["linked"]}, {"id": number(8_189), "flags": "linked"}])
def test_a_wrong_leg_where_a_request_ends(tmp_path: Path, wrong: dict[str, Any]) -> None:
    rows = [line_of(leg(place), "jsonl") for place in range(BATCH_ROWS_MAX + 20)]
    rows[BATCH_ROWS_MAX - 1] = line_of(leg(0) | wrong, "jsonl")
    found = prepared(written(tmp_path, "jsonl", rows))
    assert [*told(found)] == [BATCH_ROWS_MAX, BATCH_ROWS_MAX + 1]
    places = [place for each in sent(found) for place in each]
    assert places == [*range(BATCH_ROWS_MAX - 1), *range(BATCH_ROWS_MAX + 1, BATCH_ROWS_MAX + 20)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_long_chain_before_rows_that_were_declined(tmp_path: Path, form: str) -> None:
    chain = 2 * BATCH_ROWS_MAX + 1
    rows = [leg(place, linked=place < chain - 1) for place in range(chain)]
    rows += [leg(place, status="declined") for place in range(chain, chain + 500)] + [leg(chain + 500)]
    found = prepared(written(tmp_path, form, [line_of(row, form) for row in rows]))
    assert (sent(found), sum(each.skipped for each in found)) == ([[chain + 500]], 500)
    assert len(told(found)) == chain


def test_rows_that_were_declined_hide_nothing_of_the_others(server: ServerProcess, tmp_path: Path) -> None:
    """A third of more rows than a request has, and what the ledger says of the last one is told by its line."""
    talker, rows = Talker(server.url), 12_000
    open_books(talker)
    lines = [line_of(leg(place, status="declined" if place % 3 == 1 else "accepted"), "csv") for place in range(rows)]
    lines[-1] = line_of(leg(rows - 1, amount="0"), "csv")
    done = imported("transfers", written(tmp_path, "csv", lines), server.url)
    assert (done["accepted"], done["skipped"], done["refused"]) == (rows - rows // 3 - 1, rows // 3, 1)
    assert reported(tmp_path / "chains.csv.rejected.csv") == [rows + 1]
    assert balances(talker)[SHOP]["posted"] == str(rows - rows // 3 - 1)
