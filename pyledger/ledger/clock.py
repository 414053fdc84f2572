"""The ledger's clock: the wall's time, which a step of the wall does not move until PostgreSQL's clock agrees.

Guarded here: a clock that one machine sets wrong cannot expire holds or date rows; it is believed only where it
and PostgreSQL's are within `CLOCK_SKEW_MAX_NS`. Between two looks time passes as the steady clock says. What was
said to be over stays over, whatever is believed later.
"""

import time
from collections.abc import Callable
from typing import Final

from pyledger.ledger.nouns import CLOCK_SKEW_MAX_NS

_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine is suspended, where there is such a clock."""


def steady_ns() -> int:
    """A clock that nobody sets."""
    return time.clock_gettime_ns(_STEADY)


class Clock:
    """Nanoseconds since 1970. Call it."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, steady_ns: Callable[[], int] = steady_ns) -> None:
        self.wall_ns, self._steady_ns = wall_ns, steady_ns
        self._ahead_ns = wall_ns() - steady_ns()
        self._over_ns = 0

    def __call__(self) -> int:
        """What time it is."""
        return max(self._over_ns, self._steady_ns() + self._ahead_ns)

    def not_before(self, time_ns: int) -> None:
        """From now on it is no earlier than that."""
        self._over_ns = max(self._over_ns, time_ns)

    def compare(self, before_ns: int, database_ns: int, after_ns: int) -> int:
        """PostgreSQL's time, read between two of the wall's: follow the wall if they agree. Returns by how many
        nanoseconds PostgreSQL's is ahead of the wall's."""
        skew_ns = database_ns - (before_ns + after_ns) // 2
        if abs(skew_ns) <= CLOCK_SKEW_MAX_NS:
            self._ahead_ns = self.wall_ns() - self._steady_ns()
        return skew_ns
