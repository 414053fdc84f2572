"""`pyledger export`: transfers or accounts out of the database, in the order in which they were recorded.

Guarded here: what was recorded at one moment, of one tenant; every row is one that `pyledger import` takes; and no more
than a slice of rows is in memory. A file has its name only when it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import asyncpg

from pyledger import sql
from pyledger.bulk.nouns import BATCHES_READ_MAX, SLICE_ROWS, TRANSFERS, BulkError
from pyledger.bulk.parquet import pyarrow
from pyledger.bulk.showing import Bar
from pyledger.client.nouns import rfc3339
from pyledger.embedded import open_database
from pyledger.ledger.connections import connect
from pyledger.settings import Settings

_QUERIES: Final = sql.load("pyledger.bulk")
_NS_MAX: Final = 2**63 - 1
_HEADERS: Final = {
    "transfers": "id,debit_account_id,credit_account_id,amount,ledger,code,flags,timeout_s,pending_id,reverses,"
    "effective_at,reference,metadata,kind,status,recorded_ns",
    "accounts": "id,ledger,code,flags,allowance,effective_at,reference,metadata,status,recorded_ns",
}
_INTEGERS: Final = ("ledger", "code", "timeout_s", "recorded_ns")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked on the command line. Times in nanoseconds of recording, `since_ns` included, `until_ns` not."""

    what: str
    form: str
    to: Path | None
    tenant: str | None
    ledger: int | None
    since_ns: int
    until_ns: int | None
    declined: bool
    show: bool


async def give(settings: Settings, wish: Wish) -> int:
    """Export; how many rows. Raises `BulkError` and what a connection raises."""
    if wish.form == "parquet":
        pyarrow()
    async with open_database(settings) as database:
        connection = await connect(database.server_dsn, "pyledger export")
        try:
            await connection.execute(_QUERIES["settings"])
            tenant = await _tenant(connection, wish.tenant)
            with _output(wish.to) as file:
                return await _Export(connection, wish, tenant, file).run()
        finally:
            await connection.close()


async def _tenant(connection: asyncpg.Connection, name: str | None) -> int:
    found = {row["name"]: row["id"] for row in await connection.fetch(_QUERIES["tenants"])}
    if name is None and len(found) == 1:
        return int(next(iter(found.values())))
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise BulkError(
            f"--tenant must be one of: {known}" if name is None else f"there is no tenant {name!r}: {known}"
        )
    return int(found[name])


@contextlib.contextmanager
def _output(to: Path | None) -> Any:
    """Where it goes. A file appears when it is whole."""
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = to.with_name(to.name + ".partial")
    with beside.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(beside.stat(), os.fstat(file.fileno()))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise BulkError(f"{to} is being written already")
        try:
            # What one that was killed has left.
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, to)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


