"""How a client waits for its answer, and how long.

A single write is answered by the writer itself when its batch is committed: to wake a task for each would cost a tenth
of its time. What takes long to encode is waited for by a task.

Guards: nobody waits for ever. A command whose batch does not become durable in time, because PostgreSQL is
away or stalled, stays with the writer and may still take effect; its client is told so (503, outcome
unknown) and learns the truth by sending it again with the same id. Nothing here cancels a commit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyledger.ledger import UnknownOutcome
from pyledger.server.replies import LATER, Answer

if TYPE_CHECKING:
    from pyledger._rust import Commands, Reply
    from pyledger.ledger import Writer
    from pyledger.ledger.waiting import Waiter
    from pyledger.server.service import Request

SWEEP_INTERVAL_S: Final = 0.25
"""How often overdue answers are looked for: the time limit is exact to this."""


class Answers:
    """The commands that clients wait for. One sweep for all: a timer each would cost more than the rest."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._due: dict[Waiter, float] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, decided: asyncio.Future[Reply]) -> Reply:
        """What the ledger says. Raises `UnknownOutcome` when it takes too long."""
        self._due[decided] = self._loop.time() + self.timeout_s
        try:
            return await decided
        finally:
            del self._due[decided]

    def later(self, request: Request, writer: Writer, commands: Commands) -> Answer:
        """Submit, and leave the request open until its batch is committed. Raises like `Writer.submit`."""
        due_s = self._loop.time() + self.timeout_s
        self._due[writer.submit_for(_Open(request, self._due), commands)] = due_s
        return LATER

    def start(self) -> None:
        """Begin to sweep."""
        self._timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)

    def stop(self) -> None:
        """No more sweeps."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self.start()
        now = self._loop.time()
        for waiter in [each for each, due in self._due.items() if due <= now]:
            if not waiter.done():
                # The writer leaves alone what is done; the command itself it keeps.
                waiter.set_exception(UnknownOutcome("not durable in time"))


class _Open:
    """A request that is answered by whoever has its reply."""

    __slots__ = ("_due", "_request")

    def __init__(self, request: Request, due: dict[Waiter, float]) -> None:
        self._request: Request | None = request
        self._due = due

    def done(self) -> bool:
        return self._request is None

    def set_result(self, reply: Reply, /) -> None:
        self._answer(reply)

    def set_exception(self, error: Exception, /) -> None:
        self._answer(error)

    def _answer(self, reply: Reply | Exception) -> None:
        # What is told too late stays in the writer's queue, but no longer with its request.
        request, self._request = self._request, None
        self._due.pop(self, None)
        if request is not None:
            request.finish(reply)
