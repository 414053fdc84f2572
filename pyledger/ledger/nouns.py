"""The nouns of the ledger room: limits, states, errors and records. Nothing happens in this file.

The invariant behind the errors: `Busy` and `Unavailable` say that nothing was recorded; only
`UnknownOutcome` leaves it open, and the same id sent again gets the truth.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pyledger._rust import Applied, Engine

SCHEMA_VERSION: Final = "0011"
"""The migration that this code is written for. An older or a newer database is refused."""
SERVER_VERSION_MIN: Final = 150_000
"""PostgreSQL 15, in the form of `server_version_num`."""

BATCH_WEIGHT_MAX: Final = 8_190
"""Rows that one batch may append, by the weight of its commands. The engine's own bound."""
APPLY_INLINE_ROWS_MAX: Final = 1_024
"""Above it a batch is decided in a worker thread: some 2 ms, what the event loop may be held up. A thread has to
wait for the interpreter, which for 300 rows of a busy server took it 4 ms instead of 0.6."""
AHEAD_BATCHES_MAX: Final = 2
"""Batches decided and not yet committing: one whose rows are on their way, and one that follows it."""
READS_WAITING_MAX: Final = 65_536
"""Current reads that wait for a batch, at most; each is a closure of a few hundred bytes."""
BEAT_INTERVAL_S: Final = 1.0
"""An idle writer proves life this often; a fifth of the lease, so that four beats may be late."""
STANDBY_POLL_S: Final = 0.5
"""How often a standby looks at the head; twice a beat."""
IDLE_IN_TRANSACTION_MS: Final = 2_000
"""PostgreSQL ends a writer that falls silent inside a transaction: a frozen one cannot keep the head."""
AHEAD_IDLE_MS: Final = 60_000
"""The same for rows that were sent ahead, which wait for the commit of the batch before theirs, however slow."""
CONNECT_TIMEOUT_S: Final = 10.0
"""One attempt to connect. Never applied to anything that could have been committed."""
POOL_CONNECTIONS_MAX: Final = 4
"""Connections for lists, the feed's past, proofs and upkeep: bounded work each, beside the writer on the same cores."""
HISTORY_CONNECTIONS_MAX: Final = 3
"""Connections for statements, whose work is more: nothing else waits for them."""
HISTORY_STATEMENT_S: Final = 10
"""One of their queries, by PostgreSQL's own clock: it ends also where whoever asked died."""
READ_TIMEOUT_S: Final = 30.0
"""One read of history. Never applied to anything that could have been committed."""
TCP_USER_TIMEOUT_MS: Final = 10_000
"""Bytes that PostgreSQL does not acknowledge for so long end the connection; the fence then decides."""
BACKOFF_FIRST_S: Final = 0.05
"""The wait before the second attempt to reconnect; the first is made at once."""
BACKOFF_MAX_S: Final = 5.0
"""The longest wait between two attempts. They go on for ever."""
RETRY_AFTER_BUSY_S: Final = 1
"""What a client is told when the queue is full: it drains in far less."""
RETRY_AFTER_AWAY_S: Final = 2
"""What a client is told while PostgreSQL is away or another server owns the head."""
SAME_FAILURE_MAX: Final = 3
"""A batch that PostgreSQL refuses so often for what is in it halts the writer: it is a bug, not weather."""
CLOCK_SKEW_MAX_NS: Final = 1_000_000_000
"""Between this machine's clock and PostgreSQL's."""
CLOCK_LOOK_S: Final = 5.0
"""How often this machine's clock is compared with PostgreSQL's while serving."""
NS_PER_S: Final = 1_000_000_000
"""Nanoseconds in a second."""
WEEK_NS: Final = 7 * 86_400 * NS_PER_S
"""One partition of the journal."""
PARTITIONS_AHEAD_WEEKS: Final = 4
"""Partitions that exist before they are needed: a month in which their upkeep may fail unseen."""
PARTITION_UPKEEP_S: Final = 3_600.0
"""How often the next partitions are looked after."""
PARTITION_LOOK_S: Final = 1.0
"""How often it is asked whether a partition is to be ended, moved on or indexed."""
PARTITION_RETRY_S: Final = 15.0
"""After what failed: whoever waits for the lock of a partition's end holds appends up for as long."""
PIECES_DOUBLE: Final = 8
"""After so many partitions of one week the next may have twice the rows, and may last twice as long."""
PIECES_MAX: Final = 64
"""Partitions of one week. A look-up of an old id locks each and its indexes, and PostgreSQL has some thousand locks."""
SEAL_AFTER_S: Final = 10
"""So long after its end a partition is sealed: clocks of servers differ by two seconds and are looked at every five."""
SEAL_REST: Final = 6
"""Between two steps of sealing a partition so many times what the last took: an index takes three tenths of the rate of
full batches while it is built, on two cores."""
SEAL_PAGES: Final = 1_024
"""Pages of a partition whose ids are read at once: some 40,000 rows, a tenth of a second."""
SEAL_BATCHES: Final = 8_192
"""Batches that are read at once."""
BATCH_LASTS_NS: Final = 1_000_000_000
"""No batch lasts so long by the times of its rows, which are a nanosecond apart."""
FILTER_IDS_MAX: Final = 200_000_000
"""Ids that a filter has room for, in 400 MB; PostgreSQL stores 1 GB. With more it seems to know others more often."""
SUSPECTS_MAX: Final = 4_096
"""Ids that a filter seems to know which are looked up at once."""
LEASE_FIRST_S: Final = 10
"""The shortest that a partition of the journal lasts."""
LEASE_LAST_S: Final = 120
"""The longest until the newest partition can end, and so until what suddenly comes fast gets one of its own: 40 million
rows. Each time it is moved on, its rows are read once more."""
LEASE_AHEAD_S: Final = 60.0
"""So long before its end the newest partition is moved on: time for four attempts at a lock."""
SUMMARY_ROWS: Final = 16_384
"""Rows after which the newest partition is summarized on: some 3 ms of reading for a page of history."""
SUMMARY_LOOK_S: Final = 0.1
"""How often it is asked whether that is due: at the full rate, 40,000 rows."""
CHECKPOINT_LOOK_S: Final = 1.0
"""How often it is asked whether a checkpoint is due."""
CHECKPOINT_PIECE_ROWS: Final = 16_384
"""A checkpoint takes so many accounts or holds between two batches: some 3 ms, and 3 MB."""
CHECKPOINT_REST: Final = 4
"""Between two checkpoints at least so many times what the last one took: where each row changes another account
they cost PostgreSQL several times what the rows do, and replaying those is cheap."""
RECOVERY_BATCHES_MAX: Final = 65_536
"""Batches that recovery expects at once, some 30 MiB: for so many it reads the journal once."""
RECOVERY_WAITING_ROWS_MAX: Final = 131_072
"""Rows that recovery keeps until it is their turn, some 60 MiB without texts. The journal lies nearly in order."""
CHECK_SLICE_ROWS: Final = 65_536
"""Rows that `check` holds in memory at once; some 16 MiB."""
CHECK_BATCHES_MAX: Final = 8_192
"""Batches of one such slice, when they are small."""
FINDINGS_MAX: Final = 100
"""Findings that one step of `check` names; a database with more has said enough."""
ACCOUNT_ROWS_MAX: Final = 2_000
"""Rows of each side of an account that a page with a further filter looks at: each may be a page of its own."""
SCAN_ROWS_FIRST: Final = 8_192
"""Rows of the newest partition that a page looks at first, in some 4 ms; then four times as many, up to the setting."""
PARTITIONS_AT_ONCE: Final = 8
"""Partitions with indexes that one query by account looks into: PostgreSQL plans and locks each of them."""
PAGE_PARTS_MAX: Final = 10
"""Such queries, one of a single partition, and the scan of what has no indexes, that make one page: 65 partitions
without a row are a page."""
PAGE_ROWS_MAX: Final = 1_000
"""Rows of one page of history."""


