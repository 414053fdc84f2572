"""Parquet files by way of CSV, which pyarrow reads and writes by itself.

Guarded here: a column becomes the text that a CSV file would have, or it is refused; nothing is rounded. What is in
memory is some rows and a page of each column, however large a row group is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pyledger.bulk.nouns import OUTCOMES, PARQUET_READ_BYTES, PARQUET_ROWS, BulkError

IGNORED: Final = OUTCOMES - {"status", "recorded_ns"}
"""What an import does not look at."""
TIME_S_MAX: Final = 9_214_646_400
"""Where 2262 begins, s after 1970: the first time that the ledger does not take."""
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@contextlib.contextmanager
def _readable() -> Iterator[Any]:
    """pyarrow; what it says against a file is a `BulkError`."""
    pa = pyarrow()
    try:
        yield pa
    except (pa.ArrowException, OSError) as error:
        raise BulkError(f"this Parquet file cannot be read: {' '.join(str(error).split())[:200]}") from error


def rows_of(path: Path) -> int:
    """How many rows a file has. Raises `BulkError`."""
    with _readable() as pa:
        return int(pa.parquet.read_metadata(path).num_rows)


def names_of(path: Path) -> list[str]:
    """Its columns, if all that will be read of them is of a type that says exactly what it says. Raises `BulkError`."""
    with _readable() as pa:
        schema = pa.parquet.read_schema(path)
    for column in schema:
        if column.name not in IGNORED and (wrong := _wrong(column.type)):
            raise BulkError(f"the column {column.name} is {wrong}")
    return list(schema.names)


class Texts:
    """A file's rows after the first `done` as lines of CSV without a header, to be read like a file.

    `advance` hears how many rows."""

    def __init__(self, path: Path, done: int, advance: Callable[[int], None]) -> None:
        self._tables, self._advance = _tables_of(path, done), advance

    def read(self, _size: int, /) -> memoryview:
        """Some more lines; none at the end. Raises `BulkError`."""
        for rows, text in self._tables:
            self._advance(rows)
            if text:
                return text
        return memoryview(b"")


def _tables_of(path: Path, done: int) -> Iterator[tuple[int, memoryview]]:
    with _readable() as pa:
        # Without a buffer, or with buffers made ahead, whole columns of a row group would be in memory.
        file = pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=PARQUET_READ_BYTES)
        groups, above = _groups_after(file.metadata, done)
        done -= above
        yield above, memoryview(b"")
        names = file.schema_arrow.names
        wanted = [name for name in names if name not in IGNORED]
        # By one thread, ours: who takes the rows has the other cores.
        for batch in file.iter_batches(PARQUET_ROWS, groups, wanted, use_threads=False):
            left = batch.slice(min(done, batch.num_rows))
            done -= batch.num_rows - left.num_rows
            empty = pa.nulls(left.num_rows, pa.string())
            columns = [empty if name in IGNORED else as_text(left.column(name)) for name in names]
            yield batch.num_rows, as_csv(pa.table(columns, names))


def _groups_after(about: Any, done: int) -> tuple[range, int]:
    """The row groups that have rows after the first `done`, and how many rows are in those above them."""
    above = 0
    for place in range(about.num_row_groups):
        rows = about.row_group(place).num_rows
        if above + rows > done:
            return range(place, about.num_row_groups), above
        above += rows
    return range(0), above


def _wrong(kind: Any) -> str:
    """What is wrong with a type, if anything is."""
    types = pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_floating(kind):
        return f"of floats ({kind}); amounts are whole numbers of minor units"
    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
        known = types.is_string(kind) or types.is_large_string(kind)
    else:
        texts = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
        exact = types.is_integer(kind) or types.is_decimal(kind) or types.is_timestamp(kind)
        known = texts or exact or _is_id(kind)
    return "" if known else f"of {kind}, which is neither text nor a number, a time or an id"


def _is_id(kind: Any) -> bool:
    return str(kind) in ("extension<arrow.uuid>", "fixed_size_binary[16]")


def as_csv(table: Any) -> memoryview:
    """A table of texts; quoted only if something in it needs that, for quotes make every row slow."""
    pa = pyarrow()
    for style in ("none", "needed"):
        sink = pa.BufferOutputStream()
        try:
            options = pa.csv.WriteOptions(include_header=False, batch_size=PARQUET_ROWS, quoting_style=style)
            pa.csv.write_csv(table, sink, options)
        except pa.ArrowInvalid:
            continue
        return memoryview(sink.getvalue())
    raise BulkError("a column of this Parquet file cannot be read as text")


def as_text(column: Any) -> Any:
    """A column as the texts that a CSV file would have."""
    pa = pyarrow()
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Far away years come back as near ones: those are shown as numbers, which no time is.
        number, last = column.cast(pa.int64()), TIME_S_MAX * _PER_SECOND[kind.unit]
        near = pa.compute.and_(pa.compute.greater_equal(number, 0), pa.compute.less_equal(number, last))
        utc = column.cast(pa.timestamp(kind.unit, "UTC"))
        text = pa.compute.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ")
        return pa.compute.if_else(near, text, number.cast(pa.string()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.compute.binary_join(column, " ")
    if _is_id(kind):
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
