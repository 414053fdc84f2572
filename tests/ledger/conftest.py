"""Fixtures of the ledger room's tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pyledger.ledger import partitions, sealing
from tests.ledger.tools import Wire
from tests.support.clusters import Database


@pytest_asyncio.fixture
async def wire(database: Database) -> AsyncIterator[Wire]:
    """A wire to `database` that breaks on demand; its own directory, for a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as directory:
        async with Wire(database, Path(directory)) as made:
            yield made


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are looked after much more often."""
    for module in (partitions, sealing):
        monkeypatch.setattr(module, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(partitions, "PARTITION_RETRY_S", 0.3)
    monkeypatch.setattr(sealing, "BACKOFF_MAX_S", 0.2)
