"""A simulated PostgreSQL: as much of it as the commit protocol can tell apart, in plain Python.

What the real one was seen to do: a row lock on the head is held to the end of the transaction, and whoever
waited looks again at the new version; a commit is written, flushed, confirmed by a synchronous standby, and
only then visible; a wait for the standby that is cancelled commits with only a warning; a backend whose client
is gone goes on; a crash loses what was not flushed, and a failover what the standby does not have. Guarded here:
the log is the truth that every history is judged by, and chance enters only through the caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pyledger.ledger import actions
from pyledger.ledger.nouns import Head, Position
from pyledger.ledger.rules import Trouble

GENESIS: Final = Position(0, bytes(32))
FAR_NS: Final = 1 << 62


def chained(previous: bytes, token: str) -> bytes:
    """The hash of a batch that holds one token."""
    return hashlib.sha256(previous + token.encode()).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One committed transaction: the head after it, and the token it appended if it is an append."""

    head: Head
    token: str = ""
    previous: bytes = b""


@dataclass(slots=True, eq=False)
class Backend:
    """PostgreSQL's side of a session."""

    locks: set[int] = field(default_factory=set)
    statement: Statement | None = None
    connected: bool = True
    """Whether its client would get an answer."""


Statement = Generator[str, None, Any]
"""What a backend is at: each yield is a moment at which anything else may happen. Returns the reply."""


class Server:
    """One PostgreSQL: its log, what of it is flushed and replicated, and who holds what."""

    def __init__(self, *, synchronous: bool, log: list[Entry] | None = None) -> None:
        self.log = log or [Entry(Head(0, GENESIS, 0, "", 0))]
        self.visible = self.flushed = self.replicated = len(self.log)
        self.synchronous = synchronous
        self.cancelled = False
        """Whether whoever waits for the standby is told to stop waiting."""
        self.backends: list[Backend] = []
        self.head_holder: Backend | None = None
        self.tokens_held: dict[str, Backend] = {}

    def head(self) -> Head:
        """The head as everybody sees it."""
        return self.log[self.visible - 1].head

    def tokens(self) -> dict[str, int]:
        """The visible tokens, with their batch."""
        return {entry.token: entry.head.position.seq for entry in self.log[: self.visible] if entry.token}

    def connect(self) -> Backend:
        """A new session."""
        backend = Backend()
        self.backends.append(backend)
        return backend

    def start(self, backend: Backend, action: actions.Action) -> None:
        """A statement arrives."""
        backend.statement = self._statement(backend, action)

    def end(self, backend: Backend) -> None:
        """A session ends: what it has not written is undone, what it has written commits."""
        backend.connected = False
        if backend.statement is not None and not self._has_written(backend):
            backend.statement.close()
            backend.statement = None
        if backend.statement is None:
            self._release(backend)
            backend.locks.clear()
            if backend in self.backends:
                self.backends.remove(backend)

    def crash(self, keep: int) -> None:
        """Everything that is not flushed may be lost: `keep` entries stay. All sessions end."""
        self.log = self.log[: max(self.flushed, keep)]
        self.visible = self.flushed = len(self.log)
        self.replicated = min(self.replicated, len(self.log))
        for backend in self.backends:
            backend.connected = False
            backend.statement = None
        self.backends, self.head_holder, self.tokens_held = [], None, {}

    def _has_written(self, backend: Backend) -> bool:
        return self.head_holder is backend and len(self.log) > self.visible

    def _release(self, backend: Backend) -> None:
        if self.head_holder is backend:
            self.head_holder = None
        self.tokens_held = {token: holder for token, holder in self.tokens_held.items() if holder is not backend}

    def _statement(self, backend: Backend, action: actions.Action) -> Statement:
        yield "arrived"
        match action:
            case actions.Append(epoch, batch):
                return (yield from self._append(backend, epoch, batch))
            case actions.Fence(epoch, owner):
                return (yield from self._fence(backend, epoch, owner))
            case actions.Confirm(epoch, position, beat):
                return (yield from self._confirm(backend, epoch, position, beat))
            case actions.ReadHead():
                return self.head()
            case actions.Lock(epoch):
                return self._lock(backend, epoch)
            case actions.Unlock(epoch):
                backend.locks.discard(epoch)
            case actions.Evict(epoch):
                for other in list(self.backends):
                    if other is not backend and any(lock < epoch for lock in other.locks):
                        self.end(other)
            case actions.LookupAll(ids):
                return [each.encode() for each in ids if each in self.tokens()]
            case actions.MakePartitions():
                return FAR_NS
        return None

    def _lock(self, backend: Backend, epoch: int) -> bool:
        free = not any(epoch in other.locks for other in self.backends if other is not backend)
        if free:
            backend.locks.add(epoch)
        return free

    def _append(self, backend: Backend, epoch: int, batch: Any) -> Statement:
        while self.tokens_held.get(batch.token, backend) is not backend:
            yield "waits for an id"
        if batch.token in self.tokens():
            raise Trouble("duplicate key", "23505", "journal_1")
        self.tokens_held[batch.token] = backend
        yield from self._take_head(backend)
        now = self.head()
        if not self.matches(now, epoch, batch):
            self._release(backend)
            raise Trouble("null value in column shard", "23502", "batch_1")
        after = replace(now, position=Position(batch.seq, batch.hash))
        return (yield from self._commit(backend, Entry(after, batch.token, batch.previous)))

    def matches(self, now: Head, epoch: int, batch: Any) -> bool:
        """The compare of the compare-and-set."""
        return now.epoch == epoch and now.position == Position(batch.seq - 1, batch.previous)

    def _fence(self, backend: Backend, epoch: int, owner: str) -> Statement:
        yield from self._take_head(backend)
        now = self.head()
        if now.epoch != epoch:
            self._release(backend)
            return None, []
        after = replace(now, epoch=epoch + 1, owner=owner, beat=now.beat + 1)
        return after, (yield from self._commit(backend, Entry(after)))

    def _confirm(self, backend: Backend, epoch: int, position: Position, beat: bool) -> Statement:
        if not beat:
            now = self.head()
            return (now.epoch, now.position) == (epoch, position), self.synchronous, []
        yield from self._take_head(backend)
        now = self.head()
        if (now.epoch, now.position) != (epoch, position):
            self._release(backend)
            return False, False, []
        return True, False, (yield from self._commit(backend, Entry(replace(now, beat=now.beat + 1))))

    def _take_head(self, backend: Backend) -> Statement:
        while self.head_holder is not None and self.head_holder is not backend:
            yield "waits for the head"
        self.head_holder = backend

    def _commit(self, backend: Backend, entry: Entry) -> Statement:
        yield "has the head"
        self.log.append(entry)
        yield "has written"
        self.flushed = len(self.log)
        yield "has flushed"
        warnings = []
        while self.synchronous and self.replicated < len(self.log):
            if self.cancelled or not backend.connected:
                warnings = ["WARNING: canceling wait for synchronous replication"]
                self.cancelled = False
                break
            yield "waits for the standby"
        self.visible = len(self.log)
        self._release(backend)
        return warnings
