"""What `--gate` holds latency against: what kept runs were seen to take.

A machine that checks changes does other things meanwhile, and of a minute's hundredth one slow moment is much: so a
gate judges the percentiles of the run's typical five seconds (`Seen.typical`), over what a commit of next to nothing
took beside it (`Seen.in_commits`), and milliseconds of the whole run are only shown. Guarded here: nothing is typed
in; each bound follows from the runs in `benchmarks/results/gates-load.json`, by the same rule as the margins of `make
gates`. A run on a quiet machine is held against the quiet ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks import ratios
from loadtests.gates import AUTHORIZATIONS_MIN
from loadtests.nouns import Allowed
from loadtests.run import Run
from loadtests.seen import over_commit, percentile

KEPT: Final = ratios.KEPT.with_name("gates-load.json")
SHARES: Final = (50.0, 95.0, 99.0)


def margins(others_cores: float = 0.0, path: Path = KEPT) -> dict[tuple[str, float], ratios.Margin]:
    """What the kept runs that were alike say of a profile's percentile, in commits."""
    profiles: dict[str, list[dict[str, float]]] = {}
    for run in ratios.kept_runs(path):
        for profile, seen in run["profiles"].items():
            profiles.setdefault(profile, []).append(seen)
    values = {
        (profile, share): [
            value
            for seen in ratios.alike(every, others_cores)
            if (value := over_commit(seen[f"p{share:g}_ms"], seen[f"commit_p{share:g}_ms"])) is not None
        ]
        for profile, every in profiles.items()
        for share in SHARES
    }
    return {name: ratios.Margin.of(some, at_most=True) for name, some in values.items() if len(some) >= ratios.RUNS_MIN}


def bounds(others_cores: float | None, path: Path = KEPT) -> Allowed:
    """The bounds that follow for a run in which so many cores were busy with something else."""
    return {name: margin.bound for name, margin in margins(others_cores or 0.0, path).items()}


def none(_others_cores: float | None) -> Allowed:
    """Of a run that is to be kept: it cannot be held against those before it."""
    return {}


def keep(runs: Iterable[Run], cost_ratio: float | None, path: Path = KEPT) -> None:
    """Add what the gate's profiles gave to the runs that allowances follow from."""
    profiles = {}
    for run in runs:
        counts = run.seen.judged_authorizations
        if counts.total() >= AUTHORIZATIONS_MIN:
            seen = {f"p{share:g}_ms": round(run.seen.typical(share) or 0.0, 3) for share in SHARES}
            commit = {f"commit_p{share:g}_ms": round(run.seen.typical_commit(share) or 0.0, 3) for share in SHARES}
            whole = {"whole_p99_ms": round(percentile(counts, 99.0) or 0.0, 3)}
            profiles[run.plan.profile] = {"others_cores": round(run.cores.others or 0.0, 2), **seen, **commit, **whole}
    ratio = None if cost_ratio is None else round(cost_ratio, 4)
    ratios.add_run(path, {"profiles": profiles, "cost_ratio": ratio})
