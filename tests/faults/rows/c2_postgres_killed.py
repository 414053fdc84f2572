"""C2: kill -9 of PostgreSQL under load: of the postmaster, the writer's backend, the WAL writer, the checkpointer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from tests.faults import harms
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.siege import PASSES, besiege

KINDS: Final = (
    harms.kill_postmaster,
    harms.kill_writer_backend,
    harms.kill_wal_writer,
    harms.kill_postmaster,
    harms.end_writer_session,
    harms.kill_checkpointer,
)


def run(asked: Run) -> AsyncIterator[Cycle]:
    """The cycles, one kind after the other."""
    return besiege(asked, KINDS)


ROW: Final = Row(
    id="C2",
    what="kill -9 of PostgreSQL: postmaster, backend, WAL writer, checkpointer",
    unit="kills",
    passes=PASSES,
    submission=12,
    campaign=1_000,
    run=run,
)
