"""A partition is archived, dropped and restored: what the books, the engine and whoever reads make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pyledger.ledger import Archived, checkpoint
from pyledger.ledger.nouns import WEEK_NS
from pyledger.ledger.statements import HistoryArchived
from pyledger.retention.nouns import RetentionError
from tests.ledger.tools import (
    TENANT,
    fields,
    findings,
    let_pass,
    make_accounts,
    opened,
    resolve,
    run_as_admin,
    transfers,
)
from tests.retention.tools import (
    archive,
    asking,
    bring_back,
    count,
    digest,
    seal,
    takes_no_row,
    transfer_of,
    write_history,
)
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)


@both
async def test_what_is_dropped_is_proven_and_comes_back(database: Database, tmp_path: Path) -> None:
    history = await write_history(database)
    assert not await findings(database)
    rows = await count(database)
    async with opened(database) as ledger:
        books = await digest(ledger)
    steps = await archive(database, tmp_path)
    assert [step.do for step in steps] == [("archive", "drop")] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == history.names[:2]
    for name in history.names[:2]:
        await takes_no_row(database, name)
    kept = await count(database)
    assert 5 <= kept <= rows - 80, "the ledger, its accounts, and this week"
    assert not await findings(database)
    # A start from the checkpoint, and one from the base.
    for drop in (False, True):
        if drop:
            await checkpoint.drop(database.owner_dsn, 0)
            assert not await findings(database)
        async with opened(database) as ledger:
            assert await digest(ledger) == books
            assert ledger.stats.recoveries == 1
    assert not await archive(database, tmp_path), "nothing is left to do"
    for name in reversed(history.names[:2]):
        await bring_back(database, tmp_path / name)
        await takes_no_row(database, name)
        assert not await findings(database)
    assert await count(database) == rows
    # What was restored stays until it is named, and goes by the archive that is there.
    assert not await archive(database, tmp_path)
    (step,) = await archive(database, tmp_path, again=history.names[0])
    assert (step.partition.name, step.do) == (history.names[0], ("archive", "drop"))
    assert not await findings(database)
    async with opened(database) as ledger:
        assert await digest(ledger) == books


@pytest.mark.parametrize("window_ids", [100_000, 4])
async def test_an_archived_id_is_never_used_again(database: Database, tmp_path: Path, window_ids: int) -> None:
    history = await write_history(database)
    await archive(database, tmp_path)
    first, second, this = history.weeks
    async with opened(database, window_ids=window_ids) as ledger:
        books, rows = await digest(ledger), await count(database)

        async def refusal(command: Any) -> str | None:
            return (await ledger.writer.submit(command)).refusal

        for body in (first[0], first[-1], second[3], first[1] | {"amount": "77"}):
            assert await refusal(transfer_of(body)) == "id_archived"
        assert await refusal(resolve("void", history.declined, id=history.declined)) == "id_archived"
        for action, target in (("reverse", first[2]["id"]), ("post", history.resolved_hold), ("void", first[1]["id"])):
            assert await refusal(resolve(action, target)) == "transfer_archived"
        assert (await digest(ledger), await count(database)) == (books, rows), "nothing moved, nothing is recorded"
        assert (await ledger.writer.submit(transfer_of(this[0]))).replayed
        # In one batch with what is new, and after an id that the unique index refuses.
        mixed = [first[0], fields(*history.accounts[:2]), this[1]]
        body = json.loads((await ledger.writer.submit(transfers(mixed))).body)
        assert (body["accepted"], body["refused"]) == (2, 1)
        assert (await ledger.writer.submit(resolve("post", history.open_hold))).outcome == "accepted"
        assert await refusal(transfer_of(first[0], TENANT + 1)) == "ledger_not_found", "another tenant's is not it"
    assert not await findings(database)


async def test_ids_that_a_server_remembers_are_archived_too(database: Database, tmp_path: Path, alone: None) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        bodies = [fields(debit, credit) for _ in range(5)]
        await ledger.writer.submit(transfers(bodies))
        let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfer_of(fields(debit, credit)))
        await seal(database)
        with pytest.raises(RetentionError, match="the checkpoint of shard 0 is at batch 0"):
            await archive(database, tmp_path)
        assert ledger._checkpointer is not None
        await ledger._checkpointer.take()
        await run_as_admin(database, "INSERT INTO pyledger.epoch_before_archives VALUES (0, $1)", ledger.stats.epoch)
        with pytest.raises(RetentionError, match="of before there were archives"):
            await archive(database, tmp_path)
        await run_as_admin(database, "UPDATE pyledger.epoch_before_archives SET epoch = epoch - 1")
        await archive(database, tmp_path)
        for body in bodies:
            assert (await ledger.writer.submit(transfer_of(body))).refusal == "id_archived"
            assert (await ledger.writer.submit(resolve("reverse", body["id"]))).refusal == "transfer_archived"
        await bring_back(database, next(tmp_path.iterdir()))
        assert (await ledger.writer.submit(transfer_of(bodies[0]))).replayed
        assert (await ledger.writer.submit(resolve("reverse", bodies[0]["id"]))).outcome == "accepted"
    assert not await findings(database)


async def test_a_restored_row_answers_but_is_not_acted_on_while_later_ones_are_away(
    database: Database, tmp_path: Path
) -> None:
    history = await write_history(database)
    async with opened(database) as ledger:
        first = history.weeks[0][1]
        answer = await ledger.writer.submit(transfer_of(first))
    await archive(database, tmp_path)
    await bring_back(database, tmp_path / history.names[0])
    async with opened(database) as ledger:
        again = await ledger.writer.submit(transfer_of(first))
        assert (again.body, again.replayed) == (answer.body, True), "word for word"
        assert (await ledger.writer.submit(resolve("reverse", first["id"]))).refusal == "transfer_archived"
        await bring_back(database, tmp_path / history.names[1])
        assert (await ledger.writer.submit(resolve("reverse", first["id"]))).outcome == "accepted"
        assert (await ledger.writer.submit(resolve("reverse", first["id"]))).refusal == "exceeds_reversible_amount"
    assert not await findings(database)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE pyledger.base_account SET debits_posted = debits_posted + 1 WHERE slot = 0", "base of shard 0"),
        ("DELETE FROM pyledger.base_hold", "base of shard 0"),
        ("UPDATE pyledger.base SET digest = sha256('')", "base of shard 0"),
        ("UPDATE pyledger.base SET hash = sha256('')", "batch"),
        ("DELETE FROM pyledger.archived_id WHERE ctid IN (SELECT ctid FROM pyledger.archived_id LIMIT 1)", "archive "),
        ("UPDATE pyledger.archived_id SET tenant = 9", "archive "),
        ("UPDATE pyledger.journal SET metadata = '{}' WHERE kind = 2 AND metadata IS NOT NULL", "archive "),
        ("DELETE FROM pyledger.journal WHERE kind = 1", "archive "),
        ("UPDATE pyledger.batch SET root = sha256('') WHERE seq = 4", "batch 4"),
        ("UPDATE pyledger.archived SET end_ns = end_ns + 604800000000000", "archive "),
    ],
)
async def test_check_finds_what_was_changed_of_what_stays(
    database: Database, tmp_path: Path, statement: str, place: str
) -> None:
    await write_history(database)
    await archive(database, tmp_path)
    await run_as_admin(database, statement)
    assert any(place in finding.place for finding in await findings(database))


@pytest.mark.parametrize("harm", ["NEW.debits_posted := NEW.debits_posted + 1; RETURN NEW;", "RETURN NULL;"])
async def test_nothing_is_dropped_where_the_base_is_not_stored_as_it_is(
    database: Database, tmp_path: Path, harm: str
) -> None:
    await write_history(database)
    rows = await count(database)
    await run_as_admin(
        database,
        "CREATE FUNCTION public.harm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.slot = 2 THEN {harm} END IF; RETURN NEW; END $$",
    )
    await run_as_admin(
        database,
        "CREATE TRIGGER harm BEFORE INSERT ON pyledger.base_account FOR EACH ROW EXECUTE FUNCTION public.harm()",
    )
    with pytest.raises(RetentionError, match="base"):
        await archive(database, tmp_path)
    assert await count(database) == rows
    await run_as_admin(database, "DROP TRIGGER harm ON pyledger.base_account")
    assert len(await archive(database, tmp_path)) == 2
    assert not await findings(database)


async def test_an_id_in_an_archive_and_in_the_journal_is_found(database: Database, tmp_path: Path) -> None:
    history = await write_history(database)
    await archive(database, tmp_path)
    await run_as_admin(
        database,
        "UPDATE pyledger.journal SET id = $1 WHERE id = $2",
        history.weeks[0][0]["id"],
        history.weeks[2][5]["id"],
    )
    assert any(finding.step == "ids" for finding in await findings(database))


async def test_a_batch_over_two_partitions_is_in_the_second_archive(database: Database, tmp_path: Path) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(5)]))
        over = [fields(debit, credit) for _ in range(8)]
        async with asking(database) as connection:
            bound_ns = await connection.fetchval(
                "SELECT min(end_ns) FROM pyledger.partition WHERE end_ns > $1", ledger._clock()
            )
        ledger.writer._time_ns = lambda: bound_ns - 3
        await ledger.writer.submit(transfers(over))
        clock = ledger._clock
        let_pass(ledger, WEEK_NS)
        ledger.writer._time_ns = clock
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(5)]))
        let_pass(ledger, WEEK_NS)
        await ledger.writer.submit(transfers([fields(debit, credit) for _ in range(5)]))
    names = await seal(database)
    rows = await count(database)
    moments = await moments_of(database, over)
    assert moments[2] < bound_ns <= moments[3], "the border goes through it"
    assert await shown(database, credit, moments) == [*range(6, 14)]
    await archive(database, tmp_path, now_ns=bound_ns + 7 * 86_400 * 10**9 + 1)
    async with asking(database) as connection:
        due = await connection.fetch("SELECT name FROM pyledger.partition WHERE end_ns <= $1", bound_ns)
    assert {path.name for path in tmp_path.iterdir()} == {row["name"] for row in due} & set(names)
    assert not await findings(database)
    assert await shown(database, credit, moments) == [*range(6, 14)]
    async with opened(database) as ledger:
        # Its first rows stayed, so all of it is here.
        assert await ledger.reads.transfer(TENANT, over[0]["id"]) is not None
        assert await ledger.proofs.transfer(TENANT, over[0]["id"]) is not None
    await archive(database, tmp_path)
    assert not await findings(database)
    assert await shown(database, credit, moments) == [6, 7, 8] + [None] * 5, "the first ones stayed"
    async with opened(database) as ledger:
        with pytest.raises(Archived):
            await ledger.reads.transfer(TENANT, over[7]["id"])
        with pytest.raises(Archived):
            await ledger.proofs.transfer(TENANT, over[0]["id"])
        assert (await ledger.writer.submit(resolve("reverse", over[0]["id"]))).refusal == "transfer_archived"
    for name in reversed(names[:-1]):
        await bring_back(database, tmp_path / name)
        assert not await findings(database)
        found = await shown(database, credit, moments)
        assert all(each in (None, right) for each, right in zip(found, range(6, 14), strict=True))
    assert found == [*range(6, 14)]
    assert await count(database) == rows


async def moments_of(database: Database, bodies: list[dict[str, Any]]) -> list[int]:
    """When they were recorded."""
    query = "SELECT recorded_ns FROM pyledger.journal WHERE id = ANY ($1::uuid[]) ORDER BY recorded_ns"
    async with asking(database) as connection:
        return [row["recorded_ns"] for row in await connection.fetch(query, [body["id"] for body in bodies])]


async def shown(database: Database, account: str, moments: list[int]) -> list[int | None]:
    """What an account is said to have held at these moments; None where that is archived."""
    found: list[int | None] = []
    async with opened(database) as ledger:
        for moment_ns in moments:
            try:
                body = json.loads(await ledger.statements.account(TENANT, account, moment_ns) or b"")
                found.append(int(body["balances"]["credits_posted"]))
            except HistoryArchived:
                found.append(None)
    return found


async def test_only_the_owner_can(database: Database, tmp_path: Path) -> None:
    history = await write_history(database, weeks=2)
    for dsn in (database.server_dsn, database.reader_dsn):
        connection = await asyncpg.connect(dsn)
        try:
            for statement in (
                "SET ROLE pyledger_owner",
                f"SELECT pyledger.make_twin('{history.names[0]}')",
                f"SELECT pyledger.swap_twin('{history.names[0]}')",
                f"ALTER TABLE pyledger.journal DETACH PARTITION pyledger.{history.names[0]}",
                "DELETE FROM pyledger.archived_id",
                "INSERT INTO pyledger.archive_log (step, start_ns, end_ns, name, manifest) SELECT '', 0, 1, '', ''",
                "INSERT INTO pyledger.legal_hold_lifted VALUES (1, 'because')",
                "DELETE FROM pyledger.base",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()
