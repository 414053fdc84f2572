"""The hot path: submit, queue, prefetch, apply, append, answer. Under construction; signatures are final."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pyledger._rust import Commands, Engine, Reply
from pyledger.ledger.nouns import State, Stats

T = TypeVar("T")


class Writer:
    """Takes commands in, answers them once their batch is committed. One per shard."""

    stats: Stats

    @property
    def state(self) -> State:
        """What it is doing; only `SERVING` takes commands."""
        return self.stats.state

    def submit(self, commands: Commands) -> asyncio.Future[Reply]:
        """Queue one request. Raises `Busy` or `Unavailable` at once; the future may fail with
        `Unavailable` (nothing recorded) or `UnknownOutcome`. Cancelling it affects nothing but itself."""
        raise NotImplementedError

    def read(self, look: Callable[[Engine], T]) -> asyncio.Future[T]:
        """Look at the current state: `look` runs after the batch it rides with and is answered after its
        commit. Raises like `submit`; what `look` raises, the future raises."""
        raise NotImplementedError
