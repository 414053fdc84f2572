"""What the load generator itself took of the machine, second by second, and whether it was what gave out.

A generator that has no time left sends late, and its lateness looks like a slow server. Guarded here: it is taken
for the bottleneck by its own CPU time alone. One that was late with time to spare shared its cores with a server
that had taken them, and that is the server's latency.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

BUSIEST_S: Final = 5.0
"""The share of a core is that of the busiest seconds on end, so that a pause before or after hides nothing."""
SHARE_MAX: Final = 0.8
"""Of a core, of one process. Above it arrivals come while it is at work on others, and wait for it."""

Sample = Sequence[float]
"""Second of the run; CPU seconds until then; seconds until then in which it wanted a core and had none."""


def sample(second: float) -> Sample:
    """This process, now."""
    return (second, time.process_time(), waited_s())


def waited_s() -> float:
    """Seconds that the main thread stood in line for a core; 0 where the kernel does not count them."""
    try:
        return int(Path("/proc/self/schedstat").read_text("ascii").split()[1]) / 1e9
    except OSError:
        return 0.0


class Effort:
    """The samples of all generator processes of a run."""

    def __init__(self, processes: Iterable[Sequence[Sample]]) -> None:
        self._processes = [each for each in processes if len(each) > 1]

    def cores(self, from_s: float, to_s: float) -> float:
        """Cores that all of them kept busy between two seconds of the run."""
        return sum(_between(each, 1, from_s, to_s) for each in self._processes) / max(to_s - from_s, 1e-9)

    def waited(self, from_s: float, to_s: float) -> float:
        """Of the time, the largest share for which one of them stood in line for a core."""
        shares = [_between(each, 2, from_s, to_s) / max(to_s - from_s, 1e-9) for each in self._processes]
        return max(shares, default=0.0)

    @property
    def busiest(self) -> float:
        """Of a core: the most that one process took over so many seconds on end."""
        return max((_busiest(each) for each in self._processes), default=0.0)

    @property
    def gave_out(self) -> bool:
        """The generator, and not what it drove, was the bottleneck."""
        return self.busiest > SHARE_MAX


def _at(samples: Sequence[Sample], which: int, second: float) -> float:
    """A running sum at a second of the run, on a straight line between the samples around it."""
    before = max((each for each in samples if each[0] <= second), default=samples[0], key=lambda each: each[0])
    after = min((each for each in samples if each[0] > second), default=samples[-1], key=lambda each: each[0])
    if after[0] <= before[0]:
        return before[which]
    share = min(1.0, max(0.0, (second - before[0]) / (after[0] - before[0])))
    return before[which] + (after[which] - before[which]) * share


def _between(samples: Sequence[Sample], which: int, from_s: float, to_s: float) -> float:
    return _at(samples, which, to_s) - _at(samples, which, from_s)


def _busiest(samples: Sequence[Sample]) -> float:
    """Over windows that begin at a sample; over all of it where that is shorter."""
    last_s = samples[-1][0]
    starts = [each[0] for each in samples if each[0] + BUSIEST_S <= last_s] or [samples[0][0]]
    spans = [(start, min(start + BUSIEST_S, last_s)) for start in starts]
    return max(_between(samples, 1, start, end) / max(end - start, 1e-9) for start, end in spans)
