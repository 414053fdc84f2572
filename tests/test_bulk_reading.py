"""How files are read: what is hostile ends in one line, and the fast way of reading says what the slow one says.

Guarded here: whatever stands in a line, its request is the same whether the core made it of many lines at once or
Python of one row after the other; and what is wrong with a line is always found.
"""

from __future__ import annotations

import csv
import json
import os
import random
import uuid
from pathlib import Path

import pytest

from pyledger import cli
from pyledger._rust import decode_transfers, decode_transfers_binary, read_lines
from pyledger.bulk.batches import requests
from pyledger.bulk.cells import Reading
from pyledger.bulk.nouns import COLUMNS, NUMBERS, OUTCOMES, SKIPPED
from pyledger.bulk.reading import blocks_of

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
PARSED = [next(csv.reader([text]))[0] for text in METADATA if text.startswith('"')]


def cell(name: str, chance: random.Random, odd: bool) -> str:
    """Mostly what belongs there."""
    if odd and chance.random() < 0.02:
        return chance.choice(ODD)
    if name.endswith("id") or name == "reverses":
        text = str(uuid.UUID(int=chance.getrandbits(128))) if name == "id" or chance.random() < 0.7 else ""
        return text.upper() if chance.random() < 0.1 else text
    choices = {
        "flags": ["", "", "", "pending", "imported", "closing_debit pending", "post_pending"],
        "effective_at": ["", "", "2025-01-02T03:04:05Z", "2025-01-02T03:04:05.123456789+01:00"],
        "reference": [""] * 12 + TEXTS[: None if odd else -2],
        "metadata": [""] * 9 + METADATA[: None if odd else 2],
        "status": ["accepted"] * 8 + ["declined", ""],
        "recorded_ns": [str(1_700_000_000_000_000_000 + chance.randrange(10**9)), "1"],
        "amount": ["1", "7", "65535", str(2**40), str(10**30), str(2**128 - 2)],
    }
    wrong = {
        "flags": ["reverse", "pending pending", "linked", "group", " pending"],
        "effective_at": ["1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2025-02-29T00:00:00Z", "yesterday"],
        "recorded_ns": ["0", str(2**63), str(10**30), "\u00b2"],
        "amount": [str(2**128 - 1), str(10**39), "1.5", "01"],
    }
    if odd and chance.random() < 0.03:
        return chance.choice(wrong.get(name, [str(2**16), str(2**31)]))
    return chance.choice(choices[name]) if name in choices else str(chance.randrange(1, 65_536))


def table(chance: random.Random) -> tuple[list[str], list[str]]:
    """Columns in some order, and lines."""
    others = chance.sample([*COLUMNS["transfers"][1:], "status", "kind", "recorded_ns"], chance.randrange(3, 13))
    names = others if chance.random() < 0.1 else ["id", *others]
    names = [name for name in names if name != "reverses" or "pending_id" not in names]
    odd = chance.random() < 0.5
    if not odd and "amount" not in names:
        names.append("amount")
    chance.shuffle(names)
    lines = [",".join(cell(name, chance, odd) for name in names) for _ in range(LINES)]
    if odd and chance.random() < 0.1:
        lines[chance.randrange(LINES)] += ","
    return names, lines


def objects(chance: random.Random) -> list[bytes]:
    """Lines of JSON, of which some have a byte that was changed."""
    names, lines = table(chance)
    found = []
    for line in lines:
        fields: dict[str, object] = dict(zip(names, next(csv.reader([line])), strict=False))
        fields = {name: value for name, value in fields.items() if value or chance.random() < 0.002}
        for name, value in fields.items():
            if name in NUMBERS | {"recorded_ns"} and str(value).isdecimal():
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


