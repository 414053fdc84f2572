"""An archive that is not what was written: a changed byte, a missing piece, a full disk. Nothing is dropped for it."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pyledger.ledger.proofs.document import verify
from pyledger.retention import archiving
from pyledger.retention.books import Books
from pyledger.retention.nouns import BadArchive, RetentionError
from pyledger.retention.policy import Policy, Terms
from pyledger.retention.proving import prove
from pyledger.retention.proving import verify as verify_archive
from pyledger.retention.reading import Archive
from pyledger.retention.writing import BATCHES, MANIFEST, ROWS, measure
from tests.ledger.test_proofs import make_key
from tests.ledger.tools import findings
from tests.retention.tools import archive, bring_back, count, sign, write_history
from tests.support.chance import drawn_seed
from tests.support.clusters import Clusters, Database, Postgres

FILES = (ROWS, BATCHES, MANIFEST)
KEEP = Policy(Terms(7, None), {})
"""Archived and not dropped."""


def flip(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    path.write_bytes(raw)


def cut(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])


def remove(path: Path, _chance: random.Random) -> None:
    path.unlink()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", [flip, cut, remove])
async def test_harm_is_found_before_anything_is_dropped_or_restored(
    database: Database, tmp_path: Path, file: str, harm: Callable[[Path, random.Random], None]
) -> None:
    history = await write_history(database, weeks=2)
    rows, name, seed = await count(database), history.names[0], drawn_seed()
    await archive(database, tmp_path, policy=KEEP)
    good = tmp_path / "good"
    shutil.copytree(tmp_path / name, good)
    harm(tmp_path / name / file, random.Random(seed))
    with pytest.raises(RetentionError):
        await archive(database, tmp_path)
    assert await count(database) == rows
    assert not await findings(database)
    shutil.rmtree(tmp_path / name)
    good.rename(tmp_path / name)
    await archive(database, tmp_path)
    kept = await count(database)
    shutil.copytree(tmp_path / name, good)
    harm(tmp_path / name / file, random.Random(seed))
    with pytest.raises(RetentionError):
        await bring_back(database, tmp_path / name)
    assert await count(database) == kept < rows
    shutil.rmtree(tmp_path / name)
    shutil.move(good, tmp_path / name)
    await bring_back(database, tmp_path / name)
    assert await count(database) == rows
    assert not await findings(database)


def lie(path: Path, column: str) -> None:
    """Change the column for people, and let the manifest say that this is the file."""
    table = pyarrow.parquet.read_table(path / ROWS)
    values = table[column].to_pylist()
    values[3] = "1" if values[3] != "1" else "2"
    table = table.set_column(table.column_names.index(column), column, pyarrow.array(values, table[column].type))
    pyarrow.parquet.write_table(table, path / ROWS)
    manifest = json.loads((path / MANIFEST).read_text())
    with (path / ROWS).open("rb") as file:
        found = measure(file)
    manifest["rows"] = {"bytes": found.bytes, "sha256": found.sha256}
    (path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("column", ["amount", "reference", "debit_account"])
async def test_columns_for_people_cannot_lie(database: Database, tmp_path: Path, column: str) -> None:
    history = await write_history(database, weeks=2)
    await archive(database, tmp_path, policy=KEEP)
    path = tmp_path / history.names[0]
    lie(path, column)
    with pytest.raises(BadArchive, match="columns of group"):
        list(Archive(path).verified())
    with pytest.raises(RetentionError, match="not the archive that was noted"):
        await archive(database, tmp_path)


async def test_a_directory_with_the_name_is_taken_over_if_it_is_right_and_never_replaced(
    database: Database, tmp_path: Path
) -> None:
    history = await write_history(database, weeks=2)
    name = history.names[0]
    (tmp_path / name).mkdir()
    (tmp_path / name / "other").write_text("precious")
    with pytest.raises(BadArchive, match="is no archive"):
        await archive(database, tmp_path)
    assert (tmp_path / name / "other").read_text() == "precious"


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from pyledger.retention.nouns import RetentionError
from tests.retention.tools import KilledDatabase, archive
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    asyncio.run(archive(KilledDatabase(sys.argv[1]), Path(sys.argv[2])))
except RetentionError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("bytes_max", [0, 3_000, 9_000])
async def test_a_full_disk_drops_nothing_and_leaves_nothing(database: Database, tmp_path: Path, bytes_max: int) -> None:
    history = await write_history(database, weeks=2, rows=400)
    rows = await count(database)
    command = [sys.executable, "-c", FULL, database.owner_dsn, str(tmp_path), str(bytes_max)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert f"refused: cannot write {tmp_path / history.names[0]}: " in said.stdout, said.stderr
    assert said.stderr == "", "nothing is left half open"
    assert await count(database) == rows
    assert list(tmp_path.iterdir()) == []
    await archive(database, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == history.names[:1]
    assert not await findings(database)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


async def test_without_pyarrow_nothing_is_begun(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_history(database, weeks=2)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RetentionError, match="an archive needs pyarrow"):
        await archive(database, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_an_archive_that_was_noted_and_lost_its_name_is_not_thrown_away(
    database: Database, tmp_path: Path
) -> None:
    history = await write_history(database, weeks=2)
    path = tmp_path / history.names[0]
    await archive(database, tmp_path)
    await bring_back(database, path)
    async with Books.open(database.owner_dsn) as books:
        beside = tmp_path / f".{path.name}.{await books.identity()}.partial"
    path.rename(beside)
    rows = await count(database)
    with pytest.raises(RetentionError, match=f"give it its name, {path.name}"):
        await archive(database, tmp_path, again=path.name)
    assert await count(database) == rows
    beside.rename(path)
    await archive(database, tmp_path, again=path.name)
    assert await count(database) < rows


async def test_two_databases_with_one_directory_never_lose_an_archive(
    database: Database, clusters: Clusters, postgres: Postgres, tmp_path: Path
) -> None:
    other = await clusters.make_database(postgres.version)
    try:
        history = [await write_history(each, weeks=2) for each in (database, other)]
        assert history[0].names[0] == history[1].names[0]
        rows = [await count(each) for each in (database, other)]
        ended = await asyncio.gather(*(archive(each, tmp_path) for each in (database, other)), return_exceptions=True)
        lost = [number for number, each in enumerate(ended) if isinstance(each, BaseException)]
        assert len(lost) == 1, ended
        assert isinstance(ended[lost[0]], RetentionError)
        assert await count((database, other)[lost[0]]) == rows[lost[0]]
        assert [path.name for path in tmp_path.iterdir()] == history[0].names[:1]
        winner = (database, other)[1 - lost[0]]
        await bring_back(winner, tmp_path / history[0].names[0])
        assert await count(winner) == rows[1 - lost[0]]
        for each in (database, other):
            assert not await findings(each)
    finally:
        await clusters.drop_database(other)


async def test_an_archived_transfer_is_proven_with_its_archive_and_a_public_key_alone(
    database: Database, tmp_path: Path
) -> None:
    key, public = make_key(tmp_path)
    to = tmp_path / "archives"
    to.mkdir()
    history = await write_history(database, weeks=4, signing_key=key, signing_interval_s=1)
    with pytest.raises(RetentionError, match="no signed checkpoint"):
        await archive(database, to, allow_unsigned=False)
    assert list(to.iterdir()) == []
    await sign(database, key)
    await archive(database, to, allow_unsigned=False)
    for name, week in zip(history.names[:3], history.weeks, strict=False):
        for body in (*week[:3], week[-1]):
            proven = verify(prove(to / name, body["id"], None), [public])
            assert (proven.row.id, proven.row.amount) == (body["id"], body["amount"])
    declined = verify(prove(to / history.names[0], history.declined, 7), [public])
    assert declined.row.outcome != "accepted"
    with pytest.raises(RetentionError, match="has no transfer"):
        prove(to / history.names[0], history.weeks[1][0]["id"], None)
    with pytest.raises(RetentionError, match="has no transfer"):
        prove(to / history.names[0], history.weeks[0][0]["id"], 8)
    for name in history.names[:3]:
        assert [key for _, key in verify_archive(to / name, [public])] == [public]
    with (to / history.names[2] / ROWS).open("r+b") as file:
        file.seek(1_000)
        (byte,) = file.read(1)
        file.seek(1_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(BadArchive, match="its hash differs"):
        verify_archive(to / history.names[2], [public])
    manifest = json.loads((to / history.names[1] / MANIFEST).read_text())
    manifest["shards"][0]["nodes"][0]["hash"] = "00" * 32
    (to / history.names[1] / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadArchive, match="do not lead to their checkpoint"):
        prove(to / history.names[1], history.weeks[1][0]["id"], None)


async def test_a_proof_reads_the_leaves_of_one_group(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of an archive takes minutes."""
    monkeypatch.setattr(archiving, "SLICE_ROWS", 10)
    history = await write_history(database, weeks=2)
    await archive(database, tmp_path, policy=KEEP)
    path, read, group = tmp_path / history.names[0], [], Archive._group

    def noted(archive: Archive, number: int, shard: int) -> Any:
        read.append(number)
        return group(archive, number, shard)

    monkeypatch.setattr(Archive, "_group", noted)
    assert json.loads(prove(path, history.weeks[0][-1]["id"], None))["row"]["id"] == history.weeks[0][-1]["id"]
    assert len(read) == 1
    assert len(list(Archive(path).verified())) == 3
