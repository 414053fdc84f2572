"""What the boundary refuses before it can hurt: too much for one batch, and a journal that lost a row."""

import json

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
