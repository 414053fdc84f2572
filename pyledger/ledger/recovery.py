"""Restart: the last checkpoint, then every batch after it, up to the head that the fence returned.

The invariant: replay applies outcomes and never decides again; what it arrives at is exactly the fenced
head, through an unbroken chain, or it raises `Halted`. Memory is bounded: rows pass through, and of those
that come before their turn only so many wait.
"""

import logging
from collections.abc import Callable
from typing import Final, Literal

import asyncpg

from pyledger._rust import Corrupt, Engine
from pyledger.ledger.connections import QUERIES, copy_through
from pyledger.ledger.nouns import (
    NS_PER_S,
    RECOVERY_BATCHES_MAX,
    RECOVERY_WAITING_ROWS_MAX,
    SEAL_AFTER_S,
    Halted,
    Head,
    Position,
    Stats,
)

log: Final = logging.getLogger("pyledger.ledger")

SETTINGS: Final = {
    "work_mem": "64MB",
    # What is not indexed by time yet is read once, in the order of the disk. A planner that knows nothing of
    # the newest partition would read all of it, and several workers hand rows out in no order.
    "enable_seqscan": "off",
    "max_parallel_workers_per_gather": "0",
}
"""Of the connection that a state is rebuilt through."""

_TABLES: Final[tuple[Literal["ledger", "account", "hold"], ...]] = ("ledger", "account", "hold")

Batch = tuple[int, int, int, int, bytes, bytes]
"""seq, rows, first_ns, last_ns, root, hash."""


_BASE_WRONG: Final = "the base, where the journal begins, is corrupt: %s"
_CHECKPOINT_WRONG: Final = (
    "the checkpoint is corrupt: %s; `pyledger check` proves the journal, `pyledger rebuild` drops the checkpoint"
)
"""With the way out: the journal has everything."""


class _Scattered(Exception):
    """Too many rows lie too far from their place."""


async def recover(
    connection: asyncpg.Connection, new_engine: Callable[[], Engine], shard: int, head: Position, stats: Stats
) -> Engine:
    """Build the engine's state as of `head`. Raises `Halted`, or one of `CONNECTION_ERRORS`."""
    try:
        engine = await _recover(connection, new_engine(), shard, head, stats, "copy_journal")
    except _Scattered:
        log.warning("the journal lies in no order: PostgreSQL sorts it, which takes longer")
        engine = await _recover(connection, new_engine(), shard, head, stats, "copy_journal_sorted")
    if Position(engine.seq, engine.hash) != head:
        raise Halted(f"history was lost: the journal ends at batch {engine.seq}, the head is at {head.seq}")
    stats.recoveries += 1
    return engine


async def over_ns(connection: asyncpg.Connection, head: Head) -> int:
    """Until when it is over for a shard that an earlier owner took past the end of a partition; 0 if none did. Any
    other time in the head is that of its last row, which the engine knows, or is wrong, and is not believed."""
    is_past = await connection.fetchval(QUERIES["has_end"], head.last_ns - SEAL_AFTER_S * NS_PER_S)
    return head.last_ns if is_past else 0


async def _recover(
    connection: asyncpg.Connection, engine: Engine, shard: int, head: Position, stats: Stats, journal: str
) -> Engine:
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(QUERIES["pin"])
            await load_checkpoint(connection, engine, shard, head)
            stats.checkpoint_seq = engine.seq
            await _replay(connection, engine, shard, stats, journal)
    except Corrupt as corrupt:
        raise Halted(f"the journal is corrupt, run `pyledger check`: {corrupt}") from corrupt
    return engine


async def load_checkpoint(connection: asyncpg.Connection, engine: Engine, shard: int, head: Position) -> None:
    """Load the tables of the last checkpoint and set the engine's head to it. Raises `Halted`: each row has a seal,
    and all of them together must add up."""
    found = await connection.fetchrow(QUERIES["checkpoint_head"], shard)
    if found is None:
        raise Halted("the checkpoint row is gone: history was lost")
    if found["seq"] > head.seq:
        raise Halted(f"history was lost: the checkpoint is at batch {found['seq']}, the head at {head.seq}")
    if not found["known"]:
        raise Halted(_CHECKPOINT_WRONG % f"there is no batch {found['seq']} with its hash and time")
    await _load_tables(connection, engine, shard, found, "", _CHECKPOINT_WRONG)
    log.info("loaded the checkpoint at batch %d: %d accounts, %d holds", engine.seq, engine.accounts, engine.holds)


async def load_base(connection: asyncpg.Connection, engine: Engine, shard: int) -> bool:
    """Load the state as of the end of what is archived, if anything was; whether it was. Raises `Halted`."""
    found = await connection.fetchrow(QUERIES["base"], shard)
    if found is None:
        return False
    await _load_tables(connection, engine, shard, found, "base_", _BASE_WRONG)
    if engine.digest() != found["digest"]:
        raise Halted(_BASE_WRONG % "its rows are not what they were")
    return True


async def _load_tables(
    connection: asyncpg.Connection, engine: Engine, shard: int, found: asyncpg.Record, prefix: str, wrong: str
) -> None:
    """The three tables of a state, and the head that it is of."""
    try:
        for what in _TABLES:
            rows = await _load(connection, engine, shard, what, f"copy_{prefix}{what}s", found[f"{what}s"])
            if rows != found[f"{what}s"]:
                raise Halted(wrong % f"{rows} rows in {what}, not {found[f'{what}s']}")
        engine.set_head(found["seq"], found["hash"], found["last_ns"])
    except Corrupt as corrupt:
        raise Halted(wrong % corrupt) from corrupt


async def _load(
    connection: asyncpg.Connection,
    engine: Engine,
    shard: int,
    what: Literal["ledger", "account", "hold"],
    query: str,
    expected_rows: int,
) -> int:
    rows = 0

    def take(stream: bytes) -> None:
        nonlocal rows
        rows += engine.load(what, stream, max(0, expected_rows))

    await copy_through(connection, query, shard, take=take)
    return rows


async def _replay(connection: asyncpg.Connection, engine: Engine, shard: int, stats: Stats, journal: str) -> None:
    """Replay what follows the checkpoint. The journal is read once for `RECOVERY_BATCHES_MAX` batches."""

    def take(stream: bytes) -> None:
        engine.replay(stream)
        stats.head_seq = engine.seq
        if engine.waiting > RECOVERY_WAITING_ROWS_MAX:
            raise _Scattered

    while batches := await _next_batches(connection, shard, engine.seq):
        engine.expect(batches)
        await copy_through(connection, journal, shard, batches[0][2], batches[-1][3], take=take)
    engine.expect([])


async def _next_batches(connection: asyncpg.Connection, shard: int, after_seq: int) -> list[Batch]:
    return [
        tuple(row) for row in await connection.fetch(QUERIES["batches_after"], shard, after_seq, RECOVERY_BATCHES_MAX)
    ]
