"""The engine by itself, through the Rust boundary: what decoding, deciding, hashing and encoding cost.

Guarded here: what is timed is what the writer calls, on batches of the size that the writer makes. The
core's own rate, without sealing and without Python, comes from its example `apply_rate`, where Cargo is.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.bodies import Envelope, account_id, accounts_body, build, first_account
from benchmarks.nouns import BATCH_TRANSFERS, Form, Plan
from benchmarks.processes import resident_bytes
from pyledger import _rust

TENANT: Final = 1
LEDGER: Final = 1
_CARGO_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Made:
    """One decided batch, as the append needs it, with its bytes made."""

    seq: int
    rows: int
    copy: bytes
    prev_hash: bytes
    hash: bytes
    root: bytes
    first_ns: int
    last_ns: int

    @classmethod
    def of(cls, applied: _rust.Applied) -> Made:
        """Take everything out of the engine's hands."""
        return cls(
            applied.seq,
            applied.rows,
            applied.copy,
            applied.prev_hash,
            applied.hash,
            applied.root,
            applied.first_ns,
            applied.last_ns,
        )


class Books:
    """An engine with one ledger and some accounts, and transfers between them without end."""

    def __init__(self, accounts: int, *, window_ids: int = 2_000_000) -> None:
        self.engine = _rust.Engine(
            0, ledgers_max=10, accounts_max=accounts + 1, holds_max=2_000_000, window_ids=window_ids, seed=1
        )
        self.plan = Plan(
            "engine",
            "binary",
            LEDGER,
            first_account(LEDGER),
            accounts,
            requests=1,
            connections=1,
            per_request=BATCH_TRANSFERS,
        )
        self._built = 0
        ledger = _rust.decode_ledger(b'{"id":1,"asset":"EUR","exponent":2}', TENANT)
        self.opening = [self._decide(ledger)]
        for start in range(0, accounts, BATCH_TRANSFERS):
            ids = [
                account_id(self.plan.first_account, each)
                for each in range(start, min(start + BATCH_TRANSFERS, accounts))
            ]
            self.opening.append(self._decide(_rust.decode_accounts(accounts_body(ids, LEDGER, ()), TENANT)))

    def _decide(self, commands: _rust.Commands) -> Made:
        made = Made.of(self.engine.apply([commands], time.time_ns(), []))
        self.engine.commit()
        return made

    def bodies(self, count: int, form: Form = "binary") -> list[bytes]:
        """Request bodies of full batches with new ids."""
        self._built += 1
        plan = replace(self.plan, requests=count, seed=self._built, form=form)
        return [each.partition(b"\r\n\r\n")[2] for each in build(plan, Envelope("", "")).requests]

    def batches(self, count: int) -> list[Made]:
        """So many decided full batches."""
        return [self._decide(_rust.decode_transfers_binary(body, TENANT)) for body in self.bodies(count)]


def measure(batches: int, tell: Callable[[str, int], None]) -> dict[str, float]:
    """Transfers a second of each step, by itself, on one thread."""
    books = Books(10_000)
    spent: dict[str, float] = {}
    done: dict[str, int] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
        done[name] = done.get(name, 0) + BATCH_TRANSFERS
        return result

    def one(form: str, body: bytes, decode: Callable[[bytes, int], _rust.Commands]) -> None:
        engine, now_ns = books.engine, time.time_ns()
        commands = timed(f"decode_{form}", partial(decode, body, TENANT))
        timed("probe", partial(engine.probe, [commands]))
        undone = timed("apply_and_seal", partial(engine.apply, [commands], now_ns, []))
        timed("undo", engine.undo)
        applied = timed("apply_and_seal", partial(engine.apply, [commands], now_ns, []))
        assert applied.hash == undone.hash, "an undone batch, decided again, is another one"
        timed("copy_bytes", partial(getattr, applied, "copy"))
        timed(f"encode_replies_{form}", partial(getattr, applied, "replies"))
        timed("commit", engine.commit)

    for turn, (as_binary, as_json) in enumerate(zip(books.bodies(batches), books.bodies(batches, "json"), strict=True)):
        one("binary", as_binary, _rust.decode_transfers_binary)
        one("json", as_json, _rust.decode_transfers)
        tell("engine", (turn + 1) * 2 * BATCH_TRANSFERS)
    return {f"{name}_per_s": done[name] / seconds for name, seconds in spent.items()}


def apply_rate(root: Path) -> float | None:
    """Transfers a second through the core's `apply` alone, as its example prints; None without Cargo."""
    cargo = shutil.which("cargo")
    if cargo is None or not (root / "rust_ext/core/examples/apply_rate.rs").exists():
        return None
    try:
        run = subprocess.run(
            [cargo, "run", "--quiet", "--release", "--locked", "-p", "pyledger-core", "--example", "apply_rate"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_CARGO_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    found = re.search(r"([\d.]+) million transfers a second", run.stdout)
    return float(found[1]) * 1e6 if found else None


def bytes_per_account(accounts: int) -> float | None:
    """Memory that an account takes, all in, measured in a process of its own; None where RAM is not shown."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_open_accounts, args=(accounts, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return float(ours.recv()) or None
    finally:
        process.join(10)


def _open_accounts(accounts: int, pipe: Connection) -> None:
    # The smallest window: its ids are counted apart. Two batches first, so that buffers are at their size.
    books = Books(2 * BATCH_TRANSFERS, window_ids=8_190)
    engine = _rust.Engine(0, ledgers_max=10, accounts_max=accounts, holds_max=10, window_ids=8_190, seed=1)
    del books
    engine.apply([_rust.decode_ledger(b'{"id":1,"asset":"EUR","exponent":2}', TENANT)], time.time_ns(), [])
    engine.commit()
    before, first = resident_bytes(os.getpid()), first_account(LEDGER)
    for start in range(0, accounts, BATCH_TRANSFERS):
        ids = [account_id(first, each) for each in range(start, min(start + BATCH_TRANSFERS, accounts))]
        engine.apply([_rust.decode_accounts(accounts_body(ids, LEDGER, ()), TENANT)], time.time_ns(), [])
        engine.commit()
    after = resident_bytes(os.getpid())
    assert engine.accounts == accounts
    pipe.send((after - before) / accounts if before and after else 0.0)
