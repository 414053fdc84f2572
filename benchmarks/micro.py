"""Microbenchmarks of the engine through the Rust boundary: `python -m pytest benchmarks/micro.py`.

Each test takes the time of one step of a full batch, as the writer calls it: decode, probe, apply (which decides,
encodes the rows for COPY and hashes them), undo, the replies, commit, and replay (which decodes, hashes and checks);
and of hashes without deciding. To encode rows without hashing them is no step: both happen in one pass.
Guarded here: an undone batch, decided again, is the same batch to the last hash.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.engine import TENANT, Books
from pyledger import _rust

ROUNDS: Final = 20
ACCOUNTS: Final = 10_000
DECODERS: Final[dict[str, Callable[[bytes, int], _rust.Commands]]] = {
    "binary": _rust.decode_transfers_binary,
    "json": _rust.decode_transfers,
}


class Step:
    """Books, and fresh batches for each round of a benchmark."""

    def __init__(self) -> None:
        self.books = Books(ACCOUNTS)
        self.engine = self.books.engine
        self._bodies = iter(self.books.bodies(ROUNDS))

    def commands(self) -> _rust.Commands:
        """One more batch, decoded."""
        return _rust.decode_transfers_binary(next(self._bodies), TENANT)

    def apply(self, commands: _rust.Commands) -> _rust.Applied:
        """Decide a batch."""
        return self.engine.apply([commands], time.time_ns(), [])


@pytest.fixture
def step() -> Step:
    """Books with a batch for every round."""
    return Step()


def timed(benchmark: BenchmarkFixture, setup: Callable[[], Any], work: Callable[[Any], Any]) -> Any:
    """Take the time of `work` on what `setup` makes, which is not timed."""
    pedantic: Any = benchmark.pedantic
    return pedantic(work, setup=lambda: ((setup(),), {}), rounds=ROUNDS, iterations=1)


@pytest.mark.parametrize("form", DECODERS)
def test_decode(benchmark: BenchmarkFixture, step: Step, form: Any) -> None:
    """From the request's bytes to commands."""
    bodies = iter(step.books.bodies(ROUNDS, form))
    timed(benchmark, lambda: next(bodies), lambda body: DECODERS[form](body, TENANT))


def test_probe(benchmark: BenchmarkFixture, step: Step) -> None:
    """What the batch needs of the journal: nothing, its ids are new."""
    assert timed(benchmark, step.commands, lambda commands: step.engine.probe([commands])) is None


def test_apply(benchmark: BenchmarkFixture, step: Step) -> None:
    """Decide, encode for COPY, hash."""

    def setup() -> _rust.Commands:
        if step.engine.uncommitted:
            step.engine.commit()
        return step.commands()

    timed(benchmark, setup, step.apply)


def test_hash(benchmark: BenchmarkFixture, step: Step) -> None:
    """The Merkle root over a batch whose rows are hashed already."""
    (made,) = step.books.batches(1)
    bounds = array("I", _rust.archive_table(made.copy)[0])
    leaves = b"".join(sha256(b"\0" + made.copy[start:stop]).digest() for start, stop in pairwise(bounds))
    assert timed(benchmark, lambda: leaves, _rust.tree_root) == made.root


def test_prove(benchmark: BenchmarkFixture, step: Step) -> None:
    """A stored batch, read to be proven: decode, hash the rows, and the root over them."""
    (made,) = step.books.batches(1)
    rows, root, _ = timed(benchmark, lambda: made.copy, lambda copy: _rust.prove_row(copy, made.first_ns))
    assert (rows, root) == (made.rows, made.root)


def test_undo(benchmark: BenchmarkFixture, step: Step) -> None:
    """Forget the batch."""
    commands, now_ns = step.commands(), time.time_ns()

    def setup() -> bytes:
        return step.engine.apply([commands], now_ns, []).hash

    before = step.engine.hash
    first = setup()
    step.engine.undo()
    assert setup() == first
    step.engine.undo()
    timed(benchmark, setup, lambda _: step.engine.undo())
    assert step.engine.hash == before


def test_commit(benchmark: BenchmarkFixture, step: Step) -> None:
    """The batch is durable."""
    timed(benchmark, lambda: step.apply(step.commands()), lambda _: step.engine.commit())


@pytest.mark.parametrize("form", DECODERS)
def test_replies(benchmark: BenchmarkFixture, step: Step, form: Any) -> None:
    """Encode what is answered."""
    bodies = iter(step.books.bodies(ROUNDS, form))

    def setup() -> _rust.Applied:
        applied = step.apply(DECODERS[form](next(bodies), TENANT))
        step.engine.commit()
        return applied

    timed(benchmark, setup, lambda applied: applied.replies)


def test_replay(benchmark: BenchmarkFixture, step: Step) -> None:
    """Recovery: decode, hash, check, apply."""
    opening, batches = step.books.opening, step.books.batches(ROUNDS)
    again = _rust.Engine(
        0, ledgers_max=10, accounts_max=ACCOUNTS + 1, holds_max=10, window_ids=2_000_000, seed=2
    )  # fmt: skip

    def replay(made: Any) -> None:
        again.replay(made.copy, [(made.seq, made.rows, made.first_ns, made.last_ns, made.root, made.hash)])

    for made in opening:
        replay(made)
    left = iter(batches)
    timed(benchmark, lambda: next(left), replay)
    assert again.digest() == step.engine.digest()
