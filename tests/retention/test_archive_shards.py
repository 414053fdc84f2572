"""Shards share partitions: one is archived and dropped with the rows of all of them, and each has its own base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import Archived
from pyledger.ledger.nouns import WEEK_NS
from pyledger.retention.nouns import RetentionError
from pyledger.retention.proving import prove
from tests.ledger.tools import TENANT, fields, let_pass, make_accounts, opened, run_as_admin, transfers
from tests.retention.tools import archive, bring_back, count, digest, findings_of, seal, transfer_of
from tests.support.clusters import Database

SHARDS = (0, 3)


async def write(database: Database, shard: int, weeks: int, late: bool = False) -> list[list[dict[str, Any]]]:
    """Some transfers a week; where it is late, none in the first one."""
    history: list[list[dict[str, Any]]] = []
    async with opened(database, shard=shard) as ledger:
        if late:
            let_pass(ledger, WEEK_NS)
        accounts = await make_accounts(ledger)
        for _ in range(weeks - late):
            history.append([fields(*accounts[:2], 5 + shard) for _ in range(10 + shard)])
            body = json.loads((await ledger.writer.submit(transfers(history[-1]))).body)
            assert body["accepted"] == 10 + shard
            let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfer_of(fields(*accounts[:2])))
    return history


async def states(database: Database) -> list[bytes]:
    found = []
    for shard in SHARDS:
        async with opened(database, shard=shard) as ledger:
            found.append(await digest(ledger))
    return found


@pytest.mark.parametrize("late", [False, True])
async def test_what_two_shards_have_goes_and_comes_back_together(
    database: Database, tmp_path: Path, late: bool
) -> None:
    weeks = [await write(database, 0, 2), await write(database, 3, 2, late)]
    names = await seal(database)
    books, rows = await states(database), await count(database)
    assert [step.do for step in await archive(database, tmp_path)] == [("archive", "drop")] * 2
    assert await count(database) < rows
    for shard in SHARDS:
        assert not await findings_of(database, shard)
    assert await states(database) == books
    for shard, history in zip(SHARDS, weeks, strict=True):
        gone = history[0][0]
        async with opened(database, shard=shard) as ledger:
            assert (await ledger.writer.submit(transfer_of(gone))).refusal == "id_archived"
            with pytest.raises(Archived) as told:
                await ledger.reads.transfer(TENANT, gone["id"])
        proven = json.loads(prove(tmp_path / str(told.value.name), gone["id"], None))
        assert (proven["batch"]["shard"], proven["row"]["id"]) == (shard, gone["id"])
    for name in names[:2]:
        await bring_back(database, tmp_path / name)
        for shard in SHARDS:
            assert not await findings_of(database, shard)
    assert await count(database) == rows
    assert await states(database) == books


async def test_nothing_goes_while_one_shard_may_still_need_it(database: Database, tmp_path: Path) -> None:
    await write(database, 0, 1)
    await write(database, 3, 1)
    await seal(database)
    rows = await count(database)
    await run_as_admin(database, "UPDATE pyledger.checkpoint SET seq = 0 WHERE shard = 3")
    with pytest.raises(RetentionError, match="the checkpoint of shard 3 is at batch 0"):
        await archive(database, tmp_path)
    assert await count(database) == rows
