"""The hot path, from top to bottom: submit, queue, prefetch, apply, append, answer.

The invariant: nothing leaves here before the batch it rode in is committed. Accepts, declines, replays and
reads are all answered after `Committer.commit` said True, in order; a batch that did not land is undone
and decided again for the same waiting futures. One task runs this file; nothing may cancel it.
"""

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pyledger._rust import Commands, Engine, Reply
from pyledger.ledger import nouns
from pyledger.ledger.commit import Committer
from pyledger.ledger.nouns import BatchMeasure, Busy, LedgerError, State, Stats, Unavailable
from pyledger.ledger.waiting import Asked, Batch, Look, answer, attempt, refuse

T = TypeVar("T")


class Writer:
    """Takes commands in and answers them once their batch is committed. One per shard."""

    def __init__(self, engine: Engine, stats: Stats, *, queue_rows_max: int, time_ns: Callable[[], int]) -> None:
        self.engine, self.stats = engine, stats
        self._queue_rows_max, self._time_ns = queue_rows_max, time_ns
        self._queue: deque[Asked] = deque()
        self._looks: deque[Look] = deque()
        self._between: deque[Look] = deque()
        self._riding = Batch()
        self._wake = asyncio.Event()
        self._closing = self._ended = False

    # Submit: into the bounded queue, or no at once.

    def submit(self, commands: Commands) -> asyncio.Future[Reply]:
        """Queue one request. Raises `Busy` or `Unavailable` at once; the future may fail with `Unavailable`
        (nothing recorded) or `UnknownOutcome`. Cancelling it affects nothing but itself."""
        if self.stats.queue_rows and self.stats.queue_rows + commands.weight > self._queue_rows_max:
            raise Busy()
        future: asyncio.Future[Reply] = self._enqueue(self._queue, commands)
        self.stats.queue_rows += commands.weight
        return future

    def read(self, look: Callable[[Engine], T]) -> asyncio.Future[T]:
        """Look at the current state: `look` runs after the batch it rides with and is answered after its
        commit. Raises like `submit`; what `look` raises, the future raises."""
        if len(self._looks) >= nouns.READS_WAITING_MAX:
            raise Busy("too many reads wait")
        return self._enqueue(self._looks, look)

    def between(self, look: Callable[[Engine], T]) -> asyncio.Future[T]:
        """Run `look` in a worker thread between two batches, when none is uncommitted; after the end at once."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._ended:
            answer(future, attempt(look, self.engine))
        else:
            self._between.append((look, future))
            self._wake.set()
        return future

    def _enqueue(self, queue: deque[Any], what: object) -> asyncio.Future[Any]:
        if self._closing or self.stats.state is not State.SERVING:
            raise Unavailable(f"the ledger is {self.stats.state.value}")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue.append((what, future))
        self._wake.set()
        return future

    def close(self) -> None:
        """Refuse what is new; `run` returns once all that was taken is answered."""
        self._closing = True
        self._wake.set()

    # Queue: whatever waits, at once; an empty batch when a hold expires or a sign of life is due.

    async def run(self, committer: Committer) -> None:
        """Post batch after batch until closed. Raises `Fenced` or `Halted`; every future is answered."""
        try:
            while not self._closing or self._queue or self._looks or self._between:
                if not (self._queue or self._looks or self._between):
                    await self._doze(committer.next_beat_s)
                while self._between:
                    look, future = self._between.popleft()
                    answer(future, await asyncio.to_thread(attempt, look, self.engine))
                self._riding = self._gather()
                await self._post(self._riding, committer)
                self._riding = Batch()
        except LedgerError as error:
            self.stats.reason = str(error)
            raise
        finally:
            self._closing = self._ended = True
            self.stats.queue_rows = 0
            refuse(self._riding, [*self._queue, *self._looks, *self._between], self.stats.reason)

    async def _doze(self, until_s: float) -> None:
        seconds = until_s - time.monotonic()
        if (expiry_ns := self.engine.next_expiry_ns) is not None:
            seconds = min(seconds, (expiry_ns - self._time_ns()) / 1e9)
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._wake.set)
        self._wake.clear()
        await self._wake.wait()
        timer.cancel()

    def _gather(self) -> Batch:
        batch = Batch()
        while self._queue and (not batch.weight or batch.weight + self._queue[0][0].weight <= nouns.BATCH_WEIGHT_MAX):
            batch.add(self._queue.popleft())
        while self._looks and len(batch.looks) < nouns.BATCH_WEIGHT_MAX:
            batch.looks.append(self._looks.popleft())
        self.stats.queue_rows -= batch.weight
        return batch

    # Prefetch, apply, append: again from the start if it did not land.

    async def _post(self, batch: Batch, committer: Committer) -> None:
        loop, engine = asyncio.get_running_loop(), self.engine
        big = batch.weight > nouns.APPLY_INLINE_ROWS_MAX
        while True:
            old = await committer.lookup(engine.probe(batch.commands), batch.commands)
            began_s = time.perf_counter()
            decide = functools.partial(engine.apply, batch.commands, self._time_ns(), old)
            applied = await loop.run_in_executor(None, decide) if big else decide()
            seen = [attempt(look, engine) for look, _ in batch.looks]
            decided_s = time.perf_counter()
            encoding = loop.run_in_executor(None, getattr, applied, "replies") if big else None
            landed = await committer.commit(applied)
            replies = await encoding if encoding else applied.replies
            if landed:
                break
            engine.undo()
        engine.commit()
        committed_s = time.perf_counter()

        # Answer, in order. Only here, and only what is committed.
        for future, reply in zip(batch.waiting, replies, strict=True):
            answer(future, (reply, None))
        for (_, future), result in zip(batch.looks, seen, strict=True):
            answer(future, result)
        self.stats.note(engine, applied.rows, time.monotonic())
        commands = sum(each.rows for each in batch.commands)
        measure = BatchMeasure(commands, applied.rows, decided_s - began_s, committed_s - decided_s, applied.declines)
        self.stats.on_batch(measure)
