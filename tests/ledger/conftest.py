"""Fixtures of the ledger room's tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.ledger.tools import Wire
from tests.support.clusters import Database


@pytest_asyncio.fixture
async def wire(database: Database) -> AsyncIterator[Wire]:
    """A wire to `database` that breaks on demand; its own directory, for a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as directory:
        async with Wire(database, Path(directory)) as made:
            yield made
