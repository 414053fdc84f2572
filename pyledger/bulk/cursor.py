"""How far an import is, in a file beside the one that is imported, and the report of what was not taken.

Guarded here: the cursor moves after the ledger has answered, so what is sent again after a crash are rows that were
decided already or never, and their ids make that harmless; and the report has each row once, for it is cut back to
where the cursor saw it.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from pyledger.bulk.nouns import LINE_BYTES_MAX, BulkError, Reading

HEAD_BYTES: Final = 64 * 1024
"""Of the file, to know it again."""
_HEADER: Final = b"line,id,status,code,detail\r\n"
"""What a report begins with."""


class Position(msgspec.Struct):
    """The cursor: which file into which server, how many rows of it are answered for, and what became of them.

    It goes on after so many `bytes` of rows, with the line `number`; `torn` says that this is in the middle of a chain
    that cannot be sent. `last_id` is of the last row that can be found in the books."""

    file: str
    url: str
    report: str
    rows: int = 0
    bytes: int = 0
    number: int = 0
    torn: bool = False
    last_id: str = ""
    report_bytes: int = 0
    finished: bool = False
    accepted: int = 0
    replayed: int = 0
    declined: int = 0
    refused: int = 0
    malformed: int = 0
    skipped: int = 0


def identity(path: Path, reading: Reading) -> str:
    """What tells a file from another, from itself with other contents, and from itself read in another way."""
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        about = os.fstat(file.fileno())
    how = f"{reading.what} imported={reading.imported} ids_from={reading.ids_from}"
    return f"{how} {about.st_size} {about.st_mtime_ns} {head}"


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else imports this file meanwhile, on this machine. Raises `BulkError`."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BulkError(f"{path} is being imported already") from error
        yield


def _found(place: Path) -> Position | None:
    """What is there. Nothing is as good as no file: after a loss of power there may be one without what was written."""
    if not place.exists() or not (text := place.read_bytes()).strip(b"\0"):
        return None
    try:
        return msgspec.json.decode(text, type=Position)
    except msgspec.MsgspecError as error:
        raise BulkError(f"{place} is not the progress of an import: {error}") from error


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
        if place.resolve() == report.resolve():
            raise BulkError(f"{place} cannot be both the progress and the report")
        found = _found(place)
        if found is not None and keep:
            if (found.file, found.url, found.report) != (position.file, position.url, position.report):
                raise BulkError(
                    f"{place} is of another file, report or server: remove it to begin anew, which does no harm"
                )
            position = found
        elif found is not None and found.report == position.report:
            raise BulkError(f"{report} is of the import that {place} is of, and is not written over by a dry run")
        made = cls(place, report, position, keep)
        made._cut_back()
        # Where nothing can be written, nothing is sent.
        made.save()
        return made

    def _cut_back(self) -> None:
        """The report as the cursor saw it; a row that was written after that is written again.

        What is no report is left alone, for it may be somebody's only copy."""
        wanted, found = self.position.report_bytes, 0
        if self.report.exists():
            if not self.report.is_file():
                raise BulkError(f"{self.report} is no file that a report could be written to")
            with self.report.open("rb") as file:
                head = file.readline(LINE_BYTES_MAX)
                found = os.fstat(file.fileno()).st_size
            if not _HEADER.startswith(head):
                raise BulkError(f"{self.report} is not a report of rejected rows, and is not written over")
        if found < wanted:
            line = f"{self.report} has lost what {self.place} says that it has"
            raise BulkError(f"{line}: remove the latter to begin anew, which does no harm")
        if wanted == 0:
            self.report.unlink(missing_ok=True)
        elif found > wanted:
            os.truncate(self.report, wanted)

    def reject(self, line: int, row_id: str, status: str, code: str, detail: str) -> None:
        """One row of the report."""
        if self._report is None:
            self._report = self.report.open("a", encoding="utf-8", errors="backslashreplace", newline="")
            if self._report.tell() == 0:
                self._report.write(_HEADER.decode())
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
            # Whatever counts was saved before; an error then was told.
            with contextlib.suppress(OSError):
                self._report.close()
