"""Where signed checkpoints are kept outside the database, so that whoever rewrites it leaves a contradiction behind.

The invariant: a file is made once, whole and durable, and never replaced; only `checkpoint`, which repeats the newest,
moves on. Another place, as an object store, has to offer the same: make if there is none, read, list.
"""

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from pyledger.ledger.proofs.notes import NOTE_BYTES_MAX, Contradiction

NEWEST: Final = "checkpoint"
"""What repeats the newest, under the name that c2sp.org/tlog-tiles gives it."""
_NAME: Final = re.compile(r"[0-9]{20}-[0-9a-f]{8}")


class Place(Protocol):
    """One shard's checkpoints outside the database. All may raise `OSError`."""

    async def open(self, *, new: bool) -> None:
        """Make the place if it is new. Raises `Contradiction` if it is not new and not there."""

    def there(self) -> bool:
        """Whether it was made, and can be reached."""

    async def make(self, name: str, note: str) -> None:
        """Keep a note under a name, durably, unless the same is there. Raises `Contradiction`."""

    async def point(self, note: str) -> None:
        """Say which one is the newest."""

    async def newest(self) -> str | None:
        """The newest; None if there is none."""

    def names(self) -> Iterator[str]:
        """Every name, in order of size."""

    def read(self, name: str) -> str:
        """What is under a name."""


def name_of(size: int, key_number: int) -> str:
    """Under which name a checkpoint is kept: its size, so that names sort, and the number of its key."""
    return f"{size:020d}-{key_number:08x}"


class Directory:
    """A directory, with one below it for each shard."""

    def __init__(self, path: str, shard: int) -> None:
        self.path = Path(path) / str(shard)

    async def open(self, *, new: bool) -> None:
        """Make the directory if it is new. Raises `Contradiction` if it is not new and not there."""
        if new:
            await asyncio.to_thread(self.path.mkdir, parents=True, exist_ok=True)
        elif not await asyncio.to_thread(self.there):
            raise Contradiction(f"{self.path} is not there: mount what it is on, or make it if it is to be a new one")

    def there(self) -> bool:
        """Whether it was made, and can be reached."""
        return self.path.is_dir()

    async def make(self, name: str, note: str) -> None:
        """Keep a note under a name, durably, unless the same is there. Raises `Contradiction`."""
        await asyncio.to_thread(self._make, name, note)

    async def point(self, note: str) -> None:
        """Say which one is the newest."""
        await asyncio.to_thread(self._point, note)

    async def newest(self) -> str | None:
        """The newest; None if there is none."""
        return await asyncio.to_thread(self._newest)

    def names(self) -> Iterator[str]:
        """Every name, in order of size."""
        with contextlib.suppress(FileNotFoundError):
            yield from sorted(each for each in os.listdir(self.path) if _NAME.fullmatch(each))

    def read(self, name: str) -> str:
        """What is under a name, as far as it could be a note."""
        with (self.path / name).open("rb") as file:
            return file.read(NOTE_BYTES_MAX + 1).decode("utf-8", "replace")

    def _make(self, name: str, note: str) -> None:
        written = self._write(note)
        try:
            # A link is made or is not; a rename would replace what is there.
            os.link(written, self.path / name)
        except FileExistsError:
            if self.read(name) != note:
                raise Contradiction(f"{self.path / name} is another checkpoint of that size") from None
        finally:
            written.unlink()
        self._sync()

    def _point(self, note: str) -> None:
        written = self._write(note)
        try:
            os.replace(written, self.path / NEWEST)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        self._sync()

    def _newest(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return self.read(NEWEST)
        return None

    def _write(self, note: str) -> Path:
        """A new file of its own name, on the disk. One that a crash leaves behind is in nobody's way."""
        path = self.path / f".{secrets.token_hex(8)}"
        try:
            with path.open("xb") as file:
                file.write(note.encode())
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            # A disk that is full gets no emptier by what could not be written.
            path.unlink(missing_ok=True)
            raise
        return path

    def _sync(self) -> None:
        """Names are durable once their directory is."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def place(path: str, shard: int) -> Place | None:
    """The place that a setting names; None if it is empty."""
    return Directory(path, shard) if path else None
