"""What the protocols of the writer ask of the world: one action a statement, a transaction or a wait.

Guarded here: an action says all that carries it out needs, and its docstring what it is answered with, so
that a real session and a simulated one can do the same. Any of them may be answered with `Trouble`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pyledger.ledger.nouns import Position, Wanted

T = TypeVar("T")


class Appendable(Protocol):
    """What an append needs to know of a decided batch; `_rust.Applied` is one."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def rows(self) -> int:
        """How many it appends."""

    @property
    def hash(self) -> bytes:
        """Of the chain, with it."""

    @property
    def first_ns(self) -> int:
        """Time of its first row."""

    @property
    def last_ns(self) -> int:
        """Time of its last row."""


class Asking(Protocol):
    """What is known of a request before it is decided; `_rust.Commands` is one."""

    @property
    def ids(self) -> list[str]:
        """Of its commands."""


@dataclass(frozen=True, slots=True)
class Append:
    """Rows, compare-and-set of the head, commit, in one transaction. Reply: PostgreSQL's warnings."""

    epoch: int
    batch: Any


@dataclass(frozen=True, slots=True)
class Confirm:
    """Is the head ours and here? As a beat it writes. Reply: (bool, whether only a beat can tell, warnings)."""

    epoch: int
    position: Position
    beat: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """Reply: the journal rows that a probe asked for."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class LookupAll:
    """Reply: the journal rows with any of these ids."""

    ids: list[str]


@dataclass(frozen=True, slots=True)
class MakePartitions:
    """Make those that are missing from a time on. Reply: until when they last."""

    from_ns: int


@dataclass(frozen=True, slots=True)
class ReadHead:
    """Reply: the head or None. Says who to fence, never what happened."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Take the lock of an epoch's owner. Reply: whether it was free."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Unlock:
    """Give the lock of an epoch back."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Fence:
    """End an epoch and begin the next. Reply: (the head, or None if that epoch was over; warnings)."""

    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class Evict:
    """End what is left of the sessions of earlier epochs."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Give the session up without a word."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a new session, with the checks of a start."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ReadClock:
    """Reply: the monotonic clock in seconds."""


@dataclass(frozen=True, slots=True)
class Note:
    """Tell the operator."""

    text: str
    level: int = logging.WARNING


Action = (
    Append
    | Confirm
    | Lookup
    | LookupAll
    | MakePartitions
    | ReadHead
    | Lock
    | Unlock
    | Fence
    | Evict
    | Drop
    | Open
    | Pause
    | ReadClock
    | Note
)
Steps = Generator[Action, Any, T]
"""A conversation that ends with a T."""
