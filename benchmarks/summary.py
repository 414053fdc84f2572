"""From what the workers saw to what is reported: counts, rate, percentiles, rate over time.

Guarded here: the rate is of transfers whose acceptance was answered, over the time from the first request to
the last answer; percentiles are of every answered request, none left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks import judge
from benchmarks.nouns import Measured, Plan
from benchmarks.outcome import Outcome

PERCENTILES: Final = ("50", "75", "90", "95", "99", "99.9", "100")
TIMELINE_POINTS: Final = 60
"""Points of a rate-over-time plot, at most; fewer where a point would be of few answers or a short time."""
_POINT_MIN_S: Final = 0.1
_POINT_ANSWERS_MIN: Final = 6


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Latencies in milliseconds by percentile: the smallest value that so many are at most."""
    if not seconds:
        return {}
    ordered, count = sorted(seconds), len(seconds)
    found = {}
    for name in PERCENTILES:
        rank = -(-int(float(name) * 10) * count // 1_000)
        found[name] = round(ordered[min(count, max(rank, 1)) - 1] * 1_000, 3)
    return found


def verdicts(outcome: Outcome, index: int) -> tuple[int, int, int]:
    """Transfers accepted, declined and refused in one answered request."""
    mixed, transfers, whole = outcome.mixed.get(index), outcome.transfers[index], outcome.verdicts[index]
    if transfers == 0:
        return 0, 0, 0
    if mixed is not None:
        return mixed.count(judge.ACCEPTED), mixed.count(judge.DECLINED), mixed.count(judge.REFUSED)
    return (
        transfers * (whole == judge.ACCEPTED),
        transfers * (whole == judge.DECLINED),
        transfers * (whole == judge.REFUSED),
    )


def summarize(plan: Plan, outcomes: list[Outcome], workload: str, title: str) -> Measured:
    """One line of the report."""
    found = Measured(
        plan.case, workload, title, plan.form, plan.connections, plan.per_request, offered_per_s=plan.offered_per_s
    )
    latencies: list[float] = []
    arrivals: list[tuple[float, int]] = []
    first = min((began for each in outcomes for began in each.began if began), default=0.0)
    for outcome in outcomes:
        for index, (began, ended) in enumerate(zip(outcome.began, outcome.ended, strict=True)):
            if not ended:
                continue
            accepted, declined, refused = verdicts(outcome, index)
            found.accepted += accepted
            found.declined += declined
            found.refused += refused
            latencies.append(ended - began)
            arrivals.append((ended - first, accepted))
        for error, times in outcome.errors.items():
            found.errors[error] = found.errors.get(error, 0) + times
        found.generator_cpu_s += outcome.cpu_s
        found.generator_share = max(found.generator_share, outcome.cpu_s / outcome.wall_s if outcome.wall_s else 0.0)
        found.answer_bytes += outcome.answer_bytes
    found.requests = len(latencies)
    found.answer_bytes //= max(1, found.requests)
    found.seconds = max((at for at, _ in arrivals), default=0.0)
    found.per_s = found.accepted / found.seconds if found.seconds else 0.0
    found.latency_ms = percentiles(latencies)
    found.timeline = timeline(arrivals, found.seconds)
    return found


def timeline(arrivals: list[tuple[float, int]], seconds: float) -> list[tuple[float, float]]:
    """Accepted transfers a second, by when they were answered: (end of the interval, rate)."""
    if seconds <= 0:
        return []
    step = max(seconds / TIMELINE_POINTS, _POINT_MIN_S, seconds * _POINT_ANSWERS_MIN / len(arrivals))
    points = max(1, int(seconds / step))
    counts = [0] * points
    for at, accepted in arrivals:
        counts[min(int(at / step), points - 1)] += accepted
    # The last interval is longer than the others by what does not fill one more.
    widths = [step] * (points - 1) + [seconds - step * (points - 1)]
    return [
        (round(step * each + width, 3), round(count / width, 1))
        for each, (count, width) in enumerate(zip(counts, widths, strict=True))
    ]
