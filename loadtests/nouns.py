"""The nouns of a load test: what is offered, by whom, on which books, at which prices, within which bounds.

Guarded here: every noun is a plain frozen value with its unit in its name; `config.py` makes them from the
TOML files and `rules.py` derives one from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

SOURCES: Final = 8
"""Users of each class, always: a user is a source of arrivals, and the shape varies the rate of each."""

FLOWS_MAX: Final = 512
"""Flows that one source has under way. Beyond it arrivals wait, and their latency counts from when they
were due; it bounds the generator's memory and connections when the server does not answer."""

START_DELAY_S: Final = 1.5
"""From the start of a run to its first arrival: all users exist by then."""

WARM_UP_S: Final = 2.0
"""Shown, but not judged: connections are being opened."""

DRAIN_S: Final = 8.0
"""After the last arrival: flows under way come to their end."""

RAMP_UNDER_WAY_MAX: Final = 1_000
"""Flows under way at which a ramp is over: the server is left behind."""

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
VOID: Final = "void"
REFUND: Final = "refund"
TRANSFER: Final = "wallet transfer"
BATCH: Final = "bulk batch"
RETRY: Final = "retry"
READ_ACCOUNT: Final = "read account"
READ_TRANSFER: Final = "read transfer"
READ_HISTORY: Final = "read history"
WRITES: Final = (AUTHORIZE, CAPTURE, VOID, REFUND, TRANSFER, BATCH)
"""Requests that move money for the first time; a retry moves none."""


class Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value from a TOML file: a name that is not known here is an error, not ignored."""


class Volume(Strict, frozen=True):
    """Transactions a day, and what follows from them."""

    today_per_day: float
    projected_per_day: float
    peak_factor: float
    transactions_per_account_day: float
    journal_days: float


class Preload(Strict, frozen=True):
    """The most that is made before the first request."""

    accounts_max: int
    rows_max: int


class Machine(Strict, frozen=True):
    """What the machine of a test can do."""

    requests_per_s_a_core_max: float


class Behaviour(Strict, frozen=True):
    """How users behave; shares are of 1."""

    think_s: float
    think_max_s: float
    hold_s: int
    capture_full: float
    capture_part: float
    void: float
    refund: float
    overdraw: float
    retry: float
    batch_rows: int
    zipf: float


class Mix(Strict, frozen=True):
    """Who makes the transactions: shares that add up to 1; and reads per write request."""

    card: float
    wallet: float
    bulk: float
    reads: float


class Profile(Strict, frozen=True):
    """One run: a shape, a mix, and a rate said in one of three ways."""

    shape: Literal["steady", "ramp", "spike"]
    mix: str
    duration_s: float
    requests_per_s: float = 0.0
    transactions_per_s: float = 0.0
    volume: Literal["", "today", "projected"] = ""
    requests_per_s_end: float = 0.0
    stairs: int = 1
    spike_factor: float = 1.0


class Suite(Strict, frozen=True):
    """Which profiles `make load` and `--gate` run."""

    load: list[str]
    gate: list[str]
    gate_duration_s: float
    gate_accounts_max: int
    gate_rows_max: int


class Profiles(Strict, frozen=True):
    """profiles.toml."""

    volume: Volume
    preload: Preload
    machine: Machine
    behaviour: Behaviour
    mix: dict[str, Mix]
    profile: dict[str, Profile]
    suite: Suite


class AuthorizationBound(Strict, frozen=True):
    """Latency bounds up to an offered rate."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    def percentiles(self) -> dict[float, float]:
        """The bound in ms of each percentile."""
        return {50.0: self.p50_ms, 95.0: self.p95_ms, 99.0: self.p99_ms}


class RateBounds(Strict, frozen=True):
    """Bounds on shares of requests and commands."""

    error_max: float
    declined_max: float
    achieved_min: float


class BookBounds(Strict, frozen=True):
    """Bounds on what the ledger did."""

    lost_max: int
    wrong_retries_max: int
    queue_rows_max: int


class CostBounds(Strict, frozen=True):
    """Bounds on what a transaction costs."""

    usd_per_million_max: float
    ratio_max: float


class Slo(Strict, frozen=True):
    """slo.toml."""

    authorization: list[AuthorizationBound]
    rates: RateBounds
    books: BookBounds
    cost: CostBounds

    def bound_for(self, requests_per_s: float) -> AuthorizationBound | None:
        """The latency bounds that apply at an offered rate, with some room for a rate that was rounded."""
        return next((each for each in self.authorization if each.requests_per_s * 1.01 >= requests_per_s), None)


Allowed = Mapping[tuple[str, float], float]
"""By profile and percentile, what an authorization may take in a gate's run, in commits of next to nothing."""


class ComputePrices(Strict, frozen=True):
    """Prices of computing."""

    core_hour_usd: float
    used_share: float


class StoragePrices(Strict, frozen=True):
    """Prices of keeping."""

    database_gb_month_usd: float
    archive_gb_month_usd: float
    wal_gb_month_usd: float
    wal_kept_days: float
    database_months: float
    retention_months: float
    database_copies: float


class IoPrices(Strict, frozen=True):
    """Prices of reading and writing."""

    million_operations_usd: float


class Prices(Strict, frozen=True):
    """prices.toml."""

    compute: ComputePrices
    storage: StoragePrices
    io: IoPrices


class Stretch(Struct, frozen=True):
    """A piece of a shape at one rate, in transactions a second."""

    seconds: float
    per_s: float


class Plan(Struct, frozen=True):
    """What one run offers, derived from its profile."""

    profile: str
    shape: str
    volume: str
    mix: Mix
    behaviour: Behaviour
    stretches: list[Stretch]
    requests_per_s: float
    """Mean offered over the busiest stretch."""
    transactions_per_s: float
    accounts: int
    rows: int
    preload_share: float
    """Of the books that the volume asks for, how much was made; 1 is all."""
    offered_share: float = 1.0
    """Of the rate that the volume asks for, how much is offered."""

    @property
    def past_the_knee(self) -> bool:
        """A ramp offers more than the server can do, on purpose."""
        return self.shape == "ramp"

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return sum(stretch.seconds for stretch in self.stretches)


class Books(Struct, frozen=True):
    """A ledger with its accounts, open and funded."""

    ledger: int
    first: int
    """The id of the first account; the others follow by one: bank, merchants, customers."""
    merchants: int
    customers: int

    @property
    def bank(self) -> int:
        """The account that all money comes from."""
        return self.first

    def merchant(self, index: int) -> int:
        """A merchant's account."""
        return self.first + 1 + index

    def customer(self, index: int) -> int:
        """A customer's account: may not be overdrawn."""
        return self.first + 1 + self.merchants + index

    @property
    def accounts(self) -> int:
        """All of them."""
        return 1 + self.merchants + self.customers
