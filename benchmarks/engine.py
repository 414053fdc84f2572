"""The engine by itself: books to decide in, what its steps cost, and what it holds in memory.

Guarded here: what is timed is what the writer calls (see `micro.py`), on batches of the size that the writer
makes. The core's own rates, of deciding and of each codec with its hashes alone, come from its examples, where
Cargo is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.bodies import Envelope, account_id, accounts_body, build, first_account
from benchmarks.nouns import BATCH_TRANSFERS, Form, Plan
from benchmarks.processes import resident_bytes
from pyledger import _rust

TENANT: Final = 1
LEDGER: Final = 1
BATCH_ROWS: Final = 8_190
"""The engine's smallest window."""
MICRO: Final = Path(__file__).with_name("micro.py")
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

    def __init__(
        self, accounts: int, *, accounts_max: int = 0, holds_max: int = 2_000_000, window_ids: int = 2_000_000
    ) -> None:
        self.engine = _rust.Engine(
            0,
            ledgers_max=10,
            accounts_max=accounts_max or accounts + 1,
            holds_max=holds_max,
            window_ids=window_ids,
            seed=1,
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
        self.opening = [self._decide(_rust.decode_ledger(b'{"id":1,"asset":"EUR","exponent":2}', TENANT))]
        for start in range(0, accounts, BATCH_TRANSFERS):
            self.opening.append(self.open_accounts(range(start, min(start + BATCH_TRANSFERS, accounts))))

    def open_accounts(self, indexes: range) -> Made:
        """Open these accounts in one batch."""
        ids = [account_id(self.plan.first_account, each) for each in indexes]
        return self._decide(_rust.decode_accounts(accounts_body(ids, LEDGER, ()), TENANT))

    def _decide(self, commands: _rust.Commands) -> Made:
        made = Made.of(self.engine.apply([commands], time.time_ns(), []))
        self.engine.commit()
        return made

    def bodies(self, count: int, form: Form = "binary", **fields: Any) -> list[bytes]:
        """Request bodies of full batches with new ids."""
        self._built += 1
        plan = replace(self.plan, **{"requests": count, "seed": self._built, "form": form, **fields})
        return [each.partition(b"\r\n\r\n")[2] for each in build(plan, Envelope("", "")).requests]

    def batches(self, count: int, **fields: Any) -> list[Made]:
        """So many decided batches; full ones, unless told otherwise."""
        return [self._decide(_rust.decode_transfers_binary(body, TENANT)) for body in self.bodies(count, **fields)]

    def transfers(self, count: int, *, pending: bool) -> None:
        """Decide one batch of so many transfers, or holds that never expire."""
        (body,) = self.bodies(1, per_request=count, pending_share=1.0 if pending else 0.0)
        self._decide(_rust.decode_transfers_binary(body, TENANT))


def measure(scratch: Path) -> dict[str, float]:
    """Transfers a second of each step that `micro.py` takes the time of, by the name of its test."""
    path = scratch / "micro.json"
    command = [sys.executable, "-m", "pytest", str(MICRO), "-q", "-p", "no:cacheprovider", f"--benchmark-json={path}"]
    run = subprocess.run(command, cwd=MICRO.parent.parent, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"{MICRO.name} failed:\n{run.stdout[-2_000:]}{run.stderr[-2_000:]}")
    found = json.loads(path.read_text("utf-8"))["benchmarks"]
    return {each["name"].removeprefix("test_") + "_per_s": BATCH_TRANSFERS / each["stats"]["median"] for each in found}


def example(root: Path, name: str) -> str:
    """What one of the core's examples prints; nothing without Cargo or where it does not end."""
    cargo = shutil.which("cargo")
    if cargo is None or not (root / f"rust_ext/core/examples/{name}.rs").exists():
        return ""
    command = [cargo, "run", "--quiet", "--release", "--locked", "-p", "pyledger-core", "--example", name]
    try:
        run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=_CARGO_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return run.stdout


def apply_rate(root: Path) -> float | None:
    """Transfers a second through the core's `apply` alone, as its example prints; None without Cargo."""
    found = re.search(r"([\d.]+) million transfers a second", example(root, "apply_rate"))
    return float(found[1]) * 1e6 if found else None


def codec_rates(root: Path) -> dict[str, float]:
    """Rows a second of each of the core's codecs alone, by the words of its example; none without Cargo."""
    found = re.findall(r"^(.+): ([\d.]+) million a second$", example(root, "codec_rate"), re.MULTILINE)
    return {f"core: {name}, rows/s": float(rate) * 1e6 for name, rate in found}


Held = Literal["account", "hold", "window_id"]


def bytes_each(what: Held, count: int) -> float | None:
    """Memory that one of many takes, all in, measured in a process of its own; None where RAM is not shown."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_fill, args=(what, count, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return float(ours.recv()) or None
    finally:
        process.join(10)


def _fill(what: Held, count: int, pipe: Connection) -> None:
    # What is not asked about is kept at its smallest. Two batches first, so that buffers are at their size.
    Books(2 * BATCH_TRANSFERS, window_ids=BATCH_ROWS).batches(2)
    books = Books(
        0 if what == "account" else 10_000,
        accounts_max=count if what == "account" else 10_000,
        holds_max=count if what == "hold" else 10,
        window_ids=count if what == "window_id" else BATCH_ROWS,
    )
    before = resident_bytes(os.getpid())
    for start in range(0, count, BATCH_TRANSFERS):
        some = min(BATCH_TRANSFERS, count - start)
        if what == "account":
            books.open_accounts(range(start, start + some))
        else:
            books.transfers(some, pending=what == "hold")
    after = resident_bytes(os.getpid())
    held = {"account": books.engine.accounts, "hold": books.engine.holds, "window_id": count}
    assert held[what] == count
    pipe.send((after - before) / count if before and after else 0.0)
