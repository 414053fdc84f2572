"""The process that is the disk: `python -m tests.faults.amnesia MOUNTPOINT`, commanded by lines of JSON on stdin.

Each command has one line as its answer. Guards: the process ends with whoever started it, and takes its mount
with it, so that a killed test leaves no dead mount behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
from typing import Any, Final

from tests.faults.amnesia.disk import Disk
from tests.faults.amnesia.fuse import Server, mount, unmount

SET_DEATH_SIGNAL: Final = 1
STDIN: Final = 0


class Machine:
    """A disk and, while the power is on, its mount."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.disk = Disk()
        self.server: Server | None = None

    def command(self, name: str, arguments: dict[str, Any]) -> dict[str, int]:
        """Do what a line says."""
        match name:
            case "mount":
                assert self.server is None, "it is mounted"
                self.server = Server(self.disk, mount(self.path))
            case "die":
                assert self.server is not None, "it is not mounted"
                self.server.dead = True
            case "lose":
                assert self.server is None or self.server.dead, "the power is on"
                return self.disk.lose(arguments["seed"], arguments["kept"])
            case "settle":
                self.disk.settle()
            case "lie":
                self.disk.lies = True
            case "count":
                requests = self.server.requests if self.server else 0
                pages = self.disk.uncertain_pages
                return {"requests": requests, "syncs": self.disk.syncs, "uncertain_pages": pages}
            case _:
                raise ValueError(name)
        return {}

    def serve(self) -> None:
        """Answer the kernel and stdin until stdin ends."""
        poll = select.poll()
        poll.register(STDIN, select.POLLIN)
        said = b""
        while True:
            if self.server is not None:
                poll.register(self.server.device, select.POLLIN)
            for file, _ in poll.poll():
                if file != STDIN:
                    assert self.server is not None
                    if not self.server.serve_one():
                        poll.unregister(file)
                        os.close(file)
                        self.server = None
                    continue
                read = os.read(STDIN, 65_536)
                if not read:
                    return
                *lines, said = (said + read).split(b"\n")
                for line in lines:
                    arguments = json.loads(line)
                    answer = self.command(arguments.pop("do"), arguments)
                    sys.stdout.write(json.dumps(answer) + "\n")
                    sys.stdout.flush()


def main() -> None:
    """Serve until whoever started this is gone."""
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    machine = Machine(sys.argv[1])
    try:
        machine.serve()
    finally:
        if machine.server is not None:
            with contextlib.suppress(OSError):
                unmount(machine.path, lazily=True)


if __name__ == "__main__":
    main()
