"""Restart: the last checkpoint, then every batch after it, up to the head that the fence returned.

The invariant: replay applies outcomes and never decides again; what it arrives at is exactly the fenced
head, through an unbroken chain, or it raises `Halted`. Memory is bounded: slices of whole batches.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Literal

import asyncpg

from pyledger._rust import Corrupt, Engine
from pyledger.ledger.connections import QUERIES, copy_out
from pyledger.ledger.nouns import (
    RECOVERY_BATCHES_MAX,
    RECOVERY_SLICE_ROWS,
    Halted,
    Position,
    Stats,
)

log: Final = logging.getLogger("pyledger.ledger")

_SLICE_BYTES: Final = 8 * 1024 * 1024
"""One part of a table on its way to the engine; three of them are in memory at most."""

_TABLES: Final[tuple[tuple[Literal["ledger", "account", "hold"], str], ...]] = (
    ("ledger", "copy_ledgers"),
    ("account", "copy_accounts"),
    ("hold", "copy_holds"),
)

Batch = tuple[int, int, int, int, bytes, bytes]
"""seq, rows, first_ns, last_ns, root, hash."""


async def recover(
    connection: asyncpg.Connection, new_engine: Callable[[], Engine], shard: int, head: Position, stats: Stats
) -> Engine:
    """Build the engine's state as of `head`. Raises `Halted`, or one of `CONNECTION_ERRORS`."""
    engine = new_engine()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        try:
            await load_checkpoint(connection, engine, shard, head)
            stats.checkpoint_seq = engine.seq
            await _replay(connection, engine, shard, stats)
        except Corrupt as corrupt:
            raise Halted(f"the record is corrupt, run `pyledger check`: {corrupt}") from corrupt
    if Position(engine.seq, engine.hash) != head:
        raise Halted(f"history was lost: the journal ends at batch {engine.seq}, the head is at {head.seq}")
    stats.recoveries += 1
    return engine


async def load_checkpoint(connection: asyncpg.Connection, engine: Engine, shard: int, head: Position) -> None:
    """Load the tables of the last checkpoint and set the engine's head to it."""
    found = await connection.fetchrow(QUERIES["checkpoint_head"], shard)
    if found is None:
        raise Halted("the checkpoint row is gone: history was lost")
    if found["seq"] > head.seq:
        raise Halted(f"history was lost: the checkpoint is at batch {found['seq']}, the head at {head.seq}")
    loop = asyncio.get_running_loop()
    for what, query in _TABLES:
        rows = 0
        async for stream in copy_out(connection, query, shard, slice_bytes=_SLICE_BYTES):
            rows += await loop.run_in_executor(None, engine.load, what, stream)
        if rows != found[f"{what}s"]:
            raise Halted(
                f"the checkpoint is corrupt, run `pyledger check`: {rows} rows in {what}, not {found[f'{what}s']}"
            )
    engine.set_head(found["seq"], found["hash"], found["last_ns"])
    log.info("loaded the checkpoint at batch %d: %d accounts, %d holds", engine.seq, engine.accounts, engine.holds)


async def _replay(connection: asyncpg.Connection, engine: Engine, shard: int, stats: Stats) -> None:
    """Fetch a slice while the one before it is replayed in a worker thread."""
    loop = asyncio.get_running_loop()
    replaying: asyncio.Future[int] | None = None
    seq = engine.seq
    try:
        while True:
            batches = await next_slice(connection, shard, seq)
            stream = await journal_slice(connection, shard, batches) if batches else b""
            if replaying is not None:
                await replaying
                stats.head_seq = engine.seq
            if not batches:
                return
            seq = batches[-1][0]
            replaying = loop.run_in_executor(None, engine.replay, stream, batches)
    finally:
        if replaying is not None:
            await asyncio.wait([replaying])


async def next_slice(connection: asyncpg.Connection, shard: int, after_seq: int) -> list[Batch]:
    """The batches after one, as many as `RECOVERY_SLICE_ROWS` allows, at least one if there is one."""
    found = await connection.fetch(QUERIES["batches_after"], shard, after_seq, RECOVERY_BATCHES_MAX)
    batches: list[Batch] = []
    rows = 0
    for row in found:
        rows += row["rows"]
        if batches and rows > RECOVERY_SLICE_ROWS:
            break
        batches.append((row["seq"], row["rows"], row["first_ns"], row["last_ns"], row["root"], row["hash"]))
    return batches


async def journal_slice(connection: asyncpg.Connection, shard: int, batches: list[Batch]) -> bytes:
    """The journal rows of consecutive batches, in order, as one COPY stream."""
    first_ns, last_ns = batches[0][2], batches[-1][3]
    chunks: list[bytes] = []

    async def take(chunk: bytes) -> None:
        chunks.append(chunk)

    await connection.copy_from_query(QUERIES["copy_journal"], shard, first_ns, last_ns, output=take, format="binary")
    return b"".join(chunks)
