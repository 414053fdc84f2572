"""A4: one journal, made and read by a debug build and by a release build, twice each: the same to the byte.

The hash of the journal's head stands for its bytes; the digests are of the engine that decided it and of two
that replayed it, with other hash seeds, other windows and other portions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.faults import cargo
from tests.faults.nouns import Cycle, Row, Run

JOURNALS: Final = 2
"""At once: a debug build is slow, and keeps one core busy."""
ROWS: Final = 250_000
SEED_MAX: Final = 2**62
PROFILES: Final = ("dev", "release")


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """Two journals a cycle, each by each build."""
    planted = ["--planted", asked.planted] if asked.planted else []
    programs = [await asyncio.to_thread(cargo.built, each, planted=bool(planted)) for each in PROFILES]
    for number in asked.numbers:
        chance = asked.chance(number)
        seeds = [str(chance.randrange(SEED_MAX)) for _ in range(JOURNALS)]
        said = []
        for program in programs:
            # No hash table's order may show, so each build has its own.
            options = ["--rows", str(ROWS), "--hash-seed", str(chance.randrange(SEED_MAX)), *planted]
            runs = [cargo.said(program, "sameness", "--seed", seed, *options) for seed in seeds]
            said.append(await asyncio.gather(*runs))
        violations = [
            f"journal {seed}: {violation}"
            for seed, *builds in zip(seeds, *said, strict=True)
            for violation in differences(builds)
        ]
        seconds = [sum(one.get("seconds", 0) for one in builds) for builds in said]
        notes = {f"{name}_s": each for name, each in zip(PROFILES, seconds, strict=True)}
        yield Cycle(number, sum(one.get("rows", 0) for one in said[0]), violations, notes)


def differences(builds: list[dict[str, Any]]) -> list[str]:
    """What is not the same, of what each build said."""
    silent = [wrong for said in builds for wrong in said.get("wrong", [])]
    if silent:
        return silent
    digests = {digest for said in builds for digest in said["digests"]}
    heads = {said["head"] for said in builds}
    found = [f"the journals differ: {sorted(heads)}"] if len(heads) > 1 else []
    return found + ([f"the books differ: {sorted(digests)}"] if len(digests) > 1 else [])


ROW: Final = Row(
    id="A4",
    what="replay of one journal: debug and release, twice",
    unit="rows",
    passes="equal bytes and equal state digests",
    submission=2,
    campaign=200,
    run=run,
    needs=cargo.needs,
    prepare=lambda: [cargo.built(each) for each in PROFILES],
)
