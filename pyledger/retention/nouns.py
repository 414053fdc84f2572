"""The nouns of retention: what a partition is to it, its bounds, and how it says no.

Guarded here: in doubt nothing is dropped; each reason why has its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyledger.ledger import LedgerError

SLICE_ROWS: Final = 65_536
"""Rows of a batch or more that are exported, verified and restored at once: a row group of the file, some 30 MiB."""
SLICE_BATCHES_MAX: Final = 8_192
"""Batches of such a slice, where they are small."""
SWAP_ATTEMPTS_MAX: Final = 150
"""How often a lock is asked for that appends would wait for, a tenth of a second each, before it is given up."""
SWAP_REST_S: Final = 0.2
"""Between two of these: so long at least appends go on undisturbed."""
DAYS_MAX: Final = 36_500
"""A century: what is to stay longer is never dropped."""
DAY_NS: Final = 86_400_000_000_000
"""Nanoseconds in a day."""


class RetentionError(LedgerError):
    """It was not done, and nothing was dropped. `str()` is one clear line."""


class BadArchive(RetentionError):
    """The directory is not an archive, or not what was written."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the journal, the rows that it was sealed with, None if it is not sealed, and what was last done to
    it: archived, dropped, restored, or nothing."""

    name: str
    start_ns: int
    end_ns: int
    rows: int | None
    step: str
    manifest: str

    @property
    def is_dropped(self) -> bool:
        """Whether its rows are not here."""
        return self.step == "dropped"


@dataclass(frozen=True, slots=True)
class Part:
    """How many rows of one ledger of a tenant a partition has. Ledger 0 is where a decline knows none, and another
    number that its tenant does not have is what a decline named: they moved nothing, and may be about any."""

    shard: int
    tenant: int
    ledger: int
    rows: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold that was not lifted. What is None holds for all."""

    number: int
    tenant: int | None
    ledger: int | None
    account: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Extent:
    """The batches of one shard that end in a partition; none where the last is before the first. The one after them
    may have begun there."""

    shard: int
    first_seq: int
    last_seq: int
    begun_seq: int


Batch = tuple[int, int, int, int, bytes, bytes]
"""seq, rows, first_ns, last_ns, root, hash: a row of the table `batch`."""
