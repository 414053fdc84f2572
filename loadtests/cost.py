"""What a transaction costs: measured seconds, bytes and operations times the prices of prices.toml.

Pure. Guarded here: every number that enters the sum is shown beside it, so that the sum can be done by hand.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from loadtests.nouns import Prices

MILLION: Final = 1_000_000
HOUR_MS: Final = 3_600_000.0
GIGABYTE: Final = 1e9
DAYS_PER_MONTH: Final = 365.25 / 12
MONTHS_PER_YEAR: Final = 12


class Usage(Struct, frozen=True):
    """What one transaction used, in the mean."""

    transactions: int
    server_cpu_ms: float
    postgres_cpu_ms: float
    idle_cpu_ms: float
    """Part of the CPU time above that goes by without any transaction, shared out."""
    io_operations: float
    wal_bytes: float
    heap_bytes: float
    """Journal row and its part of the batch row, with page overhead."""
    index_bytes: float


class Line(Struct, frozen=True):
    """One part of the cost of a million transactions."""

    name: str
    usd: float
    formula: str


class Cost(Struct, frozen=True):
    """The cost of a million transactions."""

    running: list[Line]
    storage: list[Line]

    @property
    def running_usd(self) -> float:
        """Without storage."""
        return sum(line.usd for line in self.running)

    @property
    def storage_usd(self) -> float:
        """Over the whole retention."""
        return sum(line.usd for line in self.storage)

    def text(self) -> list[str]:
        """The formula with the numbers in it."""
        lines = [f"{line.name}: {line.formula} = {line.usd:.4f} USD" for line in self.running]
        lines.append(f"a million transactions without storage: {self.running_usd:.4f} USD")
        lines += [f"{line.name}: {line.formula} = {line.usd:.4f} USD" for line in self.storage]
        lines.append(f"their storage: {self.storage_usd:.4f} USD")
        return lines


def price(usage: Usage, prices: Prices) -> Cost:
    """What a million transactions cost."""
    compute, io = prices.compute, prices.io
    cpu_ms = usage.server_cpu_ms + usage.postgres_cpu_ms
    running = [
        Line(
            "CPU",
            cpu_ms * MILLION / HOUR_MS / compute.used_share * compute.core_hour_usd,
            f"({usage.server_cpu_ms:.4f} ms server + {usage.postgres_cpu_ms:.4f} ms PostgreSQL) x 1,000,000"
            f" / 3,600,000 ms per hour / {compute.used_share:g} used x {compute.core_hour_usd:g} USD per core-hour",
        ),
        Line(
            "IO",
            usage.io_operations * io.million_operations_usd,
            f"{usage.io_operations:.3f} operations x 1,000,000 x {io.million_operations_usd:g} USD per million",
        ),
    ]
    return Cost(running, _storage(usage, prices))


def _storage(usage: Usage, prices: Prices) -> list[Line]:
    asked = prices.storage
    row_gb = (usage.heap_bytes + usage.index_bytes) * MILLION / GIGABYTE
    archive_gb = usage.heap_bytes * MILLION / GIGABYTE
    wal_gb = usage.wal_bytes * MILLION / GIGABYTE
    later_months = asked.retention_months - asked.database_months
    return [
        Line(
            f"database, {asked.database_months:g} months",
            row_gb * asked.database_months * asked.database_copies * asked.database_gb_month_usd,
            f"({usage.heap_bytes:.0f} B row + {usage.index_bytes:.0f} B index) x 1,000,000 / 1e9"
            f" x {asked.database_months:g} months x {asked.database_copies:g} copies"
            f" x {asked.database_gb_month_usd:g} USD per GB-month",
        ),
        Line(
            f"archive, to {asked.retention_months / MONTHS_PER_YEAR:g} years",
            archive_gb * later_months * asked.archive_gb_month_usd,
            f"{usage.heap_bytes:.0f} B x 1,000,000 / 1e9 x {later_months:g} months"
            f" x {asked.archive_gb_month_usd:g} USD per GB-month",
        ),
        Line(
            f"WAL, {asked.wal_kept_days:g} days",
            wal_gb * asked.wal_kept_days / DAYS_PER_MONTH * asked.wal_gb_month_usd,
            f"{usage.wal_bytes:.0f} B x 1,000,000 / 1e9 x {asked.wal_kept_days:g} / {DAYS_PER_MONTH:.2f} months"
            f" x {asked.wal_gb_month_usd:g} USD per GB-month",
        ),
    ]