def test_the_core_reads_what_a_row_at_a_time_says(tmp_path: Path) -> None:
    """Tables and objects, with and without ids of their own, imported or not."""
    seed = int(os.environ.get("PYLEDGER_TEST_SEED", "0")) or random.SystemRandom().getrandbits(48)
    print(f"PYLEDGER_TEST_SEED={seed} repeats it")
    chance = random.Random(seed)
    taken = {"csv": 0, "jsonl": 0}
    for _ in range(FILES):
        reading = Reading("transfers", chance.choice(["", "", "old books"]), chance.random() < 0.3)
        for form in taken:
            header, lines = table(chance) if form == "csv" else ([], objects(chance))
            texts = [line.encode() if isinstance(line, str) else line for line in lines]
            file = tmp_path / f"table.{form}"
            file.write_bytes(b"\n".join([*([",".join(header).encode()] if header else []), *texts, b""]))
            if header and "id" not in header and not reading.ids_from:
                continue
            taken[form] += same_both_ways(file, form, header or None, texts, reading)
    assert min(taken.values()) > FILES // 20, taken


def same_both_ways(file: Path, form: str, header: list[str] | None, lines: list[bytes], reading: Reading) -> int:
    """Whether the core could read the lines; if so it says what is said of a row at a time."""
    number = 2 if header else 1
    read = read_lines(
        b"".join(line + b"\n" for line in lines), 0, columns=header, imported=reading.imported,
        ids_from=reading.ids_from, number=number, rows_max=8_190,
    )  # fmt: skip
    blocks = list(blocks_of(file, form, reading, lambda _read: None))
    found = list(requests("transfers", iter(blocks), 0))
    told = sum(len(each.bad) + each.skipped + each.rows for each in found)
    assert told == sum(each.block.covers for each in found), "a line is neither sent nor told"
    if read is None:
        return 0
    assert [block.ready is not None for block in blocks] == [True]
    rows = [row for row in blocks[0].rows if row.code != SKIPPED]
    assert not any(row.code for row in rows), "a line that is wrong was read as one that is not"
    assert (read.rows, read.lines) == (len(rows), len(lines))
    assert len(found[0].sent) == read.rows
    if not rows:
        return 1
    slow = decode_transfers(b'{"transfers":[%s]}' % b",".join(row.text for row in rows), 1)
    fast = (decode_transfers_binary if read.binary else decode_transfers)(read.body, 1)
    assert (fast.records(), fast.ids, read.last_id) == (slow.records(), slow.ids, slow.ids[-1])
    assert read.binary == (not slow.has_texts)
    sent = [json.loads(row.text) for row in rows]
    acting = {"post_pending", "void_pending", "imported"}
    assert read.depends == any(
        acting & {*(row.get("flags") or ())} or row.get("pending_id") or row.get("reverses") for row in sent
    )
    if not read.binary:
        for one, other in zip(json.loads(read.body)["transfers"], sent, strict=True):
            assert (one.get("reference"), one.get("metadata")) == (other.get("reference"), other.get("metadata"))
    return 1


def test_lines_of_any_size_of_block_are_all_there(tmp_path: Path) -> None:
    """More lines than a request takes, of which some are not plain, the last without an end."""
    file = tmp_path / "many.csv"
    names = ["id", "amount", "reference", *sorted(OUTCOMES - {"status"})[:1]]
    lines = [
        f"{uuid.UUID(int=place + 1)},{place + 1}," + ('"a\nb"' if place % 9_000 == 5 else "x") + ","
        for place in range(30_000)
    ]
    file.write_text("\n".join([",".join(names), *lines]), "utf-8")
    found = list(requests("transfers", blocks_of(file, "csv", Reading("transfers"), lambda _read: None), 12_345))
    assert sum(each.rows for each in found) == 30_000 - 12_345
    assert not any(each.bad for each in found)
    decoded = [(decode_transfers_binary if each.binary else decode_transfers)(each.body, 1) for each in found]
    ids = [id for each in decoded for id in each.ids]
    assert ids == [str(uuid.UUID(int=place + 1)) for place in range(12_345, 30_000)]
    assert found[-1].last_id == ids[-1]
    assert found[-1].block.rows[-1].line == 1 + 30_000 + sum(place % 9_000 == 5 for place in range(30_000))
