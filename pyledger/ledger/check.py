"""Proves the books, from the first row on, without a word from the server that wrote them.

Guarded here: what the ledger promises, twice over. PostgreSQL adds up the rows again; and a fresh engine
replays them, checking every link of the chain, every Merkle root and every balance that a reply showed. Each
row is asked of each index, and the checkpoint is loaded as a start would load it. The tree over the batches grows
again, and is compared with what was stored and signed of it. All of it sees one snapshot, so a server may go on
meanwhile. Not proven is who owns the shard, which is no part of the books: the head's epoch, owner and beat; of a
checkpoint's epoch only that it is none to come.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import asyncpg

from pyledger import sql
from pyledger._rust import GENESIS_HASH, Corrupt, Engine, prove_row
from pyledger.ledger import seals
from pyledger.ledger.archived_check import ArchivedCheck
from pyledger.ledger.connections import CONNECTION_ERRORS, QUERIES, UNREADABLE, connect, stream_copy
from pyledger.ledger.migrate import require_schema
from pyledger.ledger.nouns import (
    CHECK_BATCHES_MAX,
    CHECK_SLICE_ROWS,
    FINDINGS_MAX,
    Halted,
    Position,
    StartupRefused,
    first_line,
)
from pyledger.ledger.proofs.check import ProofCheck
from pyledger.ledger.proofs.document import link_hash
from pyledger.ledger.proofs.notes import PublicKey
from pyledger.ledger.proofs.outside import Place
from pyledger.ledger.recovery import Batch, load_base, load_checkpoint

_QUERIES: Final = sql.load("pyledger.ledger", "check.sql")
_WHOLE: Final = ("head", "sequence", "ids", "targets", "trial_balance")
_AS_OF_CHECKPOINT: Final = ("accounts", "balances", "holds")
_SESSION: Final = {
    "work_mem": "128MB",
    # Tables that were never analyzed look small, and a loop over all holds for each of them takes minutes.
    "enable_nestloop": "off",
}

_ROOT_WRONG: Final = "its rows are not those that its root was made of"
_HASH_WRONG: Final = "its hash is not that of what it says"

NewEngine = Callable[[], Engine]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is; `done` equals `total` once at its end."""

    step: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: which check found it, where, and what."""

    step: str
    place: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A key that stored checkpoints name and that was not given: a person has to know whether it is theirs."""

    key: str


Report = Progress | Finding | Unknown


async def check(
    url: str, shard: int, new_engine: NewEngine, place: Place | None = None, keys: Iterable[PublicKey] = ()
) -> AsyncIterator[Report]:
    """Check one shard and yield what is found as it is found; no `Finding` means that the books are right.

    `place` is where signed checkpoints are kept outside the database, `keys` are known beside those that the stored
    ones name. Needs the role that owns the schema: nobody else may read partitions by themselves. At most
    `FINDINGS_MAX` findings a step. Raises `StartupRefused` if the database cannot be read, or has no such shard."""
    try:
        connection = await connect(url, f"pyledger check {shard}", _SESSION)
        try:
            await require_schema(connection)
            proofs = ProofCheck(connection, shard, place, keys)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                try:
                    await connection.execute(QUERIES["pin"])
                    async for report in _check(connection, shard, new_engine, proofs):
                        yield report
                except (*UNREADABLE, asyncpg.InternalServerError) as error:
                    # Nothing further can be asked in this snapshot.
                    yield Finding("postgresql", f"shard {shard}", f"PostgreSQL cannot read it: {first_line(error)}")
        finally:
            connection.terminate()
    except CONNECTION_ERRORS as error:
        raise StartupRefused(f"cannot check the database: {first_line(error)}") from error


async def _check(
    connection: asyncpg.Connection, shard: int, new_engine: NewEngine, proofs: ProofCheck
) -> AsyncIterator[Report]:
    extent = await connection.fetchrow(_QUERIES["extent"], shard)
    if extent is None:
        raise StartupRefused(f"the database has no shard {shard}")
    steps = len(_WHOLE) + len(_AS_OF_CHECKPOINT)
    for done, step in enumerate(_WHOLE + _AS_OF_CHECKPOINT):
        yield Progress("books", done, steps)
        arguments = (extent["checkpoint_seq"],) if step in _AS_OF_CHECKPOINT else ()
        for row in await connection.fetch(_QUERIES[step], shard, FINDINGS_MAX, *arguments):
            yield Finding(step, row["place"], row["wrong"])
    yield Progress("books", steps, steps)
    if extent["rows"] != extent["journal_rows"]:
        wrong = f"the batches have {extent['rows']} rows, the journal has {extent['journal_rows']}"
        yield Finding("rows", f"journal of shard {shard}", wrong)
    async for report in _indexes(connection):
        yield report
    async for report in _seals(connection):
        yield report
    replay = _Replay(connection, shard, new_engine, extent)
    async for report in replay.run():
        yield report
    async for report in _proofs(proofs, extent["head_seq"]):
        yield report


