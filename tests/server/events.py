"""A stream of server-sent events, read as bytes: what a client library would tidy up is what is tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.server.talk import Talker

Event = tuple[str, dict[str, Any] | None]
HEAD = "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{more}\r\n"


class Events:
    """A stream of events on a socket of its own."""

    def __init__(self, talker: Talker, path: str, *headers: str) -> None:
        key = (f"Authorization: Bearer {talker.key}",) if talker.key else ()
        more = "".join(f"{line}\r\n" for line in (*key, *headers))
        self.wire = talker.connect(10)
        self.wire.sendall(HEAD.format(path=path, more=more).encode())
        self._file = self.wire.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(": ")
            self.headers[name] = value

    def __iter__(self) -> Iterator[Event]:
        """Each event: its id, and its data if it has some; ends when the stream does."""
        text = b""
        while size := int(self._file.readline() or b"0", 16):
            text += self._file.read(size)
            self._file.readline()
            *whole, text = text.split(b"\n\n")
            for event in whole:
                lines = dict(line.split(": ", 1) for line in event.decode().split("\n"))
                if "id" in lines:
                    yield lines["id"], json.loads(lines["data"]) if "data" in lines else None
        self.ended = self._file.readline() == b"\r\n"

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.wire.close()

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The next rows."""
        found = (row for _, row in self if row is not None)
        return [next(found) for _ in range(count)]
