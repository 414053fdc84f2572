"""Fixtures of the tests of retention."""

from __future__ import annotations

import asyncio

import pytest

from pyledger.ledger.partitions import Partitions
from pyledger.ledger.sealing import Sealing


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server moves the end of a partition, or seals one, while the test does."""

    async def never(_: Partitions | Sealing) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Partitions, "keep", never)
    monkeypatch.setattr(Sealing, "run", never)
