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
from pathlib import Path

import pytest

from pyledger import _rust
from tests.support.shop import MS, Shop, a_day, many, new_engine, numbered, one, record, transfer, tuples

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.open({"id": numbered(1)}, {"id": numbered(2), "flags": ["debits_must_not_exceed_credits"], "allowance": "50"})
    return shop


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
    given = [shop.engine.checkpoint_rows(table, 3) or (b"", 0) for table in ("account", "hold", "hold", "account")]
    assert [rows for _, rows in given] == [2, 1, 0, 0]
    shop.engine.checkpoint_done(again)
    restored = new_engine()
    tables = {"ledger": again.ledger_copy, "account": given[0][0], "hold": given[1][0]}
    assert [restored.load(table, copy) for table, copy in tables.items()] == [1, 2, 1]
    restored.set_head(again.seq, again.hash, again.last_ns)
    assert restored.digest() == shop.engine.digest()
    shop.run(_rust.decode_resolution(b"", 1, "void", numbered(101), "k"))
    last = shop.batches[-1]
    restored.replay(last.copy, [shop.link(last)])
    assert (restored.digest(), restored.hash) == (shop.engine.digest(), shop.engine.hash)
    assert shop.engine.checkpoint().holds_removed == 1
    copy, rows = shop.engine.checkpoint_rows("hold_removed", 3) or (b"", 0)
    assert (rows, [row[-16:].hex() for row in tuples(copy)]) == (1, [numbered(101).replace("-", "")])
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


def test_a_batch_that_lacks_a_row_leaves_nothing_to_store(shop: Shop) -> None:
    shop.run(one(transfer(100)))
    with pytest.raises(_rust.Corrupt, match="missing"):
        shop.engine.apply([one(transfer(100))], shop.now_ns, [])
    with pytest.raises(RuntimeError, match="uncommitted"):
        shop.engine.checkpoint()
