"""What all generator processes of a run saw, added up, and the figures that are made of it.

Guarded here: figures are made of all judged seconds, warm-up left out, and of nothing else.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Final

from loadtests.effort import Effort
from loadtests.nouns import AUTHORIZE, WARM_UP_S, Plan
from loadtests.recorder import ACKNOWLEDGED, TOTALS, bucket, bucket_ms

PIECE_S: Final = 5.0
"""Of a run at 500 requests a second it has 800 authorizations, so that its 99th percentile is not one request's."""
PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9, 100.0)

_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_ROW: Final = struct.Struct(">hi16si?")
_COPY_TAIL: Final = b"\xff\xff"


def percentile(counts: Counter[int], share: float) -> float | None:
    """The latency in ms that `share` percent of the requests kept to; None without requests."""
    needed = max(1, math.ceil(sum(counts.values()) * share / 100.0))
    for index in sorted(counts):
        needed -= counts[index]
        if needed <= 0:
            return bucket_ms(index)
    return None


def summary(counts: Counter[int]) -> dict[str, float]:
    """Percentiles by name, in ms."""
    found = {f"{share:g}": percentile(counts, share) for share in PERCENTILES}
    return {name: round(value, 2) for name, value in found.items() if value is not None}


def over_commit(authorization_ms: float | None, commit_ms: float | None) -> float | None:
    """The ratio, where both were measured."""
    return authorization_ms / commit_ms if authorization_ms is not None and commit_ms else None


