"""An id that was archived is known for ever, whatever way the engine looks for it: money never moves twice."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import Ledger, partitions, sealing, seals
from pyledger.ledger.nouns import WEEK_NS
from pyledger.retention.nouns import RetentionError
from tests.ledger.tools import fields, findings, let_pass, make_accounts, opened, run_as_admin, transfer, transfers
from tests.retention.tools import archive, asking, bring_back, count, seal, transfer_of
from tests.support.clusters import Database

WEEK_ROWS = 60
WEEKS = 3
FILTERS = "SELECT string_agg(rows || ' ' || filter::text || root::text, ' ' ORDER BY start_ns) FROM pyledger.partition"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions are looked after much more often."""
    for module in (partitions, sealing):
        monkeypatch.setattr(module, "PARTITION_LOOK_S", 0.1)
    monkeypatch.setattr(sealing, "BACKOFF_MAX_S", 0.2)


def a_week(accounts: list[str]) -> list[dict[str, Any]]:
    """Transfers whose ids say nothing of time, so that only filters know where they are not."""
    return [fields(*accounts[:2], id=str(uuid.uuid4())) for _ in range(WEEK_ROWS)]


async def write(database: Database) -> list[list[dict[str, Any]]]:
    """Weeks of them, each in a partition of its own; all but the last one are sealed."""
    weeks = []
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger)
        for _ in range(WEEKS):
            weeks.append(a_week(accounts))
            await ledger.writer.submit(transfers(weeks[-1]))
            let_pass(ledger, WEEK_NS)
    await seal(database)
    return weeks


async def oldest(database: Database) -> tuple[str, int]:
    """The oldest partition with rows, and a time at which it alone is due."""
    async with asking(database) as connection:
        row = await connection.fetchrow("SELECT name, end_ns FROM pyledger.partition WHERE rows > 0 ORDER BY start_ns")
    assert row is not None
    return row["name"], row["end_ns"] + WEEK_NS


def one_more(weeks: list[list[dict[str, Any]]]) -> Any:
    """A transfer between their accounts with a new id."""
    accounts = [weeks[0][0][side] for side in ("debit_account_id", "credit_account_id")]
    return transfer_of(a_week(accounts)[0])


async def taught(ledger: Ledger) -> int:
    """Until when the engine has filters, once it has; 0 if nothing was recorded since."""
    nobody = str(uuid.uuid4())
    async with asyncio.timeout(20):
        while True:
            for _ in range(20):
                wanted = ledger.writer.engine.probe([transfer_of(fields(nobody, nobody, id=str(uuid.uuid4())))])
                if wanted is None or (not wanted[1] and wanted[6]):
                    return 0 if wanted is None else wanted[6]
            await asyncio.sleep(0.05)


async def refusals(ledger: Ledger, bodies: list[dict[str, Any]]) -> set[str | None]:
    """How each is refused that is sent again, `replayed` if it is answered as at first."""
    replies = [await ledger.writer.submit(transfer_of(body)) for body in bodies]
    return {"replayed" if reply.replayed else reply.refusal for reply in replies}


@pytest.mark.parametrize("window_ids", [4, 100_000])
async def test_the_oldest_partition_is_archived_and_none_of_its_ids_is_new(
    database: Database, tmp_path: Path, window_ids: int
) -> None:
    weeks = await write(database)
    name, now_ns = await oldest(database)
    filters = await run_as_admin(database, FILTERS)
    (step,) = await archive(database, tmp_path, now_ns=now_ns)
    assert step.do == ("archive", "drop")
    assert await run_as_admin(database, FILTERS) == filters, "its filter stays"
    assert not await findings(database)
    # The archive is not needed to say no.
    (tmp_path / name).rename(tmp_path / "away")
    for restart in range(2):
        async with opened(database, window_ids=window_ids) as ledger:
            rows = await count(database)
            if restart:
                assert await taught(ledger)
            assert await refusals(ledger, weeks[0]) == {"id_archived"}
            assert await refusals(ledger, weeks[1] + weeks[2]) == {"replayed"}
            assert await count(database) == rows
    (tmp_path / "away").rename(tmp_path / name)
    async with opened(database, window_ids=window_ids) as ledger:
        await taught(ledger)
        await bring_back(database, tmp_path / name)
        assert await refusals(ledger, weeks[0]) == {"replayed"}
    async with opened(database, window_ids=window_ids) as ledger:
        await taught(ledger)
        assert await refusals(ledger, weeks[0]) == {"replayed"}
        assert (await ledger.writer.submit(one_more(weeks))).outcome == "accepted"
    assert not await findings(database)


async def test_filters_of_what_is_archived_are_made_again(database: Database, tmp_path: Path) -> None:
    weeks = await write(database)
    name, now_ns = await oldest(database)
    filters = await run_as_admin(database, FILTERS)
    await archive(database, tmp_path, now_ns=now_ns)
    await seals.drop(database.owner_dsn)
    async with opened(database, window_ids=4) as ledger:
        assert await refusals(ledger, weeks[0]) == {"id_archived"}, "without any filter"
    await seals.drop(database.owner_dsn)
    with pytest.raises(RetentionError, match="is not sealed"):
        await bring_back(database, tmp_path / name)
    await seal(database)
    assert await run_as_admin(database, FILTERS) == filters
    assert not await findings(database)
    async with opened(database, window_ids=4) as ledger:
        await taught(ledger)
        assert await refusals(ledger, weeks[0]) == {"id_archived"}
    await bring_back(database, tmp_path / name)
    await seals.drop(database.owner_dsn)
    await seal(database)
    assert await run_as_admin(database, FILTERS) == filters


async def test_what_is_archived_beyond_the_filters_that_an_engine_knows_is_found(
    database: Database, tmp_path: Path
) -> None:
    """As where the server of another shard seals, and this one cannot read the seals."""
    async with opened(database, window_ids=4) as ledger:
        accounts = await make_accounts(ledger)
        await ledger.writer.submit(transfers(a_week(accounts)))
        let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfer(*accounts))
        until_ns = await taught(ledger)
        (own,) = [task for task in ledger._keeping if task.get_name() == "pyledger sealing"]
        own.cancel()
        later = a_week(accounts)
        await ledger.writer.submit(transfers(later))
        let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfers(a_week(accounts)))
        await seal(database)
        assert ledger._checkpointer is not None
        await ledger._checkpointer.take()
        assert len(await archive(database, tmp_path)) == 2
        probed = [ledger.writer.engine.probe([transfer_of(body)]) for body in later]
        assert sum(wanted is not None and bool(wanted[5]) for wanted in probed) > 50, "no filter has them"
        assert all(wanted is None or wanted[6] == until_ns for wanted in probed)
        assert await refusals(ledger, later) == {"id_archived"}
    assert not await findings(database)


async def test_an_id_that_stands_in_an_archive_and_in_the_journal_ends_sealing(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weeks = await write(database)
    await archive(database, tmp_path)
    twice = weeks[0][7]["id"]
    await run_as_admin(database, "UPDATE pyledger.journal SET id = $1 WHERE id = $2", twice, weeks[2][5]["id"])
    async with opened(database) as ledger:
        let_pass(ledger, (WEEKS + 1) * WEEK_NS)
        await ledger.writer.submit(one_more(weeks))
        async with asyncio.timeout(20):
            while f"the id {twice} of tenant 7 is in" not in caplog.text:
                await asyncio.sleep(0.05)