class _Export:
    def __init__(self, connection: asyncpg.Connection, wish: Wish, tenant: int, file: BinaryIO) -> None:
        self._connection, self._wish, self._tenant, self._file = connection, wish, tenant, file
        self._until_ns = _NS_MAX if wish.until_ns is None else min(wish.until_ns, _NS_MAX)
        self._since_ns = min(wish.since_ns, _NS_MAX)

    async def run(self) -> int:
        wish, rows = self._wish, 0
        gone_ns = await self._connection.fetchval(_QUERIES["archived"], self._since_ns, self._until_ns)
        if gone_ns is not None and wish.what == TRANSFERS:
            raise BulkError(f"some of it is archived: --since {rfc3339(gone_ns)} or later is here, or restore it")
        heads = [(head["shard"], head["seq"]) for head in await self._connection.fetch(_QUERIES["heads"])]
        bounds = (self._since_ns, self._until_ns)
        total = sum([await self._connection.fetchval(_QUERIES["rows"], *head, *bounds) for head in heads])
        columns = _HEADERS[wish.what].split(",")
        write: Callable[[bytes], object] = self._file.write
        with Bar(wish.what, total, show=wish.show) as bar, contextlib.ExitStack() as ending:
            if wish.form == "parquet":
                write = _Parquet(self._file, columns, ending)
            elif wish.form == "csv":
                self._file.write(_HEADERS[wish.what].encode() + b"\n")
            writing: asyncio.Future[object] | None = None
            try:
                async for looked_at, found, chunk in self._slices(heads):
                    # While one slice is written the next one is read.
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(asyncio.to_thread(write, chunk))
                    rows += found
                    bar.advance(looked_at)
            finally:
                if writing is not None:
                    await writing
        return rows

    async def _slices(self, heads: list[tuple[int, int]]) -> AsyncIterator[tuple[int, int, bytes]]:
        """How many rows of the journal were looked at, how many were asked for, and those as CSV or JSON lines."""
        rows_query = _QUERIES[self._wish.what]
        options: dict[str, Any] = {"format": "csv"}
        if self._wish.form == "jsonl":
            rows_query = _QUERIES[f"json_{self._wish.what}"].format(rows=rows_query)
            # No JSON has these two characters, so nothing is quoted.
            options |= {"delimiter": "\x01", "quote": "\x02"}
        for shard, seq in heads:
            async for looked_at, first_ns, last_ns in self._extents(shard, seq):
                sink = io.BytesIO()

                async def take(part: bytes, sink: io.BytesIO = sink) -> None:
                    sink.write(part)

                await self._connection.execute(_QUERIES["begin_slice"])
                if self._wish.what == TRANSFERS:
                    await self._all_there(shard, first_ns, last_ns, looked_at)
                said = await self._connection.copy_from_query(
                    rows_query, shard, first_ns, last_ns, self._tenant, self._wish.ledger,
                    self._wish.declined, self._since_ns, self._until_ns, output=take, **options,
                )  # fmt: skip
                await self._connection.execute("COMMIT")
                yield looked_at, int(said.split()[-1]), sink.getvalue()

    async def _all_there(self, shard: int, first_ns: int, last_ns: int, rows: int) -> None:
        """An export without rows that were archived would look like one of all rows. Raises `BulkError`."""
        found = await self._connection.fetchval(_QUERIES["present"], shard, first_ns, last_ns)
        if found != rows:
            times = f"{rfc3339(first_ns)} to {rfc3339(last_ns)}"
            raise BulkError(f"{rows - found} rows recorded from {times} are not in the database: were they archived?")

    async def _extents(self, shard: int, seq: int) -> AsyncIterator[tuple[int, int, int]]:
        """Whole batches, as many as have `SLICE_ROWS` rows: how many, and from when to when."""
        from_ns = self._since_ns
        bounds = (self._until_ns, BATCHES_READ_MAX)
        while batches := await self._connection.fetch(_QUERIES["batches"], shard, seq, from_ns, *bounds):
            rows, first_ns, last_ns = 0, batches[0]["first_ns"], 0
            for batch in batches:
                if rows and rows + batch["rows"] > SLICE_ROWS:
                    break
                rows += batch["rows"]
                last_ns = batch["last_ns"]
            yield rows, first_ns, last_ns
            from_ns = last_ns + 1


class _Parquet:
    """Slices of CSV as row groups of one Parquet file."""

    def __init__(self, file: BinaryIO, columns: list[str], ending: contextlib.ExitStack) -> None:
        self._pa = pa = pyarrow()
        types = {name: pa.int64() if name in _INTEGERS else pa.string() for name in columns}
        self._read = pa.csv.ReadOptions(column_names=columns, block_size=1 << 24)
        self._parse = pa.csv.ParseOptions(newlines_in_values=True)
        self._convert = pa.csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        schema = pa.schema(list(types.items()))
        self._writer = ending.enter_context(pa.parquet.ParquetWriter(file, schema, compression="zstd"))

    def __call__(self, chunk: bytes) -> None:
        if chunk:
            self._writer.write_table(self._pa.csv.read_csv(io.BytesIO(chunk), self._read, self._parse, self._convert))
