"""What is known of old ids, over partitions, seals and restarts: none is ever taken for a new one, whatever became of a
partition or of its filter."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from pyledger._rust import IdFilter
from pyledger.ledger import Ledger
from pyledger.ledger.sealing import in_groups, sealed_before
from pyledger.ledger.seals import Span
from tests.ledger.test_partitions import midweek, spans
from tests.ledger.test_sealing import PARTITION_ROWS, all_sealed, fill, one_sealed
from tests.ledger.tools import (
    crash,
    fields,
    findings,
    let_pass,
    make_accounts,
    new_engine,
    opened,
    posted,
    run_as_admin,
    transfers,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

pytestmark = pytest.mark.usefixtures("often")
both = pytest.mark.postgres(15, 18)
WINDOW_IDS = 8_190
SETTINGS: dict[str, Any] = {"seal_rows": PARTITION_ROWS, "window_ids": WINDOW_IDS}


def random_id(dice: random.Random) -> str:
    return str(UUID(int=dice.getrandbits(128), version=4))


async def post(ledger: Ledger, accounts: Sequence[str], dice: random.Random, rows: int) -> list[str]:
    """Post transfers with random ids; all are new."""
    ids = [random_id(dice) for _ in range(rows)]
    assert await counted(ledger, [fields(*accounts, id=each) for each in ids]) == (rows, 0)
    return ids


async def counted(ledger: Ledger, batch: list[dict[str, Any]]) -> tuple[int, int]:
    """How many of a batch were accepted, now or the first time, and how many were refused."""
    body = json.loads((await ledger.writer.submit(transfers(batch))).body)
    return body["accepted"], body["refused"]


async def taught(ledger: Ledger, dice: random.Random) -> None:
    """Wait until the engine knows filters: what it does not know otherwise need not be looked for everywhere."""
    new = [transfers([fields(random_id(dice), random_id(dice), id=random_id(dice))]) for _ in range(20)]
    async with asyncio.timeout(20):
        while all((wanted := ledger.writer.engine.probe([each])) is not None and wanted[1] for each in new):
            await asyncio.sleep(0.05)


async def test_an_old_id_is_found_wherever_it_is_and_a_new_one_is_not_looked_for(database: Database) -> None:
    async with opened(database, seal_rows=PARTITION_ROWS, window_ids=8_190) as ledger:
        accounts, ids = await one_sealed(database, ledger)
        random_id = "{:08x}-0000-4000-8000-000000000001".format
        for at in range(0, 9_000, 3_000):
            await ledger.writer.submit(transfers([fields(*accounts, id=random_id(at + n)) for n in range(3_000)]))
        new = [transfers([fields(*accounts, id=random_id(number))]) for number in range(99_900, 99_910)]
        async with asyncio.timeout(20):
            while not sum(wanted[6] > 0 for each in new if (wanted := ledger.writer.engine.probe([each]))):
                await asyncio.sleep(0.05)
        between = [wanted[5] for each in new if (wanted := ledger.writer.engine.probe([each]))]
        assert sum(len(each) == 1 for each in between) > 7, "they can only be between the filters and the window"
        for old in (ids[0], random_id(0), random_id(8_999)):
            assert (await ledger.writer.submit(transfers([fields(*accounts, id=old)]))).replayed
    assert await findings(database) == []


@both
async def test_an_id_of_any_partition_is_refused_for_ever(database: Database) -> None:
    """Sealed, over, and newest ones; after restarts and crashes, with a window that holds a part of them."""
    dice = replayable()
    ids, accounts, passed_ns = list[str](), list[str](), 0
    for turn in range(5):
        async with opened(database, **SETTINGS) as ledger:
            let_pass(ledger, passed_ns)
            if turn == 0:
                midweek(ledger)
                accounts = (await make_accounts(ledger))[:2]
            ids += await fill(database, ledger, accounts)
            for _ in range(dice.randint(1, 3)):
                ids += await post(ledger, accounts, dice, dice.randint(1, 3_000))
            ids += await fill(database, ledger, accounts)
            if dice.random() < 0.7:
                await all_sealed(database, ledger)
            before = await posted(ledger, accounts[1])
            for some in (dice.sample(ids, 500), ids[-500:], ids[:500]):
                assert await counted(ledger, [fields(*accounts, id=each) for each in some]) == (500, 0)
                assert await counted(ledger, [fields(*accounts, id=each, amount="2") for each in some]) == (0, 500)
            assert await posted(ledger, accounts[1]) == before
            ids += await post(ledger, accounts, dice, 10)
            passed_ns = ledger._clock() - time.time_ns()
            if dice.random() < 0.5:
                await crash(ledger)
    assert await findings(database) == []


async def test_ids_of_a_partition_that_was_taken_away_are_looked_for(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever takes one away keeps its ids elsewhere; the engine may not think that there never were any."""
    dice = random.Random(5)
    async with opened(database, **SETTINGS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        ids = await fill(database, ledger, accounts)
        for _ in range(3):
            await post(ledger, accounts, dice, 4_000)
            await fill(database, ledger, accounts)
        over = await all_sealed(database, ledger)
        await taught(ledger, dice)
        ahead_ns = ledger._clock.wall_ns
    gone = next(row["name"] for row in over if row["filter_bytes"] > 64)
    await run_as_admin(database, f"ALTER TABLE pyledger.journal DETACH PARTITION pyledger.{gone}")
    await run_as_admin(database, "DELETE FROM pyledger.partition WHERE name = $1", gone)
    async with opened(database, **SETTINGS) as ledger:
        let_pass(ledger, ahead_ns() - ledger._clock())
        async with asyncio.timeout(20):
            while "was taken away with its filter of ids" not in caplog.text:
                await asyncio.sleep(0.05)
        await ledger.writer.between(lambda _: None)
        for old in (*ids[:20], random_id(dice)):
            wanted = ledger.writer.engine.probe([transfers([fields(*accounts, id=old)])])
            assert wanted is not None
            assert wanted[1] == [old]


async def test_a_partition_without_all_rows_of_its_batches_is_not_sealed(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(6)
    async with opened(database, **SETTINGS, checkpoint_rows=1) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        lost = (await post(ledger, accounts, dice, 100))[50]
        await run_as_admin(database, "DELETE FROM pyledger.journal WHERE id = $1", lost)
        await fill(database, ledger, accounts)
        async with asyncio.timeout(20):
            while "no partition is sealed any more, run `pyledger check`" not in caplog.text:
                await asyncio.sleep(0.05)
        assert "rows, its batches have" in caplog.text
        assert not any(row["filter_bytes"] > 64 for row in await spans(database))


async def test_a_filter_has_a_bound_and_still_knows_all_of_more_ids(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyledger.ledger.seals.FILTER_IDS_MAX", 200)
    async with opened(database, **SETTINGS) as ledger:
        midweek(ledger)
        accounts = await make_accounts(ledger)
        ids = await fill(database, ledger, accounts)
        over = await all_sealed(database, ledger)
        assert max(row["filter_bytes"] for row in over) == 2 * 200 + 16 + 32
        for _ in range(3):
            await fill(database, ledger, accounts, 4_000)
        before = await posted(ledger, accounts[1])
        assert await counted(ledger, [fields(*accounts, id=each) for each in ids]) == (len(ids), 0)
        assert await posted(ledger, accounts[1]) == before
    assert await findings(database) == []


def test_filters_are_read_in_groups_that_fit() -> None:
    spans = [Span(str(place), place, place + 1, True, size) for place, size in enumerate((5, 4, 3, 20, 1, 0, 7))]
    groups = [[span.start_ns for span in group] for group in in_groups(sealed_before(spans), 10)]
    assert groups == [[0, 1], [2], [3], [4]]
    assert list(in_groups([], 10)) == []


def test_a_filter_that_an_engine_knows_is_not_changed() -> None:
    engine, made = new_engine(), IdFilter(10)
    IdFilter.teach(engine, [made], 1)
    with pytest.raises(RuntimeError, match="an engine uses this filter already"):
        made.add(b"")
