"""Fixtures that all tests share. Async tests and fixtures just are `async def`; they run on uvloop.

`clusters`  the run's PostgreSQL clusters, by major version
`postgres`  one of them: 18, or each version that the marker `postgres(15, 18)` names
`database`  a migrated database of the test's own in it: .owner_dsn .server_dsn .reader_dsn .admin_dsn
`empty_database`  the same, not migrated
`server`    a real `pyledger serve --dev` process on `database` and a free port: .url .pid .stop()
`data_dir`, `settings`  a place for an embedded PostgreSQL of the test's own, and settings with only that
`start_server`  a function that starts more of them: start_server(database, setting=value, ...)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from pyledger.settings import Settings
from tests.support.clusters import (
    DEFAULT_VERSION,
    Clusters,
    Database,
    NotHere,
    Postgres,
    make_directory,
    remove_directory,
)
from tests.support.embedded import WAL_MIB
from tests.support.process import ServerProcess


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of the server, for all async tests."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each version of PostgreSQL that its marker names."""
    marker = metafunc.definition.get_closest_marker("postgres")
    if marker is not None and "postgres_version" in metafunc.fixturenames:
        metafunc.parametrize("postgres_version", marker.args, indirect=True)


@pytest.fixture
def postgres_version(request: pytest.FixtureRequest) -> int:
    """Which PostgreSQL this test runs on."""
    return int(getattr(request, "param", DEFAULT_VERSION))


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    """PostgreSQL clusters, started when they are first asked for and stopped at the end of the run."""
    found = Clusters(make_directory())
    try:
        yield found
    finally:
        asyncio.run(found.stop())
        remove_directory(found.directory)


@pytest_asyncio.fixture
async def postgres(clusters: Clusters, postgres_version: int) -> Postgres:
    """A running PostgreSQL."""
    try:
        return await clusters.get(postgres_version)
    except NotHere as reason:
        pytest.skip(f"PostgreSQL {postgres_version}: {reason}")


@pytest_asyncio.fixture
async def database(clusters: Clusters, postgres: Postgres) -> AsyncIterator[Database]:
    """A migrated database of the test's own."""
    made = await clusters.make_database(postgres.version)
    yield made
    await clusters.drop_database(made)


@pytest_asyncio.fixture
async def empty_database(clusters: Clusters, postgres: Postgres) -> AsyncIterator[Database]:
    """An empty database of the test's own."""
    made = await clusters.make_database(postgres.version, migrated=False)
    yield made
    await clusters.drop_database(made)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where an embedded PostgreSQL may be made; not made yet."""
    directory = make_directory()
    yield directory / "data"
    remove_directory(directory)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Settings with nothing but an embedded PostgreSQL of the test's own."""
    return Settings.load({}, {"data_dir": str(data_dir), "wal_mib_max": str(WAL_MIB)}, user_id=0)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers; what still runs at the end of the test is killed and waited for."""
    started: list[ServerProcess] = []

    def start(
        on: Database, *, ready: bool = True, arguments: tuple[str, ...] = ("--dev",), **settings: Any
    ) -> ServerProcess:
        urls = {"database_url": on.server_dsn, "owner_url": on.owner_dsn}
        log_file = tmp_path / f"server-{len(started)}.log"
        started.append(ServerProcess({**urls, **settings}, log_file, arguments))
        return started[-1].start(ready=ready)

    yield start
    for server in started:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def server(start_server: Callable[..., ServerProcess], database: Database) -> ServerProcess:
    """A real server process that owns the head of `database`."""
    return start_server(database)
