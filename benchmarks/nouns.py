"""The nouns of the benchmarks: sizes, plans, what was measured, figures and targets. Nothing happens here.

Units: `*_s` seconds, `*_ms` milliseconds, `*_per_s` committed transfers a second unless it says requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Form = Literal["binary", "json", "single"]
"""How transfers travel: records of 128 bytes in a batch, JSON in a batch, or one JSON object a request."""

Choice = Literal["uniform", "hot_debit", "one_pair", "zipf", "fresh"]
"""How a transfer's accounts are chosen."""

BATCH_TRANSFERS: Final = 8_189
"""Transfers of a full request: what a megabyte message holds in TigerBeetle's benchmark."""

BATCH_CONNECTIONS: Final = 4
"""Connections that send full requests: one is decided, one commits, two are under way."""

IDS_PER_MS: Final = 512
"""Ids that share a millisecond in their UUIDv7: about what a busy client makes."""

FIGURES: Final = (
    "w1_binary_per_s",
    "w1_json_per_s",
    "append_ceiling_per_s",
    "single_256_per_s",
    "single_1024_per_s",
    "echo_256_per_s",
    "echo_1024_per_s",
    "sql_baseline_256_per_s",
    "hot_per_s",
    "two_phase_per_s",
    "authorization_p99_ms",
    "authorization_offered_per_s",
    "apply_per_s",
    "bytes_per_account",
    "start_s",
)
"""The names that the JSON's object `figures` may hold; absent where not run."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each workload is run."""

    name: str
    w1_transfers: int
    """Of W1, W2 and W9 in full requests: as many, because a run begins and ends with a pipe that is not full."""
    hot_transfers: int
    """What W2, W3 and W4 with 50 a request are parts of."""
    single_s: float
    open_s: float
    w5_connections: tuple[int, ...]
    start_accounts: int
    start_rows: int
    grown_accounts: int
    grown_rows: int
    rested: bool = False
    """Whether a case begins only once what earlier ones left is sealed, which takes minutes of no load."""


