"""The signer cut off between any two of its steps: the next one goes on, and signs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyledger.ledger import Ledger
from pyledger.ledger.proofs import SigningKey
from pyledger.ledger.proofs.outside import Directory
from pyledger.ledger.proofs.signer import Signer
from pyledger.ledger.proofs.store import Store
from tests.ledger.test_proofs import NEVER_S, make_key, make_more, signer_of, signing
from tests.ledger.tools import findings, run_as_admin, transfer
from tests.support.clusters import Database

STEPS_MAX = 200


class Crash(Exception):
    """The end of the process, as far as the signer can tell."""


class Fuse:
    """Blows at a step, before it is done or right after."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash

    def around(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **more: Any) -> Any:
            self.burn()
            result = do(*arguments, **more)
            self.burn()
            return result

        return done


class FusedPool:
    """A pool of which each call is a step."""

    def __init__(self, pool: Any, fuse: Fuse) -> None:
        self._pool, self._fuse = pool, fuse

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **more: Any) -> Any:
            self._fuse.burn()
            result = await getattr(self._pool, name)(*arguments, **more)
            self._fuse.burn()
            return result

        return call


async def cut_off(ledger: Ledger, outside: str, key: SigningKey, steps: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """One round of a new signer that crashes at a step; false if it has fewer steps."""
    fuse = Fuse(steps)
    store = Store(FusedPool(ledger._pool, fuse), 0)  # type: ignore[arg-type]
    signer = Signer(store, ledger.writer, key, Directory(outside, 0), interval_s=NEVER_S)
    with monkeypatch.context() as patched:
        for name in ("link", "replace", "fsync"):
            patched.setattr(os, name, fuse.around(getattr(os, name)))
        try:
            await signer.round()
        except Crash:
            return True
    return False


async def test_cut_off_at_any_step_the_next_round_goes_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = make_key(tmp_path)
    outside, key = tmp_path / "outside", SigningKey.load(tmp_path / "key")
    async with signing(database, file, str(outside)) as ledger:
        accounts = await make_more_books(ledger)
        await signer_of(ledger).round()
        steps = 1
        while await cut_off(ledger, str(outside), key, steps, monkeypatch):
            # Some crashes are on top of the one before, some on new batches.
            if steps % 3 == 0:
                await ledger.writer.submit(transfer(*accounts))
            steps += 1
            assert steps < STEPS_MAX
        assert steps > 30
        await signer_of(ledger).round()
        note = await run_as_admin(database, "SELECT note FROM pyledger.signed_checkpoint ORDER BY size DESC LIMIT 1")
        assert (outside / "0" / "checkpoint").read_text() == note
        stored = await run_as_admin(database, "SELECT count(*) FROM pyledger.signed_checkpoint")
        assert len([each for each in (outside / "0").iterdir() if each.name[0].isdigit()]) == stored
    assert await findings(database, outside) == []


async def make_more_books(ledger: Ledger) -> list[str]:
    """Nearly a subtree's worth of batches, so that one gets complete on the way."""
    from tests.ledger.tools import open_book

    await ledger.writer.submit(open_book())
    accounts = await make_more(ledger)
    while ledger.stats.head_seq < 250:
        await ledger.writer.submit(transfer(*accounts))
    return accounts
