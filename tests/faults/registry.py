"""Which rows there are: every module in tests/faults/rows.

Guarded here: a module without a `ROW`, or two rows of one id, stop the program before anything is run.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from tests.faults.nouns import Row


class Unknown(ValueError):
    """A row that there is not; `str()` is one line."""


def rows() -> dict[str, Row]:
    """All rows by id, in the order of the table: by letter, then by number."""
    found: dict[str, Row] = {}
    for path in sorted(Path(__file__).with_name("rows").glob("[a-z]*.py")):
        row = importlib.import_module(f"tests.faults.rows.{path.stem}").ROW
        assert isinstance(row, Row), f"{path.name}: ROW is no Row"
        assert path.stem.startswith(f"{row.id.lower()}_"), f"{path.name} holds the row {row.id}"
        assert row.id not in found, f"two rows are called {row.id}"
        found[row.id] = row
    return dict(sorted(found.items(), key=lambda each: _place(each[0])))


def _place(row_id: str) -> tuple[str, int]:
    letter, number = re.fullmatch(r"([A-Z])(\d+)", row_id).groups()  # type: ignore[union-attr]
    return letter, int(number)


def chosen(names: list[str]) -> list[Row]:
    """The rows by their ids, in any case; `all`, or a letter for all of that letter. Raises `Unknown`."""
    every = rows()
    wanted: dict[str, Row] = {}
    for name in names:
        upper = name.upper()
        fitting = {key: row for key, row in every.items() if upper in ("ALL", key, key[0])}
        if not fitting:
            raise Unknown(f"{name} is none of {', '.join(every)}")
        wanted |= fitting
    return [row for key, row in every.items() if key in wanted]
