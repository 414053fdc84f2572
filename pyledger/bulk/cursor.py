"""How far an import is, in a file beside the one that is imported, and the report of what was not taken.

Guarded here: the cursor moves after the ledger has answered, so what is sent again after a crash are rows that were
decided already or never, and their ids make that harmless; and the report has each row once, for it is cut back to
where the cursor saw it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from pyledger.bulk.nouns import BulkError

HEAD_BYTES: Final = 64 * 1024
"""Of the file, to know it again."""
REPORT_COLUMNS: Final = ("line", "id", "status", "code", "detail")


class Position(msgspec.Struct):
    """The cursor: which file into which server, how many rows of it are answered for, and what became of them."""

    file: str
    url: str
    rows: int = 0
    last_id: str = ""
    report_bytes: int = 0
    finished: bool = False
    accepted: int = 0
    replayed: int = 0
    declined: int = 0
    refused: int = 0
    malformed: int = 0
    skipped: int = 0


def identity(path: Path, what: str) -> str:
    """What tells a file from another, or from itself with other contents."""
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
    return f"{what} {path.stat().st_size} {head}"


@dataclass
class Cursor:
    """The cursor's file and the report's; with `keep=False` (a dry run) only the report is written."""

    place: Path
    report: Path
    position: Position
    keep: bool = True
    _report: io.TextIOWrapper | None = field(default=None, init=False)

    @classmethod
    def open(cls, place: Path, report: Path, position: Position, *, keep: bool) -> Cursor:
        """Go on from the file, if it is of this import. Raises `BulkError`."""
        if keep and place.exists():
            try:
                found = msgspec.json.decode(place.read_bytes(), type=Position)
            except msgspec.MsgspecError as error:
                raise BulkError(f"{place} is not the progress of an import: {error}") from error
            if (found.file, found.url) != (position.file, position.url):
                raise BulkError(f"{place} is of another file or server: remove it to begin anew, which does no harm")
            position = found
        made = cls(place, report, position, keep)
        made._cut_back()
        return made

    def _cut_back(self) -> None:
        """The report as the cursor saw it; a row that was written after that is written again."""
        if self.position.report_bytes == 0:
            self.report.unlink(missing_ok=True)
            return
        with self.report.open("r+b") as file:
            file.truncate(self.position.report_bytes)

    def reject(self, line: int, row_id: str, status: str, code: str, detail: str) -> None:
        """One row of the report."""
        if self._report is None:
            self._report = self.report.open("a", encoding="utf-8", errors="backslashreplace", newline="")
            if self._report.tell() == 0:
                csv.writer(self._report).writerow(REPORT_COLUMNS)
        csv.writer(self._report).writerow((line, row_id, status, code, detail))

    def save(self) -> None:
        """The report first, then the cursor, at once or not at all."""
        if self._report is not None:
            self._report.flush()
            self.position.report_bytes = self._report.tell()
        if self.keep:
            beside = self.place.with_name(self.place.name + ".new")
            beside.write_bytes(msgspec.json.encode(self.position))
            os.replace(beside, self.place)

    def close(self) -> None:
        """No more rows."""
        if self._report is not None:
            self._report.close()
