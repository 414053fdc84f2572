"""Files become requests: CSV, JSON lines and Parquet, each row what the API takes, as many as one request does.

Guarded here: a file is read forwards and in a bounded memory, by one reader, which is in the core; where it goes on is
known after each request, so that an import that was stopped goes on without reading what it had: no line again, and of
a Parquet file only the row group that it was in.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from pyledger._rust import ReadRows, RowReader
from pyledger.bulk import parquet
from pyledger.bulk.cursor import Position
from pyledger.bulk.nouns import (
    ACCOUNTS,
    AHEAD_BYTES,
    AHEAD_TIMES,
    BATCH_ROWS_MAX,
    CHAIN_BYTES_MAX,
    COLUMNS,
    LINE_BYTES_MAX,
    OUTCOMES,
    READ_BYTES,
    BulkError,
    Reading,
)

_BOM: Final = b"\xef\xbb\xbf"
"""What some programs begin a file of UTF-8 with."""


class _Source(Protocol):
    """What lines come from."""

    def read(self, size: int, /) -> bytes | memoryview:
        """The next bytes; none at the end."""


def requests(
    path: Path,
    form: str,
    reading: Reading,
    position: Position,
    advance: Callable[[int], None],
    rows_max: int = BATCH_ROWS_MAX,
) -> Iterator[ReadRows]:
    """Requests of the rows after a position, of so many rows at most.

    `advance` hears how many bytes of the file were read, of Parquet how many rows. Raises `BulkError` where the file
    cannot be read on."""
    with contextlib.ExitStack() as files:
        columns: list[str] | None = None
        source: _Source
        if form == "parquet":
            columns = _checked(parquet.names_of(path), reading)
            source, first = parquet.Texts(path, max(position.number - 1, 0), advance), 1
        else:
            file = files.enter_context(path.open("rb"))
            first = 1
            if file.read(len(_BOM)) != _BOM:
                file.seek(0)
            if form == "csv":
                columns, first = _checked(_header(file), reading), 2
            file.seek(position.bytes, 1)
            advance(file.tell())
            source = _Counted(file, advance)
        reader = RowReader(
            accounts=reading.what == ACCOUNTS, columns=columns, imported=reading.imported, ids_from=reading.ids_from,
            rows_counted=form == "parquet", rows_max=rows_max, number=position.number or first, torn=position.torn,
        )  # fmt: skip
        yield from _read(source, reader)


def _read(source: _Source, reader: RowReader) -> Iterator[ReadRows]:
    held, at, ended, wanted_bytes = b"", 0, False, AHEAD_BYTES
    while True:
        while not ended and len(held) - at < wanted_bytes:
            more = source.read(READ_BYTES)
            ended = not more
            held, at = b"".join((memoryview(held)[at:], more)), 0
        try:
            found = reader.read(held, at, more=wanted_bytes < CHAIN_BYTES_MAX, end=ended)
        except ValueError as error:
            raise BulkError(str(error)) from error
        if found.bytes:
            at += found.bytes
            wanted_bytes = min(AHEAD_BYTES, AHEAD_TIMES * found.bytes + LINE_BYTES_MAX)
            yield found
        elif ended:
            return
        else:
            # A chain that does not end in what was read; there is not only one more such row to come.
            wanted_bytes = CHAIN_BYTES_MAX


class _Counted:
    """A file; somebody hears how much of it was read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file, self._advance = file, advance

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""
        read = self._file.read(size)
        self._advance(len(read))
        return read


def _header(file: BinaryIO) -> list[str]:
    line = file.readline(LINE_BYTES_MAX + 1)
    if len(line) > LINE_BYTES_MAX:
        raise BulkError(f"line 1 is longer than {LINE_BYTES_MAX} bytes: this is not a file of rows")
    try:
        return [name.strip() for name in next(csv.reader([line.decode("utf-8", "replace")], strict=True), [])]
    except csv.Error as error:
        raise BulkError(f"the first line is no CSV: {error}") from error


def _checked(header: list[str], reading: Reading) -> list[str]:
    known = COLUMNS[reading.what]
    for name in header:
        if name not in known and name not in OUTCOMES:
            raise BulkError(f"the first line must name columns; {name[:40]!r} is none of {', '.join(known)}")
        if header.count(name) > 1:
            raise BulkError(f"the column {name} stands twice in the first line")
    if "id" not in header and not reading.ids_from:
        raise BulkError("there is no column id; --ids-from NAME derives ids from a name and the line")
    return header


def form_of(path: Path, asked: str | None) -> str:
    """The format of a file, by its name if nobody said it."""
    if asked is not None:
        return asked
    found = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(path.suffix.lower())
    if found is None:
        raise BulkError(f"{path.name} does not say what it is: --format csv, jsonl or parquet")
    return found
