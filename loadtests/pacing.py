"""Open-loop arrivals: when each piece of traffic is due, decided before and apart from how the server does.

Why, and how. A user who waits for an answer before it sends the next request sends less when the server is
slow. The slow moments are then measured once instead of as often as real customers, who do not know of each
other, would have met them: coordinated omission. Here:

1. Each source draws its arrivals from a Poisson process on the shape's rate, in the run's own time. What is
   due when depends on the seed and the shape alone, never on an answer or on how late the generator is.
2. An arrival starts a flow of its own. A source does not wait for the flow before it starts the next.
3. Latency counts from the time at which a request was due, not from when it was sent. What the generator was
   late by, what a request waited for a free connection, and what it waited behind a full source all count.
4. What is due in the run and never sent counts too, as `never sent`, and is judged as an error.

A later step of a flow (a capture after its authorization) is due a thinking time after the step before was
answered: nobody can capture a hold that he does not know of, and the wait for that answer is counted already.

Guarded here: the same seed gives the same schedule; no arrival is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from loadtests.nouns import Stretch


class Arrivals:
    """The due times of one source, in seconds from the first possible arrival of the run."""

    def __init__(self, stretches: Sequence[Stretch], share: float, random: Random) -> None:
        """`share`: arrivals of this source for each transaction of the shape."""
        self._stretches = stretches
        self._share = share
        self._random = random
        self._stretch = 0
        self._began_s = 0.0
        self._now_s = 0.0

    def next(self) -> float | None:
        """When the next arrival is due; None after the last.

        One unit of an exponential clock is spent along the stretches at their rates: exact for rates that
        change, and memoryless, so a change of rate takes effect where it is, not at the next arrival.
        """
        if self._share <= 0.0:
            return None
        left = self._random.expovariate(1.0)
        while self._stretch < len(self._stretches):
            stretch = self._stretches[self._stretch]
            rate = stretch.per_s * self._share
            ends_s = self._began_s + stretch.seconds
            room = (ends_s - self._now_s) * rate
            if left < room:
                self._now_s += left / rate
                return self._now_s
            left -= room
            self._began_s = self._now_s = ends_s
            self._stretch += 1
        return None

    def remaining(self) -> int:
        """How many were still due: what a run that ends early never sent."""
        count = 0
        while self.next() is not None:
            count += 1
        return count
