"""An archive as a directory, as it is written: rows.parquet, batches.parquet and manifest.json.

Guarded here: it has its name only when it is whole and synced, and nothing that has the name is ever replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from pyledger.ledger.connections import COPY_HEADER, COPY_TRAILER
from pyledger.retention.manifest import File, Manifest
from pyledger.retention.nouns import Batch, RetentionError
from pyledger.retention.tables import batch_schema, pyarrow, table_of

ROWS: Final = "rows.parquet"
BATCHES: Final = "batches.parquet"
MANIFEST: Final = "manifest.json"
_READ_BYTES: Final = 1024 * 1024


class Writing:
    """An archive in the making, beside its name; `owner` is of this database alone, for a directory may be shared.
    Thrown away where it does not come to `keep`. Raises `RetentionError` where it cannot be written."""

    def __init__(self, directory: Path, name: str, owner: str) -> None:
        self.path, self.beside = directory / name, directory / f".{name}.{owner}.partial"
        self._files: list[BinaryIO] = []
        self._writers: list[Any] = []

    def __enter__(self) -> Self:
        pa = pyarrow()
        schemas = (table_of(COPY_HEADER + COPY_TRAILER).schema, batch_schema())
        try:
            if self.beside.exists():
                shutil.rmtree(self.beside)
            self.beside.mkdir(mode=0o700)
            for file, schema in zip((ROWS, BATCHES), schemas, strict=True):
                self._files.append((self.beside / file).open("xb"))
                self._writers.append(pa.parquet.ParquetWriter(self._files[-1], schema, compression="zstd"))
        except OSError as error:
            self._throw_away()
            raise self._cannot(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._throw_away()
        if isinstance(error, OSError):
            raise self._cannot(error) from error

    def _throw_away(self) -> None:
        # What is not closed would be written once more when it is forgotten. Why it cannot be was said already.
        for each in (*self._writers, *self._files):
            with contextlib.suppress(OSError, ValueError):
                each.close()
        shutil.rmtree(self.beside, ignore_errors=True)

    def _cannot(self, error: OSError) -> RetentionError:
        return RetentionError(f"cannot write {self.path}: {error.strerror or error}")

    def add(self, shard: int, batches: list[Batch], copy: bytes) -> None:
        """Batches that follow each other, with all their rows: a row group of each file."""
        rows = table_of(copy)
        columns = [[shard] * len(batches), *zip(*batches, strict=True)]
        table = pyarrow().Table.from_arrays(
            [pyarrow().array(list(column), field.type) for column, field in zip(columns, batch_schema(), strict=True)],
            schema=batch_schema(),
        )
        for writer, each in zip(self._writers, (rows, table), strict=True):
            writer.write_table(each, row_group_size=max(each.num_rows, 1))

    def close(self) -> tuple[File, File]:
        """What was written is on the disk; sizes and hashes of both files."""
        for writer, file in zip(self._writers, self._files, strict=True):
            writer.close()
            file.flush()
            os.fsync(file.fileno())
            file.close()
        with (self.beside / ROWS).open("rb") as rows, (self.beside / BATCHES).open("rb") as batches:
            return measure(rows), measure(batches)

    def describe(self, manifest: Manifest) -> Path:
        """Add the manifest; where all of it is now, to be verified before it is kept."""
        with (self.beside / MANIFEST).open("xb") as file:
            file.write(manifest.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self.beside)
        return self.beside

    def keep(self) -> None:
        """Give it its name. Raises `RetentionError` if something has that already."""
        # A directory is renamed over an empty one only, so nothing is ever replaced.
        try:
            os.rename(self.beside, self.path)
        except OSError as error:
            raise RetentionError(f"{self.path} cannot be given its name: {error.strerror}") from error
        sync_directory(self.path.parent)


def measure(file: Any) -> File:
    """Size and hash of an open file, read from its beginning on, where it is left."""
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while piece := file.read(_READ_BYTES):
        digest.update(piece)
        size += len(piece)
    file.seek(0)
    return File(size, digest.hexdigest())


def sync(path: Path) -> None:
    """What an archive has and its name are on the disk, whoever wrote it and gave it that. Raises `RetentionError`."""
    try:
        for name in (ROWS, BATCHES, MANIFEST):
            _sync(path / name, os.O_RDONLY)
        sync_directory(path)
        sync_directory(path.parent)
    except OSError as error:
        raise RetentionError(f"cannot sync {path}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """What was made in a directory is found there after a crash."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
