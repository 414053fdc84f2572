"""An engine and its journal, kept in memory: what the writer and PostgreSQL are to the engine in production.

Guarded here: every batch is proven as it is written. Its copy bytes replay into a second engine that ends in
the same state, and an undo in between leaves the first one as it was, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from pyledger._rust import Applied, Commands, Engine, Reply

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff" * 4
SMALLINT, BIGINT, INTEGER, UUID_OID, NUMERIC, BYTEA, TEXT = 21, 20, 23, 2950, 1700, 17, 25
COLUMNS = {
    "shard": SMALLINT,
    "seq": BIGINT,
    "recorded_ns": BIGINT,
    "id": UUID_OID,
    "tenant": INTEGER,
    "kind": SMALLINT,
    "status": SMALLINT,
    "debit_account": UUID_OID,
    "credit_account": UUID_OID,
    "amount": NUMERIC,
    "target": UUID_OID,
    "ledger": INTEGER,
    "code": INTEGER,
    "flags": INTEGER,
    "timeout_s": INTEGER,
    "effective_ns": BIGINT,
    "fingerprint": BYTEA,
    "reference": TEXT,
    "metadata": TEXT,
    "debit_after": BYTEA,
    "credit_after": BYTEA,
}
PLACE = {name: place for place, name in enumerate(COLUMNS)}
Fields = list[bytes | None]


def read_copy(stream: bytes) -> Iterator[Fields]:
    """The tuples of a binary COPY stream, field by field."""
    assert stream.startswith(HEADER), "not a binary COPY stream"
    assert stream.endswith(TRAILER), "the stream has no end"
    at, end = len(HEADER), len(stream) - len(TRAILER)
    while at < end:
        count = int.from_bytes(stream[at : at + 2])
        at += 2
        fields: Fields = []
        for _ in range(count):
            length = stream[at : at + 4]
            at += 4
            if length == NULL:
                fields.append(None)
            else:
                start, at = at, at + int.from_bytes(length)
                fields.append(stream[start:at])
        yield fields
    assert at == end


def write_copy(rows: list[Fields]) -> bytes:
    """What COPY OUT gives for these rows."""
    return joined([len(row).to_bytes(2) + b"".join(map(_with_length, row)) for row in rows])


def joined(tuples: list[bytes]) -> bytes:
    """A stream of these bytes of tuples."""
    return HEADER + b"".join(tuples) + TRAILER


def _with_length(field: bytes | None) -> bytes:
    return NULL if field is None else len(field).to_bytes(4) + field


def record(row: Fields) -> bytes:
    """What `record_send` gives for a journal row."""
    types = [oid.to_bytes(4) for oid in COLUMNS.values()]
    fields = zip(types, map(_with_length, row), strict=True)
    return len(row).to_bytes(4) + b"".join(part for field in fields for part in field)


def number(row: Fields, name: str) -> int:
    """An integer column."""
    return int.from_bytes(row[PLACE[name]] or b"", signed=True)


@dataclass
class Batch:
    """One committed batch, as the journal and its `batch` table keep it."""

    copy: bytes
    entry: tuple[int, int, int, int, bytes, bytes]

    @property
    def tuples(self) -> bytes:
        """The bytes of its rows alone."""
        return self.copy[len(HEADER) : -len(TRAILER)]


@dataclass
class Book:
    """The engine, its journal, and what has been found in it."""

    window_ids: int = 64
    accounts_max: int = 10_000
    ledgers_max: int = 100
    holds_max: int = 10_000
    journal: list[Batch] = field(default_factory=list)
    by_id: dict[tuple[int, bytes], Fields] = field(default_factory=dict)
    records: dict[bytes, bytes] = field(default_factory=dict)  # of rows that were looked up, by when they were recorded
    by_target: dict[tuple[int, bytes], list[Fields]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = self.new_engine(1)

    def new_engine(self, seed: int) -> Engine:
        """An empty engine with this book's bounds."""
        return Engine(
            0,
            ledgers_max=self.ledgers_max,
            accounts_max=self.accounts_max,
            holds_max=self.holds_max,
            window_ids=self.window_ids,
            seed=seed,
        )

    def old(self, submissions: list[Commands]) -> list[bytes]:
        """What the engine asks for before it can decide, and nothing more: just what the writer's query reads.

        Rows by id, targets and what acted on them; what was declined acted on nothing."""
        wanted = self.engine.probe(submissions)
        if wanted is None:
            return []
        tenants, ids, target_tenants, targets, *_ = wanted
        rows: dict[bytes, Fields] = {}
        for tenant, each in zip(tenants + target_tenants, ids + targets, strict=True):
            row = self.by_id.get((tenant, UUID(each).bytes))
            if row is not None:
                rows[row[PLACE["recorded_ns"]] or b""] = row
        for tenant, each in zip(target_tenants, targets, strict=True):
            for row in self.by_target.get((tenant, UUID(each).bytes), []):
                if number(row, "status") == 0:
                    rows[row[PLACE["recorded_ns"]] or b""] = row
        return [self._record(at, row) for at, row in rows.items()]

    def _record(self, at: bytes, row: Fields) -> bytes:
        if at not in self.records:
            self.records[at] = record(row)
        return self.records[at]

    def apply(self, submissions: list[Commands], now_ns: int) -> Applied:
        """Decides one batch, not yet committed."""
        return self.engine.apply(submissions, now_ns, self.old(submissions))

    def commit(self, applied: Applied) -> list[Reply]:
        """Writes the batch to the journal and commits it."""
        replies = applied.replies
        if applied.rows:
            rows = list(read_copy(applied.copy))
            assert len(rows) == applied.rows
            for row in rows:
                self._file(row)
            entry = (applied.seq, applied.rows, applied.first_ns, applied.last_ns, applied.root, applied.hash)
            self.journal.append(Batch(applied.copy, entry))
        self.engine.commit()
        assert (self.engine.seq, self.engine.hash) == (applied.seq, applied.hash)
        return replies

    def _file(self, row: Fields) -> None:
        tenant, each, target = number(row, "tenant"), row[PLACE["id"]], row[PLACE["target"]]
        assert each is not None
        assert (tenant, each) not in self.by_id, f"id {each.hex()} is in the journal twice"
        self.by_id[tenant, each] = row
        if target is not None:
            self.by_target.setdefault((tenant, target), []).append(row)

    def submit(self, submissions: list[Commands], now_ns: int) -> list[Reply]:
        """Decides and commits one batch."""
        return self.commit(self.apply(submissions, now_ns))

    def replayed(self, seed: int = 2) -> Engine:
        """A fresh engine that has read the whole journal."""
        engine = self.new_engine(seed)
        if self.journal:
            copy = joined([batch.tuples for batch in self.journal])
            assert engine.replay(copy, [batch.entry for batch in self.journal]) == len(self.by_id)
        return engine
