"""Files become rows: CSV, JSON lines and Parquet, each row the JSON object that the API takes.

Guarded here: a row that cannot be read is a row that says so, with its line, and the next one is read all the same;
no line is held in memory that is longer than a row can be; and nothing of a cell can reach beyond its field.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec

from pyledger._rust import ReadLines, read_lines
from pyledger.bulk import parquet
from pyledger.bulk.cells import Cells, Reading, from_object, is_linked
from pyledger.bulk.nouns import (
    AHEAD_BYTES,
    BATCH_ROWS_MAX,
    LINE_BYTES_MAX,
    OUTCOMES,
    READ_BYTES,
    RECORD_LINES_MAX,
    SKIPPED,
    TRANSFERS,
    BulkError,
    Row,
)

_BOM: Final = b"\xef\xbb\xbf"
"""What some programs begin a file of UTF-8 with."""
_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(slots=True)
class Block:
    """Rows one after the other, never the beginning of a chain without its end, if that fits a request at all.

    Those that the core has read are a request already, and become rows only if somebody has to look at them."""

    covers: int
    ready: ReadLines | None = None
    found: list[Row] = field(default_factory=list)
    again: Callable[[], list[Row]] = list

    @property
    def rows(self) -> list[Row]:
        """One by one."""
        if self.ready is not None and not self.found:
            self.found = self.again()
        return self.found


def blocks_of(path: Path, form: str, reading: Reading, advance: Callable[[int], None]) -> Iterator[Block]:
    """The rows of a file. `advance` hears how many of its bytes were read, of a Parquet file how many rows.

    Raises `BulkError` where the file cannot be read on."""
    if form == "parquet":
        yield from _parquet_blocks(path, reading, advance)
        return
    with path.open("rb") as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        lines = _Lines(file, advance)
        source = _Table(lines, Cells(_header(lines), reading)) if form == "csv" else _Objects(lines, reading)
        yield from _blocks(source, lines, reading)


def _blocks(source: _Table | _Objects, lines: _Lines, reading: Reading) -> Iterator[Block]:
    """Requests where the core can read the lines, and rows where it cannot read one of them."""
    while True:
        first = lines.number
        ready = lines.ready(source.columns, reading) if reading.what == TRANSFERS else None
        if ready is not None:
            read, raw = ready

            def again(raw: bytes = raw, first: int = first) -> list[Row]:
                return source.of(_Lines(io.BytesIO(raw), _nobody, first)).rows()

            yield Block(read.lines, read, again=again)
        elif found := source.rows():
            yield Block(len(found), found=found)
        else:
            return


class _Readable(Protocol):
    """What lines come from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""


class _Lines:
    """A file's lines, by themselves or many at once."""

    def __init__(self, file: _Readable, advance: Callable[[int], None], number: int = 0) -> None:
        self._file, self._advance = file, advance
        self._held, self._at, self._ended = b"", 0, False
        self.number = number
        """Of the line that was read last."""

    def _fill(self, wanted_bytes: int) -> None:
        while not self._ended and len(self._held) - self._at < wanted_bytes:
            read = self._file.read(READ_BYTES)
            self._advance(len(read))
            self._ended = not read
            if self._ended and self._held[self._at :] and not self._held.endswith(b"\n"):
                read = b"\n"
            self._held, self._at = self._held[self._at :] + read, 0

    def line(self) -> bytes | None:
        """The next one; None at the end."""
        end = self._held.find(b"\n", self._at)
        if end < 0:
            self._fill(LINE_BYTES_MAX + 1)
            end = self._held.find(b"\n", self._at)
        if end - self._at >= LINE_BYTES_MAX or (end < 0 and len(self._held) > self._at):
            raise BulkError(f"line {self.number + 1} is longer than {LINE_BYTES_MAX} bytes: this is not a file of rows")
        if end < 0:
            return None
        line, self._at = self._held[self._at : end + 1], end + 1
        self.number += 1
        return line

    def give_back(self, lines: list[bytes]) -> None:
        """These, which were read last, have not been read."""
        given = b"".join(lines)
        if self._held.startswith(given, max(self._at - len(given), 0)):
            self._at -= len(given)
        else:
            self._held, self._at = given + self._held[self._at :], 0
        self.number -= len(lines)

    def ready(self, columns: list[str] | None, reading: Reading) -> tuple[ReadLines, bytes] | None:
        """A request of the next lines, and these, if nothing in them is out of the ordinary."""
        self._fill(AHEAD_BYTES)
        read = read_lines(
            self._held, self._at, columns=columns, imported=reading.imported, ids_from=reading.ids_from,
            number=self.number + 1, rows_max=BATCH_ROWS_MAX,
        )  # fmt: skip
        if read is None or read.lines == 0:
            return None
        raw = self._held[self._at : self._at + read.bytes]
        self._at += read.bytes
        self.number += read.lines
        return read, raw


