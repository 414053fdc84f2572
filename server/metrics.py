"""What the server tells Prometheus. Counted in plain integers, turned into metrics when somebody looks.

Guards: measuring a request costs well under a microsecond and never fails it; labels come from tables
(operations, statuses, codes), never from a client, so the number of series is bounded.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pyledger.server.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyledger.ledger import BatchMeasure
    from pyledger.server.operations import Operation
    from pyledger.server.service import Service

SECONDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Bucket bounds of times. A commit is a few milliseconds; ten seconds is a client's patience."""

ROWS: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 8_190.0)
"""Bucket bounds of batch sizes: factors of four up to the largest batch."""

AUTHORIZATIONS: Final = frozenset({"createTransfer", "postTransfer", "voidTransfer", "reverseTransfer"})
"""The operations that somebody waits for at a till: single transfers."""

NO_OPERATION: Final = "none"
"""The label of requests for what does not exist."""

STATES: Final = (
    "starting", "standby", "recovering", "serving", "reconnecting", "stopping", "stopped", "fenced", "halted",
)  # fmt: skip


class Histogram:
    """A histogram of our own: two additions and a bisection."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add(self, other: Histogram) -> None:
        """Count also what another one of the same bounds has counted."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets as Prometheus wants them, and the sum."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
        return found, self._sum


class Answered:
    """How one operation was answered, and how fast."""

    __slots__ = ("seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.seconds = Histogram(SECONDS)


class Metrics(Collector):
    """All that is measured in this process."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._service: Service | None = None
        self._answered = {name: Answered() for name in (NO_OPERATION, *(each.name for each in OPERATIONS))}
        self._batch_commands = Histogram(ROWS)
        self._batch_rows = Histogram(ROWS)
        self._apply_s = Histogram(SECONDS)
        self._commit_s = Histogram(SECONDS)
        self._declines: dict[str, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def watch(self, service: Service) -> None:
        """Whose gauges to show."""
        self._service = service

    def observe(self, operation: Operation | None, status: int, elapsed_s: float) -> None:
        """One request was answered. The hot path."""
        answered = self._answered[NO_OPERATION if operation is None else operation.name]
        answered.statuses[status] = answered.statuses.get(status, 0) + 1
        answered.seconds.observe(elapsed_s)

    def observe_batch(self, batch: BatchMeasure) -> None:
        """One batch was committed."""
        self._batch_commands.observe(batch.commands)
        self._batch_rows.observe(batch.rows)
        self._apply_s.observe(batch.apply_s)
        self._commit_s.observe(batch.commit_s)
        for code, count in batch.declines.items():
            self._declines[code] = self._declines.get(code, 0) + count

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """All series, as they are now."""
        yield InfoMetricFamily("pyledger_build", "Which build runs.", value={"version": self._version})
        yield from self._of_requests()
        yield from self._of_batches()
        yield from self._of_process()
        yield from self._of_ledger()

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("pyledger_http_requests", "Requests answered.", labels=("operation", "status"))
        for name, answered in self._answered.items():
            for status, count in answered.statuses.items():
                requests.add_metric((name, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "pyledger_http_request_seconds", "From a request's head to its answer.", labels=("operation",)
        )
        authorizations = Histogram(SECONDS)
        for name, answered in self._answered.items():
            if name != NO_OPERATION:
                buckets, total = answered.seconds.buckets()
                seconds.add_metric((name,), buckets, total)
            if name in AUTHORIZATIONS:
                authorizations.add(answered.seconds)
        yield seconds
        yield _histogram(
            "pyledger_authorization_seconds",
            "From the head of a single transfer, hold, post, void or reversal to its answer, durable.",
            authorizations,
        )

    def _of_batches(self) -> Iterator[Metric]:
        yield _histogram("pyledger_batch_commands", "Commands in a committed batch.", self._batch_commands)
        yield _histogram("pyledger_batch_rows", "Journal rows in a committed batch.", self._batch_rows)
        yield _histogram("pyledger_apply_seconds", "Time to decide a batch.", self._apply_s)
        yield _histogram("pyledger_commit_seconds", "Time to make a batch durable.", self._commit_s)
        declines = CounterMetricFamily(
            "pyledger_declines", "Commands that got no for the first time, by code.", labels=("code",)
        )
        for code, count in self._declines.items():
            declines.add_metric((code,), count)
        yield declines

    def _of_process(self) -> Iterator[Metric]:
        service = self._service
        if service is None:
            return
        yield _gauge("pyledger_feed_readers", "Requests that follow the feed.", service.feed.taken)
        yield _gauge("pyledger_documents", "Statements as documents, made or sent.", service.documents.taken)
        yield _gauge("pyledger_body_bytes_held", "Bytes of batch bodies in memory.", service.bodies.bytes_held)
        state = GaugeMetricFamily("pyledger_state", "1 for what this server is doing.", labels=("state",))
        for name in STATES:
            state.add_metric((name,), float(name == service.state))
        yield state

    def _of_ledger(self) -> Iterator[Metric]:
        service = self._service
        if service is None or service.ledger is None:
            return
        stats = service.ledger.stats
        yield _gauge("pyledger_queue_rows", "Rows that wait for a batch.", stats.queue_rows)
        yield _gauge("pyledger_head_seq", "Sequence number of the last committed batch.", stats.head_seq)
        yield _gauge("pyledger_epoch", "The epoch in which this server owns the head.", stats.epoch)
        yield _gauge("pyledger_ledgers", "Ledgers in memory.", stats.ledgers)
        yield _gauge("pyledger_accounts", "Accounts in memory.", stats.accounts)
        yield _gauge("pyledger_holds", "Open holds in memory.", stats.holds)
        yield _gauge("pyledger_checkpoint_seq", "The batch of the last checkpoint.", stats.checkpoint_seq)
        if stats.last_commit_monotonic:
            age_s = time.monotonic() - stats.last_commit_monotonic
            yield _gauge("pyledger_last_commit_age_seconds", "Since PostgreSQL last said yes.", age_s)
        yield _counter("pyledger_batches", "Batches committed.", stats.batches)
        yield _counter("pyledger_batches_ahead", "Batches whose rows were sent before their turn.", stats.batches_ahead)
        yield _counter("pyledger_journal_rows", "Journal rows committed.", stats.rows)
        yield _counter("pyledger_apply_cpu_seconds", "CPU time of deciding, of all batches.", stats.apply_cpu_s)
        yield _counter("pyledger_fences", "Times that the head was fenced.", stats.fences)
        yield _counter("pyledger_reconnects", "Connections to PostgreSQL lost and made again.", stats.reconnects)
        yield _counter("pyledger_recoveries", "Recoveries from checkpoint and journal.", stats.recoveries)
        yield _counter("pyledger_checkpoints", "Checkpoints written.", stats.checkpoints)
        yield _gauge("pyledger_signed_seq", "The last batch in a signed checkpoint.", stats.signed_seq)
        yield _counter("pyledger_signed_checkpoints", "Checkpoints signed.", stats.signed)
        yield _counter("pyledger_signing_failures", "Times that no checkpoint could be signed.", stats.signing_failures)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, total = histogram.buckets()
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)
