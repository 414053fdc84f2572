"""Small disks that can be full: file systems in memory of a given size, mounted for one run.

Guards: whatever was mounted is unmounted when the context ends, also when somebody still uses it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.faults.amnesia.fuse import unmount
from tests.faults.rights import MOUNTING, lacking

MIB: Final = 1024 * 1024
CHUNK: Final = bytes(MIB)
BALLAST: Final = "ballast"


def missing() -> str | None:
    """Why nothing can be mounted here; None if it can."""
    return lacking(MOUNTING, "may not mount")


@contextlib.contextmanager
def small_disk(path: Path, mib: int) -> Iterator[Path]:
    """A disk of so many MiB at a path."""
    path.mkdir(parents=True, exist_ok=True)
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"small", str(path).encode(), b"tmpfs", 0, f"size={mib}m,mode=0711".encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {path}: {os.strerror(code)}")
    try:
        yield path
    finally:
        unmount(str(path), lazily=True)


def fill(disk: Path) -> int:
    """Write until there is no room at all; how many bytes that took."""
    written = 0
    with (disk / BALLAST).open("ab", buffering=0) as ballast:
        for piece in (CHUNK, bytes(4_096)):
            try:
                while True:
                    written += ballast.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return written


def make_room(disk: Path) -> None:
    """Take away what `fill` wrote."""
    (disk / BALLAST).unlink(missing_ok=True)
