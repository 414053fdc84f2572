"""Batches that were sent at once and are taken one after the other, where their sender asks for that.

A batch may have a name, and may name the one that it follows. Guards: it is put into the ledger's queue after that one
or not at all, and what is decided keeps the order of the queue. Nobody waits for what is not on its way. Whoever waits
has had only its head read; its body waits on the wire, so that waiting costs no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyledger.server.problems import Refused
from pyledger.server.replies import CLOSE

if TYPE_CHECKING:
    from pyledger.server.rsgi import HeaderMap

NAME: Final = "batch-name"
AFTER: Final = "batch-after"
NAME_PATTERN: Final = "^[!-~]{1,64}$"

NAMES_MAX: Final = 4_096
"""Names of batches that were taken, the latest ones of all tenants. Who follows one that is not known any more is
refused: never out of turn."""
WAIT_S: Final = 10.0
"""For a batch that is on its way. It ends by itself, taken or refused, unless some follow each other in a ring."""
FOLLOWERS_MAX: Final = 256
"""Batches that wait for their turn; a further one is refused, as if the one before it were not on its way."""

_Batch = tuple[int, str]
"""A tenant, and one of its names."""


@dataclass(slots=True)
class _Coming:
    """A batch on its way, as often as it was sent. `over` is set once it was taken, or all of them were refused."""

    sent: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """Which batches were taken, and which are on their way."""

    def __init__(self, names_max: int = NAMES_MAX, wait_s: float = WAIT_S) -> None:
        self._names_max, self._wait_s = names_max, wait_s
        self._taken: OrderedDict[_Batch, None] = OrderedDict()
        self._coming: dict[_Batch, _Coming] = {}
        self._followers = 0

    @contextlib.contextmanager
    def coming(self, tenant: int, name: str | None) -> Iterator[Callable[[], None]]:
        """A batch is on its way, if it has a name; call what this gives once it is in the queue."""
        if name is None:
            yield _nobody_follows
            return
        batch = (tenant, name)
        coming = self._coming.setdefault(batch, _Coming())
        coming.sent += 1
        try:
            yield lambda: self._take(batch, coming)
        finally:
            coming.sent -= 1
            if not coming.sent:
                del self._coming[batch]
                coming.over.set()

    async def come(self, tenant: int, follows: str, name: str | None) -> None:
        """Wait until the batch that this one follows was taken. Raises `Refused` if it is not."""
        batch = (tenant, follows)
        coming = self._coming.get(batch)
        if batch not in self._taken and coming is not None and follows != name and self._followers < FOLLOWERS_MAX:
            self._followers += 1
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(coming.over.wait(), self._wait_s)
            finally:
                self._followers -= 1
        if batch not in self._taken:
            raise Refused("out_of_turn", headers=(CLOSE,))

    def _take(self, batch: _Batch, coming: _Coming) -> None:
        self._taken[batch] = None
        self._taken.move_to_end(batch)
        if len(self._taken) > self._names_max:
            self._taken.popitem(last=False)
        coming.over.set()


def _nobody_follows() -> None:
    pass


def named(headers: HeaderMap, header: str) -> str | None:
    """A batch's name in one of the two headers. Raises `Refused` for what is none, and for two."""
    if header not in headers:
        return None
    given = headers.get_all(header)
    if len(given) != 1 or not re.fullmatch(NAME_PATTERN, given[0]):
        raise Refused("header_invalid", f"Send one {header.title()}, of 1 to 64 visible ASCII characters.")
    return given[0]