async def _indexes(connection: asyncpg.Connection) -> AsyncIterator[Report]:
    """Every row, as it is found by reading the table from end to end, is also where each index says.

    An index that lies would hide an old id, and its command would take effect again."""
    indexes = await connection.fetch(_QUERIES["indexes"])
    for done, index in enumerate(indexes):
        yield Progress("indexes", done, len(indexes))
        # Names and expressions are those of the catalog.
        query = _QUERIES[f"unreached_{index['method']}"].format(**index)
        await connection.execute(_QUERIES["seqscan"], "off")
        for row in await connection.fetch(query, index["name"], FINDINGS_MAX):
            yield Finding("indexes", row["place"], row["wrong"])
        await connection.execute(_QUERIES["seqscan"], "on")
    yield Progress("indexes", len(indexes), len(indexes))


async def _seals(connection: asyncpg.Connection) -> AsyncIterator[Report]:
    """What was stored of partitions that are over, against their rows and batches."""
    spans = [span for row in await connection.fetch(QUERIES["partitions"]) if (span := seals.Span(*row)).sealed]
    for done, span in enumerate(spans):
        yield Progress("seals", done, len(spans))
        async for wrong in seals.wrong(connection, span):
            yield Finding("seals", span.name, wrong)
    yield Progress("seals", len(spans), len(spans))


async def _proofs(proofs: ProofCheck, batches: int) -> AsyncIterator[Report]:
    """The stored nodes of the tree and all that was signed, against the batches as they are."""
    findings = 0
    async for wrong in proofs.run():
        if wrong is None:
            yield Progress("proofs", proofs.size, batches)
        elif (findings := findings + 1) <= FINDINGS_MAX:
            yield Finding("proofs", *wrong)
    for key in proofs.named:
        yield Unknown(str(key))
    yield Progress("proofs", proofs.size, proofs.size)


