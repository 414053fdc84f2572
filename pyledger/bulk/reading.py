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
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec

from pyledger._rust import plain_rows
from pyledger.bulk.cells import Cells, Reading, from_object, is_linked
from pyledger.bulk.nouns import (
    BATCH_ROWS_MAX,
    LINE_BYTES_MAX,
    OUTCOMES,
    PLAIN_BYTES,
    READ_BYTES,
    RECORD_LINES_MAX,
    BulkError,
    Row,
)

_read_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(slots=True)
class Block:
    """Rows one after the other, never the beginning of a chain without its end.

    Plain ones are a request's body already, and become rows only if somebody has to look at them."""

    covers: int
    body: bytes = b""
    found: list[Row] = field(default_factory=list)
    again: Callable[[], list[Row]] = list

    @property
    def rows(self) -> list[Row]:
        """One by one."""
        if self.body and not self.found:
            self.found = self.again()
        return self.found


def blocks_of(path: Path, form: str, reading: Reading, advance: Callable[[int], None]) -> Iterator[Block]:
    """The rows of a file. `advance` hears how many of its bytes were read, of a Parquet file how many rows.

    Raises `BulkError` where the file cannot be read on."""
    if form == "parquet":
        yield from _parquet_blocks(path, reading, advance)
        return
    with path.open("rb") as file:
        lines = _Lines(file, advance)
        if form == "csv":
            yield from _Table(lines, Cells(_header(lines), reading)).blocks()
        else:
            yield from _json_blocks(lines, reading)


class _Lines:
    """A file's lines, by themselves or many at once."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None], number: int = 0) -> None:
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
        self._held, self._at = b"".join(lines) + self._held[self._at :], 0
        self.number -= len(lines)

    def plain(self, columns: list[tuple[str, str]], what: str) -> tuple[bytes, int, bytes] | None:
        """As many lines as a request takes, if nothing in them is out of the ordinary: its body, rows, the lines."""
        self._fill(PLAIN_BYTES)
        held = self._held[self._at : self._at + PLAIN_BYTES]
        made = plain_rows(held, columns, what, BATCH_ROWS_MAX)
        if made is None or made[1] == 0:
            return None
        body, rows, read = made
        self._at += read
        self.number += rows
        return body, rows, held[:read]


def _header(lines: _Lines) -> list[str]:
    line = (lines.line() or b"").decode("utf-8", "replace")
    try:
        return [name.strip() for name in next(csv.reader([line.removeprefix("\ufeff")], strict=True), [])]
    except csv.Error as error:
        raise BulkError(f"the first line is no CSV: {error}") from error


class _Table:
    """Lines with cells."""

    def __init__(self, lines: _Lines, cells: Cells) -> None:
        self._lines, self._cells = lines, cells
        csv.field_size_limit(LINE_BYTES_MAX)

    def blocks(self) -> Iterator[Block]:
        """Requests of plain lines where they are plain, and rows where one of them is not."""
        cells = self._cells
        while True:
            first = self._lines.number
            plain = self._lines.plain(cells.kinds, cells.what) if cells.kinds else None
            if plain is not None:
                body, rows, raw = plain

                def again(raw: bytes = raw, first: int = first) -> list[Row]:
                    lines = _Lines(io.BytesIO(raw), _nobody, first)
                    return _Table(lines, cells).rows()

                yield Block(rows, body, again=again)
            elif found := self.rows():
                yield Block(len(found), found=found)
            else:
                return

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
                found.append(Row(line, b"", "invalid_csv", f"The row is no CSV: {error}."))
                continue
            if cells is None:
                break
            if cells:
                found.append(self._cells.row(line, cells))
        return found

    def _feed(self, taken: list[bytes]) -> Iterator[str]:
        while (line := self._lines.line()) is not None:
            taken.append(line)
            if len(taken) > RECORD_LINES_MAX:
                raise csv.Error(f"a quote is not closed within {RECORD_LINES_MAX} lines")
            yield line.decode("utf-8", "surrogateescape")


def _nobody(_amount: int) -> None:
    """Read once more; nobody counts that."""


def _json_blocks(lines: _Lines, reading: Reading) -> Iterator[Block]:
    while True:
        found: list[Row] = []
        while len(found) < BATCH_ROWS_MAX or (is_linked(found[-1]) and len(found) < 2 * BATCH_ROWS_MAX):
            line = lines.line()
            if line is None:
                break
            if text := line.strip():
                found.append(_json_row(lines.number, text, reading))
        if not found:
            return
        yield Block(len(found), found=found)


def _json_row(number: int, text: bytes, reading: Reading) -> Row:
    try:
        fields = _read_object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Row(number, b"", "invalid_json", f"This line is no JSON object: {error}.")
    if OUTCOMES.isdisjoint(fields) and not reading.imported and ("id" in fields or not reading.ids_from):
        return Row(number, text)
    return from_object(number, fields, reading)


def _parquet_blocks(path: Path, reading: Reading, advance: Callable[[int], None]) -> Iterator[Block]:
    """The rows by way of CSV, which pyarrow writes by itself; lines are numbers of rows, from 1."""
    pa = pyarrow()
    try:
        file = pa.parquet.ParquetFile(path, pre_buffer=False)
        cells = Cells(file.schema_arrow.names, reading)
        first = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS_MAX):
            table = pa.table([as_text(batch.column(name), name) for name in batch.schema.names], batch.schema.names)
            lines = _Lines(io.BytesIO(as_csv(table)), _nobody, first)
            yield from _Table(lines, cells).blocks()
            first += batch.num_rows
            advance(batch.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise BulkError(f"this Parquet file cannot be read: {' '.join(str(error).split())[:200]}") from error


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has."""
    pa = pyarrow()
    try:
        return int(pa.parquet.read_metadata(path).num_rows)
    except pa.ArrowException as error:
        raise BulkError(f"this Parquet file cannot be read: {' '.join(str(error).split())[:200]}") from error


