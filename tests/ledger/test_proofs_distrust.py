"""What the signer, and who asks for proofs, do not believe: a row is only as good as what it follows from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import BadCursor, cursors
from pyledger.ledger.proofs import Contradiction, Proofs, SigningKey, signer, store
from pyledger.ledger.proofs.notes import Checkpoint
from pyledger.ledger.proofs.outside import name_of
from tests.ledger.test_proofs import (
    ORIGIN,
    a_batch_each,
    id_of,
    make_key,
    make_more,
    proof_of,
    signer_of,
    signing,
)
from tests.ledger.tools import (
    TENANT,
    fields,
    findings,
    ledger_settings,
    make_accounts,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support.clusters import Database

SUBTREE = "INSERT INTO pyledger.subtree VALUES (0, 1, 0, sha256('x'))"
SIGNED = "INSERT INTO pyledger.signed_checkpoint (shard, size, key_number, key, note) VALUES (0, $1, $2, $3, $4)"
HOW_MANY = "SELECT count(*) FROM pyledger.signed_checkpoint WHERE size >= $1"


async def test_a_subtree_of_invented_batches_is_neither_signed_nor_served(database: Database, tmp_path: Path) -> None:
    file, _ = make_key(tmp_path)
    async with signing(database, file) as ledger:
        ids = await a_batch_each(ledger, 250)
        await signer_of(ledger).round()
        size = ledger.stats.head_seq
        # As whoever has the writer's login can: before the batches are there.
        await run_as_admin(database, SUBTREE)
        debit, credit = await make_more(ledger)
        late = [id_of(await ledger.writer.submit(transfer(debit, credit))) for _ in range(8)]
        with pytest.raises(Contradiction, match="rebuild --subtrees"):
            await signer_of(ledger).round()
        assert await run_as_admin(database, HOW_MANY, size + 1) == 0
        await store.drop_subtrees(database.owner_dsn, 0)
        await signer_of(ledger).round()
        assert await run_as_admin(database, HOW_MANY, size + 1) == 1
        assert await findings(database) == []
        # Poisoned afterwards, it is in no answer.
        await ledger.writer.submit(transfer(debit, credit))
        await signer_of(ledger).round()
        await proof_of(ledger, late[-1])
        size = ledger.stats.head_seq - 1
        await run_as_admin(database, "UPDATE pyledger.subtree SET hash = sha256('x')")
        with pytest.raises(Contradiction, match="is not in the tree"):
            await ledger.proofs.transfer(TENANT, late[-1])
        with pytest.raises(Contradiction, match="do not begin with"):
            await ledger.proofs.consistency(size, ledger.stats.head_seq)
        await proof_of(ledger, ids[0])
        with pytest.raises(Contradiction):
            await signer_of(ledger).round()


async def test_a_row_that_says_that_all_is_signed_is_not_believed(database: Database, tmp_path: Path) -> None:
    """The forger's own key, and a tree of batches as he would have them: nothing follows from its being there."""
    file, public = make_key(tmp_path)
    async with signing(database, file) as ledger:
        await a_batch_each(ledger, 2)
        size = ledger.stats.head_seq
        await run_as_admin(database, "UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 2")
        root = await store.Store(ledger._pool, 0).root(size)
        forger = SigningKey.create(tmp_path / "forger", ORIGIN)
        note = forger.sign(str(Checkpoint(ORIGIN, size, root)))
        await run_as_admin(database, SIGNED, size, int.from_bytes(forger.public.id), str(forger.public), note)
        with pytest.raises(Contradiction):
            await signer_of(ledger).round()
        assert await run_as_admin(database, HOW_MANY, size) == 1
        await run_as_admin(database, "DELETE FROM pyledger.signed_checkpoint")
        await run_as_admin(database, SIGNED, size, int.from_bytes(public.id), str(public), note)
        with pytest.raises(Contradiction, match="none of the given keys signed it"):
            await signer_of(ledger).round()


async def test_the_last_batch_is_compared_with_the_writers_own_even_if_it_is_signed(
    database: Database, tmp_path: Path
) -> None:
    file, _ = make_key(tmp_path)
    async with signing(database, file) as ledger:
        await a_batch_each(ledger, 254)
        await signer_of(ledger).round()
        # Its subtree is stored, so the root is made without it.
        await run_as_admin(database, "UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 256")
        with pytest.raises(Contradiction, match="batch 256"):
            await signer_of(ledger).round()


