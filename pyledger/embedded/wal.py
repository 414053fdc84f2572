"""WAL made ahead: files of zeros where PostgreSQL will write next.

A file of WAL that exists is written at twice the speed of one that must be made, and PostgreSQL makes
them one at a time, in the middle of commits. Guards: only while no PostgreSQL runs on the directory, and
only under names after the last one, so nothing that holds a record is ever touched. What we leave is what
PostgreSQL itself would have made: 16 MiB of zeros, synced, then renamed.
"""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Final

from pyledger.embedded.nouns import Account
from pyledger.embedded.owner import give
from pyledger.embedded.sizing import MIB, WAL_FILE_MIB

FILES_PER_LOG: Final = 4_096 // WAL_FILE_MIB
"""After so many files the middle part of the name counts on."""
MAKING: Final = "xlogtemp.pyledger"
"""PostgreSQL removes what is called so when it starts, should we be killed here."""

_NAME: Final = re.compile(r"[0-9A-F]{24}")
_ZEROS: Final = bytes(WAL_FILE_MIB * MIB)


def wal_names(wal_dir: Path) -> list[str]:
    """The files that hold WAL or will, in order."""
    return sorted(name for name in os.listdir(wal_dir) if _NAME.fullmatch(name))


def next_name(name: str) -> str:
    """The name after a name: timeline, log and file, eight hexadecimal digits each."""
    timeline, log, file = name[:8], int(name[8:16], 16), int(name[16:], 16)
    log, file = (log, file + 1) if file + 1 < FILES_PER_LOG else (log + 1, 0)
    return f"{timeline}{log:08X}{file:08X}"


def premake(wal_dir: Path, wanted_mib: int, timeout_s: float, account: Account | None, enough: threading.Event) -> int:
    """Make files until there are `wanted_mib` of them, the time is up or it is `enough`; how many were made."""
    names = wal_names(wal_dir)
    deadline = time.monotonic() + timeout_s
    made = 0
    while names and len(names) < wanted_mib // WAL_FILE_MIB and time.monotonic() < deadline and not enough.is_set():
        names.append(next_name(names[-1]))
        _make(wal_dir / MAKING, account)
        (wal_dir / MAKING).rename(wal_dir / names[-1])
        made += 1
    if made:
        _sync(wal_dir)
    return made


def _make(path: Path, account: Account | None) -> None:
    with path.open("wb") as file:
        path.chmod(0o600)
        file.write(_ZEROS)
        file.flush()
        os.fsync(file.fileno())
    give(path, account)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
