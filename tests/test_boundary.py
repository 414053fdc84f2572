"""The boundary between Python and the core: the stub is true, both sides have the same tables, bytes survive.

Guarded here: `pyledger/_rust.pyi` describes the module that was built, and what a batch promised when it was
applied is what a retry, a replay of the journal and a checkpoint give again, to the byte.
"""

import json
import re
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyledger import _rust

ROOT = Path(__file__).parent.parent
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


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.open({"id": numbered(1)}, {"id": numbered(2), "flags": ["debits_must_not_exceed_credits"], "allowance": "50"})
    return shop


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


def test_the_stub_is_true() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "pyledger._rust", "--mypy-config-file", "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_sides_have_the_same_refusals() -> None:
    source = (ROOT / "rust_ext/core/src/refusal.rs").read_text()
    pattern = re.compile(r'^    \w+ = (\d+), "(\w+)", (\w+), "(.*)";$', re.MULTILINE)
    table = [(int(number), code, kind.lower(), detail) for number, code, kind, detail in pattern.findall(source)]
    assert table == _rust.REFUSALS
    assert len({number for number, *_ in table}) == len({code for _, code, *_ in table}) == len(table)
    malformed = [code for code, _ in _rust.MALFORMED]
    assert len(set(malformed)) == len(malformed)
    assert not set(malformed) & {code for _, code, *_ in table}


def test_both_sides_have_the_same_limits() -> None:
    nouns = (ROOT / "rust_ext/core/src/nouns.rs").read_text()
    for name, text in re.findall(r"^pub const (\w+): u\w+ = ([\d_]+);$", nouns, re.MULTILINE):
        assert _rust.LIMITS[name.lower()] == int(text)
    assert _rust.LIMITS["ledger_max"] == _rust.LIMITS["timeout_s_max"] == 2**31 - 1
    assert bytes(32) == _rust.GENESIS_HASH


def test_values_have_the_types_of_the_stub(shop: Shop) -> None:
    commands = one(transfer(100))
    assert (type(commands.rows), type(commands.weight), commands.ids) == (int, int, [numbered(100)])
    applied = shop.engine.apply([commands], shop.now_ns + MS, [])
    assert [type(one) for one in (applied.seq, applied.rows, applied.first_ns, applied.last_ns)] == [int] * 4
    for value, length in [(applied.hash, 32), (applied.prev_hash, 32), (applied.root, 32)]:
        assert (type(value), len(value)) == (bytes, length)
    assert (type(applied.copy), applied.declines) == (bytes, {})
    assert applied.copy is applied.copy
    (reply,) = applied.replies
    assert (type(reply.body), reply.outcome, reply.replayed, reply.refusal) == (bytes, "accepted", False, None)
    assert shop.engine.uncommitted == 1
    shop.engine.commit()
    assert shop.engine.next_expiry_ns is None
    ((tenant, account, *counters), _) = shop.engine.balances(0, 10)
    assert (tenant, account, counters) == (1, numbered(1), [0, 100, 0, 0])
    assert shop.engine.account_ids(1, None, None, 10) == [numbered(1), numbered(2)]
    assert shop.engine.account_ids(1, 978, numbered(1), 10) == [numbered(2)]
    assert shop.engine.ledger_numbers(1, None, 10) == [978]
    assert shop.engine.account_json(2, numbered(1), None, None) is None
    assert shop.engine.ledger_json(1, 979, None) is None


def test_malformed_says_what_and_where() -> None:
    with pytest.raises(_rust.Malformed) as caught:
        many(transfer(1), transfer(2, amount="1.5"))
    assert (caught.value.code, caught.value.index) == ("invalid_amount", 1)
    assert str(caught.value) == caught.value.detail
    assert caught.value.detail.startswith("amount: ")
    with pytest.raises(_rust.Malformed) as caught:
        _rust.decode_transfers(b"\xff", 1)
    assert (caught.value.code, caught.value.index) == ("invalid_utf8", None)
    assert caught.value.code in dict(_rust.MALFORMED)


def test_arguments_out_of_range() -> None:
    for tenant in (0, -1, 2**31):
        with pytest.raises(ValueError, match="tenant"):
            one(transfer(1), tenant)
    for shard in (-1, 2**15):
        with pytest.raises(ValueError, match="shard"):
            new_engine(shard=shard)
    with pytest.raises(ValueError, match="limit"):
        new_engine(window_ids=2**32)
    with pytest.raises(ValueError, match="clock"):
        new_engine().apply([], 2**63, [])
    with pytest.raises(ValueError, match="action"):
        _rust.decode_resolution(b"", 1, "settle", numbered(1), "k")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="uncommitted"):
        new_engine().commit()


