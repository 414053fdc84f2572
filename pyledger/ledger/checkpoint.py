"""Checkpoints: what changed since the last one, stored off the money path by a second connection.

The invariant: the tables of a checkpoint are always the state as of exactly the batch that its row names,
in an epoch that was not over when they were committed; a failed one changes nothing and is made up for by
the next.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import asyncpg

from pyledger import sql
from pyledger._rust import Checkpoint, Engine
from pyledger.ledger.connections import CONNECTION_ERRORS, connect, in_parts
from pyledger.ledger.nouns import (
    CHECKPOINT_LOOK_S,
    CHECKPOINT_PIECE_ROWS,
    CHECKPOINT_REST,
    IDLE_IN_TRANSACTION_MS,
    LedgerError,
    StartupRefused,
    State,
    Stats,
    Unavailable,
    first_line,
)
from pyledger.ledger.writer import Writer

T = TypeVar("T")
log: Final = logging.getLogger("pyledger.ledger")
_QUERIES: Final = sql.load("pyledger.ledger", "checkpoint.sql")

Piece = tuple[bytes, int]
"""A COPY stream, and its number of rows."""
Pieces = Callable[[str], Awaitable[Piece | None]]
"""Gives the next rows of a checkpoint for a table, until there are none."""


async def store(
    url: str,
    shard: int,
    epoch: int,
    taken: Checkpoint,
    pieces: Pieces,
    engine_counts: tuple[int, int, int],
) -> None:
    """Store one checkpoint. Raises `LedgerError` if it would be wrong, or one of `CONNECTION_ERRORS`.

    `engine_counts` are the ledgers, accounts and holds that there must be in all afterwards."""
    connection = await connect(
        url, f"pyledger checkpoint {shard}", {"idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS)}
    )
    try:
        staged = await _stage(connection, taken, pieces)
        async with connection.transaction():
            # Accounts before holds: an earlier commit that is still under way is waited for by its rows of them.
            for table, rows in staged.items():
                merged = await connection.execute(_QUERIES[f"merge_{table}"], shard)
                # A hold may be stored already, or be gone.
                if table in ("ledger", "account") and merged != f"INSERT 0 {rows}":
                    raise LedgerError(f"of {rows} rows for the table {table}, this was stored: {merged}")
            counts = tuple((await connection.fetchrow(_QUERIES["counts"], shard)) or ())
            if counts != engine_counts:
                raise LedgerError(f"the checkpoint tables would hold {counts}, the engine holds {engine_counts}")
            moved = await connection.fetch(
                _QUERIES["advance"], shard, epoch, taken.seq, taken.hash, taken.last_ns, *counts
            )
            if len(moved) != 1:
                raise LedgerError(f"epoch {epoch} ended meanwhile")
    finally:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await connection.close(timeout=IDLE_IN_TRANSACTION_MS / 1000)


async def drop(url: str, shard: int) -> None:
    """Drop the checkpoint, so that the next start replays every row of the journal, or every one after the base where
    its beginning is archived. Raises `StartupRefused`."""
    try:
        connection = await connect(url, f"pyledger rebuild {shard}")
        try:
            async with connection.transaction():
                found = await connection.fetch(_QUERIES["lock"], shard)
                for query in ("drop", "fill_ledgers", "fill_accounts", "fill_holds"):
                    await connection.execute(_QUERIES[query], shard)
        finally:
            connection.terminate()
    except CONNECTION_ERRORS as error:
        raise StartupRefused(f"cannot drop the checkpoint: {first_line(error)}") from error
    if not found:
        raise StartupRefused(f"the database has no shard {shard}")


async def _stage(connection: asyncpg.Connection, taken: Checkpoint, pieces: Pieces) -> dict[str, int]:
    """Send everything to temporary tables; the rows in those that have something to merge, in order."""

    async def send(table: str, stream: bytes) -> None:
        await connection.copy_to_table(
            f"{table}_staged", schema_name="pg_temp", source=in_parts(stream), format="binary"
        )

    staged = dict[str, int]()
    if taken.ledgers:
        await connection.execute(_QUERIES["stage_ledger"])
        await send("ledger", taken.ledger_copy)
        staged["ledger"] = taken.ledgers
    counted = {"account": taken.accounts, "hold": taken.holds, "hold_removed": taken.holds_removed}
    for table, rows in counted.items():
        if not rows:
            continue
        await connection.execute(_QUERIES[f"stage_{table}"])
        staged[table] = 0
        while (piece := await pieces(table)) is not None:
            await send(table, piece[0])
            staged[table] += piece[1]
        if staged[table] != rows:
            raise LedgerError(f"the engine gave {staged[table]} rows for {table} of a checkpoint that has {rows}")
    return staged


def _next_rows(table: str, engine: Engine) -> Piece | None:
    return engine.checkpoint_rows(table, CHECKPOINT_PIECE_ROWS)


class Checkpointer:
    """Takes a checkpoint every so often, and a last one when the writer has stopped."""

    def __init__(self, url: str, shard: int, writer: Writer, stats: Stats, *, interval_s: float, rows: int) -> None:
        self._url, self._shard = url, shard
        self._writer, self._stats = writer, stats
        self._interval_s, self._rows = interval_s, rows
        self._last_s, self._last_rows, self._took_s = time.monotonic(), stats.rows, 0.0
        self._stopping = asyncio.Event()
        self._open: Checkpoint | None = None
        """Taken, and the engine has not heard yet what became of it."""

    def stop(self) -> None:
        """Let `run` end after the checkpoint that it may be at."""
        self._stopping.set()

    async def run(self) -> None:
        """Until stopped; a failure is logged and made up for by the next."""
        while not self._stopping.is_set() and not self._is_over():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), CHECKPOINT_LOOK_S)
            rows, since_s = self._stats.rows - self._last_rows, time.monotonic() - self._last_s
            due = rows >= self._rows or (rows > 0 and since_s >= self._interval_s)
            if due and since_s >= CHECKPOINT_REST * self._took_s and not self._stopping.is_set():
                try:
                    await self.take()
                except Unavailable as error:
                    log.warning("no checkpoint: %s", first_line(error))
                except Exception:
                    # The writer does not need it; a restart would, so it must not go unseen.
                    log.exception("a checkpoint failed in a way that nobody has foreseen")

    def _is_over(self) -> bool:
        """Fenced or halted: what the engine has may be another history than the database's."""
        return self._stats.state in (State.FENCED, State.HALTED)

    async def _between(self, look: Callable[[Engine], T]) -> T:
        if self._is_over():
            raise Unavailable(f"the ledger is {self._stats.state.value}")
        return await self._writer.between(look)

    def _collect(self, engine: Engine) -> tuple[Checkpoint, tuple[int, int, int]]:
        self._failed(engine)  # of one before whose end was lost with the writer's: what it took would be in none
        self._open = engine.checkpoint()
        return self._open, (engine.ledgers, engine.accounts, engine.holds)

    def _failed(self, engine: Engine) -> None:
        if self._open is not None:
            engine.checkpoint_failed(self._open)
            self._open = None

    def _done(self, engine: Engine) -> None:
        if self._open is not None:
            engine.checkpoint_done(self._open)
            self._open = None

    async def _next(self, table: str) -> Piece | None:
        return await self._between(partial(_next_rows, table))

    async def take(self) -> bool:
        """Take one now and tell the engine how it went; false if it failed, which changes nothing. Raises
        `Unavailable` where the writer has ended meanwhile."""
        began_s, rows = time.monotonic(), self._stats.rows
        taken, counts = await self._between(self._collect)
        try:
            await store(self._url, self._shard, self._stats.epoch, taken, self._next, counts)
        except Exception as error:
            # Whatever it was: the engine must hear of it, or the next one would lack what this one took.
            foreseen = isinstance(error, (*CONNECTION_ERRORS, LedgerError, Unavailable))
            log.warning("the checkpoint at batch %d failed: %s", taken.seq, first_line(error), exc_info=not foreseen)
            await self._between(self._failed)
            return False
        finally:
            self._last_s = time.monotonic()
            self._took_s = self._last_s - began_s
        self._last_rows = rows
        await self._between(self._done)
        self._stats.checkpoints += 1
        self._stats.checkpoint_seq = taken.seq
        log.info("checkpoint at batch %d: %d accounts, %.1f s", taken.seq, taken.accounts, self._took_s)
        return True
