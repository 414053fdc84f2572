"""What waits: commands and looks with the futures of those who asked, and how a future is answered.

Guarded here: a future is answered once, and one that its owner has given up on is left alone: whoever
waited has gone, what was recorded stays recorded.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyledger._rust import Commands, Engine, Reply
from pyledger.ledger.nouns import Unavailable, UnknownOutcome

T = TypeVar("T")
Asked = tuple[Commands, asyncio.Future[Reply]]
"""A request and who waits for its reply."""
Look = tuple[Callable[[Engine], Any], asyncio.Future[Any]]
"""A look at the state and who waits for what it returns."""
Result = tuple[Any, Exception | None]
"""What to answer: a value, or an error."""


@dataclass(slots=True)
class Batch:
    """What rides together: commands, who waits for each, and looks at the state after them."""

    commands: list[Commands] = field(default_factory=list)
    waiting: list[asyncio.Future[Reply]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    weight: int = 0

    def add(self, asked: Asked) -> None:
        """One more request."""
        self.commands.append(asked[0])
        self.waiting.append(asked[1])
        self.weight += asked[0].weight


def attempt(look: Callable[[Engine], T], engine: Engine) -> Result:
    """Run a look; what it raises belongs to whoever asked, not to the writer."""
    try:
        return look(engine), None
    except Exception as error:
        return None, error


def answer(future: asyncio.Future[Any], result: Result) -> None:
    """Hand a result to whoever waits, if anybody does."""
    if future.done():
        return
    if result[1] is not None:
        future.set_exception(result[1])
        future.exception()  # marks it as seen: nobody may be left to look
    else:
        future.set_result(result[0])


def refuse(riding: Batch, queued: Iterable[tuple[Any, asyncio.Future[Any]]], reason: str) -> None:
    """The end, and not a clean one if anybody still waits: what rode is unknown, the rest never began."""
    reason = reason or "the ledger stopped"
    for future in [*riding.waiting, *(future for _, future in riding.looks)]:
        answer(future, (None, UnknownOutcome(f"{reason}; send it again with the same id")))
    for _, future in queued:
        answer(future, (None, Unavailable(reason)))
