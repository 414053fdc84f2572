"""The hot path, from top to bottom: submit, queue, prefetch, apply, append, answer.

The invariant: nothing leaves here before the batch it rode in is committed. Accepts, declines, replays and
reads are all answered after `Committer.commit` said True, in order; a batch that did not land is undone, with
those decided on top, and decided again for those who wait. One task runs this file; nothing may cancel it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pyledger._rust import Commands, Engine, Reply
from pyledger.ledger import nouns
from pyledger.ledger.commit import Committer
from pyledger.ledger.nouns import Busy, LedgerError, State, Stats, Unavailable
from pyledger.ledger.waiting import Asked, Batch, Decided, Look, W, answer, apply, attempt, doze, refuse, see, work

T = TypeVar("T")


class Writer:
    """Takes commands in and answers them once their batch is committed. One per shard."""

    def __init__(
        self, engine: Engine, stats: Stats, *, queue_rows_max: int, ahead_rows_min: int, time_ns: Callable[[], int]
    ) -> None:
        self.engine, self.stats = engine, stats
        self._queue_rows_max, self._ahead_rows_min, self._time_ns = queue_rows_max, ahead_rows_min, time_ns
        self._queue: deque[Asked] = deque()
        self._looks, self._between = deque[Look](), deque[Look]()
        self._riding = Batch()  # what commits; empty if nothing
        self._ahead: deque[Batch] = deque()  # what was decided on top of it
        self._wake = asyncio.Event()
        self._closing = self._ended = False

    # Submit: into the bounded queue, or no at once.

    def submit(self, commands: Commands) -> asyncio.Future[Reply]:
        """Queue one request. Raises `Busy` or `Unavailable`; the future fails as `Waiter` says. Cancel it at will."""
        return self.submit_for(asyncio.get_running_loop().create_future(), commands)

    def submit_for(self, waiter: W, commands: Commands) -> W:
        """As `submit`, for a waiter of one's own, which is returned."""
        if self.stats.queue_rows and self.stats.queue_rows + commands.weight > self._queue_rows_max:
            raise Busy()
        return self._enqueue(self._queue, commands, waiter, commands.weight)

    def read(self, look: Callable[[Engine], T]) -> asyncio.Future[T]:
        """Look at the current state: `look` runs after the batch it rides with and is answered after its
        commit. Raises like `submit`; what `look` raises, the future raises."""
        if len(self._looks) >= nouns.READS_WAITING_MAX:
            raise Busy("too many reads wait")
        return self._enqueue(self._looks, look, asyncio.get_running_loop().create_future(), 0)

    def between(self, look: Callable[[Engine], T]) -> asyncio.Future[T]:
        """Run `look` in a worker thread between two batches, when none is uncommitted; after the end at once."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._ended:
            answer(future, attempt(look, self.engine))
        else:
            self._between.append((look, future))
            self._wake.set()
        return future

    def _enqueue(self, queue: deque[Any], what: object, waiter: T, weight: int) -> T:
        if self._closing or self.stats.state is not State.SERVING:
            raise Unavailable(f"the ledger is {self.stats.state.value}")
        queue.append((what, waiter))
        self.stats.queue_rows += weight
        if not self._riding or self.stats.queue_rows >= self._ahead_rows_min:
            self._wake.set()
        return waiter

    def close(self) -> None:
        """Refuse what is new; `run` returns once all that was taken is answered."""
        self._closing = True
        self._wake.set()

    # Queue: whatever waits, at once; an empty batch when a hold expires or a sign of life is due.

    async def run(self, committer: Committer) -> None:
        """Post batch after batch until closed. Raises `Fenced` or `Halted`; every future is answered."""
        try:
            while (waits := self._ahead or self._queue or self._looks or self._between) or not self._closing:
                if not waits:
                    await doze(self._wake, committer.next_beat_s, self.engine.next_expiry_ns, self._time_ns())
                while self._between and not self._ahead:
                    await see(self._between.popleft(), self.engine)
                self._riding = self._ahead.popleft() if self._ahead else Batch.of(self._queue, self._looks, self.stats)
                await self._post(self._riding, committer)
                self._riding = Batch()
        except LedgerError as error:
            self.stats.reason = str(error)
            raise
        finally:
            self._closing = self._ended = True
            self.stats.queue_rows = 0
            refuse(self._riding, self._ahead, [*self._queue, *self._looks, *self._between], self.stats.reason)

    # Prefetch, apply, append, answer: again from the start if it did not land.

    async def _post(self, batch: Batch, committer: Committer) -> None:
        while True:
            old = [] if batch.decided else await committer.lookup(self.engine.probe(batch.commands), batch.commands)
            decided = batch.decided or await self._decide(batch, old)
            landing = asyncio.create_task(committer.commit(decided.applied), name="pyledger commit")
            landing.add_done_callback(lambda _: self._wake.set())
            try:
                await self._meanwhile(decided, landing, committer)
            finally:
                landed = await landing
            if landed:
                break
            self.engine.undo()
            for undone in (batch, *self._ahead):
                undone.decided = None
        self.engine.commit()
        self.stats.note(self.engine, decided.applied.rows, time.monotonic())
        self.stats.on_batch(batch.measure(decided, time.perf_counter()))
        batch.answer(decided)  # in order; only here, and only what is committed

    async def _decide(self, batch: Batch, old: list[bytes]) -> Decided:
        began_s = time.perf_counter()
        applied = await work(batch.weight, apply, self.engine, self.stats, batch.commands, self._time_ns(), old)
        return Decided(applied, [attempt(look, self.engine) for look, _ in batch.looks], began_s, time.perf_counter())

    async def _meanwhile(self, decided: Decided, landing: asyncio.Task[bool], committer: Committer) -> None:
        """While a batch commits: send the next one's rows ahead, encode the replies, decide more while much waits."""
        await asyncio.sleep(0)  # the append leaves first
        self._send_ahead(committer)
        await work(decided.applied.rows, getattr, decided.applied, "replies")
        while not landing.done():
            self._wake.clear()
            if not self._may_decide_ahead():
                await self._wake.wait()
                continue
            self._ahead.append(Batch.of(self._queue, self._looks, self.stats))
            if self.engine.probe(self._ahead[-1].commands) is None:  # what must be read waits for the session
                self._ahead[-1].decided = await self._decide(self._ahead[-1], [])
                self._send_ahead(committer)

    def _send_ahead(self, committer: Committer) -> None:
        if self._ahead and (first := self._ahead[0].decided) and first.applied.rows:
            committer.send_ahead(first.applied)

    def _may_decide_ahead(self) -> bool:
        room = len(self._ahead) < nouns.AHEAD_BATCHES_MAX and all(batch.decided for batch in self._ahead)
        return room and not self._between and self.stats.queue_rows >= self._ahead_rows_min
