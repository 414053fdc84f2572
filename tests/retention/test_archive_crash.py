"""Killed between any two steps: nothing is lost, nothing is there twice, and the next run brings it to its end.

And beside it all appends go on: none is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from pyledger.retention.policy import Policy, Terms
from tests.ledger.tools import fields, findings, opened, transfers
from tests.retention.tools import archive, asking, bring_back, count, seal, write_history
from tests.support.clusters import Database
from tests.support.standby import standby_away

STEPS = (
    "write", "written", "verify", "verified", "named", "synced", "noted",
    "proven", "filled", "lock", "swapped", "dropped",
)  # fmt: skip
BACK = ("verify", "proven", "fill", "filled", "lock", "swapped", "restored")

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.retention.tools import KilledDatabase, archive, bring_back
database, verb, path, fatal = KilledDatabase(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
again = sys.argv[5] or None

def report(step, done, total):
    if step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

verbs = {"archive": lambda: archive(database, path, report=report, again=again)}
verbs["restore"] = lambda: bring_back(database, path, report=report)
asyncio.run(verbs[verb]())
"""


def killed(database: Database, verb: str, path: Path, step: str, again: str = "") -> None:
    command = [sys.executable, "-c", KILLED, database.owner_dsn, verb, str(path), step, again]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == -signal.SIGKILL, said.stderr


async def settled(database: Database) -> None:
    """PostgreSQL has noticed that the session is gone."""
    async with asking(database) as connection, asyncio.timeout(20):
        while await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'pyledger retention%')"
        ):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", STEPS)
async def test_an_archive_that_was_cut_off_is_brought_to_its_end(database: Database, tmp_path: Path, step: str) -> None:
    history = await write_history(database)
    rows = await count(database)
    for turn in range(2):
        killed(database, "archive", tmp_path, step)
        await settled(database)
        assert not await findings(database)
        async with opened(database) as ledger:
            assert await ledger.reads.transfer(7, history.weeks[2][0]["id"]) is not None
        # The second time it may be the second partition.
        assert turn or (await count(database) == rows) != (step == "dropped")
    await archive(database, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == history.names[:2], "no half of one is left"
    assert not await findings(database)
    for name in history.names[:2]:
        await bring_back(database, tmp_path / name)
    assert await count(database) == rows
    assert not await findings(database)


@pytest.mark.parametrize("step", BACK)
async def test_a_restore_that_was_cut_off_is_brought_to_its_end(database: Database, tmp_path: Path, step: str) -> None:
    history = await write_history(database)
    rows = await count(database)
    await archive(database, tmp_path)
    done = step == "restored"
    for name in history.names[:2] if done else history.names[:1] * 2:
        killed(database, "restore", tmp_path / name, step)
        await settled(database)
        assert not await findings(database)
    for name in () if done else history.names[:2]:
        await bring_back(database, tmp_path / name)
    assert await count(database) == rows
    assert not await findings(database)


async def test_the_name_is_on_the_disk_before_it_is_noted_and_again_before_the_drop(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an archive that is taken over: whoever wrote it may have been killed between its name and the disk."""
    history = await write_history(database, weeks=2)
    killed(database, "archive", tmp_path, "named")
    await settled(database)
    happened: list[str] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        happened.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", synced)
    await archive(database, tmp_path, report=lambda step, _done, _total: happened.append(step))
    assert "written" not in happened, "it is taken over"
    path = tmp_path / history.names[0]
    due = {str(each) for each in (tmp_path, path, *path.iterdir())}
    assert len(due) == 5
    noted = happened.index("noted")
    assert due <= set(happened[:noted])
    assert due <= set(happened[noted : happened.index("lock")])


async def test_the_journal_is_not_locked_until_a_standby_is_back(database: Database, tmp_path: Path) -> None:
    history = await write_history(database, weeks=2)
    rows = await count(database)
    await archive(database, tmp_path, policy=Policy(Terms(7, None), {}))
    async with standby_away(database), asyncio.timeout(30):
        await archive(database, tmp_path)
        assert await count(database) < rows
        await bring_back(database, tmp_path / history.names[0])
        assert await count(database) == rows


async def test_no_append_is_refused_meanwhile(database: Database, tmp_path: Path) -> None:
    history = await write_history(database, rows=2_000)
    debit, credit = history.accounts[:2]
    waits, answers = [0.0], 0
    async with opened(database) as ledger:
        done = asyncio.Event()

        async def post() -> None:
            nonlocal answers
            while not done.is_set():
                began_s = time.monotonic()
                reply = await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(200)]))
                assert reply.body.count(b'"accepted"') >= 200, reply.body[:300]
                waits.append(time.monotonic() - began_s)
                answers += 200

        async def read() -> None:
            while not done.is_set():
                await ledger.reads.transfer(7, history.weeks[2][0]["id"])

        tasks = [asyncio.create_task(each()) for each in (post, post, post, read)]
        rows = await count(database)
        await archive(database, tmp_path)
        for _ in range(2):
            for name in history.names[:2]:
                await bring_back(database, tmp_path / name)
            for name in history.names[:2]:
                await archive(database, tmp_path, again=name)
        for name in history.names[:2]:
            await bring_back(database, tmp_path / name)
        done.set()
        await asyncio.gather(*tasks)
    print(f"{answers} rows, the longest wait {max(waits):.3f} s")
    assert answers > 2_000
    assert await count(database) >= rows + answers - 2_000
    assert not await findings(database)


async def test_who_holds_the_journal_delays_a_drop_and_is_not_waited_for_by_appends(
    database: Database, tmp_path: Path
) -> None:
    history = await write_history(database)
    backup = await asyncpg.connect(database.owner_dsn)
    async with opened(database) as ledger:
        transaction = backup.transaction()
        await transaction.start()
        await backup.execute("LOCK TABLE pyledger.journal IN ACCESS SHARE MODE")
        dropping = asyncio.create_task(archive(database, tmp_path))
        waits = []
        for _ in range(20):
            began_s = time.monotonic()
            reply = await ledger.writer.submit(transfers([fields(*history.accounts[:2])]))
            assert reply.body.count(b'"accepted"')
            waits.append(time.monotonic() - began_s)
            await asyncio.sleep(0.1)
        assert not dropping.done()
        await transaction.rollback()
        await dropping
        assert max(waits) < 2
    await backup.close()
    assert await seal(database) == [history.names[0], history.names[2]], "of the second one nothing had to stay"
    assert not await findings(database)
