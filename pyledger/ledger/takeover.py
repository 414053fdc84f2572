"""Becoming the owner of a shard: wait until the last one is gone or frozen, then fence it.

The invariant: an epoch is only ended by whoever holds the lock of the next one, in one compare-and-set;
whether the owner is alive decides when we try, never whether it is safe.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from pyledger.ledger import rules
from pyledger.ledger.connections import CONNECTION_ERRORS
from pyledger.ledger.nouns import STANDBY_POLL_S, Halted, Head, StartupRefused, State, Stats, first_line
from pyledger.ledger.store import OpenSession, Session

log: Final = logging.getLogger("pyledger.ledger")


async def take_over(
    session: Session,
    open_session: OpenSession,
    *,
    owner: str,
    lease_ms: int,
    stats: Stats,
    monotonic_s: Callable[[], float],
) -> tuple[Session, Head]:
    """Wait for the shard and fence its last owner, reconnecting for as long as it takes.

    Returns the session that holds the new epoch's lock, and the head as the fence returned it. Raises
    `Halted` if the shard has no head."""
    attempt = 0
    while True:
        try:
            if attempt:
                session = await open_session()
            head = await _wait_and_fence(session, owner, lease_ms, stats, monotonic_s)
            stats.epoch, stats.reason = head.epoch, ""
            return session, head
        except (*CONNECTION_ERRORS, StartupRefused) as error:
            log.warning("standing by, without PostgreSQL: %s", first_line(error))
            stats.state, stats.reason = State.STANDBY, first_line(error)
            session.terminate()
        except BaseException:
            session.terminate()
            raise
        attempt += 1
        await asyncio.sleep(rules.backoff_s(attempt))


async def _wait_and_fence(
    session: Session, owner: str, lease_ms: int, stats: Stats, monotonic_s: Callable[[], float]
) -> Head:
    watch: rules.Watch | None = None
    while True:
        seen = await session.head()
        if seen is None:
            raise Halted("the head row is gone: history was lost")
        now_s = monotonic_s()
        if watch is None or watch.epoch != seen.epoch:
            watch = rules.Watch.begin(seen, now_s)
        watch = watch.look(seen, now_s)
        gone = await session.try_lock(seen.epoch)
        head = None
        if gone or watch.frozen(now_s, lease_ms):
            head = await _fence(session, seen.epoch, owner)
        if gone:
            await session.unlock(seen.epoch)
        if head is not None:
            await session.evict(head.epoch)
            log.info("took over in epoch %d: the last owner was %s", head.epoch, "gone" if gone else "frozen")
            return head
        if stats.state is not State.STANDBY:
            log.info("standing by: %s owns the shard in epoch %d", seen.owner or "nobody", seen.epoch)
        stats.state, stats.epoch, stats.reason = State.STANDBY, seen.epoch, f"{seen.owner} owns the shard"
        await asyncio.sleep(STANDBY_POLL_S)


async def _fence(session: Session, epoch: int, owner: str) -> Head | None:
    """Begin the epoch after this one, unless somebody else is doing just that."""
    if not await session.try_lock(epoch + 1):
        return None
    head = await session.fence(epoch, owner)
    if head is None:
        await session.unlock(epoch + 1)
    return head
