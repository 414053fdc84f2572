"""When the history is not what was acknowledged, or not ours any more: the writer stops rather than guesses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pyledger.ledger import Exit, State, Unavailable, UnknownOutcome
from pyledger.ledger.nouns import SAME_FAILURE_MAX
from pyledger.ledger.store import Session
from tests.ledger.tools import make_accounts, opened, run_as_admin, transfer, writer_pid
from tests.support.clusters import Database

LOST = {
    "the last batch": "UPDATE pyledger.head SET seq = seq - 1, hash = sha256('other')",
    "its hash": "UPDATE pyledger.head SET hash = sha256('other')",
    "our takeover": "UPDATE pyledger.head SET epoch = epoch - 1, owner = 'before'",
    "everything": "DELETE FROM pyledger.head",
}


@pytest.mark.parametrize("what", LOST)
async def test_lost_history_halts(database: Database, what: str) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        pid = writer_pid(ledger)
        await run_as_admin(database, LOST[what])
        await run_as_admin(database, "SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit, 5)), 20)
        assert await asyncio.wait_for(ledger.ended(), 20) is Exit.HALTED
        assert ledger.state is State.HALTED
        assert "history was lost" in ledger.stats.reason
        assert "\n" not in ledger.stats.reason
        with pytest.raises(Unavailable):
            ledger.writer.read(lambda engine: engine.seq)


async def test_a_head_that_moved_within_our_epoch_halts(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await run_as_admin(database, "UPDATE pyledger.head SET seq = seq + 1")
        with pytest.raises(UnknownOutcome):
            await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit, 5)), 20)
        assert await ledger.ended() is Exit.HALTED
        assert "moved within our epoch" in ledger.stats.reason


@pytest.mark.parametrize("ask", ["append", "read"])
async def test_a_fenced_writer_answers_nothing_and_ends(database: Database, ask: str) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await run_as_admin(database, "UPDATE pyledger.head SET epoch = epoch + 1, owner = 'successor:9999'")
        commands = transfer(debit, credit, 5)
        append = ask == "append"
        asked: Any = ledger.writer.submit(commands) if append else ledger.writer.read(lambda engine: engine.seq)
        with pytest.raises(UnknownOutcome, match="successor"):
            await asyncio.wait_for(asked, 20)
        assert await ledger.ended() is Exit.FENCED
        assert await run_as_admin(database, "SELECT count(*) FROM pyledger.journal WHERE kind = 3") == 0


async def test_a_batch_that_postgresql_never_takes_halts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    async def refuse(self: Session, *_: object) -> list[str]:
        tries.append(1)
        return [str(await self._connection.execute("SELECT 1 / 0"))]

    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        monkeypatch.setattr(Session, "append", refuse)
        with pytest.raises(UnknownOutcome):
            await asyncio.wait_for(ledger.writer.submit(transfer(debit, credit, 5)), 20)
        assert await ledger.ended() is Exit.HALTED
        assert len(tries) == SAME_FAILURE_MAX
        assert "division by zero" in ledger.stats.reason
