"""What stayed of a dropped partition: `check` says which of its rows was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyledger.ledger.nouns import WEEK_NS
from tests.ledger.tools import findings, let_pass, new_id, open_accounts, open_book, opened, run_as_admin, transfer
from tests.retention.tools import archive, asking, seal, write_history
from tests.support.clusters import Database

CHANGED = "what stayed of it is not what it was"
LATER = "it was written later than the rest of what stayed"
ONLY = "it is the only row that stayed, and was changed"


async def named(database: Database) -> set[tuple[str, str]]:
    """What `check` finds of archives, and where; nothing else is wrong."""
    found = await findings(database)
    assert {each.step for each in found} <= {"archive"}, found
    return {(each.place, each.wrong) for each in found}


@pytest.mark.postgres(15, 18)
@pytest.mark.parametrize("change", ["metadata = '{}'", "reference = 'another'"])
@pytest.mark.parametrize("of", [0, 3, None])
async def test_a_row_that_stayed_and_was_changed_is_named(
    database: Database, tmp_path: Path, change: str, of: int | None
) -> None:
    history = await write_history(database)
    await archive(database, tmp_path)
    where = "kind = 1" if of is None else f"id = '{history.accounts[of]}'"
    query = f"SELECT format('tenant %s, id %s', tenant, id) FROM pyledger.journal WHERE {where}"
    row = await run_as_admin(database, query)
    await run_as_admin(database, f"UPDATE pyledger.journal SET {change} WHERE {where}")
    assert await named(database) == {
        (f"archive {history.names[0]}", CHANGED), (row, LATER),
    }  # fmt: skip


async def test_no_row_is_named_that_was_not_changed(database: Database, tmp_path: Path) -> None:
    history = await write_history(database)
    await archive(database, tmp_path)
    gone = {(f"archive {history.names[0]}", CHANGED)}
    await run_as_admin(database, "UPDATE pyledger.archived SET kept_hash = sha256('') WHERE kept_rows > 0")
    assert await named(database) == gone
    # The finding of a row that is missing is not that of those that are left.
    account = history.accounts[0]
    async with asking(database) as connection:
        left = await connection.fetchval("SELECT count(*) FROM pyledger.journal WHERE kind <= 2")
    await run_as_admin(database, "DELETE FROM pyledger.journal WHERE kind <= 2 AND id <> $1", account)
    assert left == 5
    found = {(each.place, each.wrong) for each in await findings(database) if each.step == "archive"}
    assert found == gone


async def test_the_only_row_that_stayed_is_named_and_of_two_the_one_that_was_changed(
    database: Database, tmp_path: Path
) -> None:
    async with opened(database) as ledger:
        assert (await ledger.writer.submit(open_book())).outcome == "accepted"
        let_pass(ledger, WEEK_NS)
        accounts = [new_id(), new_id()]
        await ledger.writer.submit(open_accounts(accounts))
        let_pass(ledger, WEEK_NS)
        assert (await ledger.writer.submit(transfer(*accounts))).outcome == "accepted"
    first, second, _ = await seal(database)
    assert len(await archive(database, tmp_path)) == 2
    book = await run_as_admin(database, "SELECT id::text FROM pyledger.journal WHERE kind = 1")
    change = "UPDATE pyledger.journal SET metadata = '{}' WHERE id = ANY ($1::uuid[])"
    await run_as_admin(database, change, [book, accounts[1]])
    assert await named(database) == {
        (f"archive {first}", CHANGED), (f"tenant 7, id {book}", ONLY),
        (f"archive {second}", CHANGED), (f"tenant 7, id {accounts[1]}", LATER),
    }  # fmt: skip
