"""What a person sees of an import or an export: a bar that moves, whatever the file is.

Guarded here: it moves with every part that was done, be it bytes or rows and however few, and ends at all of it.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from rich.progress import Progress, TaskID

from pyledger.bulk import exporting
from pyledger.bulk.importing import Order, take
from pyledger.bulk.nouns import PARQUET_ROWS, Reading
from pyledger.bulk.showing import STEPS, Bar
from pyledger.settings import Settings
from tests.support.clusters import Database
from tests.support.process import ServerProcess
from tests.test_bulk import many
from tests.test_bulk_export import BATCHES, ROWS, books
from tests.test_bulk_faults import in_one_group


class Terminal(io.StringIO):
    """What a person looks at, and how many percent were done whenever the bar moved."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[float] = []

    def isatty(self) -> bool:
        return True

    def ended(self, moves_min: int) -> None:
        """Nothing is left, and there was something to see before."""
        assert self.moved == sorted({*self.moved})
        assert (len(self.moved) >= moves_min, self.moved[-1]) == (True, 100)
        assert re.findall(r"(\d+)%", self.getvalue())[-1] == "100"


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In the place of stderr; pytest puts its own there before each test."""
    found, advance = Terminal(), Progress.advance

    def watched(self: Progress, task: TaskID, amount: float) -> None:
        advance(self, task, amount)
        found.moved.append(self.tasks[0].percentage)

    monkeypatch.setattr(Progress, "advance", watched)
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    return found


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_the_bar_of_an_import_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    terminal = terminal_of(monkeypatch)
    file, rows = tmp_path / "few.csv", 3 * PARQUET_ROWS
    many(file, rows)
    if form == "parquet":
        file = in_one_group(file)
    order = Order(file, Reading("transfers"), None, "http://127.0.0.1:1", None, True, 1, None, None, True)
    assert (await take(order)).rows == rows
    terminal.ended(moves_min=2 if form == "csv" else 3)


async def test_the_bar_of_a_small_export_moves(
    server: ServerProcess, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_of(monkeypatch)
    books(server, tmp_path)
    monkeypatch.setattr(exporting, "SLICE_ROWS", ROWS)
    wish = exporting.Wish("transfers", "csv", tmp_path / "out.csv", None, None, 0, None, False, True)
    settings = Settings.load({"PYLEDGER_DATABASE_URL": database.reader_dsn})
    assert await exporting.give(settings, wish) == BATCHES * ROWS
    terminal.ended(moves_min=BATCHES)


def test_a_bar_is_not_moved_for_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, total = terminal_of(monkeypatch), 7 * STEPS + 3
    with Bar("rows", total, show=True) as bar:
        for _row in range(total):
            bar.advance(1)
    assert len(terminal.moved) == STEPS + 1
    terminal.ended(STEPS)
