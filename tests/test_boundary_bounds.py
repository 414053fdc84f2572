"""What the boundary refuses before it can hurt: too much for one batch, and a journal that lost a row."""

import json
from typing import Any
from uuid import UUID

import pytest

from pyledger import _rust
from tests.support.shop import MS, Shop, numbered, one, transfer


def test_a_request_never_appends_more_rows_than_a_batch_has() -> None:
    def groups(count: int) -> bytes:
        post = {"pending_id": numbered(1), "flags": ["post_pending", "group"]}
        return json.dumps({"transfers": [{"id": numbered(2 + each), **post} for each in range(count)]}).encode()

    most = _rust.LIMITS["batch_rows_max"] // _rust.LIMITS["group_holds_max"]
    assert _rust.decode_transfers(groups(most), 1).weight == most * _rust.LIMITS["group_holds_max"]
    with pytest.raises(_rust.Malformed) as raised:
        _rust.decode_transfers(groups(most + 1), 1)
    assert raised.value.code == "batch_too_large"


def test_a_row_that_the_journal_lost_is_corruption_and_no_crash() -> None:
    shop = Shop()
    shop.open({"id": numbered(1)}, {"id": numbered(2)})
    commands = one(transfer(100))
    shop.engine.apply([commands], shop.now_ns + MS, [])
    shop.engine.commit()
    with pytest.raises(_rust.Corrupt, match=numbered(100)):
        shop.engine.apply([commands], shop.now_ns + 2 * MS, [])


def test_what_accounts_hold_is_of_one_ledger_of_one_tenant() -> None:
    shop = Shop()
    shop.open({"id": numbered(1)}, {"id": numbered(2)}, {"id": numbered(3)})
    shop.run(one(transfer(100)))

    def held(*asked: Any) -> list[tuple[str, list[int]]]:
        raw = _rust.held_accounts(shop.engine, *asked)
        assert len(raw) % 90 == 0
        pieces = [raw[at : at + 90] for at in range(0, len(raw), 90)]
        return [
            (str(UUID(bytes=each[:16])), [int.from_bytes(each[at : at + 16]) for at in range(26, 90, 16)])
            for each in pieces
        ]

    every = [(account, counters) for _, account, *counters in shop.engine.balances(0, 10)]
    assert held(1, 978, None, 10) == every
    assert held(1, 978, None, 2) == every[:2]
    assert held(1, 978, numbered(1), 10) == every[1:]
    for tenant, ledger in ((2, 978), (1, 979), (1, 0)):
        assert held(tenant, ledger, None, 10) == []
    for asked in ((1, 978, numbered(4), 10), (2, 978, numbered(1), 10), (1, 979, numbered(1), 10), (1, 978, "x", 10)):
        with pytest.raises(ValueError, match=r"account|UUID"):
            _rust.held_accounts(shop.engine, *asked)