def test_every_retry_gets_the_first_reply(shop: Shop) -> None:
    first = a_day(shop)
    for command, reply in first:
        (again,) = shop.run(command)
        if reply.outcome in ("accepted", "declined"):
            assert (again.body, again.replayed) == (reply.body, True)
            assert (again.outcome, again.refusal) == (reply.outcome, reply.refusal)
    outcomes = [(reply.outcome, reply.refusal) for _, reply in first]
    assert outcomes[1] == ("declined", "exceeds_credits")
    assert [outcome for outcome, _ in outcomes].count("accepted") == 7


def test_retries_outlive_the_window() -> None:
    """With a window of one id nearly everything is answered from what the journal keeps."""
    shop = Shop(window_ids=1)
    shop.open({"id": numbered(1)}, {"id": numbered(2), "flags": ["debits_must_not_exceed_credits"], "allowance": "50"})
    for command, reply in a_day(shop):
        wanted = shop.engine.probe([command])
        assert wanted is not None
        assert set(command.ids) <= set(wanted[1])
        (again,) = shop.run(command)
        if reply.outcome in ("accepted", "declined"):
            assert (again.body, again.replayed) == (reply.body, True)


def test_a_row_of_the_journal_reads_as_its_reply(shop: Shop) -> None:
    replies = {reply.body for _, reply in a_day(shop) if reply.outcome == "accepted"}
    rows = {shop.engine.row_json(record(row)) for row in shop.rows}
    assert replies <= rows
    kinds = {json.loads(row)["kind"] for row in rows}
    assert kinds == {"ledger", "account", "transfer", "pending", "post", "void", "reverse", "expire"}


def test_replay_gives_the_same_state(shop: Shop) -> None:
    a_day(shop)
    copies = b"".join(row for batch in shop.batches for row in tuples(batch.copy))
    stream = b"PGCOPY\n\xff\r\n\0" + bytes(8) + copies + b"\xff\xff"
    for seed in (1, 2):
        engine = new_engine(seed=seed)
        assert engine.replay(stream, [shop.link(batch) for batch in shop.batches]) == len(shop.rows)
        assert (engine.seq, engine.hash) == (shop.engine.seq, shop.engine.hash)
        assert engine.last_ns == shop.engine.last_ns
        assert engine.digest() == shop.engine.digest()


def test_a_changed_history_is_named(shop: Shop) -> None:
    a_day(shop)
    links = [shop.link(batch) for batch in shop.batches]
    for place, batch in enumerate(shop.batches):
        engine = new_engine()
        for before in shop.batches[:place]:
            engine.replay(before.copy, [shop.link(before)])
        copy = bytearray(batch.copy)
        copy[19 + 2 + 6 + 12 + 12 + 4 + 15] ^= 2  # the last byte of the first row's id
        with pytest.raises(_rust.Corrupt, match=rf"^batch {batch.seq}: the Merkle root"):
            engine.replay(bytes(copy), [links[place]])
    engine = new_engine()
    with pytest.raises(_rust.Corrupt, match="batch 2 follows batch 0"):
        engine.replay(shop.batches[1].copy, [links[1]])
    with pytest.raises(_rust.Corrupt, match="batch 1: its hash"):
        new_engine().replay(shop.batches[0].copy, [(*links[0][:5], bytes(32))])
    with pytest.raises(_rust.Corrupt, match="shard"):
        new_engine(shard=1).replay(shop.batches[0].copy, [links[0]])
    with pytest.raises(_rust.Corrupt, match="instead of 2"):
        new_engine().replay(shop.batches[0].copy, [(1, 2, *links[0][2:])])
    with pytest.raises(_rust.Corrupt, match="belong to none"):
        new_engine().replay(shop.batches[0].copy, [])


def test_bytes_that_are_no_rows_are_corrupt(shop: Shop) -> None:
    for bad in (b"", b"\0" * 100, record(shop.rows[0])[:-1], record(shop.rows[0]) + b"\0", shop.rows[0]):
        with pytest.raises(_rust.Corrupt):
            shop.engine.row_json(bad)
        with pytest.raises(_rust.Corrupt):
            shop.engine.apply([], shop.now_ns, [bad])
        with pytest.raises(_rust.Corrupt):
            new_engine().load("account", bad)
    assert shop.engine.uncommitted == 0
    with pytest.raises(_rust.Corrupt, match="metadata"):
        shop.engine.account_json(1, numbered(1), None, '{"a": 1}')


