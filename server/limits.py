"""The bounds of a request: how much of a body is read, for how long, and how many at once.

Guards: no request holds more memory, or holds it longer, than a named setting says, whatever its
headers claim. The bounds of the head of a request (bytes, count, time) are enforced below us, by
Granian's HTTP parser: see `host.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from granian._granian import RSGIProtocolClosed

from pyledger._rust import LIMITS, Commands, decode_transfers_binary, json_depth
from pyledger.server.problems import ClientGone, Refused
from pyledger.server.replies import CLOSE, RETRY_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyledger.server.rsgi import Cancellable, HeaderMap, HTTPProtocol

BATCH_ROWS_MAX: Final = LIMITS["batch_rows_max"]
"""Commands that the decoder takes in one batch."""

JSON_DEPTH_MAX: Final = 3 + LIMITS["metadata_depth_max"]
"""Levels that the decoder takes: the body, its list, a command, and metadata at its deepest."""

BODIES_BYTES_MAX: Final = 256 * 1024 * 1024
"""Memory of all batch bodies being read or decoded at once: sixteen of the largest by default. Single
bodies are not counted, they are bounded by `connections_max` times `single_body_bytes_max`."""

DISCARD_BYTES_MAX: Final = 64 * 1024 * 1024
"""A body that is too large is read and thrown away up to here, so that its sender, who only listens once
he has sent it, gets to read the refusal. Past it the connection is closed under him."""

CLOCK_INTERVAL_S: Final = 0.25
"""How often late bodies are looked for: a body's deadline is exact to this."""

OFFLOAD_BYTES_MIN: Final = 65_536
"""Bodies above it are decoded in a thread: some 0.2 ms, what the event loop may be held up."""

KEY_HEADER: Final = "idempotency-key"


class BodyClock:
    """Cancels the reading of bodies that are late.

    One sweep for all requests: a timer each would cost a tenth of a single transfer's time.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._due: dict[Cancellable, float] = {}
        self._late: set[Cancellable] = set()
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
        now = self._loop.time()
        for reading, due in self._due.items():
            if due <= now and reading not in self._late:
                self._late.add(reading)
                reading.cancel()
        self.start()

    async def read(self, proto: HTTPProtocol) -> bytes:
        """The whole body, which its Content-Length bounds. Raises `Refused` when it is late."""
        reading = proto()
        self._due[reading] = self._loop.time() + self._timeout_s
        try:
            return await reading
        except asyncio.CancelledError:
            if reading in self._late:
                raise Refused("body_timeout", headers=(CLOSE,)) from None
            raise
        finally:
            del self._due[reading]
            self._late.discard(reading)

    async def read_pieces(self, proto: HTTPProtocol, take: Callable[[bytes], bool]) -> bool:
        """Hand the body to `take`, piece by piece, until that says False. False if it broke off."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a body is read by a task")
        self._due[task] = self._loop.time() + self._timeout_s
        empty = 0
        try:
            async for piece in proto:
                empty += not piece
                if empty > 1 or not take(piece):
                    break
        except asyncio.CancelledError:
            if task in self._late:
                task.uncancel()
                raise Refused("body_timeout", headers=(CLOSE,)) from None
            raise
        finally:
            del self._due[task]
            self._late.discard(task)
        return empty <= 1


