"""What the gates judge: readings of one run, ratios of them, and how far a ratio may fall.

A ratio is of two readings of the same run on the same machine, so it says something on any machine and on a busy
one. Guarded here: no margin is typed in; each bound follows from the runs kept in `results/gates.json`: as far
beyond the worst of them as that was from the median, and at least `ROOM_SHARE_MIN` of the median. A run on a quiet
machine is held against the quiet ones if there are ten, a run on a busy machine against all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from benchmarks.processes import machine
from benchmarks.report import commit

KEPT: Final = Path(__file__).with_name("results") / "gates.json"

RUNS_MIN: Final = 10
"""Of fewer runs the worst is luck, and nothing is judged."""
ROOM_SHARE_MIN: Final = 0.05
QUIET_CORES_MAX: Final = 0.25
"""Cores that may be busy with something else in a run that counts as quiet."""

Part = Literal["append", "batches", "kinds", "singles_256", "singles_1024", "echo_256", "echo_1024", "sql", "alone"]
"""What is measured together: see `rounds.py`."""

PARTS_OF: Final[dict[str, Part]] = {
    "append_per_s": "append",
    "plain_per_s": "append",
    "plain_postgres_us": "append",
    "copy_bytes": "append",
    "w1_binary_per_s": "batches",
    "w1_json_per_s": "batches",
    "w1_apply_us": "batches",
    "w1_postgres_us": "batches",
    "w1_wal_bytes": "batches",
    "hot_per_s": "kinds",
    "two_phase_per_s": "kinds",
    "single_256_per_s": "singles_256",
    "single_256_server_us": "singles_256",
    "single_1024_per_s": "singles_1024",
    "echo_256_per_s": "echo_256",
    "echo_256_server_us": "echo_256",
    "echo_1024_per_s": "echo_1024",
    "sql_256_per_s": "sql",
    "alone_p50_ms": "alone",
    "plain_one_p50_ms": "alone",
}
"""Every reading, and the part that gives it. `*_us` is CPU time a transfer or request."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One gate: a reading over another."""

    name: str
    title: str
    top: str
    bottom: str
    at_most: bool = False

    @property
    def parts(self) -> set[Part]:
        """What must be measured for it."""
        return {PARTS_OF[self.top], PARTS_OF[self.bottom]}

    def value(self, readings: dict[str, float]) -> float:
        """Of one run."""
        return readings[self.top] / readings[self.bottom]


