"""Parts of the books by time: an export of some of it is exactly the rows that were recorded then.

Guarded here: wherever in a batch, or between two of them, a part begins or ends, no row is missing and none too many;
and an export that goes on for long keeps no snapshot meanwhile.
"""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from pyledger.bulk import exporting
from pyledger.client.nouns import rfc3339
from pyledger.settings import Settings
from tests.server.talk import Talker
from tests.support.clusters import Database
from tests.support.process import ServerProcess
from tests.test_bulk import BANK, HEADER, LEDGER, WALLET, exported, imported, number, open_books

BATCHES = 6
ROWS = 25


def books(server: ServerProcess, folder: Path) -> None:
    """Some batches."""
    open_books(Talker(server.url))
    for batch in range(BATCHES):
        file = folder / f"in-{batch}.csv"
        lines = [f"{number(batch * ROWS + row)},{BANK},{WALLET},1,{LEDGER},1,,,,,," for row in range(ROWS)]
        file.write_text("\n".join([HEADER, *lines, ""]), "utf-8")
        assert imported("transfers", file, server.url)["accepted"] == ROWS


def times(file: Path) -> list[int]:
    """When the rows of an export were recorded."""
    with file.open(encoding="utf-8", newline="") as out:
        return [int(row["recorded_ns"]) for row in csv.DictReader(out)]


def test_a_part_by_time_has_exactly_its_rows(server: ServerProcess, database: Database, tmp_path: Path) -> None:
    books(server, tmp_path)
    whole = times(exported(database, "transfers", tmp_path / "all.csv"))
    assert (len(whole), whole) == (BATCHES * ROWS, sorted(whole))
    first, last, inside = whole[2 * ROWS], whole[3 * ROWS - 1], whole[4 * ROWS + 7]
    for since_ns, until_ns in (
        (first, last), (first, last + 1), (first + 1, inside), (last + 1, inside + 1), (inside, inside + 1),
        (whole[0] - 10**9, whole[0]), (whole[-1], whole[-1] + 10**9), (whole[-1] + 1, whole[-1] + 2),
    ):  # fmt: skip
        part = exported(
            database, "transfers", tmp_path / "part.csv", "--since", rfc3339(since_ns), "--until", rfc3339(until_ns)
        )
        assert times(part) == [each for each in whole if since_ns <= each < until_ns]


async def test_an_export_of_many_slices_keeps_no_snapshot(
    server: ServerProcess, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two slices its session is in no transaction, and what was recorded meanwhile is not in the file."""
    books(server, tmp_path)
    monkeypatch.setattr(exporting, "SLICE_ROWS", 2 * ROWS)
    watcher = await asyncpg.connect(database.admin_dsn)
    seen: list[str] = []
    more = tmp_path / "more.jsonl"
    row = {"id": number(999), "debit_account_id": BANK, "credit_account_id": WALLET, "amount": "1", "ledger": LEDGER}
    more.write_text(json.dumps(row | {"code": 1}) + "\n", "utf-8")
    extents = exporting._Export._extents

    async def watched(self: exporting._Export, shard: int, seq: int) -> AsyncIterator[tuple[int, int, int]]:
        async for each in extents(self, shard, seq):
            state = "SELECT state FROM pg_stat_activity WHERE application_name = 'pyledger export'"
            seen.append(await watcher.fetchval(state))
            if len(seen) == 1:
                assert imported("transfers", more, server.url)["accepted"] == 1
            yield each

    monkeypatch.setattr(exporting._Export, "_extents", watched)
    wish = exporting.Wish("transfers", "csv", tmp_path / "out.csv", None, None, 0, None, False, False)
    rows = await exporting.give(Settings.load({"PYLEDGER_DATABASE_URL": database.reader_dsn}), wish)
    await watcher.close()
    assert (rows, len(times(tmp_path / "out.csv"))) == (BATCHES * ROWS, BATCHES * ROWS)
    assert (len(seen), {*seen}) == (BATCHES // 2 + 1, {"idle"})
