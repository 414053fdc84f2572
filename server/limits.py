"""The bounds of a request: how much of a body is read, for how long, and how many at once.

Guards: no request holds more memory, or holds it longer, than a named setting says, whatever its
headers claim. The bounds of the head of a request (bytes, count, time) are enforced below us, by
Granian's HTTP parser: see `host.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Final

from granian._granian import RSGIProtocolClosed

from pyledger._rust import LIMITS, Commands, json_depth
from pyledger.server.problems import ClientGone, Refused
from pyledger.server.replies import CLOSE, JSON_TYPE, RETRY_AFTER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from pyledger.server.rsgi import HeaderMap, HTTPProtocol, Reading

BATCH_ROWS_MAX: Final = LIMITS["batch_rows_max"]
"""Commands that the decoder takes in one batch."""

JSON_DEPTH_MAX: Final = 3 + LIMITS["metadata_depth_max"]
"""Levels that the decoder takes: the body, its list, a command, and metadata at its deepest."""

BODY_BYTES_A_ROW: Final = 1024
"""Room for batch bodies being read or decoded, for each row that may wait to be posted: 64 MiB with the default
queue, one half for those read whole, one for those read by pieces. A transfer in JSON has a quarter of it without
metadata, so the queue is full first; more bodies would only be read to be refused. Single bodies are not counted,
they are bounded by `connections_max` times `single_body_bytes_max`."""

DISCARD_BYTES_MAX: Final = 64 * 1024 * 1024
"""A body that is too large is read and thrown away up to here, so that its sender, who only listens once
he has sent it, gets to read the refusal. Past it the connection is closed under him."""

CLOCK_INTERVAL_S: Final = 0.25
"""How often late bodies are looked for: a body's deadline is exact to this."""

OFFLOAD_BYTES_MIN: Final = 65_536
"""Bodies above it are decoded in a thread: some 0.2 ms, what the event loop may be held up."""

KEY_HEADER: Final = "idempotency-key"

_LATE: Final = math.inf


class BodyClock:
    """Cancels the reading of bodies that are late.

    One sweep for all requests: a timer each would cost a tenth of a single transfer's time. Bodies may be watched from
    any thread; all else is the event loop's.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._due: dict[Reading, float] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._timer = self._loop.call_later(CLOCK_INTERVAL_S, self._sweep)

    def stop(self) -> None:
        """No more sweeps."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        now = time.monotonic()
        # A copy is made in one step, whatever other threads add meanwhile.
        for reading, due in self._due.copy().items():
            if due <= now and reading.cancel():
                self._due[reading] = _LATE
        self.start()

    def due_s(self) -> float:
        """When a body that is asked for now has to be there."""
        return time.monotonic() + self._timeout_s

    def watch(self, reading: Reading, due_s: float) -> None:
        """Cancel it when that time has come; until `taken`."""
        self._due[reading] = due_s

    def taken(self, reading: Reading) -> bytes:
        """What `read` gives, of a body that was watched and is there. Raises like it."""
        del self._due[reading]
        try:
            return reading.result()
        except RSGIProtocolClosed as error:
            # Granian keeps it with the body; what it would remember of this frame would keep the request for ever.
            raise ClientGone from error.with_traceback(None)
        except asyncio.CancelledError:
            raise Refused("body_timeout", headers=(CLOSE,)) from None

    async def read(self, reading: Reading, due_s: float) -> bytes:
        """A body or a piece of one. Raises `Refused` when it is late, `ClientGone` when it broke off."""
        self._due[reading] = due_s
        try:
            return await reading
        except RSGIProtocolClosed as error:
            # Granian keeps it with the body; what it would remember of this frame would keep the request for ever.
            raise ClientGone from error.with_traceback(None)
        except asyncio.CancelledError:
            if self._due[reading] == _LATE:
                raise Refused("body_timeout", headers=(CLOSE,)) from None
            raise
        finally:
            del self._due[reading]

    async def read_pieces(self, proto: HTTPProtocol, take: Callable[[bytes], bool]) -> bool:
        """Hand the body to `take`, piece by piece, until that says False. False if it broke off."""
        due_s, pieces, empty = self.due_s(), aiter(proto), 0
        with contextlib.suppress(StopAsyncIteration):
            while empty <= 1:
                piece = await self.read(anext(pieces), due_s)
                empty += not piece
                if not take(piece):
                    break
        return empty <= 1


