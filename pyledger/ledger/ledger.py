"""The ledger as a whole: one shard, opened, taken over, recovered, served, kept, and closed.

The invariant: the writer starts only on an engine that has arrived at the head which our own fence
returned; and whatever ends it, everybody who waits is answered and the reason is one clear line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pyledger._rust import Engine
from pyledger.ledger import migrate, rules
from pyledger.ledger.checkpoint import Checkpointer
from pyledger.ledger.clock import Clock
from pyledger.ledger.commit import Committer
from pyledger.ledger.connections import CONNECTION_ERRORS, UNREADABLE, Pool, connect, history_pool
from pyledger.ledger.nouns import (
    BEAT_INTERVAL_S,
    CLOCK_LOOK_S,
    CLOCK_SKEW_MAX_NS,
    CONNECT_TIMEOUT_S,
    SCHEMA_VERSION,
    Database,
    Exit,
    Fenced,
    Halted,
    Head,
    LedgerError,
    StartupRefused,
    State,
    Stats,
    Unavailable,
    first_line,
)
from pyledger.ledger.partitions import Partitions
from pyledger.ledger.proofs import Proofs
from pyledger.ledger.reads import Reads
from pyledger.ledger.recovery import SETTINGS, over_ns, recover
from pyledger.ledger.sealing import Sealing
from pyledger.ledger.statements import Statements
from pyledger.ledger.store import Session
from pyledger.ledger.writer import Writer

if TYPE_CHECKING:
    from pyledger.settings import Settings

log: Final = logging.getLogger("pyledger.ledger")


class Ledger:
    """One shard, opened: takeover, recovery, writer, checkpoints, partitions, signatures and reads."""

    def __init__(self, settings: Settings, database: Database, wall_ns: Callable[[], int]) -> None:
        self._settings, self._database, self._clock = settings, database, Clock(wall_ns)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}:{SCHEMA_VERSION}"
        self._pool = Pool(database.url, f"pyledger reads {settings.shard}")
        self._history = history_pool(database.url, settings.shard)
        self._committer: Committer | None = None
        self._checkpointer: Checkpointer | None = None
        self._keeping: list[asyncio.Task[None]] = []
        self._main: asyncio.Task[Exit] | None = None
        self._serving = asyncio.Event()
        self._warned = False
        self.stats = Stats()
        self.writer = Writer(
            self._new_engine(),
            self.stats,
            queue_rows_max=settings.queue_rows_max,
            ahead_rows_min=settings.ahead_rows_min,
            time_ns=self._clock,
        )
        self.reads = Reads(self._pool, self.writer, settings.shard, scan_rows_max=settings.scan_rows_max)
        self.statements = Statements(
            self._history, self.reads, self.writer, settings.shard, scan_rows_max=settings.scan_rows_max
        )
        self.proofs = Proofs(self._pool, self.writer, settings)

    @classmethod
    async def open(cls, settings: Settings, database: Database, *, wall_ns: Callable[[], int] = time.time_ns) -> Ledger:
        """Migrate (if `owner_url` is given), check the database and begin to take over; returns before
        the shard is owned. Raises `StartupRefused`. `state` tells how far it is."""
        if database.owner_url:
            await migrate.upgrade(database.owner_url)
        ledger = cls(settings, database, wall_ns)
        try:
            session = await ledger._open_session()
            await session.open_shard()
        except CONNECTION_ERRORS as error:
            raise StartupRefused(f"cannot use the database: {first_line(error)}") from error
        ledger._main = asyncio.create_task(ledger._run(session), name="pyledger writer")
        return ledger

    @property
    def state(self) -> State:
        """STARTING, STANDBY, RECOVERING, then SERVING."""
        return self.stats.state

    async def serving(self) -> None:
        """Wait until it serves. Raises `LedgerError` if it ended instead."""
        assert self._main is not None
        waiting = asyncio.ensure_future(self._serving.wait())
        try:
            await asyncio.wait({waiting, self._main}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._main.done():
            raise LedgerError(self.stats.reason or "the ledger was closed")

    async def ended(self) -> Exit:
        """Wait until it has ended by itself (fenced or halted) or by `close`; `stats.reason` says why."""
        assert self._main is not None
        return await asyncio.shield(self._main)

    async def close(self, within_s: float | None = None) -> None:
        """Refuse what is new, answer what was taken, checkpoint, release the head. Never raises.

        Gives up on a PostgreSQL that does not answer after `within_s`, or after the setting `drain_timeout_s`."""
        assert self._main is not None
        deadline_s = time.monotonic() + (self._settings.drain_timeout_s if within_s is None else within_s)
        self.writer.close()
        if self._serving.is_set():
            if not self._main.done():
                self.stats.state = State.STOPPING
            await self._drain(self._main, deadline_s)
        else:
            # Nothing was taken yet, and a fence that is cut off harms nobody.
            self._main.cancel()
            if self._committer is not None:
                self._committer.abandon()  # and with it a sign of life that PostgreSQL keeps waiting
            await asyncio.wait({self._main})
        for task in self._keeping:
            task.cancel()
        if self._committer is not None:
            await self._committer.close()
        await asyncio.gather(self._pool.close(), self._history.close())
        if self.stats.state not in (State.FENCED, State.HALTED):
            self.stats.state = State.STOPPED

    async def _drain(self, main: asyncio.Task[Exit], deadline_s: float) -> None:
        """Wait for the writer and the checkpoints, but no longer than that."""
        assert self._committer is not None
        assert self._checkpointer is not None
        self._checkpointer.stop()
        await asyncio.wait({main}, timeout=max(1.0, deadline_s - time.monotonic()))
        if not main.done():
            log.error("the last batch is not answered in time: giving up")
            self._committer.abandon()
            await asyncio.wait({main})
        keeping = {task for task in self._keeping if task.get_name() == "pyledger checkpoints"}
        if keeping:
            await asyncio.wait(keeping, timeout=max(0.0, deadline_s - time.monotonic()))
        engine = self.writer.engine
        at_rest = not engine.uncommitted and all(task.done() for task in keeping)
        if at_rest and main.result() is Exit.CLEAN and engine.seq > self.stats.checkpoint_seq:
            # A restart replays what it does not hold: not worth waiting for a PostgreSQL that has stalled.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._checkpointer.take(), max(1.0, deadline_s - time.monotonic()))

    async def _run(self, session: Session) -> Exit:
        """The one task of the writer; its strong reference is `_main`. Nothing cancels it once it serves."""
        try:
            self._committer = Committer(
                session, open_session=self._open_session, stats=self.stats, monotonic_s=time.monotonic
            )
            head = await self._committer.take_over(self._owner, self._settings.lease_ms)
            self.stats.state = State.RECOVERING
            self.writer.engine = await self._recover(self._committer, head)
            self.stats.note(self.writer.engine, 0, time.monotonic())
            self._keep(self._committer)
            self.stats.state = State.SERVING
            self._serving.set()
            log.info("serving shard %d in epoch %d from batch %d", self._settings.shard, head.epoch, head.position.seq)
            await self.writer.run(self._committer)
            return Exit.CLEAN
        except asyncio.CancelledError:
            if self._serving.is_set():
                raise
            return Exit.CLEAN
        except Fenced as error:
            return self._end(State.FENCED, Exit.FENCED, error)
        except Unavailable as error:
            return self._end(State.STOPPED, Exit.CLEAN, error)
        except Exception as error:
            if not isinstance(error, Halted):
                log.exception("a bug, or a database that nobody has seen before")
            return self._end(State.HALTED, Exit.HALTED, error)

    def _end(self, state: State, code: Exit, error: Exception) -> Exit:
        self.stats.state, self.stats.reason = state, first_line(error)
        log.critical("%s: %s", state.value, first_line(error))
        return code

    async def _recover(self, committer: Committer, head: Head) -> Engine:
        """Rebuild the state, showing life meanwhile. Raises `Halted`, or `Fenced` if the shard is another's now."""
        enough = asyncio.Event()
        beating = asyncio.create_task(_beat(committer.session, head, enough))
        try:
            return await self._rebuild(head)
        except Halted:
            # A journal that goes on after our head is no loss if its next owner wrote it.
            await committer.check_owner()
            raise
        finally:
            # Told, not cancelled: a cancel on the writer's session could arrive late, at a COMMIT.
            enough.set()
            await asyncio.wait({beating})

    async def _rebuild(self, head: Head) -> Engine:
        """The engine as of the head; again from the start if PostgreSQL goes away."""
        attempt = 0
        while True:
            await asyncio.sleep(rules.backoff_s(attempt))
            attempt += 1
            try:
                connection = await connect(self._database.url, "pyledger recovery", SETTINGS)
                try:
                    self._clock.not_before(await over_ns(connection, head))
                    return await recover(connection, self._new_engine, self._settings.shard, head.position, self.stats)
                finally:
                    connection.terminate()
            except UNREADABLE as error:
                raise Halted(f"PostgreSQL cannot read the record, run `pyledger check`: {first_line(error)}") from error
            except CONNECTION_ERRORS as error:
                log.warning("recovery begins again: %s", first_line(error))

    def _new_engine(self) -> Engine:
        return Engine(
            self._settings.shard,
            ledgers_max=self._settings.ledgers_max,
            accounts_max=self._settings.accounts_max,
            holds_max=self._settings.holds_max,
            window_ids=self._settings.window_ids,
            seed=secrets.randbits(64),
        )

    async def _open_session(self) -> Session:
        session = await Session.open(self._database.url, self._settings.shard)
        try:
            # Nothing is in flight yet: a PostgreSQL that stalls here is as good as one that is away.
            facts = await asyncio.wait_for(session.facts(self._clock.wall_ns), CONNECT_TIMEOUT_S)
            for refusal in rules.refusals(facts):
                raise StartupRefused(refusal)
            danger = rules.rewriting(facts)
            if danger and not self._database.embedded:
                raise StartupRefused(danger)
            if danger and not self._warned:
                log.warning("%s", danger)
                self._warned = True
        except BaseException:
            session.terminate()
            raise
        return session

    def _keep(self, committer: Committer) -> None:
        """Start what goes on beside the writer: checkpoints, the partitions' upkeep, signatures."""
        settings = self._settings
        self._checkpointer = Checkpointer(
            self._database.url,
            settings.shard,
            self.writer,
            self.stats,
            interval_s=settings.checkpoint_interval_s,
            rows=settings.checkpoint_rows,
        )
        partitions = Partitions(self._pool, self.stats, self._clock, committer.protocol, self.reads, settings)
        sealing = Sealing(partitions, self.writer, self._clock, self._database.url, settings)
        self._keeping = [
            asyncio.create_task(self._checkpointer.run(), name="pyledger checkpoints"),
            asyncio.create_task(partitions.keep(), name="pyledger partitions"),
            asyncio.create_task(sealing.run(), name="pyledger sealing"),
            asyncio.create_task(partitions.summarize(), name="pyledger summaries"),
            asyncio.create_task(self._keep_clock(), name="pyledger clock"),
            asyncio.create_task(self.proofs.keep(), name="pyledger signing"),
        ]

    async def _keep_clock(self) -> None:
        """Follow the wall clock, but only where PostgreSQL's agrees with it."""
        while True:
            await asyncio.sleep(CLOCK_LOOK_S)
            with contextlib.suppress(*CONNECTION_ERRORS):
                before_ns, database_ns = self._clock.wall_ns(), 1000 * int(await self._pool.value("clock"))
                skew_ns = self._clock.compare(before_ns, database_ns, self._clock.wall_ns())
                if abs(skew_ns) > CLOCK_SKEW_MAX_NS:
                    log.error("%s: it is not believed", rules.clocks_differ(skew_ns))


async def _beat(session: Session, head: Head, enough: asyncio.Event) -> None:
    """Show life while nothing else does. If it cannot, the first commit will find out why."""
    with contextlib.suppress(*CONNECTION_ERRORS):
        while not enough.is_set() and (await session.confirm(head.epoch, head.position, beat=True))[0]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), BEAT_INTERVAL_S)
