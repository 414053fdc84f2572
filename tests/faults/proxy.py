"""A TCP proxy that breaks the wire on demand: at a byte, on one side or both, slowly, silently, or for all.

Guards: a cut passes exactly as many bytes as it was told to and not one more, in the direction it was told;
what it passed has reached the other side's kernel before anything is closed. What a cut does is therefore
the same each time, and a run that prints its cuts can be replayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final, Self

CHUNK_BYTES: Final = 65_536
LINGER_S: Final = 0.05
"""How much later the second side of a lopsided cut learns of it."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_GREETING_BYTES: Final = 1_024
"""What is kept of a client's first words, to tell one kind of client from another."""


class Way(enum.StrEnum):
    """A direction through the proxy."""

    UP = "up"
    """From the client to the target."""
    DOWN = "down"


class Break(enum.StrEnum):
    """How a wire ends."""

    RESET = "reset"
    """Both sides get a reset at once."""
    CLOSE = "close"
    """Both sides see an orderly end in the middle of whatever it was."""
    CLIENT_FIRST = "client first"
    """The client's side is reset; the target's side lingers, half open, and is reset later."""
    TARGET_FIRST = "target first"
    """The target's side is reset; the client's side lingers, half open, and is reset later."""
    SILENCE = "silence"
    """A black hole: both stay open and nothing passes, until `linger_s` later both are reset."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the wire breaks: after so many bytes one way.

    Bytes count from where the pattern `marker` is found in what a client says, or without one from when the cut
    was armed, on all links together. `only` limits it to links whose client's first words contain it. No byte
    of the other way is held back. After 0 bytes: as soon as there would have been one."""

    way: Way
    after_bytes: int
    how: Break = Break.RESET
    marker: bytes = b""
    only: bytes = b""
    linger_s: float = LINGER_S


@dataclass(slots=True)
class Armed:
    """A cut that waits for its byte. `struck` is set once it has broken a wire, and `struck_ns` is when."""

    cut: Cut
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    struck_ns: int = 0
    link: Link | None = None
    """Where its marker was seen."""
    passed: dict[Way, bytearray] = field(default_factory=lambda: {way: bytearray() for way in Way})
    """What passed since counting began, of the links it counts."""

    def passes(self, link: Link, way: Way, data: bytes) -> int | None:
        """How many of these bytes pass before the wire breaks; None if it does not."""
        start = 0
        if self.cut.marker and self.link is None:
            found = re.search(self.cut.marker, data, re.DOTALL) if way is Way.UP else None
            if found is None:
                return None
            self.link, start = link, found.start()
        if self.link not in {None, link}:
            return None
        rest = self.cut.after_bytes - len(self.passed[way])
        struck = way is self.cut.way and len(data) - start >= rest
        self.passed[way] += data[start : start + rest if struck else None]
        return start + rest if struck else None


class Link:
    """One client's connection and the one made for it."""

    def __init__(self, proxy: Proxy, client: socket.socket, target: socket.socket) -> None:
        self._proxy = proxy
        self._sides = {Way.UP: (client, target), Way.DOWN: (target, client)}
        self._client, self._target = client, target
        self.greeting = b""

    async def run(self) -> None:
        """Pass bytes both ways until the wire breaks or both sides have ended. Cancelled, it resets both."""
        pumps = {asyncio.ensure_future(self._pump(way)) for way in Way}
        cut: Cut | None = Cut(Way.UP, 0)
        try:
            waiting = set(pumps)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                cut = next((broken for pump in done if (broken := pump.result())), None)
                if cut is not None:
                    return
        finally:
            # Nothing is closed while somebody waits for it: the number of the file could be another's by then.
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await self._end(cut)

    async def _pump(self, way: Way) -> Cut | None:
        """Pass bytes one way. Returns the cut that broke the wire, or None at an orderly end."""
        loop = asyncio.get_running_loop()
        source, sink = self._sides[way]
        try:
            while data := await loop.sock_recv(source, CHUNK_BYTES):
                if way is Way.UP and len(self.greeting) < _GREETING_BYTES:
                    self.greeting += data[:_GREETING_BYTES]
                await self._proxy.hold(way)
                armed, passed = self._proxy.inspect(self, way, data)
                await loop.sock_sendall(sink, data[:passed])
                if armed is not None:
                    armed.struck_ns = time.time_ns()
                    armed.struck.set()
                    return armed.cut
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return Cut(way, 0)  # one side is gone: the other learns of it
        return None

    async def _end(self, cut: Cut | None) -> None:
        """Close both sides as the cut wants it; without one they have ended by themselves."""
        order = (self._target, self._client) if cut and cut.how is Break.TARGET_FIRST else (self._client, self._target)
        try:
            if cut is not None and cut.how is Break.SILENCE:
                await asyncio.sleep(cut.linger_s)
            for side in order:
                if cut is not None and cut.how is not Break.CLOSE:
                    with contextlib.suppress(OSError):  # the other end has closed it already
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                side.close()
                if cut is not None and cut.how in {Break.CLIENT_FIRST, Break.TARGET_FIRST}:
                    await asyncio.sleep(cut.linger_s)
        finally:
            self._client.close()
            self._target.close()


class Proxy:
    """Listens on a free port of this machine and passes everything on to `target` until told otherwise.

    `target`: host and port, or the path of a Unix socket. `delay_s` holds back every piece, by direction.
    While `away` is set who connects is reset; while it is `deaf`, nobody is answered."""

    def __init__(self, target: tuple[str, int] | str, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.away = self.deaf = False
        self.delay_s = dict.fromkeys(Way, 0.0)
        self.cuts = 0
        self.accepted = 0
        self._armed: list[Armed] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._accepting = asyncio.ensure_future(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        await self.cut_all()
        self._socket.close()

    def arm(self, *cuts: Cut) -> list[Armed]:
        """Break the wire where these cuts say, one after another; what was armed before is forgotten."""
        self._armed = [Armed(cut) for cut in cuts]
        return list(self._armed)

    def freeze(self) -> None:
        """Pass nothing on, either way, and close nothing: both sides are left waiting."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on what was held back, and all that follows."""
        self._flowing.set()

    async def cut_all(self) -> None:
        """Reset every link that there is."""
        for task in (tasks := list(self._links)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hold(self, way: Way) -> None:
        """Wait as long as bytes of this direction have to."""
        if self.delay_s[way]:
            await asyncio.sleep(self.delay_s[way])
        await self._flowing.wait()

    def inspect(self, link: Link, way: Way, data: bytes) -> tuple[Armed | None, int]:
        """Which cut strikes within these bytes, if any, and how many of them pass."""
        armed, passed = None, len(data)
        waiting = self._armed[0] if self._armed else None
        if waiting is not None and waiting.cut.only in link.greeting:
            struck = waiting.passes(link, way, data)
            if struck is not None:
                armed, passed = self._armed.pop(0), struck
                self.cuts += 1
        return armed, passed

    async def _accept(self) -> None:
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            self.accepted += 1
            task = asyncio.ensure_future(self._serve(client))
            self._links.add(task)
            task.add_done_callback(self._links.discard)

    async def _serve(self, client: socket.socket) -> None:
        target = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
        with client, target:
            target.setblocking(False)
            while self.deaf:
                await asyncio.sleep(LINGER_S)
            with contextlib.suppress(OSError):
                if not self.away:
                    await asyncio.get_running_loop().sock_connect(target, self.target)
                    for side in (client, target)[: 1 if isinstance(self.target, str) else 2]:
                        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await Link(self, client, target).run()
                    return
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
