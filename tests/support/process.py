"""A real server process on a real socket."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
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


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**settings: object) -> dict[str, str]:
    """Ours without any PYLEDGER_ variable, and with these settings; output is buffered, as it is for most users."""
    ours = ("PYLEDGER_", "PYTHONUNBUFFERED")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {f"PYLEDGER_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass(slots=True)
class ServerProcess:
    """`pyledger serve` in a process of its own, on a port that was free just now."""

    settings: dict[str, object]
    log_file: Path
    arguments: tuple[str, ...] = ("--dev",)
    python: str = sys.executable
    launcher: tuple[str, ...] = ("-m", "pyledger.cli")
    """What Python runs; something else only where a test plants a bug."""
    directory: str = "/"
    """Where it works; anywhere but in the checkout, so that it sees what is installed."""
    url: str = field(default="", init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """To send it signals."""
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> ServerProcess:
        """Start it and wait until it owns the head, or with `ready=False` only until it answers."""
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers("/readyz" if ready else "/healthz"):
            self._wait_a_little(deadline)
        return self

    def launch(self) -> None:
        """Start it and wait for nothing."""
        port = int(self.settings.get("port") or free_port())
        self.settings = {**self.settings, "port": port}
        scheme = "https" if self.settings.get("tls_cert") else "http"
        self.url = f"{scheme}://127.0.0.1:{port}"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, *self.launcher, "serve", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**self.settings),
                cwd=self.directory,
                start_new_session=True,
            )

    def answers(self, path: str) -> bool:
        """Whether it says 200 there."""
        context = ssl._create_unverified_context() if self.url.startswith("https") else None
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5, context=context) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError, http.client.HTTPException):
            return False

    def log(self) -> str:
        """What it has said."""
        return self.log_file.read_text("utf-8", "replace")

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