class Room:
    """Memory for bodies, and how much of it is in use."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0

    def holds(self, count: int) -> bool:
        """Whether so much more fits in."""
        return self.bytes_held + count <= self.bytes_max


class Bodies:
    """Reads bodies within their bounds.

    A body of a known length is read whole, which costs one turn of the event loop instead of one for every few
    kilobytes. Its room is taken beforehand, so one that is promised and does not come takes it from others that
    are to be read whole. Whoever finds no room there is read by pieces, in a room of which only what has
    arrived is taken: promises lock nobody out.
    """

    def __init__(
        self,
        *,
        single_bytes_max: int,
        batch_bytes_max: int,
        room_bytes: int,
        timeout_s: float,
        batch_rows_max: int = BATCH_ROWS_MAX,
        json_depth_max: int = JSON_DEPTH_MAX,
    ) -> None:
        self._single_bytes_max = single_bytes_max
        self._batch_bytes_max = batch_bytes_max
        self._batch_rows_max = batch_rows_max
        self._json_depth_max = json_depth_max
        self._promised = Room(max(room_bytes // 2, batch_bytes_max))
        self._arrived = Room(max(room_bytes // 2, batch_bytes_max))
        self.clock = BodyClock(timeout_s)

    @property
    def bytes_held(self) -> int:
        """Bytes of batch bodies in memory now, or on their way to be read whole."""
        return self._promised.bytes_held + self._arrived.bytes_held

    def ask_single(self, headers: HeaderMap, proto: HTTPProtocol) -> Reading | None:
        """The body of a single write on its way; None, and not asked for, if its length is not told or too large."""
        length = headers.get("content-length")
        if length is None or int(length) > self._single_bytes_max:
            return None
        # The parser below us reads exactly Content-Length bytes: nothing is left to count.
        return proto()

    def read_single(self, headers: HeaderMap, proto: HTTPProtocol) -> Awaitable[bytes]:
        """The body of a single write. Raises `Refused` or `ClientGone`."""
        reading = self.ask_single(headers, proto)
        if reading is not None:
            return self.clock.read(reading, self.clock.due_s())
        return self._read_pieces(headers, proto, Room(self._single_bytes_max), self._single_bytes_max)

    def check_depth(self, body: bytes) -> None:
        """The decoder takes nothing deeper than JSON_DEPTH_MAX; only a lower setting needs a look before."""
        depth_max = self._json_depth_max
        if depth_max < JSON_DEPTH_MAX and json_depth(body) > depth_max:
            raise Refused("json_too_deep", f"The body nests deeper than {depth_max} levels.", json_depth_max=depth_max)

    async def decode_batch(
        self, headers: HeaderMap, proto: HTTPProtocol, decode: Callable[[bytes], Commands], form: str
    ) -> Commands:
        """Read the body of a batch and decode it, large ones in a thread. Raises what `decode` raises."""
        body, room = await self._read_batch(headers, proto)
        try:
            if form == JSON_TYPE:
                self.check_depth(body)
            small = len(body) < OFFLOAD_BYTES_MIN
            commands = decode(body) if small else await asyncio.to_thread(decode, body)
            if commands.rows > self._batch_rows_max:
                raise Refused("batch_too_large", f"A batch has at most {self._batch_rows_max} commands here.")
            return commands
        finally:
            room.bytes_held -= len(body)

    async def _read_batch(self, headers: HeaderMap, proto: HTTPProtocol) -> tuple[bytes, Room]:
        """The body, and the room that it is in."""
        length, room = headers.get("content-length"), self._promised
        count = int(length) if length is not None else self._batch_bytes_max + 1
        if count > self._batch_bytes_max or not room.holds(count):
            body = await self._read_pieces(headers, proto, self._arrived, self._batch_bytes_max)
            return body, self._arrived
        room.bytes_held += count
        try:
            return await self.clock.read(proto(), self.clock.due_s()), room
        except BaseException:
            room.bytes_held -= count
            raise

    async def _read_pieces(self, headers: HeaderMap, proto: HTTPProtocol, room: Room, bytes_max: int) -> bytes:
        """The body, counted as it comes. Its bytes stay in the room for the caller to take out again."""
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return b""
        if length is not None and int(length) > bytes_max:
            await self._discard(proto)
            raise _too_large(bytes_max)
        pieces: list[bytes] = []
        kept = 0

        def take(piece: bytes) -> bool:
            nonlocal kept
            kept += len(piece)
            room.bytes_held += len(piece)
            pieces.append(piece)
            return kept <= bytes_max and room.holds(0)

        try:
            whole = await self.clock.read_pieces(proto, take)
            if kept > bytes_max:
                raise _too_large(bytes_max)
            if not room.holds(0):
                raise Refused("bodies_full", headers=(RETRY_AFTER, CLOSE))
            if not whole:
                raise Refused("body_incomplete", headers=(CLOSE,))
            return b"".join(pieces)
        except BaseException:
            room.bytes_held -= kept
            raise

    async def _discard(self, proto: HTTPProtocol) -> None:
        count = 0

        def drop(piece: bytes) -> bool:
            nonlocal count
            count += len(piece)
            return count <= DISCARD_BYTES_MAX

        # Late is as good as done here: the answer is the refusal either way.
        with contextlib.suppress(Refused):
            await self.clock.read_pieces(proto, drop)


def _too_large(bytes_max: int) -> Refused:
    return Refused(
        "body_too_large",
        f"This operation takes a body of at most {bytes_max} bytes.",
        (CLOSE,),
        body_bytes_max=bytes_max,
    )


def idempotency_key(headers: HeaderMap) -> str | None:
    """The Idempotency-Key header; the decoder judges what is in it. Raises `Refused` for two of them."""
    given = headers.get_all(KEY_HEADER)
    if len(given) == 1:
        return given[0]
    if KEY_HEADER not in headers:
        return None
    raise Refused("header_invalid", "Send one Idempotency-Key, of visible ASCII characters.")


def check_content_type(headers: HeaderMap, allowed: Collection[str]) -> str:
    """The media type of the body, one of `allowed`. Raises `Refused`."""
    given = headers.get("content-type")
    if given is None:
        raise Refused("content_type_unsupported", f"Send Content-Type: {next(iter(allowed))}.")
    if given in allowed:
        return given
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    # JSON is UTF-8; a client that says so is right, one that says otherwise is not understood.
    if media_type in allowed and parameters.strip().lower() in ("", "charset=utf-8", 'charset="utf-8"'):
        return media_type
    raise Refused("content_type_unsupported", f"Send Content-Type: {' or '.join(allowed)}.")
