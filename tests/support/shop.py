"""An engine with the journal that a database would keep, and a day's worth of everything that it does."""

import json
import struct
import uuid
from collections.abc import Iterator

from pyledger import _rust

NOW_NS = 1_790_812_800_000_000_000
MS = 1_000_000
OIDS = [21, 20, 20, 2950, 23, 21, 21, 2950, 2950, 1700, 2950, 23, 23, 23, 23, 20, 17, 25, 25, 17, 17]


def new_engine(*, shard: int = 0, window_ids: int = 10_000, seed: int = 1) -> _rust.Engine:
    return _rust.Engine(shard, ledgers_max=10, accounts_max=1_000, holds_max=1_000, window_ids=window_ids, seed=seed)


def tuples(copy: bytes) -> Iterator[bytes]:
    """The tuples of a COPY stream."""
    assert copy[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    at = 19
    while copy[at : at + 2] != b"\xff\xff":
        start = at
        (fields,) = struct.unpack_from(">h", copy, at)
        at += 2
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", copy, at)
            at += 4 + max(length, 0)
        yield copy[start:at]
    assert at + 2 == len(copy)


def record(row: bytes) -> bytes:
    """What PostgreSQL's `record_send` makes of a row of the journal."""
    out, at = struct.pack(">i", len(OIDS)), 2
    for oid in OIDS:
        (length,) = struct.unpack_from(">i", row, at)
        end = at + 4 + max(length, 0)
        out += struct.pack(">I", oid) + row[at:end]
        at = end
    return out


class Shop:
    """An engine, the clock and the journal that a database would keep."""

    def __init__(self, **options: int) -> None:
        self.engine = new_engine(**options)
        self.now_ns = NOW_NS
        self.batches: list[_rust.Applied] = []
        self.rows: list[bytes] = []

    def run(self, *submissions: _rust.Commands) -> list[_rust.Reply]:
        self.now_ns += MS
        wanted = self.engine.probe(list(submissions))
        # Every row is more than was asked for, and no row that was is missing.
        old = [] if wanted is None else [record(row) for row in self.rows]
        applied = self.engine.apply(list(submissions), self.now_ns, old)
        self.engine.commit()
        if applied.rows:
            self.batches.append(applied)
            self.rows += tuples(applied.copy)
        return applied.replies

    def open(self, *accounts: dict[str, object]) -> None:
        self.run(_rust.decode_ledger(b'{"id":978,"asset":"EUR","exponent":2}', 1))
        body = json.dumps({"accounts": [{"ledger": 978, "code": 1, **account} for account in accounts]})
        (reply,) = self.run(_rust.decode_accounts(body.encode(), 1))
        assert json.loads(reply.body)["accepted"] == len(accounts)

    def link(self, batch: _rust.Applied) -> tuple[int, int, int, int, bytes, bytes]:
        return (batch.seq, batch.rows, batch.first_ns, batch.last_ns, batch.root, batch.hash)


def numbered(number: int) -> str:
    return str(uuid.UUID(int=number))


def transfer(number: int, **fields: object) -> dict[str, object]:
    accounts = {"debit_account_id": numbered(1), "credit_account_id": numbered(2)}
    return {"id": numbered(number), **accounts, "amount": "100", "ledger": 978, "code": 7, **fields}


def one(fields: dict[str, object], tenant: int = 1) -> _rust.Commands:
    return _rust.decode_transfer(json.dumps(fields).encode(), tenant, None)


def many(*transfers: dict[str, object]) -> _rust.Commands:
    return _rust.decode_transfers(json.dumps({"transfers": transfers}).encode(), 1)


def a_day(shop: Shop) -> list[tuple[_rust.Commands, _rust.Reply]]:
    """Some of everything: moved, held, posted in part, voided, expired, reversed, declined, refused."""
    back = {"debit_account_id": numbered(2), "credit_account_id": numbered(1)}
    resolve = _rust.decode_resolution
    texts = {"reference": 'Rechnung "7"', "metadata": {"b": [1, 2.5, None], "a": "é"}}
    day = [
        one(transfer(100, **texts, effective_at="2026-01-01T00:00:00+01:00")),
        one(transfer(101, **back, amount="151")),
        one(transfer(102, **back, amount="60", flags=["pending"], timeout_s=60)),
        one(transfer(103, **back, amount="20", flags=["pending"])),
        one(transfer(104, **back, amount="10", flags=["pending"], timeout_s=1)),
        resolve(b'{"amount":"40"}', 1, "post", numbered(102), "post-102"),
        resolve(b"", 1, "void", numbered(103), "void-103"),
        resolve(b'{"amount":"30"}', 1, "reverse", numbered(100), "reverse-100"),
        many(
            transfer(110, flags=["linked"]),
            transfer(111, **back, amount="999999"),
            transfer(112, debit_account_id=numbered(9)),
        ),
    ]
    replies = [(command, *shop.run(command)) for command in day]
    shop.now_ns += 2_000 * MS
    assert shop.run() == []
    assert shop.engine.holds == 0
    return replies
