"""How files are read: what is hostile ends in one line, and the core's reader says what Python's csv and json say.

Guarded here: whatever stands in a line, what is sent for it is what a model of a hundred lines makes of it; and what is
wrong with a line is always told.
"""

from __future__ import annotations

import csv
import json
import random
import re
import uuid
from pathlib import Path

import pytest

from pyledger import cli
from pyledger._rust import Commands, ReadRows, decode_accounts, decode_transfers, decode_transfers_binary
from pyledger.bulk.cursor import Position
from pyledger.bulk.nouns import COLUMNS, OUTCOMES, TRANSFERS, Reading
from pyledger.bulk.reading import requests
from tests.support.chance import replayable
from tests.support.rows import SKIPPED, WRONG, Said, said_by_line

FILES = 150
LINES = 12


def hostile_files(folder: Path) -> dict[str, str]:
    """Names of files, and what is said of each."""
    with (folder / "long.csv").open("wb") as file:
        file.truncate(1024**3)
    (folder / "junk.csv").write_bytes(bytes(range(256)) * 64)
    (folder / "header.csv").write_text("id,amount,debit\n1,2,3\n", "utf-8")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "twice.csv").write_text("id,amount,amount\n", "utf-8")
    (folder / "junk.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 64)
    (folder / "what.xlsx").write_bytes(b"PK")
    return {
        "long.csv": "line 1 is longer than 65536 bytes",
        "junk.csv": "the first line",
        "header.csv": "'debit' is none of id, debit_account_id",
        "empty.csv": "there is no column id",
        "twice.csv": "amount stands twice",
        "junk.parquet": "this Parquet file cannot be read",
        "what.xlsx": "--format csv, jsonl or parquet",
        "missing.csv": "No such file",
    }


def test_hostile_files_end_in_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in hostile_files(tmp_path).items():
        code = cli.main(["import", "transfers", str(tmp_path / name), "--dry-run"])
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, ""), (name, printed)
        assert printed.err.startswith("pyledger: "), name
        assert printed.err.count("\n") == 1, name
        assert said in printed.err, (name, printed.err)


ODD = [
    '"',
    "\\",
    "x",
    '"a,b"',
    '"a""b"',
    '"a"b',
    "\t",
    "{}",
    "null",
    "[1]",
    "-1",
    " ",
    '","a":"',
    "1e3",
    "007",
    "\0",
    "\x7f",
]
TEXTS = ["some text", "it's", "é", "\u2028", '"a,b"', '"say ""yes"""', '""', "x" * 129, "€" * 43]
METADATA = ['"{""b"":1,""a"":""é""}"', '"{""a"":[1,{""b"":null}]}"', '"{""a"":1.0}"', '"{""a"":1,""a"":2}"', "{}", "[]"]
_CELL = r'(?:"(?:[^"]|"")*+"[^,]*|[^",][^,]*|)'
CLOSED = re.compile(f"{_CELL}(?:,{_CELL})*")
PARSED = [next(csv.reader([text]))[0] for text in METADATA if text.startswith('"')]


NUMBERS = {"ledger", "code", "timeout_s", "recorded_ns"}
FLAGS = {
    "transfers": ["", "", "", "pending", "imported", "closing_debit pending", "post_pending"],
    "accounts": ["", "", "debits_must_not_exceed_credits", "imported", "credits_must_not_exceed_debits imported"],
}