class State(enum.Enum):
    """What the writer is doing. Only `SERVING` takes commands."""

    STARTING = "starting"
    STANDBY = "standby"
    RECOVERING = "recovering"
    SERVING = "serving"
    RECONNECTING = "reconnecting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FENCED = "fenced"
    HALTED = "halted"


class Exit(enum.IntEnum):
    """Why the ledger ended, as a process exit code."""

    CLEAN = 0
    REFUSED = 2
    FENCED = 3
    HALTED = 4


def first_line(error: BaseException) -> str:
    """An error as one line for a person; its kind if it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


class LedgerError(Exception):
    """Anything this room raises on purpose. `str()` is one clear line."""


class Unavailable(LedgerError):
    """Nothing was recorded; try again after `retry_after_s` seconds."""

    def __init__(self, reason: str, retry_after_s: int = RETRY_AFTER_AWAY_S) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """The queue is full. Nothing was recorded."""

    def __init__(self, reason: str = "the queue is full", retry_after_s: int = RETRY_AFTER_BUSY_S) -> None:
        super().__init__(reason, retry_after_s)


class UnknownOutcome(Unavailable):
    """The command may or may not have been recorded; sending it again with the same id tells."""


class BadCursor(LedgerError):
    """A page cursor that this query did not hand out."""


class CursorGone(LedgerError):
    """The journal does not go on from this cursor: what follows it was archived, or a backup was restored.

    `after` is the last batch that was archived, its number and time, if that is why: one can go on from there."""

    def __init__(self, reason: str, after: tuple[int, int] | None = None) -> None:
        super().__init__(reason)
        self.after = after


class StartupRefused(LedgerError):
    """The database or its settings would break a promise; nothing was started. Exit code 2."""


class Fenced(LedgerError):
    """Another writer owns the head. This one is a zombie and must exit with code 3."""


class Halted(LedgerError):
    """The database contradicts what was acknowledged, or the journal itself. Exit code 4."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the record is: `url` as the writer's role, `owner_url` as the one that may migrate."""

    url: str
    owner_url: str | None = None
    embedded: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """One point of the history: the batch `seq` and the chain's `hash` at it."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The head row: who owns the shard, and where its history ends."""

    epoch: int
    position: Position
    last_ns: int
    owner: str
    beat: int


