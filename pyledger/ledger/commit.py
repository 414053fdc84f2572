"""Carries the protocols of takeover and commit out: actions to a real session, what came of them back.

Guarded here: whatever a session raises reaches the protocol as trouble, and once the shard is served nothing
but the end of the process cuts an action short. What it all means is decided in takeover.py and protocol.py.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar, assert_never

import asyncpg

from pyledger._rust import Applied, Commands
from pyledger.ledger import actions, takeover
from pyledger.ledger.actions import Action, Steps
from pyledger.ledger.connections import CONNECTION_ERRORS
from pyledger.ledger.nouns import (
    PARTITIONS_AHEAD_WEEKS,
    Head,
    StartupRefused,
    Stats,
    Unavailable,
    Wanted,
    first_line,
)
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.relay import Relay
from pyledger.ledger.rules import Trouble
from pyledger.ledger.store import OpenSession, Session

log: Final = logging.getLogger("pyledger.ledger")
T = TypeVar("T")


class Committer:
    """The writer's sessions and its place in the world. `take_over` is the first call; one at a time, but for
    `send_ahead`."""

    protocol: CommitProtocol

    def __init__(
        self, session: Session, *, open_session: OpenSession, stats: Stats, monotonic_s: Callable[[], float]
    ) -> None:
        self._relay = Relay(session, open_session, stats)
        self._open_session = open_session
        self._stats = stats
        self._monotonic_s = monotonic_s
        self._abandoned = asyncio.Event()

    async def take_over(self, owner: str, lease_ms: int) -> Head:
        """Wait for the shard, and own it: the head as the fence returned it. Raises `Halted` if it has none."""
        head = await self._carry_out(takeover.take_over(owner, lease_ms, self._stats))
        self.protocol = CommitProtocol(head, self._stats, self._monotonic_s())
        return head

    @property
    def session(self) -> Session:
        """The one that holds the epoch's lock."""
        return self._relay.session

    @property
    def next_beat_s(self) -> float:
        """When, by the monotonic clock, the next sign of life is due."""
        return self.protocol.next_beat_s

    async def lookup(self, wanted: Wanted | None, submissions: list[Commands]) -> list[bytes]:
        """Read what a batch depends on; nothing may be in flight. Waits for as long as PostgreSQL is away."""
        return await self._carry_out(self.protocol.lookup(wanted, submissions))

    async def commit(self, applied: Applied) -> bool:
        """Append a batch: True if it is durable, False if it is certainly not and never will be.

        Raises `Fenced`, `Halted`, or `Unavailable` if it was abandoned, which leaves it open."""
        return await self._carry_out(self.protocol.commit(applied, self._monotonic_s()))

    def send_ahead(self, applied: Applied) -> None:
        """While a batch commits, begin to send the rows of the one after it. Records nothing, promises nothing."""
        self._relay.send_ahead(self.protocol.epoch, applied)

    async def check_owner(self) -> None:
        """Raise `Fenced` if somebody took over meanwhile; nothing if PostgreSQL does not tell."""
        await self._carry_out(self.protocol.check_owner())

    def abandon(self) -> None:
        """Stop waiting for PostgreSQL: what is unknown stays unknown. The last resort of a stop."""
        self._abandoned.set()
        self._relay.terminate()

    async def close(self) -> None:
        """End the sessions, and with them their locks."""
        await self._relay.close()

    async def _carry_out(self, steps: Steps[T]) -> T:
        reply: Any = None
        trouble: Trouble | None = None
        while True:
            try:
                action = steps.send(reply) if trouble is None else steps.throw(trouble)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = trouble = None
            try:
                reply = await self._do(action)
            except (*CONNECTION_ERRORS, StartupRefused) as error:
                trouble = _trouble(error)

    async def _do(self, action: Action) -> Any:  # noqa: PLR0912 - a table
        session = self.session
        match action:
            case actions.Append(epoch, batch):
                return await self._relay.append(epoch, batch)
            case actions.Confirm(epoch, position, beat):
                return await session.confirm(epoch, position, beat=beat)
            case actions.Lookup(wanted):
                return await session.lookup(wanted)
            case actions.LookupAll(ids):
                return await session.lookup_all(ids)
            case actions.MakePartitions(from_ns):
                await self._relay.settle()
                return await session.make_partitions(from_ns, 1 + PARTITIONS_AHEAD_WEEKS)
            case actions.ReadHead():
                return await session.head()
            case actions.Lock(epoch):
                return await session.try_lock(epoch)
            case actions.Unlock(epoch):
                return await session.unlock(epoch)
            case actions.Fence(epoch, owner):
                return await session.fence(epoch, owner)
            case actions.Evict(epoch):
                return await session.evict(epoch)
            case actions.Drop():
                return self._relay.terminate()
            case actions.Open():
                # A refusal is trouble too: a failover in progress shows a database that is still in recovery.
                self._relay = Relay(await self._open_session(), self._open_session, self._stats)
                return None
            case actions.Pause(seconds):
                return await self._pause(seconds)
            case actions.ReadClock():
                return self._monotonic_s()
            case actions.Note(text, level):
                return log.log(level, "%s", text)
            case _:
                assert_never(action)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._abandoned.wait(), seconds)
        if self._abandoned.is_set():
            raise Unavailable("stopped while PostgreSQL was away")


def _trouble(error: BaseException) -> Trouble:
    if isinstance(error, asyncpg.PostgresError):
        return Trouble(first_line(error), error.sqlstate, error.table_name)
    return Trouble(first_line(error))