RATIOS: Final = (
    Ratio("w1_binary_to_append", "W1, binary form / raw append", "w1_binary_per_s", "append_per_s"),
    Ratio("append_to_plain", "raw append / plain COPY of the same rows", "append_per_s", "plain_per_s"),
    Ratio("w1_json_to_append", "W1, JSON form / raw append", "w1_json_per_s", "append_per_s"),
    Ratio("hot_to_w1", "W2, hot account / W1", "hot_per_s", "w1_binary_per_s"),
    Ratio("two_phase_to_w1", "W9, two-phase / W1", "two_phase_per_s", "w1_binary_per_s"),
    Ratio("single_256_to_echo", "one a request, 256 connections / echo", "single_256_per_s", "echo_256_per_s"),
    Ratio("single_1024_to_echo", "one a request, 1,024 connections / echo", "single_1024_per_s", "echo_1024_per_s"),
    Ratio("single_256_to_sql", "one a request, 256 connections / lock-and-update", "single_256_per_s", "sql_256_per_s"),
    Ratio("alone_to_plain", "latency of one alone / of a plain COPY of it", "alone_p50_ms", "plain_one_p50_ms", True),
    Ratio("single_cpu_to_echo", "server's CPU of a single / of an echo", "single_256_server_us", "echo_256_server_us",
          True),
    Ratio("apply_cpu_to_plain", "engine's CPU of a batched transfer / PostgreSQL's of a plain COPY", "w1_apply_us",
          "plain_postgres_us", True),
    Ratio("postgres_cpu_to_plain", "PostgreSQL's CPU of W1 / of a plain COPY", "w1_postgres_us", "plain_postgres_us",
          True),
    Ratio("wal_to_copy", "WAL bytes of a transfer / its bytes in COPY", "w1_wal_bytes", "copy_bytes", True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Margin:
    """What the kept runs say of a ratio."""

    least: float
    median: float
    most: float
    bound: float
    runs: int

    @classmethod
    def of(cls, values: list[float], *, at_most: bool) -> Margin:
        """The bound is as far beyond the worst as that is from the median."""
        middle = median(values)
        worst = max(values) if at_most else min(values)
        room = max(abs(worst - middle), ROOM_SHARE_MIN * middle)
        return cls(min(values), middle, max(values), worst + room if at_most else worst - room, len(values))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One ratio, measured and held against its margin."""

    ratio: Ratio
    value: float
    margin: Margin
    before: tuple[float, ...] = ()
    """What earlier tries gave, where this is not the first one."""

    def followed_by(self, next_try: Verdict) -> Verdict:
        """The next try, which is what counts, with what those before it gave."""
        return replace(next_try, before=(*self.before, self.value))

    @property
    def kept(self) -> bool:
        """Whether it is on the right side."""
        return self.value <= self.margin.bound if self.ratio.at_most else self.value >= self.margin.bound

    def line(self) -> str:
        """In one sentence."""
        margin, sign = self.margin, "<=" if self.ratio.at_most else ">="
        off, word = abs(self.value / margin.median - 1.0), "kept" if self.kept else "FAILED"
        beyond = "above" if self.value > margin.median else "below"
        text = (
            f"{word}: {self.ratio.title}: {self.value:.3f}, bound {sign} {margin.bound:.3f}; {off:.0%} {beyond} the"
            f" median of {margin.runs} runs ({margin.least:.3f} to {margin.most:.3f}, median {margin.median:.3f})"
        )
        if self.before:
            text += f" (try {len(self.before) + 1}; before: {', '.join(f'{value:.3f}' for value in self.before)})"
        return text


def kept_runs(path: Path = KEPT) -> list[dict[str, Any]]:
    """The runs that margins are computed from."""
    return list(json.loads(path.read_text("utf-8"))["runs"]) if path.exists() else []


def alike(runs: Iterable[dict[str, Any]], others_cores: float) -> list[dict[str, Any]]:
    """The runs that one is held against in which so many cores were busy with something else: all, for want of ten
    quiet ones."""
    every = list(runs)
    quiet = [run for run in every if not is_busy(run["others_cores"])]
    return every if is_busy(others_cores) or len(quiet) < RUNS_MIN else quiet


def is_busy(others_cores: float) -> bool:
    """Whether a run shared its cores with more than a quiet machine has."""
    return others_cores > QUIET_CORES_MAX


def margins(runs: Iterable[dict[str, Any]], others_cores: float = 0.0) -> dict[str, Margin]:
    """By the name of each ratio that enough runs have."""
    every, found = list(runs), {}
    for ratio in RATIOS:
        some = alike((run for run in every if ratio.name in run["ratios"]), others_cores)
        values = [float(run["ratios"][ratio.name]) for run in some]
        if len(values) >= RUNS_MIN:
            found[ratio.name] = Margin.of(values, at_most=ratio.at_most)
    return found


def add_run(path: Path, measured: dict[str, Any]) -> None:
    """Add a run to those that margins follow from, with when, where and of which commit it is."""
    run = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(Path(__file__).parent)["commit"][:12],
        "machine": "{cores} cores, {cpu}".format(**machine()),
        **measured,
    }
    lines = ",\n".join(f"  {json.dumps(each)}" for each in [*kept_runs(path), run])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{\n "runs": [\n{lines}\n ]\n}}\n', "utf-8")