def test_a_checkpoint_gives_the_same_state(shop: Shop) -> None:
    first = shop.engine.checkpoint()
    assert (first.ledgers, first.accounts, first.holds) == (1, 2, 0)
    shop.engine.checkpoint_failed(first)
    with pytest.raises(RuntimeError, match="already"):
        shop.engine.checkpoint_done(first)
    shop.run(one(transfer(100)), one(transfer(101, flags=["pending"])))
    again = shop.engine.checkpoint()
    assert (again.ledgers, again.accounts, again.holds) == (1, 2, 1)
    shop.engine.checkpoint_done(again)
    restored = new_engine()
    assert restored.load("ledger", again.ledger_copy) == 1
    assert restored.load("account", again.account_copy) == 2
    assert restored.load("hold", again.hold_copy) == 1
    restored.set_head(again.seq, again.hash, again.last_ns)
    assert restored.digest() == shop.engine.digest()
    shop.run(_rust.decode_resolution(b"", 1, "void", numbered(101), "k"))
    last = shop.batches[-1]
    restored.replay(last.copy, [shop.link(last)])
    assert (restored.digest(), restored.hash) == (shop.engine.digest(), shop.engine.hash)
    assert shop.engine.checkpoint().holds_removed == [(1, numbered(101))]
    with pytest.raises(RuntimeError, match="new engine"):
        restored.load("ledger", again.ledger_copy)


def test_undo_forgets_all_and_a_batch_without_rows_keeps_the_head(shop: Shop) -> None:
    engine, digest, head = shop.engine, shop.engine.digest(), (shop.engine.seq, shop.engine.hash)
    applied = engine.apply([one(transfer(100))], shop.now_ns + MS, [])
    second = engine.apply([one(transfer(101))], shop.now_ns + 2 * MS, [])
    assert (second.seq, second.prev_hash) == (applied.seq + 1, applied.hash)
    assert engine.uncommitted == 2
    engine.undo()
    assert (engine.digest(), engine.uncommitted) == (digest, 0)
    with pytest.raises(RuntimeError, match="forgot"):
        _ = applied.replies
    again = engine.apply([one(transfer(100))], shop.now_ns + MS, [])
    assert (again.copy, again.hash) == (applied.copy, applied.hash)
    engine.undo()
    nothing = engine.apply([one(transfer(100, amount="0", ledger=0))], shop.now_ns + MS, [])
    assert (nothing.rows, nothing.copy, nothing.hash) == (0, b"", nothing.prev_hash)
    assert nothing.declines == {"ledger_must_not_be_zero": 1}
    engine.commit()
    assert (engine.seq, engine.hash) == head


def test_records_and_json_are_the_same_transfer(shop: Shop) -> None:
    def little(number: int, size: int) -> bytes:
        return number.to_bytes(size, "little")

    def binary(number: int, amount: int) -> bytes:
        numbers = (number, 1, 2, amount, 0)
        head = b"".join(little(one, 16) for one in numbers)
        return head + little(0, 8) + little(0, 4) + little(978, 4) + little(7, 2) + little(0, 2) + bytes(28)

    (reply,) = shop.run(one(transfer(100)))
    body = binary(100, 100) + binary(101, 2**64) + binary(100, 101) + binary(0, 1)
    (results,) = shop.run(_rust.decode_transfers_binary(body, 1))
    numbers = {code: number for number, code, *_ in _rust.REFUSALS}
    parsed = [struct.unpack_from("<QHHI", results.body, 160 * place) for place in range(4)]
    assert len(results.body) == 640
    assert (results.outcome, results.replayed) == ("batch", False)
    assert [status for _, status, _, _ in parsed] == [
        0,
        0,
        numbers["idempotency_conflict"],
        numbers["id_must_not_be_zero"],
    ]
    assert [replayed for _, _, replayed, _ in parsed] == [1, 0, 0, 0]
    assert [recorded > 0 for recorded, *_ in parsed] == [True, True, False, False]
    after = [int.from_bytes(results.body[160 + at : 160 + at + 16], "little") for at in range(16, 160, 16)]
    assert after == [2**64, 0, 2**64 + 100, 0, 0, 0, 0, 0, 2**64 + 100]
    retried = shop.run(one(transfer(100)))[0]
    assert retried.body == reply.body


def test_large_batches_release_the_gil() -> None:
    """With a switch interval of minutes another thread only runs while this one gives the GIL away."""
    body = json.dumps({"transfers": [transfer(number) for number in range(1, 8_191)]}).encode()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        for _ in range(50):
            started = threading.Event()
            ended: list[float] = []

            def work(started: threading.Event = started, ended: list[float] = ended) -> None:
                started.set()
                _rust.decode_transfers(body, 1)
                ended.append(time.perf_counter())

            thread = threading.Thread(target=work)
            thread.start()
            started.wait()
            seen = time.perf_counter()
            thread.join()
            if seen < ended[0]:
                return
        pytest.fail("no other thread ever ran while a batch was decoded")
    finally:
        sys.setswitchinterval(interval)
