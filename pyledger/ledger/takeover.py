"""Becoming the owner of a shard: wait until the last one is gone or frozen, then fence it. Without I/O.

The invariant: an epoch is only ended by whoever holds the lock of the next one, in one compare-and-set;
whether the owner is alive decides when we try, never whether it is safe.
"""

from __future__ import annotations

import itertools
import logging

from pyledger.ledger import rules
from pyledger.ledger.actions import (
    Drop,
    Evict,
    Fence,
    Lock,
    Note,
    Open,
    Pause,
    ReadClock,
    ReadHead,
    Steps,
    Unlock,
)
from pyledger.ledger.nouns import STANDBY_POLL_S, Halted, Head, State, Stats
from pyledger.ledger.protocol import certain
from pyledger.ledger.rules import Trouble


def take_over(owner: str, lease_ms: int, stats: Stats) -> Steps[Head]:
    """Wait for the shard and fence its last owner, reconnecting for as long as it takes.

    Begins on an open session and ends with the one that holds the new epoch's lock; returns the head as the
    fence returned it. Raises `Halted` if the shard has no head."""
    for attempt in itertools.count():
        yield Pause(rules.backoff_s(attempt))
        try:
            if attempt:
                yield Open()
            head = yield from _wait_and_fence(owner, lease_ms, stats)
            stats.epoch, stats.reason = head.epoch, ""
            return head
        except Trouble as trouble:
            yield Note(f"standing by, without PostgreSQL: {trouble}")
            stats.state, stats.reason = State.STANDBY, str(trouble)
            yield Drop()
    raise AssertionError("the attempts never end")


def _wait_and_fence(owner: str, lease_ms: int, stats: Stats) -> Steps[Head]:
    watch: rules.Watch | None = None
    while True:
        seen: Head | None = yield ReadHead()
        if seen is None:
            raise Halted("the head row is gone: history was lost")
        now_s: float = yield ReadClock()
        if watch is None or watch.epoch != seen.epoch:
            watch = rules.Watch.begin(seen, now_s)
        watch = watch.look(seen, now_s)
        gone: bool = yield Lock(seen.epoch)
        head = None
        if gone or watch.frozen(now_s, lease_ms):
            head = yield from _fence(seen.epoch, owner)
        if gone:
            yield Unlock(seen.epoch)
        if head is not None:
            yield Evict(head.epoch)
            how = "gone" if gone else "frozen"
            yield Note(f"took over in epoch {head.epoch}: the last owner was {how}", logging.INFO)
            return head
        if stats.state is not State.STANDBY:
            yield Note(f"standing by: {seen.owner or 'nobody'} owns the shard in epoch {seen.epoch}", logging.INFO)
        stats.state, stats.epoch, stats.reason = State.STANDBY, seen.epoch, f"{seen.owner} owns the shard"
        yield Pause(STANDBY_POLL_S)


def _fence(epoch: int, owner: str) -> Steps[Head | None]:
    """Begin the epoch after this one, unless somebody else is doing just that."""
    if not (yield Lock(epoch + 1)):
        return None
    head: Head | None
    head, warnings = yield Fence(epoch, owner)
    certain(warnings)
    if head is None:
        yield Unlock(epoch + 1)
    return head
