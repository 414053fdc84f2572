"""One server for all tests that leave it as it is, with books to write in.

`books`   a talker to a server that all tests of this directory share: its own accounts per test
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.talk import Books, open_books
from tests.support.clusters import DEFAULT_VERSION, Clusters
from tests.support.process import ServerProcess

LIMITS = {"body_timeout_ms": 1_000, "header_timeout_ms": 2_000, "body_bytes_max": 4 * 1024 * 1024}
"""Shorter than the defaults, so that tests need not wait."""


@pytest.fixture(scope="session")
def shared_server(clusters: Clusters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process that no test stops."""
    database = asyncio.run(clusters.make_database(DEFAULT_VERSION))
    log_file: Path = tmp_path_factory.mktemp("shared") / "server.log"
    urls = {"database_url": database.server_dsn, "owner_url": database.owner_dsn}
    server = ServerProcess({**urls, **LIMITS}, log_file).start()
    yield server
    code = server.stop()
    assert code == 0, server.log()
    assert "Traceback" not in server.log(), server.log()
    asyncio.run(clusters.drop_database(database))


@pytest.fixture(scope="session")
def shared_books(shared_server: ServerProcess) -> Books:
    """Its ledger, opened once."""
    return open_books(shared_server.url)


@pytest.fixture
def books(shared_books: Books) -> Books:
    """The same ledger with fresh accounts."""
    wallet = shared_books.account("debits_must_not_exceed_credits")
    return Books(shared_books.url, None, shared_books.account(), wallet)
