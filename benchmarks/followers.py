"""Readers of the feed that cost little: all in one process, over HTTP with a key, each on a connection of its own.

Guarded here: of a page a reader takes where each row stands and nothing more, for it shares the cores with whom it
reads from. Rows that do not go on behind each other end the run.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import multiprocessing
import operator
import sys
import time
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from http.client import OK, SERVICE_UNAVAILABLE
from multiprocessing.connection import Connection
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from benchmarks.bodies import Envelope
from benchmarks.wire import Caller

READERS: Final = 10
PAGE_ROWS: Final = 1_000
"""The most that a server gives at once, unless its bound of bytes comes first."""
WAIT_S: Final = 20
SLOW_S: Final = 0.25
"""What a slow reader rests after each page, until all is posted."""
AGAIN_S: Final = 0.5
READING_S_MAX: Final = 900.0
_LOOK_S: Final = 0.05

_ROW: Final = b'{"cursor":"'
_ROW_BYTES_MIN: Final = 512
"""A transfer with both of its accounts is longer, so the next row is not looked for in them."""
_TAG_CHARS, _PLACE_CHARS = 16, 22
_PADDING: Final = b"A" * 10
"""Makes 32 characters of a place, which are 24 bytes: batch, time, nothing."""


class OutOfOrder(Exception):
    """A reader was given a row that does not come after the one before it."""


def times(page: bytes) -> array[int]:
    """When the rows of a page were recorded, as they stand in its cursors: big-endian, whatever the machine is."""
    places, at = [], page.find(_ROW)
    while at >= 0:
        begin = at + len(_ROW) + _TAG_CHARS
        places.append(page[begin : begin + _PLACE_CHARS])
        at = page.find(_ROW, at + _ROW_BYTES_MIN)
    places.append(b"")
    found = array("Q", base64.b64decode(_PADDING.join(places), altchars=b"-_"))
    return found[1::3]


@dataclass(slots=True)
class Seen:
    """What one reader was given: rows so far after each page, when by the machine's monotonic clock, which times."""

    at_s: array[float] = field(default_factory=lambda: array("d"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    digest: str = ""

    def by(self, at_s: float) -> int:
        """Rows by a moment."""
        place = bisect_right(self.at_s, at_s)
        return self.rows[place - 1] if place else 0


class Reader:
    """One that reads on, from what was the latest row."""

    def __init__(self, url: str, key: str) -> None:
        self._caller, self._envelope = Caller(url), Envelope(urlsplit(url).netloc, key)
        self._after, self._last_ns, self._digest = "", 0, hashlib.sha256()
        self.rows, self.seen = 0, Seen()

    async def begin(self) -> None:
        """Find out where the journal ends."""
        page = await self._caller.expect(self._envelope.get("/v1/feed?after=latest"), OK)
        self._after = json.loads(page)["next"]

    async def read(self, rows: int, pause_s: float, posted: asyncio.Event) -> Seen:
        """So many rows; with a pause after each page, until all is posted. Raises `OutOfOrder`."""
        while self.rows < rows:
            path = f"/v1/feed?after={self._after}&limit={PAGE_ROWS}&wait_s={WAIT_S}"
            status, page = await self._caller.call(self._envelope.get(path))
            if status == SERVICE_UNAVAILABLE:
                await asyncio.sleep(AGAIN_S)
                continue
            if status != OK:
                raise ConnectionError(f"answered {status}: {page[:300].decode(errors='replace')}")
            self.take(page)
            if pause_s and not posted.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(posted.wait(), pause_s)
        self._caller.close()
        self.seen.digest = self._digest.hexdigest()
        return self.seen

    def take(self, page: bytes) -> None:
        """Note what is on a page, and where it goes on."""
        found = times(page)
        self._digest.update(found)
        if sys.byteorder == "little":
            found.byteswap()
        if found:
            if found[0] <= self._last_ns or not all(map(operator.lt, found, found[1:])):
                raise OutOfOrder(f"after {self.rows} rows")
            self._last_ns = found[-1]
        self.rows += len(found)
        self.seen.at_s.append(time.perf_counter())
        self.seen.rows.append(self.rows)
        self._after = page[page.rindex(b'"next":"') + 8 : -2].decode("ascii")


def follow(url: str, key: str, rows: int, pause_s: float, pipe: Connection) -> None:
    """The process of all readers, from the first question to the last row."""

    async def main() -> list[Seen]:
        readers, posted = [Reader(url, key) for _ in range(READERS)], asyncio.Event()

        def hear() -> None:
            asyncio.get_running_loop().remove_reader(pipe.fileno())
            posted.set()

        asyncio.get_running_loop().add_reader(pipe.fileno(), hear)
        async with asyncio.timeout(READING_S_MAX):
            await asyncio.gather(*(each.begin() for each in readers))
            pipe.send("ready")
            seen = await asyncio.gather(*(each.read(rows, pause_s, posted) for each in readers))
            await posted.wait()
        return seen

    pipe.send(uvloop.run(main()))


class Followers:
    """That process, from outside."""

    def __init__(self, url: str, key: str, rows: int, pause_s: float) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=follow, args=(url, key, rows, pause_s, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Followers:
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs of it."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()

    @property
    def process_id(self) -> int | None:
        """To look at its CPU time."""
        return self._process.pid

    async def ready(self) -> None:
        """Each reader knows where it stands."""
        await self._receive()

    def posted(self) -> None:
        """Tell them that nothing more comes."""
        with contextlib.suppress(BrokenPipeError):  # that it died is said where it is waited for
            self._pipe.send("posted")

    async def seen(self) -> list[Seen]:
        """What they were given, once they have all."""
        found = await self._receive()
        assert isinstance(found, list)
        return found

    async def _receive(self) -> Any:
        while not self._pipe.poll():
            await asyncio.sleep(_LOOK_S)
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("the readers' process died; its error is above") from None
