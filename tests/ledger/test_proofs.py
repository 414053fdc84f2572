"""Proofs of real books: an outsider believes them, no changed byte passes, and nobody signs two histories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pyledger.ledger import Ledger, Unavailable
from pyledger.ledger.proofs import BadKey, Contradiction, PublicKey, SigningKey
from pyledger.ledger.proofs.document import BadProof, verify, verify_consistency
from pyledger.ledger.proofs.notes import Checkpoint, Signed
from pyledger.ledger.proofs.signer import Signer
from pyledger.ledger.times import instant
from tests.ledger.tools import (
    TENANT,
    fields,
    findings,
    make_accounts,
    new_id,
    open_accounts,
    opened,
    resolve,
    run_as_admin,
    transfer,
    transfers,
)
from tests.support import verifier
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)
ORIGIN = "books.example.com"
NEVER_S = 86_400
"""Nobody signs by himself; a proof that waits has it done."""


def make_key(directory: Path, name: str = "key") -> tuple[str, PublicKey]:
    return str(directory / name), SigningKey.create(directory / name, ORIGIN).public


@asynccontextmanager
async def signing(database: Database, key: str, directory: str = "", **settings: Any) -> AsyncIterator[Ledger]:
    settings = {"signing_interval_s": NEVER_S, "signing_key": key, "signing_dir": directory, **settings}
    async with opened(database, **settings) as ledger:
        yield ledger


def signer_of(ledger: Ledger) -> Signer:
    assert ledger.proofs.signer is not None
    return ledger.proofs.signer


async def proof_of(ledger: Ledger, transfer_id: str, tenant: int = TENANT) -> bytes:
    found = await ledger.proofs.transfer(tenant, transfer_id)
    assert found is not None
    return found


def id_of(reply: Any) -> str:
    return str(json.loads(reply.body)["id"])


async def a_batch_each(ledger: Ledger, count: int) -> list[str]:
    """Accounts, and transfers that come one by one."""
    debit, credit = await make_accounts(ledger)
    return [id_of(await ledger.writer.submit(transfer(debit, credit))) for _ in range(count)]


@both
async def test_an_outsider_believes_every_proof(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        rows = [fields(debit, credit, 10, reference="ä", metadata={"a": [1, "x"]}) for _ in range(5)]
        rows.append(fields(debit, credit, 2**100, flags=["pending"], timeout_s=60))
        await ledger.writer.submit(transfers(rows))
        posted = await ledger.writer.submit(resolve("post", rows[-1]["id"], amount="7"))
        for asked in [*(row["id"] for row in rows), id_of(posted)]:
            document = await proof_of(ledger, asked)
            assert verifier.transfer(document, str(key)) == (asked.replace("-", ""), ledger.stats.head_seq)
            proven = verify(document, [key])
            assert proven.row.id == asked
            assert proven.row.tenant == TENANT
        first = verify(await proof_of(ledger, rows[0]["id"]), [key]).row
        assert (first.kind, first.outcome, first.amount, first.reference) == ("transfer", "accepted", "10", "ä")
        assert first.debit_account_after is not None
        assert first.debit_account_after.debits_posted == "10"
        held = verify(await proof_of(ledger, rows[-1]["id"]), [key]).row
        assert (held.kind, held.amount, held.timeout_s, held.metadata) == ("pending", str(2**100), 60, None)
    assert await findings(database) == []


async def test_every_byte_of_a_proof_counts(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        ids = await a_batch_each(ledger, 3)
        document = await proof_of(ledger, ids[0])
        assert verify(document, [key]).checkpoint.size == 5
        for at, byte in enumerate(document):
            for by in (1, 32):
                wrong = document[:at] + bytes([byte ^ by]) + document[at + 1 :]
                with pytest.raises(BadProof):
                    verify(wrong, [key])
        loose = json.dumps(json.loads(document), indent=2).encode()
        assert verify(loose, [key]) == verify(document, [key])
        other = make_key(tmp_path, "other")[1]
        with pytest.raises(BadProof, match="none of the given keys"):
            verify(document, [other])
        assert verify(document, [other, key]).key == key


async def test_who_has_no_proof_and_who_has(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        poor = (await make_more(ledger, flags=["debits_must_not_exceed_credits"]))[0]
        asked = transfer(debit, credit)
        once = await ledger.writer.submit(asked)
        again = await ledger.writer.submit(asked)
        assert again.replayed
        declined = transfer(poor, credit, 5)
        assert (await ledger.writer.submit(declined)).outcome == "declined"
        refused = transfer(debit, new_id())
        assert (await ledger.writer.submit(refused)).outcome == "unknown"
        document = await proof_of(ledger, id_of(once))
        assert await proof_of(ledger, id_of(again)) == document
        no = verify(await proof_of(ledger, declined.ids[0]), [key]).row
        assert (no.outcome, no.debit_account_after) == ("exceeds_credits", None)
        for nobodys in (refused.ids[0], new_id(), debit):
            assert await ledger.proofs.transfer(TENANT, nobodys) is None
        assert await ledger.proofs.transfer(TENANT + 1, id_of(once)) is None


async def test_without_a_key_a_proof_ends_at_its_batch_and_says_so(database: Database, tmp_path: Path) -> None:
    async with opened(database) as ledger:
        ids = await a_batch_each(ledger, 1)
        document = await proof_of(ledger, ids[0])
        assert json.loads(document)["unsigned"] == "this server has no signing key"
        with pytest.raises(BadProof, match=r"ends at batch 3 with hash [0-9a-f]{64}, which no key signed"):
            verify(document, [])
        assert (await ledger.proofs.checkpoints(TENANT, None, 10)).items == []
    with pytest.raises(BadKey, match="cannot read the signing key"):
        async with signing(database, str(tmp_path / "none")):
            pass


async def test_checkpoints_are_consistent_paged_and_kept_outside(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    outside = tmp_path / "outside"
    async with signing(database, file, str(outside)) as ledger:
        debit, credit = await make_accounts(ledger)
        signer = signer_of(ledger)
        for _ in range(4):
            await ledger.writer.submit(transfer(debit, credit))
            await signer.round()
            await signer.round()
        found: list[Any] = []
        cursor: str | None = None
        while cursor is not None or not found:
            page = await ledger.proofs.checkpoints(TENANT, cursor, 3)
            found += map(json.loads, page.items)
            cursor = page.next
        assert [each["size"] for each in found][:4] == [6, 5, 4, 3]
        assert {(each["key"], each["origin"]) for each in found} == {(str(key), ORIGIN)}
        for first in found:
            for second in found:
                document = await ledger.proofs.consistency(first["size"], second["size"])
                assert (document is None) == (first["size"] > second["size"])
                if document is not None:
                    sizes = (first["size"], second["size"])
                    assert verifier.consistent(document, str(key)) == sizes
                    assert tuple(each.size for each in verify_consistency(document, [key])) == sizes
        document = await ledger.proofs.consistency(3, 6)
        assert document is not None
        for at, byte in enumerate(document):
            with pytest.raises(BadProof):
                verify_consistency(document[:at] + bytes([byte ^ 1]) + document[at + 1 :], [key])
        assert await ledger.proofs.consistency(6, 7) is None
        names = [each for each in sorted(path.name for path in (outside / "0").iterdir()) if each != "checkpoint"]
        assert [int(each[:20]) for each in names] == sorted(each["size"] for each in found)
        assert (outside / "0" / "checkpoint").read_text() == found[0]["note"]
    assert await findings(database, outside) == []


async def test_more_batches_than_a_subtree_and_subtrees_made_again(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        ids = await a_batch_each(ledger, 530)
        for asked in (ids[0], ids[253], ids[254], ids[300], ids[-1]):
            assert verifier.transfer(await proof_of(ledger, asked), str(key))[1] == ledger.stats.head_seq
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.subtree") == 2
        # Dropped, they are made again, and the signature is the same.
        await run_as_admin(database, "DELETE FROM pyledger.subtree")
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await signer_of(ledger).round()
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.subtree") == 2
    assert await findings(database) == []


async def make_more(ledger: Ledger, **more: Any) -> list[str]:
    ids = [new_id(), new_id()]
    await ledger.writer.submit(open_accounts(ids, **more))
    return ids


async def test_a_key_is_replaced_and_the_old_checkpoints_stand(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    outside = str(tmp_path / "outside")
    async with signing(database, file, outside) as ledger:
        ids = await a_batch_each(ledger, 2)
        old = await proof_of(ledger, ids[0])
    renewed, new_key = make_key(tmp_path, "renewed")
    async with signing(database, renewed, outside) as ledger:
        await signer_of(ledger).round()
        new = await proof_of(ledger, ids[0])
        assert verify(old, [key]).checkpoint == verify(new, [new_key]).checkpoint
        page = await ledger.proofs.checkpoints(TENANT, None, 10)
        shown = [json.loads(each) for each in page.items]
        assert {each["key"] for each in shown} == {str(key), str(new_key)}
        last_ns = await run_as_admin(database, "SELECT last_ns FROM pyledger.batch WHERE seq = $1", shown[0]["size"])
        assert {each["until"] for each in shown} == {instant(last_ns)}
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await signer_of(ledger).round()
    assert await findings(database, Path(outside)) == []
    foreign = SigningKey.create(tmp_path / "foreign", "other.example.com").public
    async with signing(database, str(tmp_path / "foreign"), outside) as ledger:
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await signer_of(ledger).round()
        document = await ledger.proofs.consistency(verify(old, [key]).checkpoint.size, ledger.stats.head_seq)
        assert document is not None
        with pytest.raises(BadProof, match=r"of two logs, books\.example\.com and other\.example\.com"):
            verify_consistency(document, [key, new_key, foreign])
    assert await findings(database, Path(outside)) == []


async def test_nothing_is_signed_once_the_epoch_has_ended(database: Database, tmp_path: Path) -> None:
    """A zombie: it has read the head in its own epoch, and somebody takes over before it stores what it signed."""
    file, _ = make_key(tmp_path)
    async with signing(database, file) as ledger:
        await a_batch_each(ledger, 1)
        signer = signer_of(ledger)
        epoch = ledger.stats.epoch
        taking = await asyncpg.connect(database.admin_dsn)
        await taking.execute("BEGIN")
        await taking.execute("UPDATE pyledger.checkpoint SET epoch = epoch + 1")
        signing_now = asyncio.ensure_future(signer._sign(epoch, Checkpoint(ORIGIN, 3, bytes(32))))
        await asyncio.sleep(0.2)
        assert not signing_now.done(), "it waits for who takes over"
        await taking.execute("COMMIT")
        await taking.close()
        with pytest.raises(Unavailable, match="ended meanwhile"):
            await signing_now
    assert await run_as_admin(database, "SELECT count(*) FROM pyledger.signed_checkpoint WHERE size > 2") == 0


CONTRADICTIONS = {
    "a batch": "UPDATE pyledger.batch SET hash = sha256('x') WHERE seq = 2",
    "a later batch": "UPDATE pyledger.batch SET root = sha256('x') WHERE seq = 4",
    "the last batch": "DELETE FROM pyledger.batch WHERE seq = 4",
    "its own checkpoint": "UPDATE pyledger.signed_checkpoint SET size = 9, note = replace(note, '\n3\n', '\n9\n')",
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
async def test_no_history_is_signed_that_is_not_the_writers_own(database: Database, tmp_path: Path, what: str) -> None:
    file, _ = make_key(tmp_path)
    async with signing(database, file, str(tmp_path / "outside")) as ledger:
        ids = await a_batch_each(ledger, 1)
        await proof_of(ledger, ids[0])
        await ledger.writer.submit(transfer(*await make_more(ledger)))
        await run_as_admin(database, CONTRADICTIONS[what])
        with pytest.raises(Contradiction):
            await signer_of(ledger).round()
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.signed_checkpoint WHERE size = 4") == 0


async def test_an_older_database_does_not_sign_what_was_signed_otherwise(database: Database, tmp_path: Path) -> None:
    """What a failover to a standby that lagged, or a backup, leads to: the place outside knows better."""
    file, _ = make_key(tmp_path)
    outside = tmp_path / "outside"
    async with signing(database, file, str(outside)) as ledger:
        await proof_of(ledger, (await a_batch_each(ledger, 1))[0])
    note = (outside / "0" / "checkpoint").read_text()
    size = Signed.parse(note).checkpoint.size
    lost = SigningKey.load(Path(file)).sign(note.split("\n\n")[0].replace(f"\n{size}\n", "\n99\n") + "\n")
    (outside / "0" / "checkpoint").write_text(lost)
    async with signing(database, file, str(outside)) as ledger:
        with pytest.raises(Contradiction, match="of 99 batches was signed, and there are 3"):
            await signer_of(ledger).round()
        await signer_of(ledger)._attempt()
        assert "outside" not in signer_of(ledger).reason
        assert ledger.stats.signing_failures > 0
