"""`check` finds every byte of what proofs rest on, row, batch, subtree and checkpoint, and says which it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyledger.ledger import Ledger, migrate
from pyledger.ledger.check import Finding, Progress, Report, Unknown, check
from pyledger.ledger.proofs import Contradiction
from pyledger.ledger.proofs.outside import name_of, place
from pyledger.ledger.proofs.store import drop_subtrees
from tests.ledger.test_proofs import make_key, make_more, signer_of, signing
from tests.ledger.tools import fields, findings, make_accounts, new_engine, opened, run_as_admin, transfer, transfers
from tests.support.clusters import Database

FLIP = "set_byte({0}, {1}, get_byte({0}, {1}) # 1)"
ROW_COLUMNS = {
    "shard": "1", "seq": "seq - 1", "recorded_ns": "recorded_ns + 1", "id": "gen_random_uuid()", "tenant": "tenant + 1",
    "kind": "4", "status": "54", "debit_account": "credit_account", "credit_account": "debit_account",
    "amount": "amount + 1", "target": "id", "ledger": "ledger + 1", "code": "code + 1", "flags": "flags + 1",
    "timeout_s": "timeout_s + 1", "effective_ns": "1", "fingerprint": FLIP.format("fingerprint", 15),
    "reference": "'that one'", "metadata": "'{\"a\":1}'", "debit_after": FLIP.format("debit_after", 3),
    "credit_after": "credit_after || '\\x00'",
}  # fmt: skip
BATCH_COLUMNS = {
    "rows": "rows + 1", "first_ns": "first_ns + 1", "last_ns": "last_ns + 1",
    "root": FLIP.format("root", 31), "hash": FLIP.format("hash", 0),
}  # fmt: skip


def says(found: list[Finding], place: str, *words: str) -> None:
    """Some finding is about this place, and of each word at least one."""
    there = [each for each in found if each.place == place]
    assert there, (place, found)
    for word in words:
        assert any(word in each.wrong for each in there), (place, word, there)


async def test_each_column_of_a_row_counts_and_the_row_is_named(database: Database) -> None:
    batches: dict[str, int] = {}
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for column in ROW_COLUMNS:
            rows = [fields(debit, credit, 10, reference=f"{column} {number}") for number in range(3)]
            await ledger.writer.submit(transfers(rows))
            batches[column] = ledger.stats.head_seq
    assert await findings(database) == []
    for column, value in ROW_COLUMNS.items():
        await run_as_admin(database, f"UPDATE pyledger.journal SET {column} = {value} WHERE reference = '{column} 1'")
    found = await findings(database)
    named = "SELECT format('tenant %s, id %s', tenant, id) FROM pyledger.journal WHERE reference = $1"
    for column, seq in batches.items():
        says(found, f"batch {seq}", "its rows are not those that its root was made of")
        if column == "shard":
            continue  # it belongs to nobody now: its batch has one row less
        reference = "that one" if column == "reference" else f"{column} 1"
        says(
            found, await run_as_admin(database, named, reference), "says batch" if column == "seq" else "written later"
        )
    whole = {f"{column} {number}" for column in ROW_COLUMNS for number in (0, 2)}
    for reference in whole:
        assert await run_as_admin(database, named, reference) not in {each.place for each in found}, reference


async def test_each_column_of_a_batch_counts_and_the_batch_is_named(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(2 * len(BATCH_COLUMNS) + 5):
            await ledger.writer.submit(transfers([fields(debit, credit), fields(debit, credit)]))
    for seq, (column, value) in zip(range(4, 99, 2), BATCH_COLUMNS.items(), strict=False):
        await run_as_admin(database, f"UPDATE pyledger.batch SET {column} = {value} WHERE seq = {seq}")
    await run_as_admin(database, "UPDATE pyledger.batch SET seq = seq + 1000 WHERE seq = 14")
    await run_as_admin(database, "UPDATE pyledger.batch SET shard = 1 WHERE seq = 16")
    found = await findings(database)
    for seq in (4, 6, 8, 10, 12):
        says(found, f"batch {seq}", "its")
    says(found, "batch 14", "it is missing")
    says(found, "batch 1014")
    says(found, "batch 17", "the batch before it is 15")


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("journal", {*ROW_COLUMNS}),
        ("batch", {*BATCH_COLUMNS, "seq", "shard"}),
        ("signed_checkpoint", {"shard", "size", "key_number", "key", "note"}),
    ],
)
async def test_no_column_is_left_out_here(database: Database, table: str, changed: set[str]) -> None:
    query = (
        "SELECT array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = 'pyledger' AND table_name = $1"
    )
    assert set(await run_as_admin(database, query, table)) == changed


async def signed_books(database: Database, key: str, outside: Path, batches: int = 8) -> None:
    """A checkpoint for each batch from the third on, here and outside."""
    async with signing(database, key, str(outside)) as ledger:
        debit, credit = await make_accounts(ledger)
        while ledger.stats.head_seq < batches:
            await ledger.writer.submit(transfer(debit, credit))
            await signer_of(ledger).round()


async def test_each_part_of_a_signed_checkpoint_counts(database: Database, tmp_path: Path) -> None:
    key, public = make_key(tmp_path)
    outside = tmp_path / "outside"
    await signed_books(database, key, outside, 10)
    other_key = make_key(tmp_path, "other")[1]
    assert await findings(database, outside) == []
    other = "CASE substr(note, length(note) - 5, 1) WHEN 'Z' THEN 'Y' ELSE 'Z' END"  # letter of a signature
    changes = {
        3: "note = replace(note, 'books', 'crook')",
        4: f"note = overlay(note placing {other} from length(note) - 5)",
        5: "note = note || note",
        6: "size = 66",
        7: "key_number = key_number # 1",
        8: f"key = replace(key, '{str(public)[-8:]}', 'AAAAAAA=')",
        9: "shard = 5",
        10: f"key = '{other_key}'",
    }
    for size, change in changes.items():
        await run_as_admin(database, f"UPDATE pyledger.signed_checkpoint SET {change} WHERE size = {size}")
    found = await findings(database, outside)
    assert {each.step for each in found} == {"proofs"}
    for size in (3, 4, 5, 66, 7, 8, 10):
        says(found, f"checkpoint of {size} batches")
    says(found, "checkpoints of shard 5", "there is no such shard, and 1 of them")
    number = int.from_bytes(public.id)
    for size in (6, 7, 9):
        says(found, f"checkpoint {name_of(size, number)} outside the database", "it was removed there")
    assert len(found) == len(changes) + 3


async def test_a_text_that_is_none_any_more_is_found_like_any_other(database: Database, tmp_path: Path) -> None:
    """As a damaged page has it; PostgreSQL itself would not store it."""
    await signed_books(database, make_key(tmp_path)[0], tmp_path / "outside")
    await run_as_admin(database, "CREATE CAST (bytea AS text) WITHOUT FUNCTION")
    for column, size in (("note", 4), ("key", 5)):
        change = f"{column} = ({FLIP.format(f'textsend({column})', 2)} || '\\xc8')::bytea::text"
        await run_as_admin(database, f"UPDATE pyledger.signed_checkpoint SET {change} WHERE size = {size}")
    found = await findings(database)
    for size in (4, 5):
        says(found, f"checkpoint of {size} batches")
    assert len(found) == 2


async def test_what_is_kept_outside_counts_and_so_does_what_is_not_there_any_more(
    database: Database, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    await signed_books(database, make_key(tmp_path)[0], outside)
    files = sorted(each for each in (outside / "0").iterdir() if each.name != "checkpoint")
    assert len(files) >= 5
    text = files[0].read_bytes()
    files[0].write_bytes(text[:-9] + bytes([text[-9] ^ 1]) + text[-8:])
    files[1].write_bytes(files[2].read_bytes())
    files[3].write_bytes(b"\xff\xfe")
    (outside / "0" / "checkpoint").write_text("")
    found = await findings(database, outside)
    assert len(found) == 4
    for file in (files[0], files[1], files[3], outside / "0" / "checkpoint"):
        says(found, f"checkpoint {file.name} outside the database")


async def test_a_history_that_was_rewritten_is_found_by_what_was_signed(
    database: Database, empty_database: Database, tmp_path: Path
) -> None:
    """The best forgery: every row, hash, root and balance is consistent. Only the signatures know of another one."""
    await migrate.upgrade(empty_database.owner_dsn)
    key, outside = make_key(tmp_path)[0], tmp_path / "outside"
    await signed_books(database, key, outside)
    async with opened(empty_database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(4):
            await ledger.writer.submit(transfer(debit, credit))
    assert await findings(empty_database) == []
    # No stored checkpoint names their key, and nobody else does; named, it shows that they are genuine.
    assert {each.wrong.split(";")[0] for each in await findings(empty_database, outside)} == {
        "none of the given keys signed it"
    }
    found = await findings(empty_database, outside, key)
    places = {each.place.split("-")[0]: each.wrong for each in found}
    for size in range(3, 9):
        wrong = places[f"checkpoint {size:020d}"]
        assert ("not those that were signed" if size <= 6 else f"there are 6 batches, not {size}") in wrong
    # The same without the place outside, where the checkpoints are in the database.
    await run_as_admin(database, "UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 5")
    says(await findings(database), "checkpoint of 5 batches", "history was rewritten")


async def more(ledger: Ledger, batches: int) -> None:
    debit, credit = await make_accounts(ledger)
    for _ in range(batches):
        await ledger.writer.submit(transfer(debit, credit))


async def test_each_subtree_counts_and_can_be_made_again(database: Database, tmp_path: Path) -> None:
    key = make_key(tmp_path)[0]
    async with signing(database, key) as ledger:
        await more(ledger, 3 * 256)
        await signer_of(ledger).round()
    assert await findings(database) == []
    await run_as_admin(database, f"UPDATE pyledger.subtree SET hash = {FLIP.format('hash', 7)} WHERE number = 0")
    await run_as_admin(database, "DELETE FROM pyledger.subtree WHERE number = 1")
    await run_as_admin(database, "INSERT INTO pyledger.subtree VALUES (0, 2, 0, sha256('x'))")
    found = await findings(database)
    says(found, "subtree of batches 1 to 256", "its hash is not that of its batches")
    says(found, "subtree of batches 257 to 512", "it is missing")
    says(found, "subtree of batches 1 to 65536", "there are 770 batches")
    assert len(found) == 3
    await run_as_admin(database, "UPDATE pyledger.subtree SET shard = 9 WHERE level = 2")
    says(await findings(database), "subtrees of shard 9", "there is no such shard, and 1 of them")
    await drop_subtrees(database.owner_dsn, 9)
    await drop_subtrees(database.owner_dsn, 0)
    async with signing(database, key) as ledger:
        await signer_of(ledger).round()
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await signer_of(ledger).round()
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.subtree") == 3
        # As if they were dropped while the signer made them: a gap before the last one.
        await run_as_admin(database, "DELETE FROM pyledger.subtree WHERE number < 2")
        await signer_of(ledger).round()
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.subtree") == 3
    assert await findings(database) == []


async def test_what_is_signed_meanwhile_is_no_finding(database: Database, tmp_path: Path) -> None:
    key, outside = make_key(tmp_path)[0], tmp_path / "outside"
    async with signing(database, key, str(outside)) as ledger:
        await more(ledger, 2)
        await signer_of(ledger).round()
        checking = check(database.owner_dsn, 0, new_engine, place(str(outside), 0))
        reports: list[Report] = [await anext(checking)]
        assert reports == [Progress("books", 0, 8)], "the snapshot is taken"
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await signer_of(ledger).round()
        reports += [report async for report in checking]
    assert [report for report in reports if isinstance(report, Finding)] == []


async def test_a_key_that_nobody_gave_is_named(database: Database, tmp_path: Path) -> None:
    key, public = make_key(tmp_path)
    async with signing(database, key) as ledger:
        await more(ledger, 1)
        await signer_of(ledger).round()
    for given, named in (([], [Unknown(str(public))]), ([public], [])):
        reports = [report async for report in check(database.owner_dsn, 0, new_engine, None, given)]
        assert [report for report in reports if isinstance(report, Unknown)] == named


async def test_a_place_that_is_not_mounted_is_found_and_not_made(database: Database, tmp_path: Path) -> None:
    key, outside = make_key(tmp_path)[0], tmp_path / "outside"
    async with signing(database, key, str(outside)) as ledger:
        await more(ledger, 1)
        await signer_of(ledger).round()
        outside.rename(tmp_path / "elsewhere")
        outside.mkdir()
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        with pytest.raises(Contradiction, match="is not there"):
            await signer_of(ledger).round()
        assert list(outside.iterdir()) == []
        says(await findings(database, outside), "place of shard 0", "is it mounted?")
        outside.rmdir()
        (tmp_path / "elsewhere").rename(outside)
        await signer_of(ledger).round()
    assert await findings(database, outside) == []
