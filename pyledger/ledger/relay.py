"""The writer's two sessions: while one commits a batch, the other already takes the rows of the next.

Guarded here: rows that are sent ahead lie in an open transaction that ends like any append, with the
compare-and-set of the head, and only when it is their batch's turn. What goes wrong before that has
recorded nothing: it is forgotten, and the batch is appended like any other.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from pyledger._rust import Applied
from pyledger.ledger.connections import CONNECTION_ERRORS
from pyledger.ledger.nouns import BACKOFF_MAX_S, StartupRefused, Stats, first_line
from pyledger.ledger.store import OpenSession, Session

log: Final = logging.getLogger("pyledger.ledger")


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch whose rows are on their way, or there, in an open transaction."""

    batch: Applied
    second: bool
    """By the second session, not the first."""
    arrival: asyncio.Task[Session | None]
    """The session that has them, or None if they did not get there and the session is free."""


class Relay:
    """Two sessions that take turns. Ended with `terminate` or `close`, and then of no more use."""

    def __init__(self, session: Session, open_session: OpenSession, stats: Stats) -> None:
        self.session = session
        """The first, which holds the epoch's lock. Whatever is no append goes through it, between two batches."""
        self._open_session, self._stats = open_session, stats
        self._second: Session | None = None
        self._opening: asyncio.Task[None] | None = None
        self._open_again_s = 0.0
        self._turn: Sent | None = None
        self._next: Sent | None = None
        self._appending = self._ended = False

    async def append(self, epoch: int, batch: Applied) -> list[str]:
        """Append a batch, by whichever session has its rows. Returns and raises what `Session.append` does."""
        if self._next is not None and self._next.batch is not batch:
            await self.settle()
        self._turn, self._next = self._next, None
        self._appending = True
        try:
            session = None if self._turn is None else await self._turn.arrival
            if session is not None and not session.is_closed():
                warnings = await session.finish(epoch, batch)
                self._stats.batches_ahead += 1
                return warnings
            self._turn = None
            await self.settle()  # the next one's rows may be with the first session
            return await self.session.append(epoch, batch)
        finally:
            self._turn, self._appending = None, False

    async def settle(self) -> None:
        """Give up rows that were sent ahead: no session is in a transaction afterwards."""
        sent, self._next = self._next, None
        session = None if sent is None else await sent.arrival
        if session is not None:
            await session.rollback()

    def send_ahead(self, epoch: int, batch: Applied) -> None:
        """While a batch is appended, begin to send the rows of the one after it, if a session is free for that."""
        if self._next is not None or not self._appending or self._ended:
            return
        second = self._turn is None or not self._turn.second
        session = self._second if second else self.session
        if session is None:
            self._open(epoch)
        else:
            sending = asyncio.create_task(self._send(session, batch), name="pyledger rows ahead")
            self._next = Sent(batch, second, sending)

    async def _send(self, session: Session, batch: Applied) -> Session | None:
        try:
            await session.send_ahead(batch)
        except Exception as error:
            foreseen = isinstance(error, CONNECTION_ERRORS)
            log.warning("rows could not be sent ahead: %s", first_line(error), exc_info=not foreseen)
            await session.rollback()
            if session is self._second:
                session.terminate()
                self._second = None
            return None
        return session

    def _open(self, epoch: int) -> None:
        """Open the second session, beside the batches that go without it."""
        if self._opening is None and time.monotonic() >= self._open_again_s:
            self._opening = asyncio.create_task(self._open_second(epoch), name="pyledger second session")

    async def _open_second(self, epoch: int) -> None:
        try:
            session = await self._open_session()
            try:
                await session.mark(epoch)
                if self._ended:
                    raise ConnectionError("the first session has ended")
            except BaseException:
                session.terminate()
                raise
            self._second = session
        except (*CONNECTION_ERRORS, StartupRefused) as error:
            log.warning("rows are not sent ahead, for want of a second session: %s", first_line(error))
            self._open_again_s = time.monotonic() + BACKOFF_MAX_S
        finally:
            self._opening = None

    def terminate(self) -> None:
        """Drop both at once, without a cancel. A transaction that holds rows ends unrecorded."""
        self._ended = True
        for session in (self.session, self._second):
            if session is not None:
                session.terminate()

    async def close(self) -> None:
        """End both, and with them their locks."""
        self._ended = True
        await asyncio.gather(*(session.close() for session in (self.session, self._second) if session is not None))
