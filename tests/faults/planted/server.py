"""The planted bugs of the whole server: each function changes it before its command line runs.

Guarded here: parts of the product are replaced in this process only, and whatever is replaced must be as it was
when the bug was written, or planting it fails. A bug says in its first line what it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import asyncpg

from pyledger import sql
from pyledger.embedded.nouns import OWNER_ROLE
from tests.faults.planted import Bug
from tests.support.clusters import SERVER

COMMIT_TIMEOUT_S: Final = 0.02


def rewrite(name: str, old: str, new: str) -> None:
    """Change a named query before anybody loads it."""
    load = sql.load

    def changed(package: str, file: str = "queries.sql") -> MappingProxyType[str, str]:
        queries = dict(load(package, file))
        if name in queries:
            assert old in queries[name], f"{name} has changed: {queries[name]}"
            queries[name] = queries[name].replace(old, new)
        return MappingProxyType(queries)

    sql.load = changed


def answer_early(which: Callable[[Any], bool]) -> None:
    """Answer some requests once they are decided, whether or not their batch lands."""
    from pyledger.ledger.waiting import answer
    from pyledger.ledger.writer import Writer

    meanwhile = Writer._meanwhile

    async def and_answer(self: Writer, decided: Any, landing: asyncio.Task[bool], committer: Any) -> None:
        for future, reply in zip(self._riding.waiting, decided.applied.replies, strict=True):
            if which(reply):
                answer(future, (reply, None))
        await meanwhile(self, decided, landing, committer)

    Writer._meanwhile = and_answer  # type: ignore[method-assign]


def start_anywhere() -> None:
    """Do not look at what PostgreSQL says of its settings."""
    from pyledger.ledger import rules

    rules.refusals = lambda _: ()


def reply_before_commit() -> None:
    """Everybody is answered before the batch is committed."""
    answer_early(lambda _: True)


def decline_answered_early() -> None:
    """A decline is answered before its row is committed."""
    answer_early(lambda reply: reply.outcome == "declined")


def duplicate_answered_early() -> None:
    """A retry is answered before the batch with its first copy is committed."""
    answer_early(lambda reply: reply.replayed)


def commit_times_out() -> None:
    """COMMIT has a timeout, and what took longer is taken for what did not happen."""
    from pyledger.ledger.commit import Committer
    from pyledger.ledger.relay import Relay

    commit = Committer.commit

    async def impatient(self: Committer, applied: Any) -> bool:
        try:
            return await asyncio.wait_for(commit(self, applied), COMMIT_TIMEOUT_S)
        except TimeoutError:
            self._relay.terminate()
            self._relay = Relay(await self._open_session(), self._open_session, self._stats)
            return False

    Committer.commit = impatient  # type: ignore[method-assign]


def synchronous_commit_off() -> None:
    """The writer's session does not wait for the disk."""
    start_anywhere()
    from pyledger.ledger import store

    store._WRITER_SETTINGS["synchronous_commit"] = "off"


def fsync_off() -> None:
    """PostgreSQL is told to leave syncing to the operating system."""
    start_anywhere()
    url = os.environ["PYLEDGER_DATABASE_URL"]

    async def turn_off() -> None:
        connection = await asyncpg.connect(url.replace(f"//{SERVER}@", f"//{OWNER_ROLE}@"))
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(turn_off())


def checkpoint_one_off() -> None:
    """A checkpoint says that it was taken one batch earlier than it was."""
    before = "(SELECT {} FROM pyledger.batch WHERE shard = $1 AND seq = $3 - 1)"
    earlier = f"seq = $3 - 1, hash = coalesce({before.format('hash')}, $4), last_ns = coalesce("
    rewrite("advance", "seq = $3, hash = $4, last_ns = $5", f"{earlier}{before.format('last_ns')}, $5)")


def checkpoint_out_of_order() -> None:
    """A checkpoint's accounts are loaded in another order than that of their slots."""
    rewrite("copy_accounts", "ORDER BY slot", "ORDER BY id DESC, tenant")


def route_without_tenant() -> None:
    """GET /transfers/{id} finds another tenant's transfer."""
    rewrite("transfer_by_id", "j.tenant = $2", "$2::integer > 0")


ROWS: Final[dict[Callable[[], None], tuple[str, int]]] = {
    reply_before_commit: ("C2", 12),
    decline_answered_early: ("C2", 18),
    duplicate_answered_early: ("C2", 40),
    commit_times_out: ("C2", 6),
    synchronous_commit_off: ("C2", 6),
    fsync_off: ("C7", 6),
    checkpoint_one_off: ("D1", 2),
    checkpoint_out_of_order: ("D1", 2),
    route_without_tenant: ("D1", 2),
}
"""The row that must see each, and within how many of its cycles."""
PLANTS: Final = {plant.__name__: plant for plant in ROWS}
BUGS: Final = tuple(
    Bug(plant.__name__, (plant.__doc__ or "").partition("\n")[0].rstrip("."), row, cycles, "cycles")
    for plant, (row, cycles) in ROWS.items()
)
