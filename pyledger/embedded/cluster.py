"""One PostgreSQL data directory: made, configured, started as our child, stopped.

Guards: the directory appears under its name only once initdb has finished and synced it; the server is
started in a session of its own, so that a Ctrl-C meant for us does not reach it before we have answered
what we took; and it is always stopped by a signal that lets it finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pyledger.embedded import owner, processes, sizing
from pyledger.embedded.binaries import Binaries
from pyledger.embedded.nouns import LOG_BYTES_MAX, OWNER_ROLE, POLL_S, START_TIMEOUT_S, Account, EmbeddedError, Place

BUILTIN_LOCALE_MAJOR = 17
"""From this version on the locale is PostgreSQL's own, so that no update of the C library can break an
index on text; before it the locale C, which has no rules that could change."""


@dataclass(slots=True)
class Cluster:
    """A data directory and, while it runs, its postmaster."""

    place: Place
    binaries: Binaries
    account: Account | None
    durable: bool = True
    """False in tests of other things: initdb does not sync what it makes. fsync stays on."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def directory(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.place.cluster_dir

    @property
    def wal_dir(self) -> Path:
        """Where PostgreSQL writes first."""
        return self.directory / "pg_wal"

    async def create(self) -> bool:
        """Make the directory if it is not there; True if it was made."""
        if (self.directory / "PG_VERSION").exists():
            self._check_version()
            return False
        # A name of our own: an initdb that outlived its killed starter cleans up after itself, by name.
        for half_made in self.place.data_dir.glob(f"{self.directory.name}*.new"):
            shutil.rmtree(half_made, ignore_errors=True)
        making = self.directory.with_name(f"{self.directory.name}.{os.getpid()}.new")
        owner.make_private_dir(making, self.account)
        command = [str(self.binaries.bin_dir / "initdb"), "-D", str(making), "-U", OWNER_ROLE, "-A", "trust"]
        command += ["--data-checksums", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if self.binaries.major >= BUILTIN_LOCALE_MAJOR:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            command += ["--no-sync"]
        with self._open_log() as log:
            await self._run(command, log)
        making.rename(self.directory)
        _sync_directory(self.place.data_dir)
        return True

    def _check_version(self) -> None:
        try:
            found = (self.directory / "PG_VERSION").read_text("ascii").strip()
        except PermissionError:
            raise EmbeddedError(f"{self.directory} belongs to another user") from None
        if found != str(self.binaries.major):
            raise EmbeddedError(
                f"{self.directory} was made by PostgreSQL {found}, {self.binaries.version} cannot read it"
            )

    def configure(self, settings: dict[str, str]) -> None:
        """Write PostgreSQL's files anew."""
        files = {"postgresql.conf": sizing.configuration_file(settings), "pg_hba.conf": sizing.ACCESS_FILE}
        for name, text in files.items():
            path = self.directory / name
            making = path.with_suffix(".new")
            making.write_text(text, "utf-8")
            making.chmod(0o600)
            owner.give(making, self.account)
            making.replace(path)

    async def start(self) -> None:
        """Start PostgreSQL and wait until it takes connections, or raise `EmbeddedError` with its own words."""
        assert self.process is None, "started twice"
        owner.make_private_dir(self.place.socket_dir, self.account)
        with self._open_log() as log:
            offset = os.fstat(log.fileno()).st_size
            self.process = self._popen([str(self.binaries.bin_dir / "postgres"), "-D", str(self.directory)], log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not processes.postmaster_is_ready(self.directory, self.process.pid):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                await self.stop()
                raise EmbeddedError(f"PostgreSQL did not start: {self._last_words(offset)}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Stop it if it runs; it has ended when this returns, whoever is impatient meanwhile."""
        process, self.process = self.process, None
        if process is not None:
            await asyncio.shield(processes.stop_child(process))

    def has_died(self) -> bool:
        """It was started, was not stopped, and does not run any more."""
        return self.process is not None and self.process.poll() is not None

    def trim_log(self) -> None:
        """Keep the log bounded while PostgreSQL has it open; it appends, so it goes on at the new end."""
        path = self.place.log_file
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            # A full disk keeps no older log; it must not keep PostgreSQL from being watched and started.
            with contextlib.suppress(OSError):
                shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)

    def _open_log(self) -> IO[bytes]:
        self.trim_log()
        return self.place.log_file.open("ab")

    def _popen(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        # None of our own PG* variables: they would move the port, the data or the time zone.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"):
            if name in os.environ:
                environment[name] = os.environ[name]
        account = self.account
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.directory if self.directory.exists() else self.place.data_dir,
            env=environment,
            start_new_session=True,
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
        )

    async def _run(self, command: list[str], log: IO[bytes]) -> None:
        offset = os.fstat(log.fileno()).st_size
        process = self._popen(command, log)
        try:
            done = await processes.wait_for_child(process, START_TIMEOUT_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
        if not done or process.returncode != 0:
            raise EmbeddedError(f"initdb failed: {self._last_words(offset)}")

    def _last_words(self, offset: int) -> str:
        """The line of the log that says why, since `offset`."""
        with self.place.log_file.open("rb") as log:
            log.seek(offset)
            lines = log.read(65_536).decode("utf-8", "replace").splitlines()
        for word in ("FATAL:", "PANIC:", "error:", "ERROR:"):
            for line in lines:
                if word in line:
                    return line.partition(word)[2].strip()
        return lines[-1].strip() if lines else f"it said nothing; see {self.place.log_file}"


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
