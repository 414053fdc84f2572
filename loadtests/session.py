"""One run inside a generator process: its plan, its books, its clock, and what it has seen.

Guarded here: all sources of a process share one clock, which begins when the run begins, and one recorder.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from itertools import accumulate
from random import Random

import gevent

from loadtests.nouns import DRAIN_S, RAMP_UNDER_WAY_MAX, START_DELAY_S, Books, Plan
from loadtests.recorder import Recorder
from loadtests.rules import arrivals

LOOK_INTERVAL_S = 1.0
SETTLE_S = 0.5
"""After the last arrival, before a process without flows believes that it is done."""


class Zipf:
    """Indexes below `count`, the first far more often than the last."""

    def __init__(self, count: int, exponent: float) -> None:
        self._sums = list(accumulate(1.0 / rank**exponent for rank in range(1, count + 1)))

    def draw(self, random: Random) -> int:
        """One index."""
        return min(bisect_left(self._sums, random.random() * self._sums[-1]), len(self._sums) - 1)


class Session:
    """What the users of one process share."""

    def __init__(self, plan: Plan, books: Books, key: str, recorder: Recorder, seed: str, *, alone: bool) -> None:
        """`alone`: all sources are in this process, so it knows when all flows have ended."""
        self.plan = plan
        self.books = books
        self.recorder = recorder
        self.seed = seed
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._alone = alone
        self.arrivals = arrivals(plan.mix, plan.behaviour)
        self.zipf = Zipf(books.customers, plan.behaviour.zipf)
        self.under_way = 0
        self._numbers: dict[str, int] = {}
        self._began = time.monotonic() + START_DELAY_S
        self._looking = gevent.spawn(self._look_at_itself)

    def now_s(self) -> float:
        """Seconds since the first possible arrival; negative before."""
        return time.monotonic() - self._began

    def sleep_until(self, due_s: float) -> None:
        """Wait until a time of the run."""
        gevent.sleep(max(0.0, due_s - self.now_s()))

    def take_number(self, kind: str) -> int:
        """A number of its own for each source of a kind."""
        self._numbers[kind] = self._numbers.get(kind, -1) + 1
        return self._numbers[kind]

    def _look_at_itself(self) -> None:
        while self.now_s() < self.plan.seconds + LOOK_INTERVAL_S:
            self.recorder.look_at_itself(self.now_s())
            gevent.sleep(LOOK_INTERVAL_S)

    def close(self) -> None:
        """Write down what was seen."""
        self._looking.kill()
        self.recorder.close()

    @property
    def over(self) -> bool:
        """Nothing more is due, and everything under way has ended or had its time."""
        if self.plan.past_the_knee and self.under_way > RAMP_UNDER_WAY_MAX:
            return True
        late_s = self.now_s() - self.plan.seconds
        return late_s > DRAIN_S or (self._alone and late_s > SETTLE_S and self.under_way == 0)
