"""A real server process on a real socket."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
_URL: Final = re.compile(r"https?://(?:127\.0\.0\.1|localhost|\[::1\]):\d+")


def environment(**settings: object) -> dict[str, str]:
    """Ours without any PYLEDGER_ variable, and with these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYLEDGER_")}
    return inherited | {f"PYLEDGER_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass(slots=True)
class ServerProcess:
    """`pyledger serve` in a process of its own. `start` returns once it prints its URL."""

    settings: dict[str, object]
    log_file: Path
    arguments: tuple[str, ...] = ("--dev", "--port", "0")
    url: str = field(default="", init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """To send it signals."""
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> ServerProcess:
        """Start it and wait for its URL; and, unless told otherwise, until it owns the head."""
        with self.log_file.open("ab") as log:
            offset = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pyledger.cli", "serve", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**self.settings),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (found := _URL.search(self.log(offset))):
            self._wait_a_little(deadline)
        self.url = found[0]
        while ready and not self.is_ready():
            self._wait_a_little(deadline)
        return self

    def is_ready(self) -> bool:
        """Whether `/readyz` says yes."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def log(self, offset: int = 0) -> str:
        """What it has said."""
        with self.log_file.open("rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop in {STOP_TIMEOUT_S} s:\n{self.log()}") from None

    def _wait_a_little(self, deadline: float) -> None:
        assert self.process is not None
        code = self.process.poll()
        if code is not None or time.monotonic() > deadline:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not start (exit code {code}):\n{self.log()}")
        time.sleep(0.02)
