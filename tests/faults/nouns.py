"""The nouns of the fault program: a row, its run, its cycles, and what a run came to.

How to add a row: one module `tests/faults/rows/<id>_<words>.py` with

    ROW = Row(id="C1", what="kill -9 of the server under load", unit="kills", submission=10, campaign=1_000,
              passes="0 acknowledged lost, 0 applied twice", run=run, needs=needs)

    async def run(asked: Run) -> AsyncIterator[Cycle]:
        async with something_started(asked.directory) as it:      # set up once, reused by all cycles
            for number in asked.numbers:
                chance = asked.chance(number)                     # the only source of chance
                ...
                yield Cycle(number, done=1, violations=[...], notes={"kills_ms": 12})

The frame does the rest: progress bar, a line of JSON a cycle, time limits, summary, exit code, replay. Guarded
here: a cycle depends on the run's seed and its own number only, so `--seed S --first 17 --cycles 1` replays the
18th cycle of seed S; a row that cannot run here says why and is counted as not run; and only `violations` are
what must not happen, notes are what one wants to know besides. An exception that leaves `run` is the harness's
own failure, unless it is `Violated`; the row has not passed. Whoever leaves early closes the generator, so clean
up in `finally`.
"""

from __future__ import annotations

import enum
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

Size = Literal["submission", "campaign"]
SIZES: Final[tuple[Size, ...]] = ("submission", "campaign")

CYCLE_TIMEOUT_S: Final = 300.0
"""A cycle that has not ended by then hangs, and that is a violation: progress is promised too."""

SHOWN_MAX: Final = 20
"""Violations of one row that are shown in the terminal; all of them are in the file."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a row is asked to do."""

    seed: int
    cycles: int
    directory: Path
    """Empty, the row's own, removed afterwards. PostgreSQL's user can enter it, and its path is short enough
    for a socket."""
    first: int = 0
    """The number of the first cycle."""
    size: Size = "submission"
    planted: str = ""
    """The planted bug that the server is to have; "" for none. See tests/faults/planted."""

    @property
    def numbers(self) -> range:
        """The numbers of the cycles."""
        return range(self.first, self.first + self.cycles)

    def chance(self, number: int) -> random.Random:
        """All the chance there is in one cycle."""
        return random.Random(f"{self.seed}/{number}")


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle that has ended."""

    number: int
    done: int
    """How many of the row's unit were done: kills, cuts, operations."""
    violations: list[str] = field(default_factory=list)
    """What must not happen and did, each in one line."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Anything else of interest, as JSON can hold it."""
    seconds: float | None = None
    """How long it took; None: since the cycle before it, which the frame measures."""


class Violated(AssertionError):
    """What must not happen and did, so that no further cycle can be run; `str()` says what."""


def nothing_to_prepare() -> None:
    """A row that needs nothing built."""


def nothing_missing() -> str | None:
    """A row that runs everywhere."""
    return None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the program."""

    id: str
    what: str
    """What is done to it, in a line."""
    unit: str
    """What `Cycle.done` counts, in the plural."""
    passes: str
    """When it passes, in a line."""
    submission: int
    """Cycles of the size that fits into a check-in: all rows together within 15 minutes on two cores."""
    campaign: int
    """Cycles of the size whose results are published."""
    run: Callable[[Run], AsyncIterator[Cycle]]
    needs: Callable[[], str | None] = nothing_missing
    """Why it cannot run on this machine; None if it can. May look, but must not start or install anything."""
    prepare: Callable[[], object] = nothing_to_prepare
    """What takes long the first time only, such as a compiler; done in a thread before the row's clock starts."""
    cycle_timeout_s: float = CYCLE_TIMEOUT_S

    def cycles(self, size: Size) -> int:
        """How many cycles a size has."""
        return self.submission if size == "submission" else self.campaign


class Verdict(enum.Enum):
    """What a row's run came to."""

    PASSED = "passed"
    VIOLATED = "violated"
    BROKEN = "broken"
    """The harness failed; nothing is proven."""
    NOT_RUN = "not run"
    """The machine lacks something; nothing is proven."""


@dataclass(slots=True)
class Result:
    """The sum of a run of one row. What `docs/reliability.jsonl` keeps, a line each."""

    row: str
    verdict: Verdict
    seed: int
    first: int = 0
    cycles: int = 0
    done: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    violations_count: int = 0
    reason: str = ""
    """Why it was not run, or how the harness broke."""
    size: str = ""
    planted: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    """Numbers of the cycles' notes, added up by name; of those called `*_max` the largest."""
    date: str = ""
    commit: str = ""
    changed: bool = False
    """Whether the checkout had changes that are in no commit."""

    def take(self, cycle: Cycle, seconds: float) -> None:
        """Add a cycle."""
        self.cycles += 1
        self.done += cycle.done
        self.seconds += seconds
        self.violations_count += len(cycle.violations)
        self.violations += [f"cycle {cycle.number}: {each}" for each in cycle.violations]
        if cycle.violations:
            self.verdict = Verdict.VIOLATED
        for name, value in cycle.notes.items():
            if isinstance(value, bool | str) or not isinstance(value, int | float):
                continue
            before = self.notes.get(name, 0)
            self.notes[name] = max(before, value) if name.endswith("_max") else round(before + value, 3)
