"""Bounds that an operator set below what the core takes: each holds, says so, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.talk import Books, open_books
from tests.support.clusters import Database
from tests.support.process import ServerProcess


@pytest.fixture
def strict(database: Database, tmp_path: Path) -> Iterator[Books]:
    """Two commands a batch, and five levels of JSON."""
    urls = {"database_url": database.server_dsn, "owner_url": database.owner_dsn}
    server = ServerProcess({**urls, "batch_rows_max": 2, "json_depth_max": 5}, tmp_path / "server.log").start()
    yield open_books(server.url)
    assert server.stop() == 0, server.log()


def test_lower_bounds_hold(strict: Books) -> None:
    batch = [strict.transfer() for _ in range(3)]
    answer = strict.post("/v1/transfers/batch", {"transfers": batch})
    assert (answer.status, answer.code) == (400, "batch_too_large")
    assert strict.post("/v1/transfers/batch", {"transfers": batch[:2]}).json["accepted"] == 2

    deep = strict.transfer(metadata={"1": {"2": {"3": {"4": {"5": 6}}}}})
    answer = strict.post("/v1/transfers", deep)
    assert (answer.status, answer.code, answer.json["json_depth_max"]) == (400, "json_too_deep", 5)
    flat = {**deep, "metadata": {"text": "[[[[[[[[", "list": [[[1]]]}}
    assert strict.post("/v1/transfers", flat).status == 201
    answer = strict.post("/v1/transfers/batch", {"transfers": [strict.transfer(metadata={"1": {"2": {"3": 4}}})]})
    assert (answer.status, answer.code) == (400, "json_too_deep")
