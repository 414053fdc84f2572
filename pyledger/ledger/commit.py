"""The commit protocol: append, and if the outcome is unknown fence, compare, and say what happened.

The invariant: `commit` returns True only for a batch that is durable in our epoch, and False only for one
that is certainly not recorded and never will be. In between it waits, for ever if it must; when the
history is not ours it raises `Fenced`, when it is not the one that was acknowledged `Halted`.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import Final, NoReturn

import asyncpg

from pyledger._rust import Applied, Commands
from pyledger.ledger import rules
from pyledger.ledger.connections import CONNECTION_ERRORS
from pyledger.ledger.nouns import (
    BEAT_INTERVAL_S,
    PARTITIONS_AHEAD_WEEKS,
    SAME_FAILURE_MAX,
    Fenced,
    Halted,
    Head,
    Position,
    StartupRefused,
    State,
    Stats,
    Unavailable,
    first_line,
)
from pyledger.ledger.rules import Failure, Fate, Standing, Step
from pyledger.ledger.store import OpenSession, Session, Wanted

log: Final = logging.getLogger("pyledger.ledger")


class _Unknown(Exception):
    """An append whose outcome nobody knows yet."""


class Committer:
    """Owns the writer's session, its epoch, and the last position that was acknowledged."""

    def __init__(
        self, session: Session, head: Head, *, open_session: OpenSession, stats: Stats, monotonic_s: Callable[[], float]
    ) -> None:
        self.session = session
        self.acknowledged = head.position
        self.epoch = head.epoch
        self.partitions_end_ns = 0
        self._owner = head.owner
        self._open_session = open_session
        self._stats = stats
        self._monotonic_s = monotonic_s
        self._signed_s = monotonic_s()
        self._abandoned = asyncio.Event()
        self._failures = self._resumed = 0
        self._duplicate = False

    def abandon(self) -> None:
        """Stop waiting for PostgreSQL: what is unknown stays unknown. The last resort of a stop."""
        self._abandoned.set()
        self.session.terminate()

    @property
    def next_beat_s(self) -> float:
        """When, by the monotonic clock, the next sign of life is due."""
        return self._signed_s + BEAT_INTERVAL_S

    async def lookup(self, wanted: Wanted | None, submissions: list[Commands]) -> list[bytes]:
        """Read what the batch depends on, however long PostgreSQL is away; nothing is in flight."""
        while wanted is not None or self._duplicate:
            try:
                rows = await self.session.lookup(wanted) if wanted is not None else []
                if self._duplicate:
                    rows += await self.session.lookup_all([each for commands in submissions for each in commands.ids])
                return list(dict.fromkeys(rows))
            except CONNECTION_ERRORS as error:
                await self._resume(None, error)
        return []

    async def commit(self, applied: Applied) -> bool:
        """Append a batch, or confirm the head if it has no rows. False: undo it and decide it again."""
        in_flight = Position(applied.seq, applied.hash) if applied.rows else None
        try:
            landed = await (self._append(applied) if in_flight else self._confirm())
        except _Unknown as unknown:
            landed = await self._resume(in_flight, unknown.__cause__ or unknown)
        if landed:
            self._failures, self._resumed, self._duplicate = 0, 0, False
        if landed and in_flight:
            self.acknowledged = in_flight
            self._signed_s = self._monotonic_s()
        return landed

    async def _append(self, applied: Applied) -> bool:
        session = self.session
        step = Step.BEGIN
        try:
            if applied.last_ns >= self.partitions_end_ns:
                await self.upkeep(applied.first_ns)
            await session.begin()
            step = Step.COPY
            await session.copy(applied.copy)
            step = Step.ADVANCE
            if not await session.advance(self.epoch, applied):
                await session.rollback()
                await self._lost_the_head()
            step = Step.COMMIT
            await session.commit()
        except CONNECTION_ERRORS as error:
            match rules.failure(step, error.sqlstate if isinstance(error, asyncpg.PostgresError) else None):
                case Failure.DUPLICATE:
                    return await self._retreat(error)
                case Failure.CONTENT:
                    self._count_failure(step, error)
            raise _Unknown from error
        if session.warnings:
            raise _Unknown from ConnectionError("; ".join(session.warnings))
        return True

    async def _confirm(self) -> bool:
        """A batch without rows: its answers hold if the head is still ours and where we think."""
        beat = self._monotonic_s() >= self.next_beat_s
        try:
            ask = self.session.beat if beat else self.session.confirm
            ours = await ask(self.epoch, self.acknowledged)
        except CONNECTION_ERRORS as error:
            raise _Unknown from error
        if not ours:
            await self._lost_the_head()
        if self.session.warnings:
            raise _Unknown from ConnectionError("; ".join(self.session.warnings))
        if beat:
            self._signed_s = self._monotonic_s()
        return True

    async def _retreat(self, error: Exception) -> bool:
        """An id was recorded that neither the window nor the lookup knew: decide again with all ids looked up."""
        if self._duplicate:
            raise Halted(f"batch {self.acknowledged.seq + 1} repeats an id that no lookup finds: {first_line(error)}")
        log.error("an id of the batch is in the journal already: %s", first_line(error))
        self._duplicate = True
        try:
            await self.session.rollback()
        except CONNECTION_ERRORS as lost:
            raise _Unknown from lost
        return False

    def _count_failure(self, step: Step, error: Exception) -> None:
        self._failures += 1
        if self._failures >= SAME_FAILURE_MAX:
            raise Halted(f"PostgreSQL refuses batch {self.acknowledged.seq + 1} at {step.value}: {first_line(error)}")

    async def _lost_the_head(self) -> NoReturn:
        """The compare-and-set found another head than ours. Always raises."""
        try:
            seen = await self.session.head()
        except CONNECTION_ERRORS as error:
            raise _Unknown from error
        self._check_standing(seen)
        raise Halted(f"the head moved within our epoch {self.epoch}: found {seen}, acknowledged {self.acknowledged}")

    def _check_standing(self, seen: Head | None) -> Head:
        if seen is None:
            raise Halted("the head row is gone: history was lost")
        match rules.standing(seen, self._owner, self.epoch):
            case Standing.THEIRS:
                raise Fenced(f"{seen.owner} took over in epoch {seen.epoch}; ours was {self.epoch}")
            case Standing.LOST:
                raise Halted(f"the database is at epoch {seen.epoch}, ours is {self.epoch}: history was lost")
        return seen

    async def check_owner(self) -> None:
        """Raise `Fenced` if somebody took over meanwhile; nothing if PostgreSQL does not tell.

        By a new session: whoever took over has ended ours."""
        self.session.terminate()
        with contextlib.suppress(*CONNECTION_ERRORS, StartupRefused):
            self.session = await self._open_session()
            self._check_standing(await self.session.head())

    async def upkeep(self, from_ns: int) -> None:
        """Make the partitions from `from_ns` on, so that an append never misses one."""
        self.partitions_end_ns = await self.session.make_partitions(from_ns, 1 + PARTITIONS_AHEAD_WEEKS)

    async def _resume(self, in_flight: Position | None, error: BaseException) -> bool:
        """Reconnect, fence, compare: whether what was in flight landed. Tries for as long as it takes."""
        log.warning("lost touch with PostgreSQL in epoch %d: %s", self.epoch, first_line(error))
        before = self._stats.state
        self._stats.state, self._stats.reason = State.RECONNECTING, first_line(error)
        self.session.terminate()
        head = await self._reconnect_and_fence()
        self._resumed += 1
        self.epoch, self._stats.epoch = head.epoch, head.epoch
        self.partitions_end_ns = 0  # a failover, or whoever it was, may have lost one: look again
        self._stats.fences += 1
        self._signed_s = self._monotonic_s()
        landed = rules.fate(head.position, self.acknowledged, in_flight)
        log.warning("back in epoch %d; in flight: %s, %s", head.epoch, in_flight and in_flight.seq, landed.value)
        if landed is Fate.LOST:
            raise Halted(
                f"history was lost: the database is at batch {head.position.seq} ({head.position.hash.hex()[:16]}), "
                f"acknowledged was {self.acknowledged.seq} ({self.acknowledged.hash.hex()[:16]})"
            )
        if self._stats.state is State.RECONNECTING:  # a stop may have begun meanwhile
            self._stats.state, self._stats.reason = before, ""
        return landed is Fate.LANDED

    async def _reconnect_and_fence(self) -> Head:
        # What comes back but fails again and again, as on a full disk, is not tried without a pause.
        for attempt in itertools.count(self._resumed):
            await self._pause(rules.backoff_s(attempt))
            try:
                self.session = await self._open_session()
                head = await self._fence()
                self._stats.reconnects += 1
                return head
            except (*CONNECTION_ERRORS, StartupRefused) as again:
                # A refusal too: a failover in progress shows a database that is still in recovery.
                self._stats.reason = first_line(again)
                self.session.terminate()
        raise AssertionError("the attempts never end")

    async def _fence(self) -> Head:
        """End our own epoch and begin the next. Another's epoch is never ended here."""
        while True:
            seen = self._check_standing(await self.session.head())
            if await self.session.try_lock(seen.epoch + 1):
                head = await self.session.fence(seen.epoch, self._owner)
                if head is not None:
                    await self.session.evict(head.epoch)
                    return head
            # A standby is fencing at this moment, or our own dead session still holds the lock.
            await self._pause(rules.backoff_s(2))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._abandoned.wait(), seconds)
        if self._abandoned.is_set():
            raise Unavailable("stopped while PostgreSQL was away")
