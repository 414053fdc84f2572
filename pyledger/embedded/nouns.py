"""The nouns of the embedded PostgreSQL: its bounds, its errors, where it lives and as whom it runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

VERSION_MIN: Final = 15
"""The oldest PostgreSQL that pyledger runs on."""
SOCKET_PORT: Final = 5432
"""Only a part of the socket's name; nothing listens on TCP."""
SOCKET_PATH_BYTES_MAX: Final = 103
"""Of the socket's path: the smallest that a kernel takes (macOS; Linux takes 107)."""
START_TIMEOUT_S: Final = 600.0
"""Recovery after a crash replays at most max_wal_size, at 20 MiB a second or better."""
STOP_TIMEOUT_S: Final = 120.0
"""A fast shutdown writes what shared_buffers hold; after it we stop hard, and the next start recovers."""
ORPHANS_TIMEOUT_S: Final = 60.0
"""PostgreSQL's processes notice within seconds that their postmaster is gone; one may be in a long query."""
LOCK_WAIT_S: Final = 15.0
"""A command that holds the data directory, such as `pyledger key create`, needs seconds."""
POLL_S: Final = 0.02
"""How often a child or a file is looked at while we wait for it."""
RESTART_BACKOFF_FIRST_S: Final = 0.2
RESTART_BACKOFF_MAX_S: Final = 5.0
"""Between attempts to start a PostgreSQL that died; they go on for ever."""
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of PostgreSQL's log; one older file of this size is kept."""
WAL_PREMAKE_FIRST_S: Final = 4.0
"""A first start spends at most so long on making WAL files: 1 GB on a common disk."""
WAL_PREMAKE_AGAIN_S: Final = 1.0
"""A later start spends at most so long, and only while it misses some of that first gigabyte."""
WAL_PREMAKE_AGAIN_MIB: Final = 1_024
"""WAL that a later start wants to find: PostgreSQL makes the rest as it gets there, and a restart must be quick."""

OWNER_ROLE: Final = "pyledger"
SERVER_ROLE: Final = "pyledger_server"
DATABASE_NAME: Final = "pyledger"


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be run. `str()` is one clear line; the exit code is 2."""


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that PostgreSQL runs as, because it refuses to be root."""

    name: str
    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one embedded PostgreSQL lies."""

    data_dir: Path
    major: int

    @property
    def cluster_dir(self) -> Path:
        """PostgreSQL's own data directory; its major version is in the name, for the next one's sake."""
        return self.data_dir / f"postgresql-{self.major}"

    @property
    def log_file(self) -> Path:
        """What PostgreSQL says."""
        return self.data_dir / "postgresql.log"

    @property
    def lock_file(self) -> Path:
        """Held by the one process that may start PostgreSQL here."""
        return self.data_dir / "lock"

    @property
    def socket_dir(self) -> Path:
        """Beside the data, unless that path is too long for a socket's name."""
        near = self.data_dir / "socket"
        if len(os.fsencode(near)) + len(f"/.s.PGSQL.{SOCKET_PORT}.lock") <= SOCKET_PATH_BYTES_MAX:
            return near
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path("/tmp") / f"pyledger-{digest}"  # noqa: S108 - made 0700, and refused if it is another's

    def dsn(self, role: str, database: str = DATABASE_NAME) -> str:
        """How to connect to it as a role."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket_dir))}&port={SOCKET_PORT}"
