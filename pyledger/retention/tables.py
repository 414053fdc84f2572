"""Rows as tables of Parquet: columns for people, and the bytes that are hashed.

Guarded here: the columns for people follow from the bytes, so that they can be made again and compared.
"""

from __future__ import annotations

from typing import Any, Final

from pyledger._rust import archive_table
from pyledger.retention.nouns import RetentionError

_NUMBERS: Final = {
    "shard": "int16", "seq": "int64", "recorded_ns": "int64", "tenant": "int32", "ledger": "int32", "code": "int32",
    "flags": "int32", "timeout_s": "int64", "effective_ns": "int64",
}  # fmt: skip
_COLUMNS: Final = (
    "shard", "seq", "recorded_ns", "tenant", "id", "kind", "refusal", "debit_account", "credit_account", "amount",
    "target", "ledger", "code", "flags", "timeout_s", "effective_ns", "fingerprint", "reference", "metadata",
)  # fmt: skip


def pyarrow() -> Any:
    """pyarrow, with the parts that are used. Raises `RetentionError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise RetentionError("an archive needs pyarrow: pip install 'pyledger[parquet]'") from error
    return pyarrow


def table_of(copy: bytes) -> Any:
    """Rows of a COPY stream as a table: columns for people, and `leaf`, the bytes that are hashed."""
    pa = pyarrow()
    offsets, lines = archive_table(copy)
    types = {name: getattr(pa, _NUMBERS[name])() if name in _NUMBERS else pa.string() for name in _COLUMNS}
    count = len(offsets) // 4 - 1
    if count:
        table = pa.csv.read_csv(
            pa.BufferReader(lines),
            pa.csv.ReadOptions(column_names=list(_COLUMNS), block_size=max(len(lines), 1)),
            pa.csv.ParseOptions(newlines_in_values=True),
            pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False),
        )
    else:
        table = pa.schema(list(types.items())).empty_table()
    leaves = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(copy)])
    return table.append_column("leaf", leaves).combine_chunks()


def batch_schema() -> Any:
    """The columns of the table of batches."""
    pa = pyarrow()
    numbers = [("shard", pa.int16()), *((name, pa.int64()) for name in ("seq", "rows", "first_ns", "last_ns"))]
    return pa.schema([*numbers, ("root", pa.binary()), ("hash", pa.binary())])


def joined(leaves: Any) -> bytes:
    """The bytes of all, one after the other: they lie so."""
    if not len(leaves):
        return b""
    _, offsets, data = leaves.buffers()
    at = memoryview(offsets).cast("i")
    return bytes(memoryview(data)[at[leaves.offset] : at[leaves.offset + len(leaves)]])