class _Replay:
    """The second opinion: an engine that starts from nothing and believes no row."""

    def __init__(
        self, connection: asyncpg.Connection, shard: int, new_engine: NewEngine, extent: asyncpg.Record
    ) -> None:
        self._connection, self._shard, self._new_engine, self._extent = connection, shard, new_engine, extent
        self._previous, self._broken = GENESIS_HASH, 0
        self._archived = ArchivedCheck(connection, shard)
        self._begins = 0

    async def run(self) -> AsyncIterator[Report]:
        kept: bytes | None = None
        try:
            kept = await self._checkpoint_digest()
        except Halted as wrong:
            yield Finding("checkpoint", f"checkpoint of shard {self._shard}", str(wrong))
        engine, rows, whole, seq = self._new_engine(), 0, True, 0
        async for finding in self._base(engine):
            whole = whole and finding.step != "base"
            yield finding
        seq = self._begins
        if whole and seq and seq == self._extent["checkpoint_seq"] and kept not in (None, engine.digest()):
            yield Finding("checkpoint", f"batch {seq}", "the checkpoint is not the base")
        while batches := self._up_to_checkpoint(await self._next_slice(seq), seq):
            yield Progress("replay", rows, self._extent["rows"])
            async for finding in self._rows(batches):
                yield finding
            if whole:
                try:
                    engine.replay(await self._journal(batches), batches)
                except Corrupt as corrupt:
                    # The engine is in no defined state now; later batches are still looked at one by one.
                    whole = False
                    yield Finding("chain", f"batches {batches[0][0]} to {batches[-1][0]}", str(corrupt))
            if whole:
                self._previous = batches[-1][5]
            else:
                async for finding in self._each(batches):
                    yield finding
            seq = batches[-1][0]
            rows += sum(batch[1] for batch in batches)
            if whole and seq == self._extent["checkpoint_seq"] and kept not in (None, engine.digest()):
                yield Finding("checkpoint", f"batch {seq}", "the checkpoint is not what its rows lead to")
        if whole and (engine.seq, engine.hash) != (self._extent["head_seq"], self._extent["head_hash"]):
            yield Finding("chain", f"batch {engine.seq}", "the chain does not end at the head")
        yield Progress("replay", rows, rows)

    async def _next_slice(self, after_seq: int) -> list[Batch]:
        """The batches after one, as many as `CHECK_SLICE_ROWS` allows, at least one if there is one."""
        found = await self._connection.fetch(QUERIES["batches_after"], self._shard, after_seq, CHECK_BATCHES_MAX)
        batches: list[Batch] = []
        rows = 0
        for batch in map(tuple, found):
            rows += batch[1]
            if batches and rows > CHECK_SLICE_ROWS:
                break
            batches.append(batch)
        return batches

    async def _journal(self, batches: list[Batch]) -> bytes:
        """The journal rows of consecutive batches, in order, as one COPY stream."""
        chunks: list[bytes] = []
        bounds = (self._shard, batches[0][2], batches[-1][3])
        await stream_copy(self._connection, QUERIES["copy_journal_sorted"], *bounds, take=chunks.append)
        return b"".join(chunks)

    async def _each(self, batches: list[Batch]) -> AsyncIterator[Finding]:
        """Which of these batches is not what it says, and which of its rows were written later than the others.

        Of a row that was changed on the disk, and not by PostgreSQL, no trace may be left but its batch's root."""
        for batch in batches:
            if self._broken >= FINDINGS_MAX:
                return
            seq, rows, first_ns, last_ns, root, own = batch
            link = link_hash(self._previous, self._shard, seq, rows, first_ns, last_ns, root)
            self._previous = own
            try:
                # Of what is archived the links are here, and the rows in the archive.
                whole = self._archived.has(last_ns) or prove_row(await self._journal([batch]), 0)[:2] == (rows, root)
            except Corrupt:
                whole = False
            if not whole or own != link:
                self._broken += 1
                yield Finding("chain", f"batch {seq}", _HASH_WRONG if whole else _ROOT_WRONG)
                bounds = (self._shard, FINDINGS_MAX, seq, first_ns, last_ns)
                for row in await self._connection.fetch(_QUERIES["late_rows"], *bounds, own != link, whole):
                    yield Finding("rows", row["place"], row["wrong"])

    async def _base(self, engine: Engine) -> AsyncIterator[Finding]:
        """Where the journal begins, if not at its first batch: the state as of there, and before it what stayed of what
        is archived, and the links of all batches, with the rows of those that were restored."""
        base = await self._connection.fetchrow(QUERIES["base"], self._shard)
        if base is None:
            return
        seq, self._begins = 0, base["seq"]
        try:
            await load_base(self._connection, engine, self._shard)
        except Halted as wrong:
            yield Finding("base", f"base of shard {self._shard}", str(wrong))
        async for place, found in self._archived.wrong():
            yield Finding("archive", place, found)
        while seq < self._begins and (batches := await self._next_slice(seq)):
            batches = [batch for batch in batches if batch[0] <= self._begins]
            async for finding in self._each(batches):
                yield finding
            seq = batches[-1][0]
        if self._previous != base["hash"]:
            yield Finding("base", f"batch {self._begins}", "the base is not as of this batch")

    def _up_to_checkpoint(self, batches: list[Batch], after_seq: int) -> list[Batch]:
        """End a slice at the checkpoint's batch, so that the two can be compared there."""
        edge = self._extent["checkpoint_seq"]
        return [batch for batch in batches if batch[0] <= edge] if after_seq < edge else batches

    async def _rows(self, batches: list[Batch]) -> AsyncIterator[Finding]:
        bounds = (batches[0][0], batches[-1][0], batches[0][2], batches[-1][3])
        for row in await self._connection.fetch(_QUERIES["batch_rows"], self._shard, FINDINGS_MAX, *bounds):
            yield Finding("rows", row["place"], row["wrong"])

    async def _checkpoint_digest(self) -> bytes:
        """What a start would load, as one number. Raises `Halted` where it would."""
        engine, extent = self._new_engine(), self._extent
        await load_checkpoint(self._connection, engine, self._shard, Position(extent["head_seq"], extent["head_hash"]))
        return engine.digest()
