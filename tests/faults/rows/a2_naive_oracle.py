"""A2: the engine against a second, naive model in Rust (rust_ext/faults), a million random operations a cycle.

Maps, a copy of the state for each chain, no window and no undo: what the engine does differently from it is a
bug in one of the two. Beside the model each batch is undone, decided by another engine, replayed and restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from tests.faults import cargo
from tests.faults.nouns import Cycle, Row, Run

OPERATIONS: Final = 1_000_000
SEED_MAX: Final = 2**62


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """Days of random operations, on all cores; a difference comes with the shortest way there."""
    program = await asyncio.to_thread(cargo.built, "campaign", planted=bool(asked.planted))
    planted = ["--planted", asked.planted] if asked.planted else []
    for number in asked.numbers:
        seed = asked.chance(number).randrange(SEED_MAX)
        said = await cargo.said(program, "oracle", "--seed", str(seed), "--operations", str(OPERATIONS), *planted)
        notes = {name: said[name] for name in ("days", "seen") if name in said}
        yield Cycle(number, said.get("operations", 0), said.get("wrong", []), notes)


ROW: Final = Row(
    id="A2",
    what="a second, naive oracle in Rust against the engine",
    unit="operations",
    passes="0 differences; every refusal, kind of row and kind of outcome seen",
    submission=10,
    campaign=1_000,
    run=run,
    needs=cargo.needs,
    prepare=lambda: cargo.built("campaign"),
)