QUICK: Final = Size(
    "quick",
    w1_transfers=1_000_000,
    hot_transfers=400_000,
    single_s=2.0,
    open_s=5.0,
    w5_connections=(1, 16, 64, 256, 1_024),
    start_accounts=1_000_000,
    start_rows=1_000_000,
    grown_accounts=1_000_000,
    grown_rows=5_000_000,
)
FULL: Final = Size(
    "full",
    w1_transfers=10_000_000,
    hot_transfers=4_000_000,
    single_s=20.0,
    open_s=60.0,
    w5_connections=(1, 16, 64, 256, 1_024, 4_096),
    start_accounts=1_000_000,
    start_rows=1_000_000,
    grown_accounts=10_000_000,
    grown_rows=50_000_000,
    rested=True,
)
SMOKE: Final = Size(
    "smoke",
    w1_transfers=40_000,
    hot_transfers=20_000,
    single_s=0.5,
    open_s=1.0,
    w5_connections=(1, 16),
    start_accounts=10_000,
    start_rows=10_000,
    grown_accounts=20_000,
    grown_rows=100_000,
)
"""For the tests of the benchmarks themselves: its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the load generator: everything that a worker process needs to build and send it."""

    case: str
    form: Form
    ledger: int
    first_account: int
    accounts: int
    requests: int
    connections: int
    per_request: int = 1
    choice: Choice = "uniform"
    hot_share: float = 0.0
    pending_share: float = 0.0
    timeouts_s: tuple[int, int] = (0, 0)
    linked: bool = False
    post_after_s: float = 0.0
    amount_max: int = 10_000
    offered_per_s: float = 0.0
    seconds_max: float = 600.0
    seed: int = 1

    @property
    def transfers(self) -> int:
        """Transfers in all of its requests."""
        return self.requests * self.per_request

    def share(self, worker: int, workers: int) -> Plan:
        """The part of the plan that one of several worker processes takes."""
        requests = self.requests // workers + (worker < self.requests % workers)
        connections = self.connections // workers + (worker < self.connections % workers)
        return replace(
            self,
            requests=requests,
            connections=connections,
            offered_per_s=self.offered_per_s / workers,
            seed=self.seed * 1_000 + worker,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the result: a plan, the accounts that it needs, and the figure that it fills."""

    workload: str
    plan: Plan
    account_flags: tuple[str, ...] = ()
    funding: int = 0
    figure: str = ""
    latency_figure: str = ""
    title: str = ""
    proven: bool = True
    """False for a piece of a larger run: it is proven with the next case of its ledger that is."""


@dataclass(slots=True)
class Measured:
    """What one run of the load generator gave, as the JSON shows it."""

    case: str
    workload: str = ""
    title: str = ""
    form: str = ""
    connections: int = 0
    per_request: int = 1
    requests: int = 0
    accepted: int = 0
    declined: int = 0
    refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    per_s: float = 0.0
    offered_per_s: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)
    timeline: list[tuple[float, float]] = field(default_factory=list)
    generator_cpu_s: float = 0.0
    generator_share: float = 0.0
    """CPU seconds of the busiest generator process a second: 1.0 is a core of its own, and the bottleneck."""
    answer_bytes: int = 0
    server_cpu_s: float | None = None
    postgres_cpu_s: float | None = None
    wal_bytes_per_transfer: float | None = None
    disk_bytes_per_transfer: float | None = None
    proof: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    """All in: opening books, building requests, the run, the proof."""
    notes: dict[str, Any] = field(default_factory=dict)


class ProofFailed(Exception):
    """The books do not add up after a run: nothing else of that run is worth reporting."""

    def __init__(self, case: str, failures: list[str]) -> None:
        self.case = case
        self.failures = failures
        super().__init__(f"{case}: " + "; ".join(failures))


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached on the reference machine: a figure, or a ratio of two, against a bound."""

    title: str
    figure: str
    bound: float | None
    """None: there is none, and the value is shown for what it is."""
    against: str = ""
    at_most: bool = False

    def value(self, figures: dict[str, float]) -> float | None:
        """The measured value; None where something was not run."""
        top = figures.get(self.figure)
        if top is None or not self.against:
            return top
        bottom = figures.get(self.against)
        return top / bottom if bottom else None

    def reached(self, value: float) -> bool | None:
        """Whether the value is on the right side of the bound; None where there is no bound."""
        if self.bound is None:
            return None
        return value <= self.bound if self.at_most else value >= self.bound


TARGETS: Final = (
    Target("W1, binary form, transfers/s", "w1_binary_per_s", 440_000),
    Target("W1, binary form / raw append ceiling", "w1_binary_per_s", 0.70, "append_ceiling_per_s"),
    Target("W1, binary form / TigerBeetle's own benchmark", "w1_binary_per_s", None, "tigerbeetle_per_s"),
    Target("W1, JSON form, transfers/s", "w1_json_per_s", 300_000),
    Target("one a request, 256 connections, transfers/s", "single_256_per_s", 20_000),
    Target("one a request, 1,024 connections, transfers/s", "single_1024_per_s", 28_000),
    Target("256 connections / echo", "single_256_per_s", 0.60, "echo_256_per_s"),
    Target("1,024 connections / echo", "single_1024_per_s", 0.60, "echo_1024_per_s"),
    Target(
        "256 connections / lock-and-update SQL, one transaction a request",
        "single_256_per_s",
        6.0,
        "sql_baseline_256_per_s",
    ),
    Target(
        "256 connections / lock-and-update SQL with our own group commit",
        "single_256_per_s",
        None,
        "sql_group_commit_256_per_s",
    ),
    Target(
        "1,024 connections / lock-and-update SQL, one transaction a request",
        "single_1024_per_s",
        None,
        "sql_plain_1024_per_s",
    ),
    Target("W2 hot account / W1 uniform", "hot_per_s", 0.95, "w1_binary_per_s"),
    Target("W5 p99 at half of peak, ms", "authorization_p99_ms", 10.0, at_most=True),
    Target("W6, 50 accounts / pgledger", "w6_per_s", None, "pgledger_per_s"),
    Target("W9 two-phase / W1", "two_phase_per_s", 0.60, "w1_binary_per_s"),
    Target("apply alone, transfers/s", "apply_per_s", 2_000_000),
    Target("grown books / small books, rate", "growth_rate_ratio", 0.85),
    Target("grown books / small books, p99", "growth_p99_ratio", 1.5, at_most=True),
    Target("memory of an account, bytes", "bytes_per_account", 200, at_most=True),
    Target("memory of an open hold, bytes", "bytes_per_hold", 200, at_most=True),
    Target("memory of an id in the window, bytes", "bytes_per_window_id", 40, at_most=True),
    Target("memory of the server besides, after full requests, MB", "server_besides_mb", 300, at_most=True),
    Target("start, 1 M accounts and 1 M rows past the checkpoint, s", "start_s", 5.0, at_most=True),
)

FURTHER: Final = (
    "tigerbeetle_per_s",
    "pgledger_per_s",
    "w6_per_s",
    "sql_group_commit_256_per_s",
    "sql_plain_1024_per_s",
    "growth_rate_ratio",
    "growth_p99_ratio",
    "bytes_per_hold",
    "bytes_per_window_id",
    "server_besides_mb",
)
"""What the JSON's object `further` may hold: measured values with a target that are none of the agreed figures."""