class Seen:
    """The sum of the documents that recorders left in a directory."""

    def __init__(self, plan: Plan, documents: Iterable[dict[str, Any]]) -> None:
        self.plan = plan
        self.by_second: dict[str, dict[int, Counter[int]]] = {}
        self.service: dict[str, Counter[int]] = {}
        self.late: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.error_seconds: Counter[int] = Counter()
        self.declines: Counter[str] = Counter()
        self.rows_by_second: Counter[int] = Counter()
        self.totals: Counter[str] = Counter()
        self.processes = 0
        self.began_wall_s = 0.0
        self.commits: list[tuple[float, float]] = []
        """Second of the run, and ms, of commits of next to nothing beside it: what its disk did."""
        every = list(documents)
        for document in every:
            self._add(document)
        self.effort = Effort(document["effort"] for document in every)

    @classmethod
    def load(cls, plan: Plan, directory: Path) -> Seen:
        """What the processes of one run wrote down."""
        return cls(plan, [json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.json"))])

    def _add(self, document: dict[str, Any]) -> None:
        self.processes += 1
        self.began_wall_s = max(self.began_wall_s, document["began_wall_s"])
        for name, seconds in document["by_second"].items():
            mine = self.by_second.setdefault(name, {})
            for second, counts in seconds.items():
                mine.setdefault(int(second), Counter()).update(_numbered(counts))
        for name, counts in document["service"].items():
            self.service.setdefault(name, Counter()).update(_numbered(counts))
        self.late.update(_numbered(document["late"]))
        self.errors.update(document["errors"])
        self.declines.update(document["declines"])
        self.error_seconds.update(_numbered(document["error_seconds"]))
        self.rows_by_second.update(_numbered(document["rows_by_second"]))
        for name in TOTALS:
            self.totals[name] += document[name]

    def latency(self, names: Iterable[str], from_s: float = WARM_UP_S, to_s: float = math.inf) -> Counter[int]:
        """Latencies of these requests that were due in these seconds of the run."""
        found: Counter[int] = Counter()
        for name in names:
            for second, counts in self.by_second.get(name, {}).items():
                if from_s <= second < to_s:
                    found.update(counts)
        return found

    @property
    def requests(self) -> int:
        """All requests that were sent."""
        return sum(sum(counts.values()) for seconds in self.by_second.values() for counts in seconds.values())

    @property
    def recorded(self) -> int:
        """Commands that the ledger decided: the transactions of the run."""
        return self.totals["accepted"] + self.totals["declined"]

    @property
    def error_share(self) -> float:
        """Of all requests that were due, those that went wrong, were never sent, or were not waited for."""
        wrong = sum(self.errors.values()) + self.missed
        return wrong / max(1, self.requests + self.missed)

    @property
    def missed(self) -> int:
        """Requests that were due and whose answer never came: at the run's end unsent, or given up on."""
        return self.totals["never_sent"] + self.totals["given_up"]

    @property
    def declined_share(self) -> float:
        """Of the decided commands, those that were declined."""
        return self.totals["declined"] / max(1, self.recorded)

    @property
    def achieved_share(self) -> float:
        """Of the requests that were due, those whose answer came within the run or its warm-up after."""
        end_s = self.plan.seconds
        late = 0
        for seconds in self.by_second.values():
            for second, counts in seconds.items():
                room_ms = (end_s + WARM_UP_S - second) * 1_000.0
                late += sum(count for index, count in counts.items() if bucket_ms(index) > room_ms)
        return 1.0 - (late + self.missed) / max(1, self.requests + self.missed)

    def timeline(self) -> list[dict[str, float | None]]:
        """By second: requests, transactions, errors, and percentiles of authorizations and of all writes."""
        found: list[dict[str, float | None]] = []
        for second in range(math.ceil(self.plan.seconds)):
            card = self.latency([AUTHORIZE], second, second + 1)
            every = self.latency(self.by_second, second, second + 1)
            row: dict[str, float | None] = {
                "second": second, "requests": sum(every.values()), "errors": self.error_seconds[second],
                "transactions": self.rows_by_second[second],
            }  # fmt: skip
            for share in (50.0, 95.0, 99.0):
                row[f"authorize_p{share:g}_ms"] = percentile(card, share)
                row[f"all_p{share:g}_ms"] = percentile(every, share)
            found.append(row)
        return found

    def document(self) -> dict[str, Any]:
        """For the report."""
        return {
            "requests": self.requests, "transactions": self.recorded, "totals": dict(self.totals),
            "error_share": self.error_share, "declined_share": self.declined_share,
            "achieved_share": self.achieved_share, "errors": dict(self.errors.most_common()),
            "declines": dict(self.declines.most_common()),
            "latency_ms": {name: summary(self.latency([name])) for name in self.by_second},
            "service_ms": {name: summary(counts) for name, counts in self.service.items()},
            "generator_late_ms": summary(self.late), "generator_busiest": round(self.effort.busiest, 3),
            "generator_waited": round(self.effort.waited(0.0, self.plan.seconds), 3),
            "generator_gave_out": self.effort.gave_out, "generator_processes": self.processes,
            "commit_ms": summary(self.commit_counts()),
            "commits": self.commits, "timeline": self.timeline(),
        }  # fmt: skip

    def typical(self, share: float) -> float | None:
        """A percentile of authorizations in ms, as it is in most of the run: the median over pieces of it.

        A machine that was away for a second makes one piece slow; a server that got slower makes all of them."""
        return self._median(percentile(self.latency([AUTHORIZE], *piece), share) for piece in self._pieces())

    def typical_commit(self, share: float) -> float | None:
        """The same of commits of next to nothing beside the run."""
        return self._median(percentile(self.commit_counts(*piece), share) for piece in self._pieces())

    def commit_counts(self, from_s: float = WARM_UP_S, to_s: float = math.inf) -> Counter[int]:
        """What commits took that were due in these seconds of the run."""
        return Counter(bucket(took_ms / 1_000.0) for due_s, took_ms in self.commits if from_s <= due_s < to_s)

    def in_commits(self, share: float) -> float | None:
        """A typical percentile of authorizations over the same one of commits of next to nothing."""
        return over_commit(self.typical(share), self.typical_commit(share))

    def _pieces(self) -> list[tuple[float, float]]:
        starts = [WARM_UP_S]
        while starts[-1] + 2 * PIECE_S <= self.plan.seconds:
            starts.append(starts[-1] + PIECE_S)
        return [(start, start + PIECE_S) for start in starts]

    @staticmethod
    def _median(values: Iterable[float | None]) -> float | None:
        known = [each for each in values if each is not None]
        return median(known) if known else None

    @property
    def judged_authorizations(self) -> Counter[int]:
        """Latencies of authorizations after the warm-up."""
        return self.latency([AUTHORIZE])

    def judged_authorizations_between(self, from_s: float, to_s: float) -> Counter[int]:
        """The same of some seconds of the run."""
        return self.latency([AUTHORIZE], max(from_s, WARM_UP_S), to_s)


def _numbered(counts: dict[str, int]) -> dict[int, int]:
    return {int(name): count for name, count in counts.items()}


def acknowledged(directory: Path) -> list[tuple[bytes, bool]]:
    """Every acknowledged id of a run once, with whether it was accepted; twice only if it was told both."""
    files = (path.read_bytes() for path in sorted(directory.glob("*.ids")))
    return list(dict.fromkeys(each for content in files for each in ACKNOWLEDGED.iter_unpack(content)))


def write_copy(directory: Path) -> Path:
    """The acknowledged ids as PostgreSQL's COPY takes them; the path of the file."""
    path = directory / "acknowledged.copy"
    with path.open("wb") as file:
        file.write(_COPY_HEAD)
        for id_bytes, accepted in acknowledged(directory):
            file.write(_COPY_ROW.pack(2, 16, id_bytes, 1, accepted))
        file.write(_COPY_TAIL)
    return path
