"""What one generator process saw: latencies by the second in which a request was due, outcomes, and ids.

Guarded here: every request that was due is in exactly one place (answered, failed, or never sent), and every
acknowledged id is on disk with the outcome it was told, for the proof after the run.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections import Counter, deque
from pathlib import Path
from typing import IO, Any, Final

from loadtests import effort
from loadtests.nouns import WARM_UP_S

STEPS_PER_DOUBLING: Final = 32
"""Latencies are kept in buckets that are 2.2 % wide."""

RECENT_IDS: Final = 10_000
"""Accepted transfers that readers choose from."""

ERRORS_MAX: Final = 50
"""Different error texts that are kept apart; the rest are counted together."""

TOTALS: Final = (
    "accepted", "declined", "refused", "unanswered", "retries", "wrong_retries", "never_sent", "given_up",
    "reconnects", "arrivals",
)  # fmt: skip
"""Numbers that are one each in a document, and are added up over processes."""

ACKNOWLEDGED: Final = struct.Struct("<16s?")
"""An acknowledged id, big-endian, and whether it was accepted."""


def bucket(seconds: float) -> int:
    """The bucket of a latency. Below a microsecond is one microsecond."""
    return round(math.log2(max(seconds, 1e-6) * 1e6) * STEPS_PER_DOUBLING)


def bucket_ms(index: int) -> float:
    """The middle of a bucket, in milliseconds."""
    return float(2.0 ** (index / STEPS_PER_DOUBLING)) / 1_000.0


class Recorder:
    """Counts in memory, acknowledged ids in a file."""

    def __init__(self, directory: Path | None, name: str) -> None:
        self._name = name
        self._directory = directory
        self._ids: IO[bytes] | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._ids = (directory / f"{name}.ids").open("wb", buffering=1 << 20)
        self.by_second: dict[str, dict[int, Counter[int]]] = {}
        self.service: dict[str, Counter[int]] = {}
        """From sending to the answer: what a closed loop would have reported. Not judged, shown beside."""
        self.late: Counter[int] = Counter()
        """How late the generator itself was."""
        self.errors: Counter[str] = Counter()
        self.error_seconds: Counter[int] = Counter()
        self.declines: Counter[str] = Counter()
        self.rows_by_second: Counter[int] = Counter()
        self.begun = self.accepted = self.declined = self.refused = 0
        """Commands: sent at least once; told their outcome; told that nothing was recorded."""
        self.retries = self.wrong_retries = self.never_sent = self.given_up = self.reconnects = 0
        self.arrivals = 0
        self.recent: deque[str] = deque(maxlen=RECENT_IDS)
        self.began_wall_s = time.time()
        self.effort: list[effort.Sample] = []

    def answered(self, name: str, due_s: float, sent_s: float, done_s: float) -> None:
        """One request got its answer; times in seconds of the run."""
        seconds = self.by_second.setdefault(name, {})
        second = int(due_s)
        if second not in seconds:
            seconds[second] = Counter()
        seconds[second][bucket(done_s - due_s)] += 1
        if due_s >= WARM_UP_S:
            self.service.setdefault(name, Counter())[bucket(done_s - sent_s)] += 1
            self.late[bucket(sent_s - due_s)] += 1

    def look_at_itself(self, second: float) -> None:
        """Once a second of the run: what this process took until now."""
        self.effort.append(effort.sample(second))

    def failed(self, due_s: float, why: str) -> None:
        """One request went wrong."""
        known = why in self.errors or len(self.errors) < ERRORS_MAX
        self.errors[why if known else "other errors"] += 1
        self.error_seconds[int(due_s)] += 1

    def acknowledge(self, id_bytes: bytes, accepted: bool, due_s: float) -> None:
        """The ledger said what became of a command, for good."""
        self.rows_by_second[int(due_s)] += 1
        if accepted:
            self.accepted += 1
        else:
            self.declined += 1
        self.acknowledged_again(id_bytes, accepted)

    def acknowledged_again(self, id_bytes: bytes, accepted: bool) -> None:
        """What a retry was told stands for the proof, but is no further transaction."""
        if self._ids is not None:
            self._ids.write(ACKNOWLEDGED.pack(id_bytes, accepted))

    @property
    def unanswered(self) -> int:
        """Commands that may be recorded or not: the answer was no outcome, or the run ended before it came."""
        return self.begun - self.accepted - self.declined - self.refused

    def document(self) -> dict[str, Any]:
        """All counts, as JSON can hold them."""
        return {
            "began_wall_s": self.began_wall_s,
            "effort": self.effort,
            "by_second": self.by_second, "service": self.service, "late": self.late,
            "errors": self.errors, "error_seconds": self.error_seconds, "declines": self.declines,
            "rows_by_second": self.rows_by_second,
            **{name: getattr(self, name) for name in TOTALS},
        }  # fmt: skip

    def close(self) -> None:
        """Write everything down, if there is a place for it."""
        if self._directory is None:
            return
        if self._ids is not None:
            self._ids.close()
            self._ids = None
        (self._directory / f"{self._name}.json").write_text(json.dumps(self.document()), "utf-8")