def cell(what: str, name: str, chance: random.Random, odd: bool) -> str:
    """Mostly what belongs there."""
    if odd and chance.random() < 0.02:
        return chance.choice(ODD)
    if name.endswith("id") or name == "reverses":
        text = str(uuid.UUID(int=chance.getrandbits(128))) if name == "id" or chance.random() < 0.7 else ""
        return text.upper() if chance.random() < 0.1 else text
    choices = {
        "flags": FLAGS[what],
        "effective_at": ["", "", "2025-01-02T03:04:05Z", "2025-01-02T03:04:05.123456789+01:00"],
        "reference": [""] * 12 + TEXTS[: None if odd else -2],
        "metadata": [""] * 9 + METADATA[: None if odd else 2],
        "status": ["accepted"] * 8 + ["declined", ""],
        "recorded_ns": [str(1_700_000_000_000_000_000 + chance.randrange(10**9)), "1"],
        "amount": ["1", "7", "65535", str(2**40), str(10**30), str(2**128 - 2)],
        "allowance": ["", "0", "100", str(2**128 - 2)],
    }
    wrong = {
        "flags": ["reverse", "pending pending", "linked", "group", " pending"],
        "effective_at": ["1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2025-02-29T00:00:00Z", "yesterday"],
        "recorded_ns": ["0", str(2**63), str(10**30), "\u00b2"],
        "amount": [str(2**128 - 1), str(10**39), "1.5", "01"],
    }
    if odd and name == "flags" and chance.random() < 0.1:
        return "linked"
    if odd and chance.random() < 0.03:
        return chance.choice(wrong.get(name, [str(2**16), str(2**31)]))
    return chance.choice(choices[name]) if name in choices else str(chance.randrange(1, 65_536))


def table(what: str, chance: random.Random) -> tuple[list[str], list[str]]:
    """Columns in some order, and lines."""
    known = [*COLUMNS[what][1:], "status", "kind", "recorded_ns"]
    others = chance.sample(known, chance.randrange(3, len(known)))
    names = others if chance.random() < 0.1 else ["id", *others]
    names = [name for name in names if name != "reverses" or "pending_id" not in names]
    odd = chance.random() < 0.5
    if not odd and "amount" in known and "amount" not in names:
        names.append("amount")
    chance.shuffle(names)
    lines = [",".join(cell(what, name, chance, odd) for name in names) for _ in range(LINES)]
    if odd and chance.random() < 0.1:
        lines[chance.randrange(LINES)] += ","
    # A quote that is not closed takes the next line along, which the model does not know.
    return names, [line if CLOSED.fullmatch(line) else line.replace('"', "x") for line in lines]


def objects(what: str, chance: random.Random) -> list[bytes]:
    """Lines of JSON, of which some have a byte that was changed."""
    names, lines = table(what, chance)
    found = []
    for line in lines:
        fields: dict[str, object] = dict(zip(names, next(csv.reader([line])), strict=False))
        fields = {name: value for name, value in fields.items() if value or chance.random() < 0.002}
        for name, value in fields.items():
            if name in NUMBERS and str(value).isdecimal():
                fields[name] = int(str(value))
            elif name == "flags":
                fields[name] = str(value).split()
            elif name == "metadata" and str(value) in PARSED:
                fields[name] = json.loads(str(value))
            elif chance.random() < 0.005:
                fields[name] = None
        text = bytearray(json.dumps(fields, ensure_ascii=chance.random() < 0.5).encode())
        if chance.random() < 0.01:
            text[chance.randrange(len(text))] = chance.choice(b'"{}[],:\\x0 \xff')
        found.append(bytes(text))
    return found


def test_the_core_reads_what_the_model_reads(tmp_path: Path) -> None:
    """Tables and objects of transfers and accounts, with and without ids of their own, imported or not."""
    chance = replayable()
    sent = {"csv": 0, "jsonl": 0}
    for _ in range(FILES):
        reading = Reading(
            chance.choice(["transfers", "accounts"]), chance.choice(["", "", "old books"]), chance.random() < 0.3
        )
        for form in sent:
            header, lines = table(reading.what, chance) if form == "csv" else ([], objects(reading.what, chance))
            texts = [line.encode() if isinstance(line, str) else line for line in lines]
            file = tmp_path / f"table.{form}"
            file.write_bytes(b"\n".join([*([",".join(header).encode()] if header else []), *texts, b""]))
            if header and "id" not in header and not reading.ids_from:
                continue
            sent[form] += same_as_the_model(read(file, reading), header or None, texts, reading)
    assert min(sent.values()) > FILES * LINES // 10, sent


