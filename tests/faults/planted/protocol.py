"""The planted bugs of takeover and commit: each is a patch of the protocols, or a simulated PostgreSQL that lets
one through.

Guarded here: a bug says in its first line what it is; that B1 sees each of them is tests/faults/test_simulation.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

import pytest

from pyledger.ledger import actions, protocol, rules, takeover
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.rules import Fate
from tests.faults.planted import Bug
from tests.faults.simulation.server import Server

WITHIN: Final = 1_000
"""Histories."""


class NoEpoch(Server):
    """A compare-and-set that forgot the epoch."""

    def matches(self, now: Any, epoch: int, batch: Any) -> bool:
        return super().matches(now, now.epoch, batch)


class OnlyEpoch(Server):
    """One that compares nothing else."""

    def matches(self, now: Any, epoch: int, batch: Any) -> bool:
        return bool(now.epoch == epoch)


def read_to_find_out(patch: pytest.MonkeyPatch) -> type[Server]:
    """Resolve a lost reply by reading the head instead of fencing it."""

    def read(self: CommitProtocol) -> Generator[Any, Any, Any]:
        return self._check_standing((yield actions.ReadHead()))

    patch.setattr(CommitProtocol, "_fence", read)
    return Server


def believe_a_cancelled_wait(patch: pytest.MonkeyPatch) -> type[Server]:
    """Take COMMIT with a warning for a commit."""
    patch.setattr(protocol, "certain", lambda _: None)
    patch.setattr(takeover, "certain", lambda _: None)
    return Server


def guess_that_it_failed(patch: pytest.MonkeyPatch) -> type[Server]:
    """Take a lost reply for a failure, and decide again at once."""

    def resume(self: CommitProtocol, *_: object) -> Generator[Any, Any, bool]:
        yield actions.Drop()
        yield actions.Open()
        return False

    patch.setattr(CommitProtocol, "_resume", resume)
    return Server


def guess_that_it_landed(patch: pytest.MonkeyPatch) -> type[Server]:
    """Take a lost reply for a success once the epoch is fenced."""
    patch.setattr(rules, "fate", lambda *_: Fate.LANDED)
    return Server


def go_on_after_a_loss(patch: pytest.MonkeyPatch) -> type[Server]:
    """Take a history that was lost for an append that was not.

    The compare-and-set of sequence and hash would still stop it, so that goes too."""
    real = rules.fate

    def fate(*arguments: Any) -> Fate:
        found = real(*arguments)
        return Fate.NOT_LANDED if found is Fate.LOST else found

    patch.setattr(rules, "fate", fate)
    return OnlyEpoch


def read_without_asking(patch: pytest.MonkeyPatch) -> type[Server]:
    """Answer a current read without confirming the head."""

    def confirm(self: CommitProtocol, beat: bool) -> Generator[Any, Any, bool]:
        yield actions.ReadClock()
        return True

    patch.setattr(CommitProtocol, "_confirm", confirm)
    return Server


def fence_anybody(patch: pytest.MonkeyPatch) -> type[Server]:
    """End whatever epoch there is after a lost connection, another's too, and go on from its head."""
    patch.setattr(CommitProtocol, "_check_standing", lambda _, seen: seen)
    go_on_after_a_loss(patch)
    return Server


def forget_the_epoch(_: pytest.MonkeyPatch) -> type[Server]:
    """Compare sequence and hash, but not whose they are."""
    return NoEpoch


Plant = Callable[[pytest.MonkeyPatch], type[Server]]
PLANTS: Final[tuple[Plant, ...]] = (
    read_to_find_out,
    believe_a_cancelled_wait,
    guess_that_it_failed,
    guess_that_it_landed,
    go_on_after_a_loss,
    read_without_asking,
    fence_anybody,
    forget_the_epoch,
)
BUGS: Final = tuple(
    Bug(plant.__name__, (plant.__doc__ or "").partition("\n")[0].rstrip("."), "B1", WITHIN, "histories")
    for plant in PLANTS
)