@pytest.mark.parametrize(
    ("size", "change", "says"),
    [
        (3, "UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 3", "batch 3 is not what was committed"),
        (256, SUBTREE, "batch 256, or a subtree beside it, is not the one that was signed"),
    ],
)
async def test_not_even_our_own_signature_stands_for_the_writers_last_batch(
    database: Database, tmp_path: Path, size: int, change: str, says: str
) -> None:
    """Signed by our key, as if it had been used elsewhere, and consistent with all that is stored."""
    file, public = make_key(tmp_path)
    async with signing(database, file) as ledger:
        await a_batch_each(ledger, size - 2)
        await run_as_admin(database, change)
        note = SigningKey.load(tmp_path / "key").sign(
            str(Checkpoint(ORIGIN, size, await store.Store(ledger._pool, 0).root(size)))
        )
        await run_as_admin(database, SIGNED, size, int.from_bytes(public.id), str(public), note)
        with pytest.raises(Contradiction, match=says):
            await signer_of(ledger).round()


async def test_a_shard_signs_by_its_own_name_and_old_keys_come_back(database: Database, tmp_path: Path) -> None:
    files = [make_key(tmp_path, name)[0] for name in ("a", "b")]
    for file in (files[0], files[1], files[0]):
        async with signing(database, file) as ledger:
            if not ledger.stats.head_seq:
                await a_batch_each(ledger, 1)
            await signer_of(ledger).round()
            await signer_of(ledger).round()
            if file == files[1]:
                settings = ledger_settings(shard=1, signing_key=file)
                shard = Proofs(ledger._pool, ledger.writer, settings).signer
                assert shard is not None
                assert shard.key.public.name == f"{ORIGIN}/1"
    assert await run_as_admin(database, HOW_MANY, 3) == 2
    assert await findings(database) == []


async def test_nothing_more_is_signed_than_gets_outside(database: Database, tmp_path: Path) -> None:
    file, public = make_key(tmp_path)
    outside = tmp_path / "outside"
    async with signing(database, file, str(outside)) as ledger:
        debit, credit = await make_accounts(ledger)
        await signer_of(ledger).round()
        blocked = outside / "0" / name_of(3, int.from_bytes(public.id))
        blocked.mkdir()
        for _ in range(3):
            await ledger.writer.submit(transfer(debit, credit))
            with pytest.raises(OSError, match="directory"):
                await signer_of(ledger).round()
        assert await run_as_admin(database, HOW_MANY, 3) == 1
        blocked.rmdir()
        await signer_of(ledger).round()
        assert await run_as_admin(database, HOW_MANY, 3) == 2
    assert await findings(database, outside) == []


async def test_what_is_asked_for_is_signed_so_often_and_no_oftener(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer, "REST_S", 0.01)
    monkeypatch.setattr(signer, "COVER_TIMEOUT_S", 0.3)
    file, _ = make_key(tmp_path)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(signer.ROUNDS_MAX + 5):
            await proof_of(ledger, id_of(await ledger.writer.submit(transfer(debit, credit))))
        assert 1 < await run_as_admin(database, HOW_MANY, 1) <= signer.ROUNDS_MAX


async def test_a_large_batch_is_hashed_beside_the_loop_and_batches_have_64_bits(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = make_key(tmp_path)
    where: list[threading.Thread] = []
    prove_row = store.prove_row

    def watched(*arguments: Any) -> Any:
        where.append(threading.current_thread())
        return prove_row(*arguments)

    monkeypatch.setattr(store, "prove_row", watched)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        rows = [fields(debit, credit) for _ in range(1_100)]
        await ledger.writer.submit(transfers(rows))
        await proof_of(ledger, rows[5]["id"])
        assert where
        assert threading.main_thread() not in where
        with pytest.raises(Contradiction, match="is missing"):
            await store.Store(ledger._pool, 0).link(2**31)
        cursor = cursors.seal(TENANT, "checkpoints", (2**63).to_bytes(8) + bytes(4))
        with pytest.raises(BadCursor):
            await ledger.proofs.checkpoints(TENANT, cursor, 1)
