"""The file system that forgets: what was synced stays, what was not goes, and PostgreSQL lives with that."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from pyledger.embedded import processes
from pyledger.embedded.binaries import find_binaries
from tests.faults.amnesia.disk import PAGE_BYTES, ROOT, SECTOR_BYTES, Disk
from tests.faults.amnesia.mounted import Amnesia, missing
from tests.support.clusters import make_directory, remove_directory, start_cluster

REASON = missing()
needs_fuse = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def make(disk: Disk, name: bytes, data: bytes = b"", directory: int = ROOT, mode: int = 0o100644) -> int:
    number = disk.create(directory, name, mode, 0, 0).number
    if data:
        disk.write(number, 0, memoryview(data))
    return number


def read(disk: Disk, name: bytes, directory: int = ROOT) -> bytes:
    return bytes(disk.find(directory, name).content)


def test_what_was_synced_stays_and_the_rest_goes() -> None:
    disk = Disk()
    number = make(disk, b"a", b"1" * 10_000)
    disk.sync(number)
    disk.write(number, 4_000, memoryview(b"2" * 200))
    disk.write(number, 10_000, memoryview(b"3" * 9_000))
    make(disk, b"b", b"never synced")
    assert disk.lose(1, 0.0) == {"names_lost": 1, "pages_lost": 6}
    assert read(disk, b"a") == b"1" * 10_000
    with pytest.raises(FileNotFoundError):
        disk.find(ROOT, b"b")


def test_a_sync_of_one_file_keeps_names_but_not_the_content_of_others() -> None:
    disk = Disk()
    make(disk, b"a", b"content")
    disk.sync(make(disk, b"b", b"content"))
    disk.lose(1, 0.0)
    assert read(disk, b"a") == b""
    assert read(disk, b"b") == b"content"


def test_fdatasync_of_a_file_that_keeps_its_size_writes_no_journal() -> None:
    disk = Disk()
    number = make(disk, b"wal", bytes(PAGE_BYTES))
    disk.settle()
    make(disk, b"new")
    disk.write(number, 0, memoryview(b"record"))
    disk.sync(number, data_only=True)
    disk.lose(1, 0.0)
    assert read(disk, b"wal").startswith(b"record")
    with pytest.raises(FileNotFoundError):
        disk.find(ROOT, b"new")


def test_rename_is_one_step_and_comes_back_if_it_was_not_synced() -> None:
    for synced in (False, True):
        disk = Disk()
        make(disk, b"old", b"old")
        disk.sync(make(disk, b"old", b"old", make(disk, b"d", mode=0o40755)))
        disk.settle()
        disk.sync(make(disk, b"new", b"new"))
        disk.rename(ROOT, b"new", ROOT, b"old")
        if synced:
            disk.sync(ROOT)
        disk.lose(1, 0.0)
        assert (read(disk, b"old"), b"new" in disk.node(ROOT).names) == ((b"new", False) if synced else (b"old", True))


def test_what_was_cut_off_comes_back_whole() -> None:
    for seed in range(50):
        disk = Disk()
        number = make(disk, b"a", b"1" * 20_000)
        disk.settle()
        disk.resize(number, 5_000)
        disk.lose(seed, 0.5)
        assert read(disk, b"a") in {b"1" * 20_000, b"1" * 5_000}
    disk = Disk()
    number = make(disk, b"a", b"1" * 20_000)
    disk.settle()
    disk.resize(number, 5_000)
    disk.resize(number, 9_000)
    disk.lose(1, 0.0)
    assert read(disk, b"a") == b"1" * 20_000


def test_removed_names_come_back_and_what_nothing_leads_to_is_forgotten() -> None:
    disk = Disk()
    directory = make(disk, b"d", mode=0o40755)
    make(disk, b"a", b"here", directory)
    disk.settle()
    disk.remove(directory, b"a", of_directory=False)
    disk.remove(ROOT, b"d", of_directory=True)
    disk.lose(1, 0.0)
    assert read(disk, b"a", directory) == b"here"
    disk.remove(directory, b"a", of_directory=False)
    disk.settle()
    disk.lose(1, 0.0)
    assert set(disk.nodes) == {ROOT, directory}


def test_luck_tears_pages_between_sectors_and_is_the_seed_alone() -> None:
    outcomes = set()
    for seed in range(300):
        results = []
        for _ in range(2):
            disk = Disk()
            number = make(disk, b"a", b"1" * PAGE_BYTES)
            disk.settle()
            disk.write(number, 0, memoryview(b"2" * PAGE_BYTES))
            disk.lose(seed, 0.5)
            results.append(read(disk, b"a"))
        assert results[0] == results[1]
        new = results[0].count(b"2")
        assert results[0] == b"2" * new + b"1" * (PAGE_BYTES - new)
        assert new % SECTOR_BYTES == 0
        outcomes.add(new)
    assert {0, PAGE_BYTES} < outcomes


def test_of_steps_a_first_part_is_kept() -> None:
    for seed in range(50):
        disk = Disk()
        for name in range(20):
            make(disk, b"%02d" % name)
        disk.lose(seed, 0.5)
        kept = sorted(disk.node(ROOT).names)
        assert kept == [b"%02d" % name for name in range(len(kept))]


def test_a_disk_that_lies_loses_what_was_synced() -> None:
    disk = Disk()
    disk.lies = True
    disk.sync(make(disk, b"a", b"1"))
    assert disk.lose(1, 0.0)["names_lost"] == 1


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda disk: disk.find(ROOT, b"none"), errno.ENOENT),
        (lambda disk: disk.create(ROOT, b"full", 0o100644, 0, 0), errno.EEXIST),
        (lambda disk: disk.remove(ROOT, b"full", of_directory=True), errno.ENOTEMPTY),
        (lambda disk: disk.remove(ROOT, b"full", of_directory=False), errno.EISDIR),
    ],
)
def test_errors_are_those_of_a_file_system(act: object, code: int) -> None:
    disk = Disk()
    make(disk, b"a", directory=make(disk, b"full", mode=0o40755))
    with pytest.raises(OSError) as caught:  # noqa: PT011
        act(disk)  # type: ignore[operator]
    assert caught.value.errno == code


@pytest_asyncio.fixture
async def amnesia() -> AsyncIterator[Amnesia]:
    directory = make_directory()
    try:
        async with Amnesia(directory / "disk") as mounted:
            yield mounted
    finally:
        remove_directory(directory)


def use_files(path: Path) -> None:
    """What a file system is for, through the kernel."""
    (path / "d").mkdir()
    (path / "d" / "big").write_bytes(os.urandom(3_000_000))
    (path / "d" / "big").rename(path / "moved")
    with (path / "a").open("w+b", buffering=0) as file:
        file.write(b"1" * 10_000)
        os.posix_fallocate(file.fileno(), 0, 20_000)
        os.fsync(file.fileno())
        file.seek(0)
        file.write(b"2" * 5_000)
        file.truncate(15_000)
        assert (path / "a").read_bytes() == b"2" * 5_000 + b"1" * 5_000 + bytes(5_000)
    (path / "a").chmod(0o600)
    os.chown(path / "a", 12, 34)
    found = (path / "a").stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid, found.st_size) == (0o600, 12, 34, 15_000)
    for number in range(500):
        (path / "d" / f"{number:03}").touch()
    assert sorted(os.listdir(path / "d")) == [f"{number:03}" for number in range(500)]
    (path / "d" / "499").unlink()
    assert not (path / "d" / "499").exists()
    assert (path / "moved").stat().st_size == 3_000_000


@needs_fuse
async def test_mounted_it_is_a_file_system_until_the_power_goes(amnesia: Amnesia) -> None:
    await asyncio.to_thread(use_files, amnesia.path)
    await amnesia.power_off()
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        await asyncio.to_thread((amnesia.path / "other").touch)
    lost = await amnesia.lose(7)
    assert lost["names_lost"] >= 500
    await amnesia.power_on()
    assert await asyncio.to_thread((amnesia.path / "a").read_bytes) == b"1" * 10_000 + bytes(10_000)
    assert (await asyncio.to_thread((amnesia.path / "moved").stat)).st_size == 0  # its name was synced, it was not


@needs_fuse
@pytest.mark.parametrize("fsync", ["on", "off"])
async def test_postgresql_on_it_keeps_what_it_committed_unless_fsync_is_off(amnesia: Amnesia, fsync: str) -> None:
    postgres = await start_cluster(amnesia.path / "pg", find_binaries(), wal_mib=96)
    try:
        connection = await asyncpg.connect(postgres.admin_dsn())
        await connection.execute("CREATE TABLE numbers (number integer)")
        await connection.execute("CHECKPOINT")
        await connection.execute(f"ALTER SYSTEM SET fsync = {fsync}")
        await connection.execute("SELECT pg_reload_conf()")
        await amnesia.settle()
        committed = 0
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            while True:
                await connection.execute(f"INSERT INTO numbers VALUES ({committed})")
                committed += 1
                if committed == 300:
                    await amnesia.power_off()
        assert committed == 300
        for process_id in processes.processes_on(postgres.cluster.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        await postgres.cluster.stop()
        await amnesia.lose(3)
        await amnesia.power_on()
        await postgres.cluster.start()
        connection = await asyncpg.connect(postgres.admin_dsn())
        found = await connection.fetchval("SELECT count(*) FROM numbers")
        await connection.close()
        assert (found >= 300) is (fsync == "on"), found
    finally:
        await postgres.cluster.stop()
