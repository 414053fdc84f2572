"""Real PostgreSQL clusters for tests: each major version once per run, one fresh database per test.

Guards: a test never shares a database with another, and no PostgreSQL outlives the run. fsync is on, as
in earnest; only initdb does not sync. The schema's owner is not a superuser, as on anybody's PostgreSQL.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from pyledger.embedded import owner, sizing
from pyledger.embedded.binaries import Binaries, find_binaries, reachable
from pyledger.embedded.cluster import Cluster
from pyledger.embedded.nouns import OWNER_ROLE, EmbeddedError, Place

VERSIONS: Final = (15, 18)
"""The oldest that pyledger supports, and the one that it carries."""
DEFAULT_VERSION: Final = 18
DEBIAN_BIN_15: Final = "/usr/lib/postgresql/15/bin"
TEMPLATE: Final = "pyledger_template"
MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""What a test's PostgreSQL sizes itself for: 128 MiB of shared buffers."""
WAL_MIB: Final = 256

SCHEMA_OWNER: Final = "test_owner"
SERVER: Final = "test_server"
READER: Final = "test_reader"


class NotHere(Exception):
    """This version of PostgreSQL is not installed; the reason, for a skip."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """One running cluster."""

    cluster: Cluster

    @property
    def version(self) -> int:
        """Its major version."""
        return self.cluster.binaries.major

    def admin_dsn(self, database: str = "postgres") -> str:
        """As the superuser, for what a test does behind pyledger's back."""
        return self.cluster.place.dsn(OWNER_ROLE, database)

    def dsn(self, role: str, database: str) -> str:
        """As any role."""
        return self.cluster.place.dsn(role, database)


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database of one test's own. `postgres` is the cluster that it is in."""

    postgres: Postgres
    name: str

    @property
    def owner_dsn(self) -> str:
        """As the schema's owner, who is no superuser."""
        return self.postgres.dsn(SCHEMA_OWNER, self.name)

    @property
    def server_dsn(self) -> str:
        """As what the server connects as: a member of pyledger_writer."""
        return self.postgres.dsn(SERVER, self.name)

    @property
    def reader_dsn(self) -> str:
        """As a member of pyledger_reader."""
        return self.postgres.dsn(READER, self.name)

    @property
    def admin_dsn(self) -> str:
        """As the superuser."""
        return self.postgres.admin_dsn(self.name)


@dataclass(slots=True)
class Clusters:
    """The clusters of this run, started when they are first asked for."""

    directory: Path
    running: dict[int, Postgres] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    templates: set[int] = field(default_factory=set)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def get(self, version: int) -> Postgres:
        """The running cluster of a major version. Raises `NotHere`."""
        if version in self.missing:
            raise NotHere(self.missing[version])
        if version not in self.running:
            try:
                binaries = await asyncio.to_thread(find_binaries, DEBIAN_BIN_15 if version == 15 else "")
            except EmbeddedError as error:
                self.missing[version] = str(error)
                raise NotHere(str(error)) from None
            self.running[version] = await start_cluster(self.directory / f"postgresql-{version}", binaries)
        return self.running[version]

    async def make_database(self, version: int, *, migrated: bool = True) -> Database:
        """A new database; a migrated one is a copy of the template, made once."""
        postgres = await self.get(version)
        template = TEMPLATE if migrated else "template0"
        if migrated and version not in self.templates:
            await self._make_template(postgres)
            self.templates.add(version)
        database = Database(postgres, f"test_{next(self.numbers)}")
        await run_as_admin(postgres, f"CREATE DATABASE {database.name} TEMPLATE {template} OWNER {SCHEMA_OWNER}")
        return database

    async def drop_database(self, database: Database) -> None:
        """Drop it, whoever is still connected."""
        await run_as_admin(database.postgres, f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    async def stop(self) -> None:
        """Stop them all."""
        for postgres in self.running.values():
            await postgres.cluster.stop()

    async def _make_template(self, postgres: Postgres) -> None:
        from pyledger.ledger import migrate

        await run_as_admin(postgres, f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 OWNER {SCHEMA_OWNER}")
        await migrate.upgrade(postgres.dsn(SCHEMA_OWNER, TEMPLATE))


async def start_cluster(data_dir: Path, binaries: Binaries, *, wal_mib: int = WAL_MIB) -> Postgres:
    """Make and start a cluster in a directory of its own, with the roles that tests connect as."""
    place = Place(data_dir, binaries.major)
    account = owner.account_for(place)
    owner.make_data_dir(place, account)
    cluster = Cluster(place, await asyncio.to_thread(reachable, binaries, account, data_dir), account, durable=False)
    await cluster.create()
    settings = sizing.configuration(MEMORY_BYTES, wal_mib, str(place.socket_dir))
    settings |= {"max_connections": "200", "huge_pages": "off"}
    cluster.configure(settings)
    await cluster.start()
    postgres = Postgres(cluster)
    # What an administrator would do on a PostgreSQL of one's own, see the README.
    for role in ("pyledger_owner", "pyledger_writer", "pyledger_reader"):
        await run_as_admin(postgres, f"CREATE ROLE {role} NOLOGIN")
    await run_as_admin(postgres, f"CREATE ROLE {SCHEMA_OWNER} LOGIN NOSUPERUSER IN ROLE pyledger_owner")
    await run_as_admin(postgres, f"CREATE ROLE {SERVER} LOGIN NOSUPERUSER IN ROLE pyledger_writer")
    await run_as_admin(postgres, f"CREATE ROLE {READER} LOGIN NOSUPERUSER IN ROLE pyledger_reader")
    return postgres


async def run_as_admin(postgres: Postgres, statement: str, database: str = "postgres") -> None:
    """Run one statement as the superuser."""
    connection = await asyncpg.connect(postgres.admin_dsn(database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def make_directory() -> Path:
    """A short directory (a socket's path is limited) that PostgreSQL's user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="pyledger-", dir="/tmp"))
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return directory


def remove_directory(directory: Path) -> None:
    """And everything in it."""
    shutil.rmtree(directory, ignore_errors=True)