def as_csv(table: Any) -> bytes:
    """A table of texts; quoted only if something in it needs that, for quotes make every row slow."""
    pa = pyarrow()
    for style in ("none", "needed"):
        sink = pa.BufferOutputStream()
        try:
            pa.csv.write_csv(table, sink, pa.csv.WriteOptions(include_header=False, quoting_style=style))
        except pa.ArrowInvalid:
            continue
        return bytes(sink.getvalue())
    raise BulkError("a column of this Parquet file cannot be read as text")


def as_text(column: Any, name: str) -> Any:
    """A column as the texts that a CSV file would have."""
    pa = pyarrow()
    kind = column.type
    if pa.types.is_floating(kind):
        raise BulkError(f"the column {name} has floats; amounts are whole numbers of minor units")
    if pa.types.is_timestamp(kind):
        utc = column.cast(pa.timestamp("ns", "UTC"))
        return pa.compute.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.compute.binary_join(column, " ")
    if pa.types.is_fixed_size_binary(kind) or str(kind).startswith("extension<arrow.uuid>"):
        return pa.array([None if value is None else _uuid_text(value) for value in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _uuid_text(value: Any) -> str:
    return str(value if isinstance(value, UUID) else UUID(bytes=value) if len(value) == 16 else value)


def pyarrow() -> Any:
    """pyarrow, with the parts that are used. Raises `BulkError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise BulkError("Parquet needs pyarrow: pip install 'pyledger[parquet]'") from error
    return pyarrow


def form_of(path: Path, asked: str | None) -> str:
    """The format of a file, by its name if nobody said it."""
    if asked is not None:
        return asked
    found = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(path.suffix.lower())
    if found is None:
        raise BulkError(f"{path.name} does not say what it is: --format csv, jsonl or parquet")
    return found