def read(file: Path, reading: Reading, after: Position | None = None) -> list[ReadRows]:
    """The requests of a file."""
    form = file.suffix.removeprefix(".")
    return list(requests(file, form, reading, after or Position("", "", ""), lambda _read: None))


def decoded(found: ReadRows, what: str) -> Commands:
    """What the server makes of a request."""
    if what != TRANSFERS:
        return decode_accounts(found.body, 1)
    return (decode_transfers_binary if found.binary else decode_transfers)(found.body, 1)


def chained(lines: list[bytes], said: list[Said]) -> list[bool]:
    """Which rows are of a chain with one that is not sent."""
    found: list[bool] = []
    chain: list[Said] = []
    for line, each in zip(lines, said, strict=True):
        chain.append(each)
        linked = b"linked" in line if isinstance(each, str) else each[0].records()[98] & 1
        if not linked or len(found) + len(chain) == len(lines):
            found += [any(isinstance(other, str) for other in chain)] * len(chain)
            chain = []
    return found


def same_as_the_model(found: list[ReadRows], header: list[str] | None, lines: list[bytes], reading: Reading) -> int:
    """How many rows are sent, the same ones as by the model."""
    first = 2 if header else 1
    said = [said_by_line(line, place, header, reading) for place, line in enumerate(lines, first)]
    sent = [
        each for each, lost in zip(said, chained(lines, said), strict=True) if not isinstance(each, str) and not lost
    ]
    assert sum(each.covers for each in found) == len(lines), "a line is neither sent nor told"
    told = {line: code for each in found for line, _id, code, _detail in each.wrong}
    refused = {line for line, code in told.items() if code == "linked_chain_refused"}
    wrong = told.keys() - refused
    # What was declined and is wrong too may be told instead of being left out: either way it is not sent.
    declined = {line for line, each in enumerate(said, first) if each == SKIPPED}
    assert wrong - declined == {line for line, each in enumerate(said, first) if each == WRONG}
    assert sum(each.skipped for each in found) + len(wrong & declined) == len(declined)
    commands = [decoded(each, reading.what) for each in found if each.rows]
    ids = [id for each in commands for id in each.ids]
    assert ids == [id for one, _texts in sent for id in one.ids]
    assert b"".join(each.records() for each in commands) == b"".join(one.records() for one, _texts in sent)
    if reading.what == TRANSFERS:
        assert all(each.binary != one.has_texts for each, one in zip(found, commands, strict=False))
    texts = [each for one in found if one.rows and not one.binary for each in json.loads(one.body)[reading.what]]
    if texts:
        read_texts = [{name: each.get(name) for name in ("reference", "metadata")} for each in texts]
        assert read_texts == [each for _one, each in sent]
    return len(sent)


def test_an_import_that_goes_on_reads_what_is_left(tmp_path: Path) -> None:
    """More lines than a request takes, of which some are not plain, the last without an end."""
    file = tmp_path / "many.csv"
    names = ["id", "amount", "reference", *sorted(OUTCOMES - {"status"})[:1]]
    lines = [
        f"{uuid.UUID(int=place + 1)},{place + 1}," + ('"a\nb"' if place % 9_000 == 5 else "x") + ","
        for place in range(30_000)
    ]
    file.write_text("\n".join([",".join(names), *lines]), "utf-8")
    found = read(file, Reading("transfers"))
    assert (sum(each.rows for each in found), [row for each in found for row in each.wrong]) == (30_000, [])
    ids = [id for each in found for id in decoded(each, TRANSFERS).ids]
    assert ids == [str(uuid.UUID(int=place + 1)) for place in range(30_000)]
    last = found[-1].row(found[-1].rows - 1)
    assert last == (1 + 30_000 + sum(place % 9_000 == 5 for place in range(30_000)), ids[-1])
    after = Position("", "", "")
    for place, one in enumerate(found):
        after.bytes, after.number = after.bytes + one.bytes, one.next_number
        rest = read(file, Reading("transfers"), after)
        assert [each.body for each in rest] == [each.body for each in found[place + 1 :]]