def _header(lines: _Lines) -> list[str]:
    line = (lines.line() or b"").decode("utf-8", "replace")
    try:
        return [name.strip() for name in next(csv.reader([line], strict=True), [])]
    except csv.Error as error:
        raise BulkError(f"the first line is no CSV: {error}") from error


class _Table:
    """Lines with cells."""

    def __init__(self, lines: _Lines, cells: Cells, *, counted: bool = False) -> None:
        # Counted is rows instead of lines: whoever made the lines has only rows.
        self._lines, self._cells, self._counted = lines, cells, counted
        self.columns: list[str] | None = cells.header
        csv.field_size_limit(LINE_BYTES_MAX)

    def of(self, lines: _Lines) -> _Table:
        """The same of other lines."""
        return _Table(lines, self._cells, counted=self._counted)

    def rows(self) -> list[Row]:
        """The next rows, as many as a request takes and the rest of the last one's chain."""
        found: list[Row] = []
        taken: list[bytes] = []
        table = csv.reader(self._feed(taken), strict=True)
        while len(found) < BATCH_ROWS_MAX or (is_linked(found[-1]) and len(found) < 2 * BATCH_ROWS_MAX):
            line = self._lines.number + 1
            taken.clear()
            try:
                cells = next(table, None)
            except csv.Error as error:
                # A quote that is never closed takes other lines along: they are read by themselves.
                self._lines.give_back(taken[1:])
                table = csv.reader(self._feed(taken), strict=True)
                found.append(Row(line, b"", "invalid_csv", f"The row is no CSV: {error}.", taken[0]))
                continue
            if cells is None:
                break
            if self._counted:
                self._lines.number = line
            if cells:
                row = self._cells.row(line, cells)
                found.append(row if row.text or row.code == SKIPPED else row._replace(raw=b"".join(taken)))
        return found

    def _feed(self, taken: list[bytes]) -> Iterator[str]:
        while (line := self._lines.line()) is not None:
            taken.append(line)
            if len(taken) > RECORD_LINES_MAX:
                raise csv.Error(f"a quote is not closed within {RECORD_LINES_MAX} lines")
            yield line.decode("utf-8", "surrogateescape")


def _nobody(_amount: int) -> None:
    """Read once more; nobody counts that."""


class _Objects:
    """Lines that are JSON objects."""

    columns: list[str] | None = None

    def __init__(self, lines: _Lines, reading: Reading) -> None:
        self._lines, self._reading = lines, reading

    def of(self, lines: _Lines) -> _Objects:
        """The same of other lines."""
        return _Objects(lines, self._reading)

    def rows(self) -> list[Row]:
        """The next rows, as many as a request takes and the rest of the last one's chain."""
        found: list[Row] = []
        while len(found) < BATCH_ROWS_MAX or (is_linked(found[-1]) and len(found) < 2 * BATCH_ROWS_MAX):
            line = self._lines.line()
            if line is None:
                break
            if text := line.strip():
                found.append(_json_row(self._lines.number, text, self._reading))
        return found


def _json_row(number: int, text: bytes, reading: Reading) -> Row:
    try:
        fields = _read_object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Row(number, b"", "invalid_json", f"This line is no JSON object: {error}.", text)
    if OUTCOMES.isdisjoint(fields) and not reading.imported and ("id" in fields or not reading.ids_from):
        return Row(number, text)
    row = from_object(number, fields, reading)
    return row if row.text or row.code == SKIPPED else row._replace(raw=text)


def _parquet_blocks(path: Path, reading: Reading, advance: Callable[[int], None]) -> Iterator[Block]:
    """The rows by way of CSV; lines are numbers of rows, from 1."""
    cells, lines = Cells(parquet.names_of(path), reading), _Lines(parquet.Texts(path, advance), _nobody)
    yield from _blocks(_Table(lines, cells, counted=True), lines, reading)


def form_of(path: Path, asked: str | None) -> str:
    """The format of a file, by its name if nobody said it."""
    if asked is not None:
        return asked
    found = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(path.suffix.lower())
    if found is None:
        raise BulkError(f"{path.name} does not say what it is: --format csv, jsonl or parquet")
    return found
