"""What a test draws from: chance of a seed that it prints, and that PYLEDGER_TEST_SEED gives back to it.

    PYLEDGER_TEST_SEED=1234 python -m pytest tests/ledger/test_feed.py -k every_row

Guarded here: a failure prints the seed that replays it. Replayed is all that the test draws: amounts, sizes, choices,
who is killed and how long is waited before. Not replayed is what it does not draw: ids, which are of the time and of
the system's own chance, and the turns of tasks, processes and PostgreSQL; where several tasks share what they draw
from, the numbers come again, but not always to the same task. A test that needs one of these twice runs on its own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "PYLEDGER_TEST_SEED"
SEED_BITS: Final = 48


def drawn_seed(tell: Callable[[str], object] = print) -> int:
    """The seed that was asked for, or a fresh one; told at once, for what follows may end the process."""
    given = os.environ.get(VARIABLE)
    seed = int(given) if given else random.SystemRandom().getrandbits(SEED_BITS)
    tell(f"{VARIABLE}={seed} replays what is drawn here")
    return seed


def replayable() -> random.Random:
    """Chance of that seed: pytest shows the line with it where the test fails."""
    return random.Random(drawn_seed())
