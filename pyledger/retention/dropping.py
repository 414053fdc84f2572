"""Dropping a partition that was archived: steps 4 and 5 of `archiving.py`.

The invariant: what goes was read back from the archive that was noted, proven, and replayed up to the very state that
`check` and `rebuild` begin from afterwards; and it goes in one transaction with all that remembers it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyledger._rust import Checkpoint, Corrupt, Engine
from pyledger.ledger import Halted
from pyledger.ledger.connections import in_parts, stream_copy
from pyledger.ledger.recovery import load_base
from pyledger.retention.books import QUERIES, Books
from pyledger.retention.nouns import SWAP_ATTEMPTS_MAX, SWAP_REST_S, BadArchive, Batch, Partition, RetentionError
from pyledger.retention.plan import Seen
from pyledger.retention.reading import Archive
from pyledger.retention.signatures import KeyOf, require_signed
from pyledger.retention.verifying import BUSY, Report, no_newer_hold, verify
from pyledger.retention.writing import sync

NewEngine = Callable[[int], Engine]
"""An empty engine for a shard."""
_PIECE_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class _State:
    """Of one shard at the end of a partition: what changed since the base, and all of it as one number."""

    shard: int
    engine: Engine
    changes: Checkpoint
    counts: tuple[int, int, int]
    digest: bytes


class Dropping:
    """Drops partitions whose archives are in a directory."""

    def __init__(self, books: Books, directory: Path, key_of: KeyOf, new_engine: NewEngine, report: Report) -> None:
        self._books, self._directory, self._key_of = books, directory, key_of
        self._new_engine, self._report = new_engine, report

    async def drop(self, seen: Seen) -> None:
        """Drop a partition that was archived, but for what stays. Raises `RetentionError`."""
        books, partition = self._books, seen.partition
        try:
            archive = await self._noted(partition)
            states, own = await self._replay(seen, archive)
        except BadArchive as error:
            raise BadArchive(
                f"{error}; all rows are still in the database: --to names the directory of the archive that was noted; "
                f"if that is lost, `pyledger archive --again {partition.name}` writes and notes it again"
            ) from error
        sync(archive.path)
        self._report("proven", 1, 1)
        async with books.connection.transaction():
            await books.run("wait_long")
            await books.run("freeze", of=partition.name)
            await self._fill(seen, own)
            for state in states:
                await self._move_base(state)
                await self._read_base_back(state)
            self._report("filled", 1, 1)
            await self._swap(seen)
            await books.log("dropped", archive.manifest, archive.text)
            self._report("swapped", 1, 1)
        self._report("dropped", 1, 1)

    async def _noted(self, partition: Partition) -> Archive:
        """The archive that was noted for a partition. Raises `BadArchive` if another one is there, or none."""
        noted = await self._books.partition(partition.start_ns)
        if noted is None or noted.step != "archived":
            raise RetentionError(f"{partition.name} is not archived (any more): look again")
        archive = Archive(self._directory / partition.name)
        if noted.manifest != archive.text:
            raise BadArchive(f"{archive.path} is not the archive that was noted for {partition.name}")
        for stretch in archive.manifest.shards:
            await require_signed(self._books, stretch, self._key_of(stretch.shard))
        return archive

    async def _replay(self, seen: Seen, archive: Archive) -> tuple[list[_State], dict[int, int]]:
        """Verify an archive while fresh engines replay it on top of the base: the state at its end, shard by shard."""
        engines: dict[int, Engine] = {}
        for stretch in archive.manifest.shards:
            base_seq = await self._books.value("base", stretch.shard) or 0
            if base_seq >= stretch.last_seq:
                continue  # it was dropped before, and restored since
            if base_seq != stretch.first_seq - 1:
                raise RetentionError(f"batch {base_seq + 1} of shard {stretch.shard} is not dropped yet, and is older")
            engine = self._new_engine(stretch.shard)
            await load_base(self._books.connection, engine, stretch.shard)
            engines[stretch.shard] = engine

        def take(shard: int, batches: list[Batch], copy: bytes) -> None:
            if shard in engines:
                engines[shard].replay(copy, batches)

        try:
            own = await verify(self._books, seen.partition, archive, self._report, take)
        except (Corrupt, Halted) as error:
            raise RetentionError(f"{archive.path} does not follow from what was before: {error}") from error
        return [_state(shard, engine) for shard, engine in engines.items()], own

    async def _fill(self, seen: Seen, own: dict[int, int]) -> None:
        """The twin with what stays, the ids of what goes, and what is noted of both. Raises `RetentionError`."""
        books, partition = self._books, seen.partition
        name, bounds = partition.name, (partition.start_ns, partition.end_ns)
        extents = await books.extents(partition)
        shards, last_seqs = [each.shard for each in extents], [each.last_seq for each in extents]
        counted = [(await books.rows("counted", each.shard, each.last_seq, of=name))[0] for each in extents]
        rows = sum(row["rows"] for row in await books.rows("contents", of=name))
        if sum(row["rows"] for row in counted) != rows:
            raise RetentionError(f"{name} has rows of a shard that has no head")
        sealed = await books.sealed_rows(partition)
        if sealed != rows:
            raise RetentionError(f"{name} has {rows} rows and was sealed with {sealed}: run `pyledger check`")
        await books.run("make_twin", name)
        await books.run("fill_twin", shards, last_seqs, of=name)
        await books.run("index_twin", name)
        await books.run("keep_ids", of=name)
        for extent, rows in zip(extents, counted, strict=True):
            if not rows["rows"]:
                continue
            if rows["archived"] != own.get(extent.shard, 0):
                raise RetentionError(
                    f"{rows['archived']} rows of shard {extent.shard} would be dropped, {own.get(extent.shard, 0)} are "
                    "in the archive: run `pyledger check`"
                )
            digest, query = hashlib.sha256(), QUERIES["copy_twin"].replace("{name}", name)
            said = await stream_copy(books.connection, query, extent.shard, take=digest.update)
            ids, ids_sum = (await books.rows("sum_ids", extent.shard, *bounds))[0]
            if ids != rows["ids"]:
                raise RetentionError(f"{ids} ids of {name} are kept, {rows['ids']} are due: one stands twice")
            await books.run(
                "note_archived", partition.start_ns, extent.shard, partition.end_ns, name, extent.first_seq,
                extent.last_seq, rows["rows"], int(said.split()[-1]), digest.digest(), ids, ids_sum,
            )  # fmt: skip

    async def _move_base(self, state: _State) -> None:
        """Merge what changed into the base."""
        books, changes = self._books, state.changes
        if changes.ledgers:
            await self._merge(state.shard, "ledger", [changes.ledger_copy])
        counted = {"account": changes.accounts, "hold": changes.holds, "hold_removed": changes.holds_removed}
        for table, rows in counted.items():
            if rows:
                await self._merge(state.shard, table, _given(state.engine, table))
        await books.run("unstage")
        counts = tuple((await books.rows("base_counts", state.shard))[0])
        if counts != state.counts:
            raise RetentionError(f"the base would have {counts} ledgers, accounts and holds, not {state.counts}")
        await books.run("set_base", state.shard, changes.seq, changes.hash, changes.last_ns, *counts, state.digest)

    async def _read_base_back(self, state: _State) -> None:
        """What was stored is what the replay arrived at, and all that is left of it. Raises `RetentionError`."""
        try:
            await load_base(self._books.connection, self._new_engine(state.shard), state.shard)
        except Halted as error:
            raise RetentionError(f"the base of shard {state.shard} was not stored as it is: {error}") from error

    async def _merge(self, shard: int, table: str, copies: Iterable[bytes]) -> None:
        await self._books.run(f"stage_{table}")
        for copy in copies:
            await self._books.connection.copy_to_table(
                f"{table}_staged", schema_name="pg_temp", source=in_parts(copy), format="binary"
            )
        await self._books.run(f"merge_{table}", shard)

    async def _swap(self, seen: Seen) -> None:
        """Let the twin take the partition's place, while appends wait for no longer than a tenth of a second each time.

        Raises `RetentionError` if what it rests on has changed, or if the lock cannot be had."""
        books, partition = self._books, seen.partition
        begun = {each.shard: each.begun_seq for each in await books.extents(partition)}
        for attempt in range(SWAP_ATTEMPTS_MAX):
            self._report("lock", attempt, SWAP_ATTEMPTS_MAX)
            try:
                async with books.connection.transaction():
                    await no_newer_hold(books, seen.holds_placed)
                    for row in await books.rows("lock_checkpoints"):
                        if row["seq"] < begun.get(row["shard"], 0):
                            raise RetentionError(
                                f"the checkpoint of shard {row['shard']} is at batch {row['seq']} and a start would "
                                f"need what is dropped up to {begun[row['shard']]}: the server takes one by itself"
                            )
                    if not await books.value("knows_archives"):
                        raise RetentionError("the server is of before there were archives: restart it")
                    if not await books.value("is_over", partition.end_ns):
                        raise RetentionError(f"{partition.name} is not over for every shard")
                    await books.run("swap_twin", partition.name)
                return
            except BUSY:
                await asyncio.sleep(SWAP_REST_S)
        raise RetentionError(f"{partition.name} is in use all the time (a backup, a check?): nothing was dropped")


def _given(engine: Engine, table: str) -> Iterator[bytes]:
    """What the checkpoint that was taken has for a table, piece by piece."""
    while (piece := engine.checkpoint_rows(table, _PIECE_ROWS)) is not None:
        yield piece[0]


def _state(shard: int, engine: Engine) -> _State:
    counts = (engine.ledgers, engine.accounts, engine.holds)
    return _State(shard, engine, engine.checkpoint(), counts, engine.digest())
