"""What Granian hands us, as types: the part of RSGI that this server uses.

`HeaderMap.get` gives None for a value that is not visible ASCII; `in` still finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Protocol


class HeaderMap(Protocol):
    """A request's headers; names in lower case."""

    def __contains__(self, name: str) -> bool: ...
    def get(self, name: str) -> str | None:
        """The first value."""

    def get_all(self, name: str) -> list[str]:
        """All values."""


class HTTPScope(Protocol):
    """A request's head. `headers` copies at each use; `path` is percent-decoded."""

    @property
    def method(self) -> str:
        """In upper case, as it was sent."""

    @property
    def path(self) -> str:
        """Without the query; ill-formed UTF-8 is replaced."""

    @property
    def query_string(self) -> str:
        """As it was sent; empty if there is none."""

    @property
    def client(self) -> str:
        """Address and port of the other end."""

    @property
    def headers(self) -> HeaderMap:
        """A copy of the headers."""


class Reading(Awaitable[bytes], Protocol):
    """A body, or a piece of one, on its way."""

    def cancel(self) -> bool:
        """Make whoever awaits it, or takes its result, get a CancelledError. False if it is there already."""

    def add_done_callback(self, callback: Callable[[Reading], None], context: Context | None = None) -> None:
        """Call this, once, in the event loop, when it is there or cancelled. Only one callback is kept."""

    def result(self) -> bytes:
        """What is there. Raises what whoever awaits it would get."""

    def __hash__(self) -> int: ...


class Pieces(Protocol):
    """A body in pieces, closed by one empty piece; two empty ones mean that it broke off."""

    def __anext__(self) -> Reading:
        """The next piece. Raises `StopAsyncIteration`, at once, after the last."""


class Stream(Protocol):
    """An answer on its way. What is sent is kept, without bound, until the other end takes it."""

    def send_bytes(self, data: bytes) -> Awaitable[None]:
        """Send a piece, without waiting for the other end. Raises `RSGIProtocolError` when that has gone."""


class HTTPProtocol(Protocol):
    """A request's body and the way to answer it, once."""

    def __call__(self) -> Reading:
        """The whole body; at most Content-Length bytes if there is such a header, else without bound."""

    def __aiter__(self) -> Pieces:
        """The body in pieces."""

    def client_disconnect(self) -> Awaitable[None]:
        """Returns when the other end has closed the connection."""

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Stream:
        """Begin an answer that ends when the stream is dropped."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""
