"""Following the journal: every row at least once, in order, from a cursor that survives whoever reads.

    async for event in Feed(client, ledger=1).events(FileStore("seen.cursor")):
        ...

Guarded here: the cursor that is stored never runs ahead of what was done with. An event counts as done when the
next one is asked for, so a program that dies in the middle of one is given it again.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import tempfile
import weakref
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec

from pyledger.client.client import Client
from pyledger.client.errors import Unavailable
from pyledger.client.nouns import Account, BatchItem, Ledger, Transfer
from pyledger.client.retry import Retry
from pyledger.client.transport import path, query

WAIT_S = 20.0
"""How long one request waits for a row; less than what most proxies allow an idle connection."""
PAGE_ROWS = 1_000
LATEST = "latest"
"""Instead of a cursor: what is still to come."""

Row = Transfer | Account | Ledger | BatchItem


class Store(Protocol):
    """Where a cursor is kept. To do something exactly once, keep it in the database where it is done, in the same
    transaction: see `Feed.pages`."""

    async def load(self) -> str | None:
        """The cursor that was saved last; None if none was."""

    async def save(self, cursor: str) -> None:
        """Keep it, durably."""


class CursorInUse(ValueError):
    """A second consumer on one cursor: each would move it past what the other is not done with."""


class FileStore:
    """A cursor in a file of its own, which is replaced as a whole and synced: it is always an old one or the new.

    From its first use on, and until it is closed or forgotten or its process ends, it holds a lock on a file beside
    it, `NAME.lock`, which stays there. Raises `CursorInUse` where another one holds that."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._file = Path(file)
        self._unlock: weakref.finalize[[int], FileStore] | None = None

    def close(self) -> None:
        """Let another consumer have the cursor."""
        unlock, self._unlock = self._unlock, None
        if unlock is not None:
            unlock()

    def _lock(self) -> None:
        if self._unlock is not None:
            return
        # Not the file itself, for that is another one after each save.
        number = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            raise CursorInUse(f"{self._file} is in use: another consumer keeps its cursor there") from None
        except BaseException:
            os.close(number)
            raise
        self._unlock = weakref.finalize(self, os.close, number)

    async def load(self) -> str | None:
        """What is in the file. Raises ValueError if it is empty: nothing of ours ever leaves it so."""
        self._lock()
        try:
            cursor = self._file.read_text("ascii").strip()
        except FileNotFoundError:
            return None
        if not cursor:
            raise ValueError(f"{self._file} is empty: no cursor")
        return cursor

    async def save(self, cursor: str) -> None:
        """Replace what is in the file."""
        self._lock()
        await asyncio.to_thread(self._replace, cursor)

    def _replace(self, cursor: str) -> None:
        # A name of its own each time: a save that was given up goes on in its thread.
        number, fresh = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name + ".")
        try:
            with open(number, "w", encoding="ascii") as out:
                out.write(cursor + "\n")
                out.flush()
                os.fsync(out.fileno())
            Path(fresh).replace(self._file)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
        directory = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the journal. `kind` is ledger, account, transfer, pending, post, void, reverse or expire; `cursor`
    is the place right after it; `row` is an `Account` or `Ledger` where one was opened, a `BatchItem` for an account
    that was declined, else a `Transfer`; `json` is all of it as it came."""

    cursor: str
    kind: str
    status: str
    row: Row
    json: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, perhaps none, and the cursor after all that was looked at."""

    events: list[Event]
    next: str


class _Head(msgspec.Struct):
    cursor: str
    kind: str
    status: str


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next: str


class Feed:
    """What to follow; all filters that are given must hold. A cursor belongs to the filters it was got with."""

    def __init__(
        self,
        client: Client,
        *,
        ledger: int | None = None,
        account: UUID | None = None,
        code: int | None = None,
        declined: bool = False,
        page_rows: int = PAGE_ROWS,
        wait_s: float = WAIT_S,
        retry: Retry | None = None,
    ) -> None:
        self._client, self._wait_s, self._retry = client, wait_s, retry or Retry()
        status = "all" if declined else None
        self._filters = {"ledger": ledger, "account_id": account, "code": code, "status": status, "limit": page_rows}

    async def page(self, after: str | None, wait_s: float = 0.0) -> EventPage:
        """One page after a cursor: None is the beginning, "latest" the end. Waits so long for a first row."""
        target = path("feed") + query(self._filters | {"after": after, "wait_s": math.ceil(wait_s) or None})
        found = msgspec.json.decode((await self._client._transport.send("GET", target)).body, type=_Page)
        return EventPage([_event(raw) for raw in found.data], found.next)

    async def pages(self, after: str | None) -> AsyncGenerator[EventPage, None]:
        """Pages for ever, through every outage. Save `next` together with what you did about the events; a page
        without events only moves the cursor."""
        failures = 0
        while True:
            try:
                # "latest" is another place each time it is asked for, so it is asked for once, and at once.
                page = await self.page(after, 0.0 if after == LATEST else self._wait_s)
            except Unavailable:
                failures += 1
                await asyncio.sleep(self._retry.wait_s(failures, None))
                continue
            failures = 0
            if page.events or page.next != after:
                after = page.next
                yield page

    async def events(self, store: Store, *, start: str | None = None) -> AsyncGenerator[Event, None]:
        """Events for ever, each at least once: from the stored cursor on, or from `start` if none is stored yet.

        The cursor is saved after each page and when the loop is left; a program that is killed gets what came since
        again."""
        saved = done = await store.load()
        try:
            async for page in self.pages(done or start):
                for event in page.events:
                    yield event
                    done = event.cursor
                done = page.next
                await store.save(done)
                saved = done
        finally:
            if done is not None and done != saved:
                await store.save(done)


def _event(raw: msgspec.Raw) -> Event:
    head = msgspec.json.decode(raw, type=_Head)
    kinds: dict[str, type[Row]] = {"ledger": Ledger, "account": Account if head.status == "accepted" else BatchItem}
    # Not strict: amounts are strings of digits on the wire and int here.
    row = msgspec.json.decode(raw, type=kinds.get(head.kind, Transfer), strict=False)
    return Event(head.cursor, head.kind, head.status, row, bytes(raw))
