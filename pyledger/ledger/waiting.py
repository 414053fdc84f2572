"""What waits: commands and looks with those who asked, how they are answered, and how to wait.

Guarded here: whoever waits is answered once, and one that has given up is left alone: whoever waited has gone, what was
recorded stays recorded.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pyledger._rust import Applied, Commands, Engine, Reply
from pyledger.ledger.nouns import (
    APPLY_INLINE_ROWS_MAX,
    BATCH_WEIGHT_MAX,
    BatchMeasure,
    Stats,
    Unavailable,
    UnknownOutcome,
)

T = TypeVar("T")


class Waiter(Protocol):
    """Who waits for a reply: a future, or whatever takes it at once, in the writer's own task. That must not raise."""

    def done(self) -> bool:
        """Whether it was answered, or does not wait any more."""

    def set_result(self, result: Reply, /) -> None:
        """The reply."""

    def set_exception(self, exception: Exception, /) -> None:
        """`Unavailable`: nothing was recorded; or `UnknownOutcome`."""


W = TypeVar("W", bound=Waiter)
Asked = tuple[Commands, Waiter]
"""A request and who waits for its reply."""
Look = tuple[Callable[[Engine], Any], asyncio.Future[Any]]
"""A look at the state and who waits for what it returns."""
Result = tuple[Any, Exception | None]
"""What to answer: a value, or an error."""


@dataclass(slots=True)
class Decided:
    """What became of a batch in memory, and when by the performance counter."""

    applied: Applied
    seen: list[Result]
    began_s: float
    decided_s: float


@dataclass(slots=True)
class Batch:
    """What rides together: commands, who waits for each, and looks at the state after them."""

    commands: list[Commands] = field(default_factory=list)
    waiting: list[Waiter] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    weight: int = 0
    decided: Decided | None = None
    """Set only on a batch that was decided before its turn."""

    def __bool__(self) -> bool:
        return bool(self.commands or self.looks)

    @classmethod
    def of(cls, queue: deque[Asked], looks: deque[Look], stats: Stats) -> "Batch":
        """What waits, in order, as far as it fits."""
        batch = cls()
        while queue and (not batch.weight or batch.weight + queue[0][0].weight <= BATCH_WEIGHT_MAX):
            commands, waiter = queue.popleft()
            batch.commands.append(commands)
            batch.waiting.append(waiter)
            batch.weight += commands.weight
        while looks and len(batch.looks) < BATCH_WEIGHT_MAX:
            batch.looks.append(looks.popleft())
        stats.queue_rows -= batch.weight
        return batch

    def answer(self, decided: Decided) -> None:
        """Tell everybody, in order."""
        for waiter, reply in zip(self.waiting, decided.applied.replies, strict=True):
            answer(waiter, (reply, None))
        for (_, future), result in zip(self.looks, decided.seen, strict=True):
            answer(future, result)

    def measure(self, decided: Decided, committed_s: float) -> BatchMeasure:
        """What it cost."""
        applied = decided.applied
        return BatchMeasure(
            applied=applied,
            commands=sum(each.rows for each in self.commands),
            rows=applied.rows,
            apply_s=decided.decided_s - decided.began_s,
            commit_s=committed_s - decided.decided_s,
            declines=applied.declines,
        )


def attempt(look: Callable[[Engine], T], engine: Engine) -> Result:
    """Run a look; what it raises belongs to whoever asked, not to the writer."""
    try:
        return look(engine), None
    except Exception as error:
        return None, error


async def see(look: Look, engine: Engine) -> None:
    """Run a look in a worker thread and answer it."""
    answer(look[1], await asyncio.to_thread(attempt, look[0], engine))


async def work(rows: int, do: Callable[..., T], *arguments: Any) -> T:
    """Do it here if it is about few rows, else in a worker thread."""
    if rows <= APPLY_INLINE_ROWS_MAX:
        return do(*arguments)
    return await asyncio.get_running_loop().run_in_executor(None, do, *arguments)


def apply(engine: Engine, stats: Stats, commands: list[Commands], now_ns: int, old: list[bytes]) -> Applied:
    """Decide a batch, and count the CPU time that it took in this thread."""
    began_s = time.thread_time()
    applied = engine.apply(commands, now_ns, old)
    stats.apply_cpu_s += time.thread_time() - began_s
    return applied


async def doze(wake: asyncio.Event, until_s: float, expiry_ns: int | None, now_ns: int) -> None:
    """Until something happens, a moment of the monotonic clock, or a hold expires."""
    seconds = until_s - time.monotonic()
    if expiry_ns is not None:
        seconds = min(seconds, (expiry_ns - now_ns) / 1e9)
    timer = asyncio.get_running_loop().call_later(max(0.0, seconds), wake.set)
    wake.clear()
    await wake.wait()
    timer.cancel()


def answer(waiter: Waiter | asyncio.Future[Any], result: Result) -> None:
    """Hand a result to whoever waits, if anybody does."""
    if waiter.done():
        return
    if result[1] is not None:
        waiter.set_exception(result[1])
        if isinstance(waiter, asyncio.Future):
            waiter.exception()  # marks it as seen: nobody may be left to look
    else:
        waiter.set_result(result[0])


def refuse(riding: Batch, ahead: Iterable[Batch], queued: Iterable[tuple[Any, Waiter]], reason: str) -> None:
    """The end, and not a clean one if anybody still waits: what rode is unknown, the rest never left."""
    reason = reason or "the ledger stopped"
    for waiter in _waiters(riding):
        answer(waiter, (None, UnknownOutcome(f"{reason}; send it again with the same id")))
    for waiter in [*(each for batch in ahead for each in _waiters(batch)), *(each for _, each in queued)]:
        answer(waiter, (None, Unavailable(reason)))


def _waiters(batch: Batch) -> list[Waiter]:
    return [*batch.waiting, *(future for _, future in batch.looks)]
