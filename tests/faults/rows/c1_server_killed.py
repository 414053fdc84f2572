"""C1: kill -9 of the server under load, and a start at the same address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from tests.faults.harms import kill_server
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import PASSES, besiege


def run(asked: Run) -> AsyncIterator[Cycle]:
    """The cycles."""
    return besiege(asked, [kill_server])


ROW: Final = Row(
    id="C1",
    what="kill -9 of the server under load",
    unit="kills",
    passes=PASSES,
    submission=10,
    campaign=1_000,
    run=run,
)
