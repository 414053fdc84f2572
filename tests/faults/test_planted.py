"""The rows about the server can fail: each planted bug of it is seen by the row that is said, within the cycles.

`pytest -m planted` runs them all, some minutes; two run with the other tests. Guarded here too: there are enough
bugs, each with a row, and nothing of them is in what is shipped (test_core_rows.py, and the wheel's own test).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults import cargo, registry
from tests.faults.nouns import Run, Violated
from tests.faults.planted import Bug, core, protocol, server
from tests.faults.running import own_directory

SEED: Final = 20261121
BUGS_MIN: Final = 20
ALWAYS: Final = ("synchronous_commit_off", "checkpoint_out_of_order")
"""Those that are seen soonest, by two rows."""
ROWS: Final = registry.rows()
RUNS: Final = [
    pytest.param(bug, id=bug.name, marks=() if bug.name in ALWAYS else pytest.mark.planted) for bug in server.BUGS
]


@pytest.fixture
def directory() -> Iterator[Path]:
    with own_directory() as made:
        yield made


async def first_violation(bug: Bug, planted: str, directory: Path) -> tuple[int, str] | None:
    """In which cycle of its row a bug is seen, counted from 1, and how."""
    row, asked = ROWS[bug.row], Run(SEED, bug.within, directory, planted=planted)
    done = 0
    async with contextlib.aclosing(row.run(asked)) as cycles:  # type: ignore[type-var]
        try:
            async for cycle in cycles:
                done += 1
                if cycle.violations:
                    return done, cycle.violations[0]
        except Violated as violated:
            return done + 1, str(violated)
    assert done == bug.within
    return None


@pytest.mark.parametrize("bug", RUNS)
async def test_a_planted_bug_is_seen(bug: Bug, directory: Path) -> None:
    reason = ROWS[bug.row].needs()
    if reason is not None:
        pytest.skip(f"{bug.row}: {reason}")
    seen = await first_violation(bug, bug.name, directory)
    assert seen, f"{bug.what}: not seen in {bug.within} cycles of {bug.row}"
    print(f"seen in cycle {seen[0]} of {bug.row}: {seen[1]}")


@pytest.mark.planted
@pytest.mark.skipif(cargo.needs() is not None, reason=str(cargo.needs()))
@pytest.mark.parametrize(
    "bug", [bug for bug in core.BUGS if bug.name not in core.UNSEEN_BY_A1], ids=lambda bug: bug.name
)
async def test_the_plain_model_sees_the_bugs_of_the_core(bug: Bug, directory: Path) -> None:
    as_a1 = Bug(bug.name, bug.what, "A1", core.A1_CYCLES, "cycles")
    assert await first_violation(as_a1, bug.name, directory), bug.what


@pytest.mark.planted
@pytest.mark.parametrize("row", sorted({bug.row for bug in server.BUGS}))
async def test_without_a_bug_the_same_cycles_pass(row: str, directory: Path) -> None:
    reason = ROWS[row].needs()
    if reason is not None:
        pytest.skip(f"{row}: {reason}")
    longest = max((bug for bug in server.BUGS if bug.row == row), key=lambda bug: bug.within)
    assert await first_violation(longest, "", directory) is None


def test_each_bug_has_a_name_of_its_own_and_a_row_that_there_is() -> None:
    every = [*core.BUGS, *protocol.BUGS, *server.BUGS]
    assert len({bug.name for bug in every}) == len(every) >= BUGS_MIN
    assert {bug.row for bug in every} <= ROWS.keys()
    assert all(bug.what and bug.within > 0 for bug in every)
