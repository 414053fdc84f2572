"""An archive that was noted and is lost or damaged before its drop: nothing is dropped, and there is a way on."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from pathlib import Path

import pytest

from pyledger.ledger.nouns import WEEK_NS
from pyledger.retention import holds
from pyledger.retention.archiving import Archiving
from pyledger.retention.books import Books
from pyledger.retention.nouns import BadArchive, RetentionError
from pyledger.retention.policy import Policy, Terms
from pyledger.retention.writing import BATCHES, MANIFEST, ROWS
from tests.ledger.test_proofs import make_key
from tests.ledger.tools import findings
from tests.retention.test_archive_crash import killed, settled
from tests.retention.test_archive_files import cut, flip
from tests.retention.test_cli import pieces, pyledger, run
from tests.retention.tools import archive, asking, bring_back, count, ignore, write_history
from tests.support.clusters import Database

KEEP = Policy(Terms(7, None), {})
"""Archived and not dropped."""
WAY_ON = r"all rows are still in the database: --to names .* `pyledger archive --again journal_"
IN_THE_WAY = "nothing that is there is replaced: --to names another directory, or"


async def log_of(database: Database, name: str) -> list[tuple[str, str]]:
    """What was done to a partition, and which manifest was noted for it."""
    async with asking(database) as connection:
        rows = await connection.fetch(
            "SELECT step, manifest FROM pyledger.archive_log WHERE name = $1 ORDER BY number", name
        )
        return [(row["step"], row["manifest"]) for row in rows]


async def steps_of(database: Database, name: str) -> list[str]:
    return [step for step, _ in await log_of(database, name)]


def lose(path: Path) -> None:
    shutil.rmtree(path)


def half(path: Path) -> None:
    (path / MANIFEST).unlink()
    (path / BATCHES).unlink()


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def flip_rows(path: Path) -> None:
    flip(path / ROWS, random.Random(1))


def cut_batches(path: Path) -> None:
    cut(path / BATCHES, random.Random(1))


def flip_manifest(path: Path) -> None:
    text = (path / MANIFEST).read_text()
    (path / MANIFEST).write_text(text.replace('"created_at": "2', '"created_at": "3'))


@pytest.mark.parametrize("harm", [lose, half, empty, flip_rows, cut_batches, flip_manifest])
async def test_what_was_noted_and_is_lost_is_written_again_where_somebody_says_so(
    database: Database, tmp_path: Path, harm: object
) -> None:
    assert callable(harm)
    history = await write_history(database)
    first, second = history.names[:2]
    rows = await count(database)
    await archive(database, tmp_path, policy=KEEP)
    harm(tmp_path / first)
    for _ in range(2):
        with pytest.raises(BadArchive, match=WAY_ON):
            await archive(database, tmp_path)
    assert (await count(database), await steps_of(database, first)) == (rows, ["archived"])
    # Another manifest of the same rows is taken over: what it has is proven to be what the database has.
    if harm not in (lose, flip_manifest):
        was = sorted(path.name for path in (tmp_path / first).iterdir())
        with pytest.raises(BadArchive, match=IN_THE_WAY):
            await archive(database, tmp_path, again=first)
        assert sorted(path.name for path in (tmp_path / first).iterdir()) == was, "what is left is not touched"
        (tmp_path / first).rename(tmp_path / "left")
    assert (await count(database), await steps_of(database, first)) == (rows, ["archived"])
    steps = await archive(database, tmp_path, again=first)
    assert [step.do for step in steps] == [("archive", "drop"), ("drop",)]
    (_, old), (_, new), (_, dropped) = await log_of(database, first)
    assert old != new == dropped == (tmp_path / first / MANIFEST).read_text()
    assert await steps_of(database, first) == ["archived", "archived", "dropped"]
    assert not await findings(database)
    # Dropped, it is never written again; and it comes back from the archive that was noted last.
    lose(tmp_path / second)
    shutil.copytree(tmp_path / first, tmp_path / "kept")
    for name in (first, second):
        assert not await archive(database, tmp_path, again=name)
    assert not (tmp_path / second).exists()
    await bring_back(database, tmp_path / "kept")
    assert not await findings(database)


async def test_a_whole_one_elsewhere_is_not_written_again_by_mistake(database: Database, tmp_path: Path) -> None:
    history = await write_history(database, weeks=2)
    (name,) = history.names[:1]
    there, here = tmp_path / "there", tmp_path / "here"
    for path in (there, here):
        path.mkdir()
    rows = await count(database)
    await archive(database, there, policy=KEEP)
    with pytest.raises(BadArchive, match=WAY_ON):
        await archive(database, here)
    assert list(here.iterdir()) == []
    # Asked for where it is whole, it stays what was noted; asked for elsewhere, the new one is.
    await archive(database, there, policy=KEEP, again=name)
    assert await steps_of(database, name) == ["archived"]
    await archive(database, here, policy=KEEP, again=name)
    assert await steps_of(database, name) == ["archived", "archived"]
    with pytest.raises(BadArchive, match="is not the archive that was noted for"):
        await archive(database, there)
    assert await count(database) == rows
    await archive(database, here)
    with pytest.raises(RetentionError, match=r"is not the archive that .* was dropped for"):
        await bring_back(database, there / name)
    await bring_back(database, here / name)
    assert await count(database) == rows
    assert not await findings(database)


@pytest.mark.parametrize("step", ["write", "written", "verified", "named", "synced", "noted", "proven", "swapped"])
async def test_cut_off_while_it_is_written_again(database: Database, tmp_path: Path, step: str) -> None:
    history = await write_history(database)
    first, rows = history.names[0], await count(database)
    await archive(database, tmp_path, policy=KEEP)
    lose(tmp_path / first)
    killed(database, "archive", tmp_path, step, again=first)
    await settled(database)
    assert await count(database) == rows
    assert not await findings(database)
    if step in ("noted", "proven", "swapped"):
        await archive(database, tmp_path)
    else:
        with pytest.raises(BadArchive, match=WAY_ON):
            await archive(database, tmp_path)
        assert (await count(database), await steps_of(database, first)) == (rows, ["archived"])
        await archive(database, tmp_path, again=first)
    assert sorted(path.name for path in tmp_path.iterdir()) == history.names[:2], "no half of one is left"
    assert await steps_of(database, first) == ["archived", "archived", "dropped"]
    assert not await findings(database)
    for name in history.names[:2]:
        await bring_back(database, tmp_path / name)
    assert await count(database) == rows


@pytest.mark.parametrize("at", ["before", "written", "synced"])
async def test_a_legal_hold_comes_before_it(database: Database, tmp_path: Path, at: str) -> None:
    history = await write_history(database, weeks=2)
    name, rows = history.names[0], await count(database)
    await archive(database, tmp_path, policy=KEEP)
    lose(tmp_path / name)
    placed: list[threading.Thread] = []

    async def place() -> None:
        async with Books.open(database.owner_dsn, alone=False) as books:
            await holds.place(books, None, None, None, "court")

    def report(step: str, _done: int, _total: int) -> None:
        if step == at and not placed:
            placed.append(threading.Thread(target=lambda: asyncio.run(place())))
            placed[0].start()
            placed[0].join()

    if at == "before":
        await place()
        assert not await archive(database, tmp_path, again=name)
        assert not (tmp_path / name).exists()
    else:
        with pytest.raises(RetentionError, match="a legal hold was placed meanwhile: look again"):
            await archive(database, tmp_path, again=name, report=report)
    assert (await count(database), await steps_of(database, name)) == (rows, ["archived"])
    async with Books.open(database.owner_dsn, alone=False) as books:
        await holds.lift(books, 1, "closed")
    await archive(database, tmp_path, again=name)
    assert await steps_of(database, name) == ["archived", "archived", "dropped"]
    assert not await findings(database)


async def test_two_at_once_write_it_once(database: Database, tmp_path: Path) -> None:
    history = await write_history(database, weeks=2)
    name = history.names[0]
    await archive(database, tmp_path, policy=KEEP)
    lose(tmp_path / name)
    both = (archive(database, tmp_path, again=name) for _ in range(2))
    ended = await asyncio.gather(*both, return_exceptions=True)
    assert [str(each) for each in ended if isinstance(each, BaseException)] == ["another run archives or restores"]
    assert await steps_of(database, name) == ["archived", "archived", "dropped"]
    assert not await findings(database)


async def test_what_was_dropped_since_it_was_seen_is_not_noted(database: Database, tmp_path: Path) -> None:
    """The lock sees to it, and this does."""
    history = await write_history(database, weeks=2)
    name, now_ns = history.names[0], 2**62 // WEEK_NS * WEEK_NS
    await archive(database, tmp_path, policy=KEEP)
    async with Books.open(database.owner_dsn) as books:
        seen = [each for each in await books.see(None, now_ns) if each.partition.name == name]
    await archive(database, tmp_path)
    text = (tmp_path / name / MANIFEST).read_text()
    (tmp_path / name / MANIFEST).write_text(text.replace('"created_at": "2', '"created_at": "3'))
    async with Books.open(database.owner_dsn) as books:
        with pytest.raises(RetentionError, match="was dropped or archived meanwhile: look again"):
            await Archiving(books, tmp_path, lambda _: None, ignore, allow_unsigned=True).archive(seen[0])
    assert await steps_of(database, name) == ["archived", "dropped"]


async def test_what_a_person_is_told(database: Database, tmp_path: Path) -> None:
    key, _ = make_key(tmp_path)
    await pieces(database, signing_key=key, signing_interval_s=86_400)
    policy, to, other = tmp_path / "policy.toml", tmp_path / "archives", tmp_path / "other"
    for path in (to, other):
        path.mkdir()
    keep, go = (f"[default]\narchived_after_days = 0\ndropped_after_days = {days}\n" for days in (9, 0))
    policy.write_text(keep)
    command = ("archive", "--policy", policy, "--to")
    assert "23 rows: archived, not dropped: not old enough" in pyledger(database, *command, to)
    (path,) = to.iterdir()
    policy.write_text(go)
    said = pyledger(database, *command, other, code=2)
    assert said.count("\n") == 1
    assert f"{other / path.name} is no archive" in said
    assert f"`pyledger archive --again {path.name}` writes and notes it again" in said
    again = ("--again", path.name)
    assert "23 rows: would be archived again and would be dropped" in pyledger(
        database, *command, other, *again, "--dry-run"
    )
    policy.write_text(keep)
    said = pyledger(database, *command, to, *again)
    assert "archived again, not dropped: not old enough, what was noted is there and whole, and stays" in said
    (path / ROWS).write_bytes(b"")
    said = pyledger(database, *command, to, *again, code=2)
    assert said.count("\n") == 1
    assert f"if no database needs {path}, move it away" in said
    path.rename(tmp_path / "moved")
    policy.write_text(go)
    (to / f"{path.name}.note").write_text("somebody's")
    said = pyledger(database, *command, to, *again)
    assert "23 rows: archived again and dropped, " in said
    assert f"{path} is noted in place of the archive that was made at 20" in said
    assert "there is nothing" not in run(database, "restore", path).stderr
