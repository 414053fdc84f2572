"""How files are read: what is hostile ends in one line, and the fast way of reading says what the slow one says.

Guarded here: whatever stands in a line, its request is the same whether Rust made it of many lines at once or Python of
one cell after the other; and a line that is not plain is never read the fast way.
"""

from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

import pytest

from pyledger import cli
from pyledger._rust import Malformed, decode_transfers, plain_rows
from pyledger.bulk.batches import requests
from pyledger.bulk.cells import Cells, Reading
from pyledger.bulk.nouns import COLUMNS, OUTCOMES
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


def cell(name: str, chance: random.Random) -> str:
    """Mostly what belongs there."""
    if chance.random() < 0.02:
        return chance.choice(
            ['"', "\\", "é", "x", '"a,b"', '"a""b"', "\t", "{}", "null", "[1]", "-1", " ", '","a":"', "1e3"]
        )
    if name.endswith("id") or name == "reverses":
        return str(uuid.UUID(int=chance.getrandbits(128))) if name == "id" or chance.random() < 0.7 else ""
    if name == "flags":
        return chance.choice(
            ["", "", "pending", "imported", "post_pending", "closing_debit pending", "linked", "group"]
        )
    if name == "effective_at":
        return chance.choice(["", "", "2025-01-02T03:04:05Z", "2025-01-02T03:04:05.123456789+01:00"])
    if name in ("reference", "metadata"):
        return chance.choice(["", "", "", "some text", "it's"]) if name == "reference" else ""
    if name == "status":
        return chance.choice(["accepted"] * 30 + ["declined", ""])
    return str(chance.choice([1, 7, 65535, 2**40, 10**30])) if name == "amount" else str(chance.randrange(1, 70_000))


def table(chance: random.Random) -> tuple[list[str], list[str]]:
    """Columns in some order, and lines."""
    names = ["id", *chance.sample([*COLUMNS["transfers"][1:], "status", "kind"], chance.randrange(3, 12))]
    chance.shuffle(names)
    lines = [",".join(cell(name, chance) for name in names) for _ in range(LINES)]
    if chance.random() < 0.1:
        lines[chance.randrange(LINES)] += ","
    return names, lines


def test_the_fast_way_says_what_the_slow_way_says(tmp_path: Path) -> None:
    seed = int(os.environ.get("PYLEDGER_TEST_SEED", "0")) or random.SystemRandom().getrandbits(48)
    print(f"PYLEDGER_TEST_SEED={seed} repeats it")
    chance = random.Random(seed)
    plain = 0
    for _ in range(FILES):
        names, lines = table(chance)
        cells = Cells(names, Reading("transfers"))
        slow = [cells.row(place, line.split(",")) for place, line in enumerate(lines, 2)]
        made = plain_rows("".join(f"{line}\n" for line in lines).encode(), cells.kinds, "transfers", 8_190)
        if made is not None:
            plain += 1
            body, rows, _read = made
            assert rows == LINES
            assert not any(row.code for row in slow), "a line that is not plain was read as one"
            assert outcome(body) == outcome(b'{"transfers":[%s]}' % b",".join(row.text for row in slow))
        # And by way of a file every line is either sent or told.
        file = tmp_path / "table.csv"
        file.write_text("\n".join([",".join(names), *lines]), "utf-8")
        found = list(requests("transfers", blocks_of(file, "csv", Reading("transfers"), lambda _read: None), 0))
        told = sum(len(each.bad) + each.skipped + each.rows for each in found)
        assert told == sum(each.block.covers for each in found)
    assert plain > FILES // 20


def outcome(body: bytes) -> tuple[bytes, bool] | str:
    """The records of a request, or why there are none."""
    try:
        commands = decode_transfers(body, 1)
    except Malformed as wrong:
        return wrong.code
    return commands.records(), commands.has_texts


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
    ids = [id for each in found if each.commands is not None for id in each.commands.ids]
    assert ids == [str(uuid.UUID(int=place + 1)) for place in range(12_345, 30_000)]
    assert found[-1].last_id == ids[-1]
    assert found[-1].block.rows[-1].line == 1 + 30_000 + sum(place % 9_000 == 5 for place in range(30_000))
