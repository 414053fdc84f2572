"""The feed: a page of it, at once or as soon as there is a row (long-poll), or events as they come (SSE).

Guards: each request is bounded work and bounded memory. What is sent to a reader that does not take it waits in
Granian, which never says no, so a stream of events ends after so many bytes and is asked for again; whoever
does not take a byte for long is cut off by the kernel, see host.py. A key that ends, ends its streams.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from granian._granian import RSGIProtocolClosed, RSGIProtocolError

from pyledger.ledger import CursorGone, Place, Reader, Unavailable
from pyledger.server import access
from pyledger.server.problems import Refused
from pyledger.server.queries import read_query, uuid_of
from pyledger.server.replies import EVENTS, EVENTS_TYPE, JSON, OK, STREAMED, Answer
from pyledger.server.schemas import FeedQuery

if TYPE_CHECKING:
    from pyledger.ledger import Feed
    from pyledger.ledger.feed import Found
    from pyledger.server.rsgi import HeaderMap
    from pyledger.server.service import Request, Service

STREAM_BYTES_MAX: Final = 2 * 1024 * 1024
"""A stream of events ends after so many bytes, and one page more: what a reader that takes none makes us keep."""
HEARTBEAT_S: Final = 10.0
"""A stream says at least this often up to where it has looked, for those who notice silence, and whether the key
still is one."""
LOOK_AGAIN_S: Final = 0.5
"""How often it is looked whether PostgreSQL is back, and whether a reader has taken the end of its stream."""
RETRY: Final = b"retry: 1000\n\n"
"""What a browser waits before it asks again, in milliseconds."""


async def follow(service: Service, request: Request) -> Answer:
    """Rows after a cursor."""
    asked = read_query(request.query, FeedQuery)
    reader = Reader(
        request.tenant,
        ledger=asked.ledger,
        account=None if asked.account_id is None else uuid_of(asked.account_id, "account_id"),
        code=asked.code,
        declined=asked.status == "all",
    )
    rows_max, feed = service.page_limit(asked.limit), service.reads.feed
    events = _wants_events(request.headers)
    after = (request.headers.get("last-event-id") if events else None) or asked.after
    following = _Following(service, request, feed, reader, rows_max, events=events)
    place = feed.place(reader, after)
    with service.feed.place(request.tenant):
        found = await following.page(place)
        wait_s = min(asked.wait_s or 0, service.feed.wait_s)
        if not events and (found.rows or not wait_s):
            return following.answer(found)
        following.gone = asyncio.ensure_future(request.proto.client_disconnect())
        try:
            if not events:
                return await _poll(following, found, wait_s)
            with contextlib.suppress(RSGIProtocolClosed, RSGIProtocolError):
                await _stream(following, found)
            return STREAMED
        finally:
            following.gone.cancel()


def _wants_events(headers: HeaderMap) -> bool:
    return EVENTS_TYPE in (headers.get("accept") or "").lower()


class _Following:
    """One request, and how it gets pages."""

    def __init__(
        self, service: Service, request: Request, feed: Feed, reader: Reader, rows_max: int, *, events: bool
    ) -> None:
        self.feed, self.reader, self.request = feed, reader, request
        self._service, self._rows_max = service, rows_max
        self._asked = reader.asked(events=events)
        self.gone: asyncio.Future[None]

    async def page(self, place: Place) -> Found:
        """What follows a place. Raises `TimeoutError` where PostgreSQL stalls, and `Refused` where it is archived."""
        try:
            async with asyncio.timeout(self._service.answers.timeout_s):
                return await self.feed.page(self.reader, self._asked, place, self._rows_max)
        except CursorGone as gone:
            if gone.after is None:
                raise
            following = self.reader.cursor(Place(*gone.after))
            raise Refused(
                "cursor_gone", "The rows after this cursor are archived; `next` goes on behind them.", next=following
            ) from gone

    async def more(self, place: Place, within_s: float) -> None:
        """Wait until there is more, or the reader has gone. Raises `Refused` if the key has ended meanwhile."""
        waiting = asyncio.ensure_future(self.feed.more(place, within_s))
        await asyncio.wait({waiting, self.gone}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await self._check_key()

    def answer(self, found: Found) -> Answer:
        """A page."""
        cursor = self.reader.cursor(found.place).encode()
        return OK, JSON, b'{"data":[%b],"next":"%b"}' % (b",".join(found.pieces), cursor)

    async def _check_key(self) -> None:
        headers, authenticator = self.request.headers, self._service.authenticator
        principal = authenticator.known(headers) or await authenticator.find(headers)
        if principal.tenant != self.reader.tenant:
            raise Refused("key_invalid")
        assert self.request.operation.scope is not None
        access.require(principal, self.request.operation.scope)


async def _poll(following: _Following, found: Found, wait_s: float) -> Answer:
    """The first rows that come within the time."""
    feed, loop = following.feed, asyncio.get_running_loop()
    until_s, looked = loop.time() + wait_s, found.looked
    while not found.rows and looked < feed.scan_rows_max and loop.time() < until_s and not following.gone.done():
        await following.more(found.place, until_s - loop.time())
        if feed.ended():
            break
        found = await following.page(found.place)
        looked += found.looked
    return following.answer(found)


async def _stream(following: _Following, found: Found) -> None:
    """Events until the reader goes, the feed ends, or enough bytes were sent."""
    feed, gone = following.feed, following.gone
    stream = following.request.proto.response_stream(OK, EVENTS)
    await stream.send_bytes(RETRY)
    sent = 0
    while not gone.done() and sent < STREAM_BYTES_MAX and not feed.ended():
        # An event without data moves the reader's Last-Event-ID, and is the heartbeat.
        where = b"id: %b\n\n" % following.reader.cursor(found.place).encode()
        events = b"".join(found.pieces) or where
        await stream.send_bytes(events)
        sent += len(events)
        try:
            await following.more(found.place, HEARTBEAT_S)
            found = await following.page(found.place)
        except (Unavailable, TimeoutError):
            found.pieces.clear()
            await asyncio.sleep(LOOK_AGAIN_S)
        except Refused:
            break
    del stream
    # Its place is free again when it has taken all, for then Granian closes the connection.
    while not gone.done() and not feed.ended():
        await asyncio.wait({gone}, timeout=LOOK_AGAIN_S)
