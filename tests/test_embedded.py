"""The embedded PostgreSQL: a fresh start, a restart, its sizes, and what it refuses.

Each test has a data directory of its own with a small WAL.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from pyledger.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    find_running,
    open_database,
    owner,
    processes,
    service,
    sizing,
    wal,
)
from pyledger.embedded.binaries import find_binaries
from pyledger.embedded.nouns import Account, Place
from pyledger.settings import Settings
from tests.support.embedded import WAL_MIB, connected, place_of

MIB = 1024 * 1024
GIB = 1024 * MIB


async def test_a_fresh_start_is_durable_private_and_in_utf8(settings: Settings) -> None:
    async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
        said = {row["name"]: row["setting"] for row in await connection.fetch("SELECT name, setting FROM pg_settings")}
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert said[name] == "on", name
        assert (said["listen_addresses"], said["server_encoding"]) == ("", "UTF8")
        assert await connection.fetchval("SELECT current_setting('is_superuser')") == "on"
        assert database.version.startswith("18.")
        collation = await connection.fetchrow(
            "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = 'pyledger'"
        )
        assert tuple(collation) == ("b", "C.UTF-8")
    place = place_of(settings)
    for directory in (place.cluster_dir, place.socket_dir):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
    assert processes.postmaster_id(place.cluster_dir) is None


async def test_the_server_connects_as_a_role_that_can_do_little(settings: Settings) -> None:
    async with EmbeddedPostgres(settings) as database, connected(database.server_dsn) as connection:
        row = await connection.fetchrow(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, pg_has_role('pyledger_writer', 'member') AS writes "
            "FROM pg_roles WHERE rolname = session_user"
        )
        assert tuple(row) == (False, False, False, True)


async def test_a_restart_finds_everything(settings: Settings) -> None:
    async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    started = time.monotonic()
    async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
        assert time.monotonic() - started < 10
        assert await connection.fetchval("SELECT answer FROM kept") == 42


async def test_wal_is_made_ahead_and_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WAL_PREMAKE_FIRST_S", 60.0)
    async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
        assert await connection.fetchval("SHOW min_wal_size") == f"{WAL_MIB}MB"
        assert await connection.fetchval("SHOW max_wal_size") == f"{WAL_MIB}MB"
        ahead = "SELECT count(*) FROM pg_ls_waldir() WHERE name > pg_walfile_name(pg_current_wal_lsn())"
        assert await connection.fetchval(ahead) >= WAL_MIB // 16 - 2
        await connection.execute("CREATE TABLE filler AS SELECT repeat('x', 900) FROM generate_series(1, 300000)")
        await connection.execute("CHECKPOINT")
        assert await connection.fetchval("SELECT sum(size) FROM pg_ls_waldir()") <= (WAL_MIB + 64) * MIB


async def test_a_restart_makes_ahead_only_what_it_must_find(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EmbeddedPostgres(settings):
        pass
    wal_dir = place_of(settings).cluster_dir / "pg_wal"
    for name in wal.wal_names(wal_dir)[3:]:
        (wal_dir / name).unlink()
    monkeypatch.setattr(service, "WAL_PREMAKE_AGAIN_MIB", 64)
    async with EmbeddedPostgres(settings):
        assert 64 // 16 <= len(wal.wal_names(wal_dir)) < WAL_MIB // 16


@pytest.mark.parametrize(
    ("name", "following"),
    [
        ("000000010000000000000001", "000000010000000000000002"),
        ("0000000A00000001000000FF", "0000000A0000000200000000"),
    ],
)
def test_names_of_wal_files(name: str, following: str) -> None:
    assert wal.next_name(name) == following


@pytest.mark.parametrize(
    ("setting_mib", "free_bytes", "wal_bytes", "room_mib"),
    [
        (4096, 1000 * GIB, 0, 4096),
        (4096, 20 * GIB, 0, 2048),
        (4096, 20 * GIB - 2 * GIB, 2 * GIB, 2048),
        (4096, 0, 0, sizing.WAL_MIB_MIN),
        (100, 1000 * GIB, 0, 96),
    ],
)
def test_wal_takes_at_most_a_tenth_of_the_disk(
    setting_mib: int, free_bytes: int, wal_bytes: int, room_mib: int
) -> None:
    assert sizing.wal_mib(setting_mib, free_bytes, wal_bytes) == room_mib


@pytest.mark.parametrize("memory_bytes", [256 * MIB, 2 * GIB, 24 * GIB, 1024 * GIB])
def test_memory_is_sized_to_the_machine(memory_bytes: int) -> None:
    found = sizing.configuration(memory_bytes, 96, "/tmp/socket")
    buffers = int(found["shared_buffers"].removesuffix("MB"))
    assert sizing.SHARED_BUFFERS_MIB_MIN <= buffers <= max(memory_bytes // MIB // 4, sizing.SHARED_BUFFERS_MIB_MIN)
    assert "'it''s'" in sizing.configuration_file({"x": "it's"})


async def test_two_servers_never_share_a_data_directory(settings: Settings) -> None:
    async with EmbeddedPostgres(settings) as database:
        with pytest.raises(EmbeddedError, match=f"in use by another pyledger .serve {os.getpid()}"):
            async with EmbeddedPostgres(settings):
                pass
        async with connected(database.owner_dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_command_uses_the_server_that_runs_or_starts_its_own(settings: Settings) -> None:
    assert find_running(settings) is None
    async with open_database(settings) as own, connected(own.owner_dsn) as connection:
        await connection.execute("CREATE TABLE made (by text)")
    assert processes.postmaster_id(place_of(settings).cluster_dir) is None
    async with EmbeddedPostgres(settings) as database:
        assert find_running(settings) == database
        async with open_database(settings) as running, connected(running.owner_dsn) as connection:
            assert await connection.fetchval("SELECT count(*) FROM made") == 0
            assert running == database


async def test_ctrl_c_in_the_terminal_does_not_reach_postgresql(settings: Settings) -> None:
    async with EmbeddedPostgres(settings):
        postmaster = processes.postmaster_id(place_of(settings).cluster_dir)
        assert postmaster is not None
        assert os.getpgid(postmaster) != os.getpgid(0)


async def test_another_version_s_data_is_left_alone(settings: Settings) -> None:
    async with EmbeddedPostgres(settings):
        pass
    (place_of(settings).cluster_dir / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match=r"was made by PostgreSQL 17, 18\..* cannot read it"):
        async with EmbeddedPostgres(settings):
            pass


async def test_what_the_system_refuses_is_one_line(settings: Settings) -> None:
    settings.data_dir.mkdir(mode=0o711)
    (settings.data_dir / "lock").mkdir()
    with pytest.raises(EmbeddedError, match=r"cannot be used: .*lock"):
        async with EmbeddedPostgres(settings):
            pass


async def test_what_postgresql_says_when_it_does_not_start_is_passed_on(settings: Settings) -> None:
    async with EmbeddedPostgres(settings):
        pass
    (place_of(settings).cluster_dir / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedError, match=r"PostgreSQL did not start: .*pg_control") as refused:
        async with EmbeddedPostgres(settings):
            pass
    assert "\n" not in str(refused.value)


async def test_a_path_too_long_for_a_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    deep.parent.mkdir(parents=True)
    for directory in (data_dir, deep.parent):
        directory.chmod(0o711)
    settings = Settings.load({}, {"data_dir": str(deep), "wal_mib_max": str(WAL_MIB)}, user_id=0)
    async with EmbeddedPostgres(settings) as database, connected(database.server_dsn) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    place = place_of(settings)
    assert place.socket_dir.parent == Path("/tmp")
    place.socket_dir.rmdir()
    place.socket_dir.symlink_to("/etc")
    try:
        with pytest.raises(EmbeddedError, match="is not a directory of user"):
            async with EmbeddedPostgres(settings):
                pass
    finally:
        place.socket_dir.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_data_directory_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(EmbeddedError, match=r"cannot make .*; set PYLEDGER_DATA_DIR"):
        async with EmbeddedPostgres(Settings.load({}, {"data_dir": "/proc/pyledger"}, user_id=1)):
            pass


def test_programs_that_are_not_there_or_not_postgresql_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="postgres is missing or cannot be run"):
        find_binaries(str(tmp_path))
    for program in ("postgres", "initdb"):
        (tmp_path / program).write_text("#!/bin/sh\necho 'cannot load libz' >&2; exit 127\n")
        (tmp_path / program).chmod(0o755)
    with pytest.raises(EmbeddedError, match="does not run here: cannot load libz"):
        find_binaries(str(tmp_path))
    (tmp_path / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    with pytest.raises(EmbeddedError, match=r"PostgreSQL 14\.9; 15 is the oldest"):
        find_binaries(str(tmp_path))


def test_a_process_id_that_is_somebody_else_s_now_is_not_signalled(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getppid()}\n{tmp_path}\n")
    assert processes.postmaster_id(tmp_path) is None


def test_account_is_found_for_root_and_for_nobody_else(tmp_path: Path) -> None:
    found = owner.account_for(Place(tmp_path, 18))
    assert (found is None) == (os.geteuid() != 0)
    assert found is None or isinstance(found, Account)
