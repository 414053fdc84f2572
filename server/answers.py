"""How long a client waits for its answer.

Guards: nobody waits for ever. A command whose batch does not become durable in time, because PostgreSQL is
away or stalled, stays with the writer and may still take effect; its client is told so (503, outcome
unknown) and learns the truth by sending it again with the same id. Nothing here cancels a commit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyledger.ledger import UnknownOutcome

if TYPE_CHECKING:
    from pyledger._rust import Reply

SWEEP_INTERVAL_S: Final = 0.25
"""How often overdue answers are looked for: the time limit is exact to this."""


class Answers:
    """The commands that clients wait for. One sweep for all: a timer each would cost more than the rest."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._due: dict[asyncio.Future[Reply], float] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, decided: asyncio.Future[Reply]) -> Reply:
        """What the ledger says. Raises `UnknownOutcome` when it takes too long."""
        self._due[decided] = self._loop.time() + self.timeout_s
        try:
            return await decided
        finally:
            del self._due[decided]

    def start(self) -> None:
        """Begin to sweep."""
        self._timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)

    def stop(self) -> None:
        """No more sweeps."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        now = self._loop.time()
        for decided, due in self._due.items():
            if due <= now and not decided.done():
                # The writer leaves a future alone that is done; the command itself it keeps.
                decided.set_exception(UnknownOutcome("not durable in time"))
        self.start()
