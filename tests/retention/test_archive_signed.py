"""The signed checkpoint that an archive carries is verified before it is noted, and before anything is dropped."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger.proofs.notes import Checkpoint, Signed, SigningKey
from pyledger.retention.nouns import RetentionError
from pyledger.retention.policy import Policy, Terms
from tests.ledger.test_proofs import make_key
from tests.ledger.tools import findings, run_as_admin
from tests.retention.test_archive_crash import killed, settled
from tests.retention.test_cli import pieces, pyledger
from tests.retention.tools import archive, asking, count, sign, write_history
from tests.support.clusters import Database

KEEP = Policy(Terms(7, None), {})
"""Archived and not dropped."""
Row = dict[str, Any]
"""size, key_number, key and note as they are stored."""


def resigned(row: Row, key: SigningKey, root: bytes | None = None) -> Row:
    """Signed by a key as if it was the one."""
    old = Signed.parse(row["note"]).checkpoint
    note = key.sign(str(Checkpoint(old.origin, old.size, root or old.root)))
    return row | {"key_number": int.from_bytes(key.public.id), "key": str(key.public), "note": note}


def another_root(row: Row, _key: SigningKey) -> Row:
    old = Signed.parse(row["note"]).checkpoint
    return row | {"note": row["note"].replace(str(old), str(Checkpoint(old.origin, old.size, bytes(32))))}


def another_root_signed(row: Row, key: SigningKey) -> Row:
    return resigned(row, key, bytes(32))


def another_signature(row: Row, _key: SigningKey) -> Row:
    said, _, encoded = row["note"].rstrip("\n").rpartition(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[40] ^= 1
    return row | {"note": f"{said} {base64.b64encode(raw).decode()}\n"}


def another_key_beside_it(row: Row, key: SigningKey) -> Row:
    return row | {"key": str(SigningKey(key.name, bytes(32)).public)}


def no_key(row: Row, _key: SigningKey) -> Row:
    return row | {"key": row["key"][:-1]}


def another_size(row: Row, _key: SigningKey) -> Row:
    return row | {"size": row["size"] + 1}


def another_number(row: Row, _key: SigningKey) -> Row:
    return row | {"key_number": row["key_number"] ^ 1}


def no_note(row: Row, _key: SigningKey) -> Row:
    return row | {"note": "nothing"}


HARMS = (
    another_root, another_root_signed, another_signature, another_key_beside_it, no_key, another_size, another_number,
    no_note,
)  # fmt: skip


async def newest(database: Database) -> Row:
    async with asking(database) as connection:
        return dict(
            await connection.fetchrow(
                "SELECT size, key_number, key, note FROM pyledger.signed_checkpoint ORDER BY size DESC LIMIT 1"
            )
        )


async def put(database: Database, old: Row, new: Row) -> None:
    """One stored checkpoint in place of another, past all triggers."""
    await run_as_admin(
        database,
        "UPDATE pyledger.signed_checkpoint SET size = $3, key_number = $4, key = $5, note = $6"
        " WHERE size = $1 AND key_number = $2",
        old["size"],
        old["key_number"],
        *new.values(),
    )


async def noted(database: Database) -> list[str]:
    async with asking(database) as connection:
        return [row["step"] for row in await connection.fetch("SELECT step FROM pyledger.archive_log ORDER BY number")]


@pytest.mark.parametrize("harm", HARMS)
async def test_a_checkpoint_that_was_changed_archives_nothing_and_drops_nothing(
    database: Database, tmp_path: Path, harm: Callable[[Row, SigningKey], Row]
) -> None:
    key, _ = make_key(tmp_path)
    to = tmp_path / "archives"
    to.mkdir()
    await write_history(database, weeks=2)
    await sign(database, key)
    rows, good = await count(database), await newest(database)
    bad = harm(good, SigningKey.load(Path(key)))
    await put(database, good, bad)
    assert await findings(database), "check finds it, too"
    for allow in (False, True):
        with pytest.raises(RetentionError, match="run `pyledger check`"):
            await archive(database, to, policy=KEEP, allow_unsigned=allow)
        assert (list(to.iterdir()), await noted(database)) == ([], [])
    await put(database, bad, good)
    await archive(database, to, policy=KEEP, allow_unsigned=False)
    await put(database, good, bad)
    with pytest.raises(RetentionError, match="run `pyledger check`"):
        await archive(database, to)
    assert (await count(database), await noted(database)) == (rows, ["archived"])
    await put(database, bad, good)
    await archive(database, to)
    assert await noted(database) == ["archived", "dropped"]
    assert not await findings(database)


async def test_what_is_taken_over_carries_what_was_signed(database: Database, tmp_path: Path) -> None:
    key, _ = make_key(tmp_path)
    to = tmp_path / "archives"
    to.mkdir()
    history = await write_history(database, weeks=2)
    killed(database, "archive", to, "named")
    await settled(database)
    with pytest.raises(RetentionError, match="was made without a signed checkpoint of shard 0: --allow-unsigned"):
        await archive(database, to, allow_unsigned=False)
    (to / history.names[0]).rename(tmp_path / "unsigned")
    await sign(database, key)
    killed(database, "archive", to, "named")
    await settled(database)
    good = await newest(database)
    bad = another_signature(good, SigningKey.load(Path(key)))
    await put(database, good, bad)
    with pytest.raises(RetentionError, match="is not in the database: nothing was dropped; run `pyledger check`"):
        await archive(database, to)
    assert await noted(database) == []
    await put(database, bad, good)
    await archive(database, to, allow_unsigned=False)
    assert await noted(database) == ["archived", "dropped"]


async def test_a_history_that_was_rewritten_below_its_subtrees_is_not_archived(
    database: Database, tmp_path: Path
) -> None:
    key, _ = make_key(tmp_path)
    to = tmp_path / "archives"
    to.mkdir()
    await write_history(database, weeks=2)
    await sign(database, key)
    await run_as_admin(database, "UPDATE pyledger.batch SET hash = sha256('') WHERE seq = 3")
    with pytest.raises(RetentionError, match="run `pyledger check`"):
        await archive(database, to)
    assert (list(to.iterdir()), await noted(database)) == ([], [])


async def test_the_key_of_the_settings_counts(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that only the database names signs nothing for whoever has one of his own."""
    key, public = make_key(tmp_path)
    to, (other, others) = tmp_path / "archives", make_key(tmp_path, "other")
    to.mkdir()
    await pieces(database, signing_key=key, signing_interval_s=86_400)
    good = await newest(database)
    forged = resigned(good, SigningKey.load(Path(other)))
    policy = tmp_path / "policy.toml"
    policy.write_text("[default]\narchived_after_days = 0\ndropped_after_days = 9\n")
    command = ("archive", "--policy", policy, "--to", to)
    await put(database, good, forged)
    monkeypatch.setenv("PYLEDGER_SIGNING_KEY", key)
    assert f"no signed checkpoint of shard 0 by {public} contains" in pyledger(database, *command, code=2)
    assert list(to.iterdir()) == []
    await put(database, forged, good)
    monkeypatch.setenv("PYLEDGER_SIGNING_KEY", other)
    assert f"no signed checkpoint of shard 0 by {others} contains" in pyledger(database, *command, code=2)
    monkeypatch.setenv("PYLEDGER_SIGNING_KEY", key)
    assert ": archived, not dropped: not old enough" in pyledger(database, *command)
    # What was archived before the key was changed is dropped by the key that is stored beside its checkpoint.
    policy.write_text("[default]\narchived_after_days = 0\ndropped_after_days = 0\n")
    monkeypatch.setenv("PYLEDGER_SIGNING_KEY", other)
    assert ": dropped" in pyledger(database, *command)
