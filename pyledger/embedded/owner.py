"""Who owns a data directory: the process that may start PostgreSQL in it, and the user it runs as.

Guards: at most one process starts PostgreSQL on a directory; the kernel's lock goes when its holder
does, however that ends. PostgreSQL never runs as root; root runs it as whoever owns the data already,
else as an unprivileged user that exists.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import stat
import time
from pathlib import Path
from typing import Final

from pyledger.embedded.nouns import LOCK_WAIT_S, POLL_S, Account, EmbeddedError, Place

SERVE: Final = "serve"
COMMAND: Final = "command"

UNPRIVILEGED: Final = ("postgres", "nobody")
"""Tried in this order by root; they exist on every system where PostgreSQL or nothing is installed."""


class Lock:
    """The data directory's lock, held until `release` or the end of the process."""

    def __init__(self, place: Place) -> None:
        self._path = place.lock_file
        self._handle = -1

    async def take(self, purpose: str) -> None:
        """Take it. A command that holds it is waited for, another server is not."""
        deadline = time.monotonic() + LOCK_WAIT_S
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        while not _try_lock(self._handle):
            holder = self.holder()
            if (purpose == SERVE and holder.startswith(SERVE)) or time.monotonic() > deadline:
                os.close(self._handle)
                self._handle = -1
                raise EmbeddedError(f"{self._path.parent} is in use by another pyledger ({holder or 'starting'})")
            await asyncio.sleep(POLL_S)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{purpose} {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def holder(self) -> str:
        """What the holder wrote: its purpose and process id; empty if nobody holds it."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ""
        try:
            if _try_lock(handle, fcntl.LOCK_SH):
                return ""
            return os.pread(handle, 64, 0).decode("ascii", "replace").strip()
        finally:
            os.close(handle)


def _try_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def account_for(place: Place) -> Account | None:
    """As whom PostgreSQL runs: None is ourselves. Raises `EmbeddedError` if the data is another's."""
    try:
        owner_id = place.cluster_dir.stat().st_uid
    except FileNotFoundError:
        owner_id = None
    if os.geteuid() != 0:
        if owner_id is not None and owner_id != os.geteuid():
            raise EmbeddedError(f"{place.cluster_dir} belongs to user {user_name(owner_id)}")
        return None
    if owner_id is not None and owner_id != 0:
        return _account(owner_id)
    for name in UNPRIVILEGED:
        try:
            return _account(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    raise EmbeddedError(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)} here")


def _account(user_id: int) -> Account:
    try:
        entry = pwd.getpwuid(user_id)
    except KeyError:
        raise EmbeddedError(f"PostgreSQL cannot run as user {user_id}: it has no name here") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def user_name(user_id: int) -> str:
    """For a message."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def make_data_dir(place: Place, account: Account | None) -> None:
    """Make the data directory; as root one that `account` can pass through, else a private one."""
    try:
        if not place.data_dir.exists():
            place.data_dir.mkdir(parents=True, mode=0o755)
            place.data_dir.chmod(0o711 if account else 0o700)
    except OSError as error:
        raise EmbeddedError(f"cannot make {place.data_dir}: {error.strerror}; set PYLEDGER_DATA_DIR") from None
    if not os.access(place.data_dir, os.W_OK | os.X_OK):
        raise EmbeddedError(f"cannot write to {place.data_dir}; set PYLEDGER_DATA_DIR")
    if account is not None:
        for directory in (place.data_dir, *place.data_dir.parents):
            if not _may_enter(directory, account):
                raise EmbeddedError(
                    f"PostgreSQL runs as user {account.name}, who cannot enter {directory}; set PYLEDGER_DATA_DIR"
                )


def _may_enter(directory: Path, account: Account) -> bool:
    status = directory.stat()
    if status.st_uid == account.user_id:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.group_id:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_private_dir(directory: Path, account: Account | None) -> None:
    """A directory that only PostgreSQL's user can enter. One that is there already must be just that."""
    wanted = account.user_id if account else os.geteuid()
    try:
        directory.mkdir(mode=0o700)
        if account:
            os.chown(directory, account.user_id, account.group_id)
    except FileExistsError:
        pass
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != wanted:
        raise EmbeddedError(f"{directory} is not a directory of user {user_name(wanted)}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)


def give(path: Path, account: Account | None) -> None:
    """Hand a file that we wrote to PostgreSQL's user."""
    if account is not None:
        os.chown(path, account.user_id, account.group_id)
