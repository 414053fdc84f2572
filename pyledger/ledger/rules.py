"""What the writer decides about its place in the world: pure, no I/O, no clock, no environment.

The invariant: an outcome is only ever concluded from what a fence returned. A plain read may say who to
fence, never what happened. Everything that is not one of the two expected histories is lost history.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyledger.ledger.nouns import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    CLOCK_SKEW_MAX_NS,
    SCHEMA_VERSION,
    SERVER_VERSION_MIN,
    Head,
    Position,
)

_LOCK_CLASS: Final = 0x7079
"""'py': the top 16 bits of every advisory lock of the ledger."""


class Fate(enum.Enum):
    """What became of a batch whose outcome was unknown."""

    LANDED = "landed"
    NOT_LANDED = "not landed"
    LOST = "lost"


def fate(found: Position, acknowledged: Position, in_flight: Position | None) -> Fate:
    """Compare the head that a fence returned with the two histories that are possible."""
    if in_flight is not None and found == in_flight:
        return Fate.LANDED
    return Fate.NOT_LANDED if found == acknowledged else Fate.LOST


class Standing(enum.Enum):
    """Whose head it is, as a plain read saw it."""

    OURS = "ours"
    THEIRS = "theirs"
    LOST = "lost"


def standing(seen: Head, owner: str, epoch: int) -> Standing:
    """Whether the head may still be fenced by us. Only a later epoch can belong to another; an earlier
    one means that the database forgot our own takeover."""
    if seen.epoch < epoch:
        return Standing.LOST
    return Standing.OURS if seen.owner == owner else Standing.THEIRS


class Trouble(Exception):
    """A statement failed. `sqlstate` and `relation` only where PostgreSQL itself answered; `str()` is one line."""

    def __init__(self, text: str, sqlstate: str | None = None, relation: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate, self.relation = sqlstate, relation


class Failure(enum.Enum):
    """What a failed append calls for."""

    DUPLICATE = "duplicate"
    MOVED = "moved"
    CONTENT = "content"
    UNKNOWN = "unknown"


def failure(trouble: Trouble) -> Failure:
    """Judge a failed append by PostgreSQL's own code; UNKNOWN if the connection or anything else failed.

    An id that was there before and a head that moved (it leaves the batch without its shard) are certain:
    the one transaction is aborted. Other refusals of the content are fenced like all the rest, but
    counted, for they will come again."""
    code, relation = trouble.sqlstate or "", trouble.relation or ""
    if code == "23505" and relation.startswith("journal"):
        return Failure.DUPLICATE
    if code == "23502" and relation.startswith("batch"):
        return Failure.MOVED
    return Failure.CONTENT if code[:2] in ("22", "23", "42") else Failure.UNKNOWN


def backoff_s(attempt: int) -> float:
    """Seconds to wait before the attempt, counted from 0; the first is made at once."""
    return 0.0 if attempt == 0 else float(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(attempt - 1, 16)))


def lock_key(shard: int, epoch: int) -> int:
    """The advisory lock that the owner of an epoch holds for as long as its session lives."""
    return _LOCK_CLASS << 48 | shard << 32 | epoch & 0xFFFF_FFFF


def lock_pair(shard: int, epoch: int) -> tuple[int, int]:
    """Its two halves, as PostgreSQL's list of locks shows them."""
    key = lock_key(shard, epoch)
    return key >> 32, key & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Watch:
    """What a standby last saw the owner do, and when, by the standby's own monotonic clock."""

    epoch: int
    seq: int
    beat: int
    since_s: float

    @staticmethod
    def begin(head: Head, now_s: float) -> "Watch":
        """The first look starts the lease anew."""
        return Watch(head.epoch, head.position.seq, head.beat, now_s)

    def look(self, head: Head, now_s: float) -> "Watch":
        """A further look: any change is a sign of life."""
        same = (self.epoch, self.seq, self.beat) == (head.epoch, head.position.seq, head.beat)
        return self if same else Watch.begin(head, now_s)

    def frozen(self, now_s: float, lease_ms: int) -> bool:
        """Whether the owner has shown no sign of life for a whole lease."""
        return (now_s - self.since_s) * 1000 >= lease_ms


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says about itself, and about what our role could do to the journal."""

    server_version: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    in_recovery: bool
    can_stage: bool
    encoding: str
    schema_version: str | None
    superuser: bool
    owns_journal: bool
    can_rewrite_journal: bool
    can_append: bool
    clock_skew_ns: int


def refusals(facts: Facts) -> Iterable[str]:
    """Every reason not to start on this database, each one clear line."""
    if facts.server_version < SERVER_VERSION_MIN:
        yield f"PostgreSQL {facts.server_version // 10_000} is too old: 15 or later is needed"
    if facts.in_recovery:
        yield "the database is in recovery (a standby): connect to the primary"
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if getattr(facts, setting) == "off":
            yield f"{setting} is off: acknowledged transfers could be lost"
    if facts.encoding != "UTF8":
        yield f"the database's encoding is {facts.encoding}, it must be UTF8"
    if facts.schema_version is None:
        yield "the database has no pyledger schema: run the migrations (set the owner's URL)"
    elif facts.schema_version != SCHEMA_VERSION:
        yield f"the database has schema {facts.schema_version}, this server needs {SCHEMA_VERSION}"
    elif not facts.can_append:
        yield "this role may not append to the journal: grant it pyledger_writer"
    if not facts.can_stage:
        yield "this role may not make temporary tables, which a checkpoint needs: grant it TEMPORARY on the database"
    if abs(facts.clock_skew_ns) > CLOCK_SKEW_MAX_NS:
        yield f"{clocks_differ(facts.clock_skew_ns)}: at most 1 s is allowed"


def clocks_differ(skew_ns: int) -> str:
    """By how much PostgreSQL's clock is ahead of this machine's, in words."""
    which = "behind" if skew_ns > 0 else "ahead of"
    return f"this machine's clock is {abs(skew_ns) / 1e9:.1f} s {which} PostgreSQL's"


def rewriting(facts: Facts) -> str | None:
    """Why this role could rewrite the journal; a warning on the embedded database, else a refusal."""
    if facts.superuser:
        return "this role is a superuser and could rewrite the journal: use one that is only granted pyledger_writer"
    if facts.owns_journal:
        return "this role owns the journal or is a member of its owner: use one that is only granted pyledger_writer"
    if facts.can_rewrite_journal:
        return "this role may update, delete or truncate the journal: revoke that"
    return None
