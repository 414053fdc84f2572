"""Two loops over many requests: pages of a list, and batches in flight.

Guarded here: never more requests in flight than the caller allowed, replies in the order of their requests,
and nothing left running when the caller stops early.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
Sent = TypeVar("Sent")
Got = TypeVar("Got")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. A page may be short, even empty, and still have a next one."""

    data: list[T]
    next: str | None = None


async def all_pages(fetch: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """Every item of every page, one page at a time."""
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        for item in page.data:
            yield item
        if page.next is None:
            return
        cursor = page.next


async def in_order(
    source: AsyncIterable[Sequence[Sent]], send: Callable[[Sequence[Sent]], Awaitable[Got]], in_flight_max: int
) -> AsyncGenerator[Got, None]:
    """Sends what comes from `source`, at most `in_flight_max` at once; yields the replies in order."""
    if in_flight_max < 1:
        raise ValueError("in_flight_max is at least 1")
    iterator = aiter(source)

    async def pull() -> Sequence[Sent] | None:
        return await anext(iterator, None)

    async def push(batch: Sequence[Sent]) -> Got:
        return await send(batch)

    coming: asyncio.Task[Sequence[Sent] | None] | None = None
    flying: deque[asyncio.Task[Got]] = deque()
    ended = False
    try:
        while True:
            if coming is None and not ended and len(flying) < in_flight_max:
                coming = asyncio.create_task(pull())
            waited: set[asyncio.Task[Sequence[Sent] | None] | asyncio.Task[Got]] = set()
            waited |= {coming} if coming is not None else set()
            waited |= {flying[0]} if flying else set()
            if not waited:
                return
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming.done():
                batch = coming.result()
                coming, ended = None, batch is None
                if batch is not None:
                    flying.append(asyncio.create_task(push(batch)))
            if flying and flying[0].done():
                yield flying.popleft().result()
    finally:
        left = [*flying] if coming is None else [*flying, coming]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
