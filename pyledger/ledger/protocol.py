"""The commit protocol without I/O: actions out, replies and trouble in, and in the end what happened.

A conversation is a generator. It yields an action, is sent PostgreSQL's reply or thrown `Trouble`, and
returns its verdict; `commit.Committer` carries it out on a real session, and a simulator on a simulated one.
The invariant: `commit` returns True only for a batch that is durable in our epoch, and False only for one
that is certainly not recorded and never will be. In between it asks, for ever if it must; when the history
is not ours it raises `Fenced`, when it is not the one that was acknowledged `Halted`.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable
from typing import Any, NoReturn

from pyledger.ledger import rules
from pyledger.ledger.actions import (
    Action,
    Append,
    Appendable,
    Asking,
    Confirm,
    Drop,
    Evict,
    Fence,
    Lock,
    Lookup,
    LookupAll,
    MakePartitions,
    Note,
    Open,
    Pause,
    ReadHead,
    Steps,
)
from pyledger.ledger.nouns import (
    BEAT_INTERVAL_S,
    SAME_FAILURE_MAX,
    Fenced,
    Halted,
    Head,
    Position,
    State,
    Stats,
    Wanted,
)
from pyledger.ledger.rules import Failure, Fate, Standing, Trouble


class CommitProtocol:
    """Owns the epoch, and the last position that was acknowledged. One conversation at a time."""

    def __init__(self, head: Head, stats: Stats, now_s: float) -> None:
        self.epoch, self.acknowledged, self._owner = head.epoch, head.position, head.owner
        self.partitions_end_ns = 0
        self._stats = stats
        self._signed_s = now_s
        self._failures = self._resumed = 0
        self._duplicate = False

    @property
    def next_beat_s(self) -> float:
        """When, by the monotonic clock, the next sign of life is due."""
        return self._signed_s + BEAT_INTERVAL_S

    def lookup(self, wanted: Wanted | None, submissions: Iterable[Asking]) -> Steps[list[bytes]]:
        """Read what a batch depends on, however long PostgreSQL is away; nothing is in flight."""
        while wanted is not None or self._duplicate:
            try:
                rows: list[bytes] = (yield Lookup(wanted)) if wanted is not None else []
                if self._duplicate:
                    rows += yield LookupAll([each for commands in submissions for each in commands.ids])
                return list(dict.fromkeys(rows))
            except Trouble as trouble:
                yield from self._resume(None, trouble)
        return []

    def commit(self, batch: Appendable, now_s: float) -> Steps[bool]:
        """Append a batch, or confirm the head if it has no rows. False: undo it and decide it again."""
        in_flight = Position(batch.seq, batch.hash) if batch.rows else None
        try:
            landed = yield from (self._append(batch) if in_flight else self._confirm(now_s >= self.next_beat_s))
        except Trouble as trouble:
            landed = yield from self._resume(in_flight, trouble)
        if landed:
            self._failures, self._resumed, self._duplicate = 0, 0, False
        if landed and in_flight:
            self.acknowledged = in_flight
        if landed and (in_flight or now_s >= self.next_beat_s):
            self._signed_s = now_s
        return landed

    def _append(self, batch: Appendable) -> Steps[bool]:
        try:
            if batch.last_ns >= self.partitions_end_ns:
                self.partitions_end_ns = yield MakePartitions(batch.first_ns)
            certain((yield Append(self.epoch, batch)))
        except Trouble as trouble:
            match rules.failure(trouble):
                case Failure.DUPLICATE:
                    yield Note(f"an id of the batch is in the journal already: {trouble}")
                    return self._retreat(trouble)
                case Failure.MOVED:
                    yield from self._lost_the_head()
                case Failure.CONTENT:
                    self._count_failure(trouble)
            raise
        return True

    def _confirm(self, beat: bool) -> Steps[bool]:
        """A batch without rows: its answers hold if the head is still ours and where we think.

        With a synchronous standby only a write can tell: it waits for the standby, which may be the primary now."""
        ours, only_beat, warnings = yield Confirm(self.epoch, self.acknowledged, beat)
        if ours and only_beat:
            ours, _, warnings = yield Confirm(self.epoch, self.acknowledged, beat=True)
        if not ours:
            yield from self._lost_the_head()
        certain(warnings)
        return True

    def _retreat(self, trouble: Trouble) -> bool:
        """An id was recorded that neither the window nor the lookup knew: decide again with all ids looked up."""
        if self._duplicate:
            raise Halted(f"batch {self.acknowledged.seq + 1} repeats an id that no lookup finds: {trouble}")
        self._duplicate = True
        return False

    def _count_failure(self, trouble: Trouble) -> None:
        self._failures += 1
        if self._failures >= SAME_FAILURE_MAX:
            raise Halted(f"PostgreSQL refuses batch {self.acknowledged.seq + 1}: {trouble}")

    def _lost_the_head(self) -> Generator[Action, Any, NoReturn]:
        """The compare-and-set found another head than ours. Always raises: `Trouble` where ours is there after all."""
        seen = self._check_standing((yield ReadHead()))
        if (seen.epoch, seen.position) == (self.epoch, self.acknowledged):
            raise Trouble("the head was not found, and is where it was")
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

    def check_owner(self) -> Steps[None]:
        """Raise `Fenced` if somebody took over meanwhile; nothing if PostgreSQL does not tell.

        By a new session: whoever took over has ended ours."""
        yield Drop()
        try:
            yield Open()
            self._check_standing((yield ReadHead()))
        except Trouble:
            return

    def _resume(self, in_flight: Position | None, trouble: Trouble) -> Steps[bool]:
        """Reconnect, fence, compare: whether what was in flight landed. Tries for as long as it takes."""
        yield Note(f"lost touch with PostgreSQL in epoch {self.epoch}: {trouble}")
        before = self._stats.state
        self._stats.state, self._stats.reason = State.RECONNECTING, str(trouble)
        yield Drop()
        head = yield from self._reconnect_and_fence()
        self._resumed += 1
        self.epoch = self._stats.epoch = head.epoch
        self.partitions_end_ns = 0  # a failover, or whoever it was, may have lost one: look again
        self._stats.fences += 1
        landed = rules.fate(head.position, self.acknowledged, in_flight)
        yield Note(f"back in epoch {head.epoch}; in flight: {in_flight and in_flight.seq}, {landed.value}")
        if landed is Fate.LOST:
            raise Halted(
                f"history was lost: the database is at batch {head.position.seq} ({head.position.hash.hex()[:16]}), "
                f"acknowledged was {self.acknowledged.seq} ({self.acknowledged.hash.hex()[:16]})"
            )
        if self._stats.state is State.RECONNECTING:  # a stop may have begun meanwhile
            self._stats.state, self._stats.reason = before, ""
        return landed is Fate.LANDED

    def _reconnect_and_fence(self) -> Steps[Head]:
        # What comes back but fails again and again, as on a full disk, is not tried without a pause.
        for attempt in itertools.count(self._resumed):
            yield Pause(rules.backoff_s(attempt))
            try:
                yield Open()
                head = yield from self._fence()
                self._stats.reconnects += 1
                return head
            except Trouble as again:
                self._stats.reason = str(again)
                yield Drop()
        raise AssertionError("the attempts never end")

    def _fence(self) -> Steps[Head]:
        """End our own epoch and begin the next. Another's epoch is never ended here."""
        while True:
            seen = self._check_standing((yield ReadHead()))
            if (yield Lock(seen.epoch + 1)):
                head, warnings = yield Fence(seen.epoch, self._owner)
                certain(warnings)
                if head is not None:
                    yield Evict(head.epoch)
                    return head  # type: ignore[no-any-return]
            # A standby is fencing at this moment, or our own dead session still holds the lock.
            yield Pause(rules.backoff_s(2))


def certain(warnings: list[str]) -> None:
    """PostgreSQL says "committed" with only a warning when a wait for its standby was cancelled."""
    if warnings:
        raise Trouble("; ".join(warnings))