Wanted = tuple[list[int], list[str], list[int], list[str], list[int], list[str], int]
"""What the engine's probe asks for: tenants and ids, tenants and targets, pairs by position; and tenants and ids that
can only have been recorded from a time on."""


@dataclass(frozen=True, slots=True)
class BatchMeasure:
    """One committed batch and what it cost, for the metrics and the feed."""

    applied: Applied
    commands: int
    rows: int
    apply_s: float
    commit_s: float
    declines: dict[str, int]


@dataclass(slots=True)
class Stats:
    """Gauges and counters of one ledger, written by the writer only; readers take what they see."""

    state: State = State.STARTING
    epoch: int = 0
    head_seq: int = 0
    head_ns: int = 0
    queue_rows: int = 0
    ledgers: int = 0
    accounts: int = 0
    holds: int = 0
    batches: int = 0
    batches_ahead: int = 0
    rows: int = 0
    apply_cpu_s: float = 0.0
    fences: int = 0
    reconnects: int = 0
    recoveries: int = 0
    checkpoints: int = 0
    checkpoint_seq: int = 0
    signed: int = 0
    signed_seq: int = 0
    signing_failures: int = 0
    last_commit_monotonic: float = 0.0
    reason: str = ""
    listeners: list[Callable[[BatchMeasure], None]] = field(default_factory=list)
    """Told of each committed batch once it is answered. They return at once and raise nothing."""

    def on_batch(self, measure: BatchMeasure) -> None:
        """Tell everybody who listens."""
        for listen in self.listeners:
            listen(measure)

    def note(self, engine: Engine, rows: int, now_s: float) -> None:
        """Take over where the engine stands after a commit of `rows` rows."""
        self.head_seq, self.head_ns, self.last_commit_monotonic = engine.seq, engine.last_ns, now_s
        self.ledgers, self.accounts, self.holds = engine.ledgers, engine.accounts, engine.holds
        self.batches += 1 if rows else 0
        self.rows += rows
