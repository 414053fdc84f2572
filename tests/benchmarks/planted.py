"""Slow-downs, planted from outside: `python -m tests.benchmarks.planted NAME serve` is `pyledger serve`, but slower.

What the gates must notice. Nothing of this is in the product: parts of it are replaced in this process, before
its command line runs, and the index is made in the database right after it was migrated.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from pyledger import cli
from pyledger.ledger import ledger, migrate
from pyledger.ledger.store import Session
from pyledger.ledger.writer import Writer

COMMIT_SLEEP_S: Final = 0.005
REQUEST_PARSES: Final = 40
INDEXES: Final = (
    "CREATE INDEX planted_debit ON pyledger.journal (debit_account, recorded_ns)",
    "CREATE INDEX planted_credit ON pyledger.journal (credit_account, recorded_ns)",
)


class Doubled:
    """An engine that does everything that changes it twice: once in another one, for nothing."""

    CHANGES: Final = frozenset({"apply", "commit", "undo", "load", "set_head", "replay"})

    def __init__(self, *arguments: Any, **limits: Any) -> None:
        self._engine, self._other = (Engine(*arguments, **limits) for _ in range(2))

    def __getattr__(self, name: str) -> Any:
        found, other = getattr(self._engine, name), getattr(self._other, name)
        if name not in self.CHANGES:
            return found

        def twice(*arguments: Any) -> Any:
            other(*arguments)
            return found(*arguments)

        return twice


Engine: Final = ledger.Engine


def sleep_in_commit() -> None:
    """Each commit takes 5 ms longer."""
    append = Session.append

    async def slow(self: Session, epoch: int, batch: Any) -> list[str]:
        await asyncio.sleep(COMMIT_SLEEP_S)
        return await append(self, epoch, batch)

    Session.append = slow  # type: ignore[method-assign]


def double_the_engine() -> None:
    """Each batch is decided, encoded and hashed twice."""
    ledger.Engine = Doubled  # type: ignore[assignment,misc]


def statement_per_row() -> None:
    """Each row costs a statement of its own, as it would in a ledger that looks at every account."""
    append = Session.append

    async def slow(self: Session, epoch: int, batch: Any) -> list[str]:
        for _ in range(batch.rows):
            await self._connection.fetchval("SELECT seq FROM pyledger.head WHERE shard = 0")
        return await append(self, epoch, batch)

    Session.append = slow  # type: ignore[method-assign]


def index_the_journal() -> None:
    """The hot table gets two indexes by account."""
    upgrade = migrate.upgrade

    async def and_index(owner_url: str) -> str:
        version = await upgrade(owner_url)
        connection = await asyncpg.connect(owner_url)
        for index in INDEXES:
            if not await connection.fetchval("SELECT to_regclass($1)", f"pyledger.{index.split()[2]}"):
                await connection.execute(index)
        await connection.close()
        return version

    migrate.upgrade = and_index


def work_per_request() -> None:
    """Each request is looked at some more in Python, as if a middleware did."""
    submit, text = Writer.submit_for, json.dumps({"id": "x" * 36, "amount": "1000", "flags": ["pending"]})

    def slow(self: Writer, waiter: Any, commands: Any) -> Any:
        for _ in range(REQUEST_PARSES):
            json.loads(text)
        return submit(self, waiter, commands)

    Writer.submit_for = slow  # type: ignore[method-assign]


PLANTED: Final[dict[str, Callable[[], None]]] = {
    each.__name__: each
    for each in (sleep_in_commit, double_the_engine, statement_per_row, index_the_journal, work_per_request)
}

if __name__ == "__main__":
    PLANTED[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