class Bodies:
    """Reads bodies within their bounds."""

    def __init__(
        self,
        *,
        single_bytes_max: int,
        batch_bytes_max: int,
        timeout_s: float,
        batch_rows_max: int = BATCH_ROWS_MAX,
        json_depth_max: int = JSON_DEPTH_MAX,
    ) -> None:
        self._single_bytes_max = single_bytes_max
        self._batch_bytes_max = batch_bytes_max
        self._batch_rows_max = batch_rows_max
        self._json_depth_max = json_depth_max
        self._bytes_max = max(BODIES_BYTES_MAX, 2 * batch_bytes_max)
        self._bytes_held = 0
        self.clock = BodyClock(timeout_s)

    @property
    def bytes_held(self) -> int:
        """Bytes of batch bodies in memory now."""
        return self._bytes_held

    async def read_single(self, headers: HeaderMap, proto: HTTPProtocol) -> bytes:
        """The body of a single write. Raises `Refused` or `ClientGone`."""
        length = headers.get("content-length")
        if length is not None and len(length) <= 9 and int(length) <= self._single_bytes_max:
            # The parser below us reads exactly Content-Length bytes: nothing is left to count.
            try:
                body = await self.clock.read(proto)
            except RSGIProtocolClosed as error:
                raise ClientGone from error
        else:
            body = await self._read_counted(headers, proto, self._single_bytes_max, share=False)
        self._check_depth(body)
        return body

    def _check_depth(self, body: bytes) -> None:
        """The decoder takes nothing deeper than JSON_DEPTH_MAX; only a lower setting needs a look before."""
        depth_max = self._json_depth_max
        if depth_max < JSON_DEPTH_MAX and json_depth(body) > depth_max:
            raise Refused("json_too_deep", f"The body nests deeper than {depth_max} levels.", json_depth_max=depth_max)

    async def decode_batch(
        self, headers: HeaderMap, proto: HTTPProtocol, decode: Callable[[bytes, int], Commands], tenant: int
    ) -> Commands:
        """Read the body of a batch and decode it, large ones in a thread. Raises what `decode` raises."""
        body = await self._read_counted(headers, proto, self._batch_bytes_max, share=True)
        try:
            if decode is not decode_transfers_binary:
                self._check_depth(body)
            small = len(body) < OFFLOAD_BYTES_MIN
            commands = decode(body, tenant) if small else await asyncio.to_thread(decode, body, tenant)
            if commands.rows > self._batch_rows_max:
                raise Refused("batch_too_large", f"A batch has at most {self._batch_rows_max} commands here.")
            return commands
        finally:
            self._bytes_held -= len(body)

    async def _read_counted(self, headers: HeaderMap, proto: HTTPProtocol, bytes_max: int, *, share: bool) -> bytes:
        """The body, counted as it comes. With `share` its bytes stay in `bytes_held` for the caller to
        take out again."""
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return b""
        count = int(length) if length is not None else 0
        pieces: list[bytes] = []
        kept = 0

        if count > bytes_max:
            await self._discard(proto)
            raise _too_large(bytes_max)

        def take(piece: bytes) -> bool:
            nonlocal kept
            kept += len(piece)
            pieces.append(piece)
            if share:
                self._bytes_held += len(piece)
            return kept <= bytes_max and (not share or self._bytes_held <= self._bytes_max)

        try:
            whole = await self.clock.read_pieces(proto, take)
            if kept > bytes_max:
                raise _too_large(bytes_max)
            if share and self._bytes_held > self._bytes_max:
                raise Refused("bodies_full", headers=(RETRY_AFTER, CLOSE))
            if not whole:
                raise Refused("body_incomplete", headers=(CLOSE,))
            return b"".join(pieces)
        except BaseException:
            if share:
                self._bytes_held -= kept
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
    if KEY_HEADER not in headers:
        return None
    given = headers.get_all(KEY_HEADER)
    if len(given) != 1:
        raise Refused("header_invalid", "Send one Idempotency-Key, of visible ASCII characters.")
    return given[0]


def check_content_type(headers: HeaderMap, *allowed: str) -> str:
    """The media type of the body, one of `allowed`. Raises `Refused`."""
    given = headers.get("content-type")
    if given is None:
        raise Refused("content_type_unsupported", f"Send Content-Type: {allowed[0]}.")
    if given in allowed:
        return given
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    # JSON is UTF-8; a client that says so is right, one that says otherwise is not understood.
    if media_type in allowed and parameters.strip().lower() in ("", "charset=utf-8", 'charset="utf-8"'):
        return media_type
    raise Refused("content_type_unsupported", f"Send Content-Type: {' or '.join(allowed)}.")
