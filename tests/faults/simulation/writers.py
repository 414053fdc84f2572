"""A simulated server process: it takes over, recovers, and appends batches of one token each, as a real one would.

Guarded here: every decision about the head is the product's (`take_over`, `CommitProtocol`); what stands here is
only what the ledger and its writer do around them: recover from the log as of the fence, keep the ids in a
window that may forget, decide again what did not land, and tell a client only after `commit` said True.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyledger.ledger import actions
from pyledger.ledger.actions import Action
from pyledger.ledger.nouns import Halted, Position, Stats
from pyledger.ledger.protocol import CommitProtocol
from pyledger.ledger.rules import Trouble
from pyledger.ledger.takeover import take_over
from tests.faults.simulation.server import Entry, chained

if TYPE_CHECKING:
    from tests.faults.simulation.world import World

LEASE_MS: Final = 1_000
FORGETS: Final = 0.05
"""How often a window has forgotten an id, which it never should."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Read the journal through a connection of its own. Reply: its entries."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the lookup sees it."""

    ids: list[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """A decided batch: one token, or nothing but a read."""

    seq: int
    rows: int
    previous: bytes
    hash: bytes
    token: str
    first_ns: int = 0
    last_ns: int = 0


class Writer:
    """A process. Its script is a conversation; the world carries its actions out."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.owner = world, f"writer {number}"
        self.backend: Any = None
        self.waiting = self.answered = False
        self.reply: Any = None
        self.trouble: Trouble | None = None
        self.sleeps_until_s = self.frozen_until_s = 0.0
        self.heard = Position(0, bytes(32))
        """Where the history stood when it last told a client anything."""
        self.script = self._script()
        self._begun = False

    def next(self) -> Action | Recover:
        """Give the script what its last action came to; returns its next action. Raises what ends it."""
        reply, trouble = self.reply, self.trouble
        self.reply, self.trouble, self.waiting, self.answered = None, None, False, False
        if trouble is not None:
            return self.script.throw(trouble)
        if not self._begun:
            self._begun = True
            return next(self.script)
        return self.script.send(reply)

    def _script(self) -> Generator[Action | Recover, Any, None]:
        stats = Stats()
        yield actions.Open()
        head = yield from take_over(self.owner, LEASE_MS, stats)
        protocol = CommitProtocol(head, stats, self.world.now_s)
        window = yield from self._recover(head.position)
        while True:
            yield actions.Pause(self.world.chance.choice([0.0, 0.0, 0.05, 0.5]))
            if self.world.chance.random() < 0.3:
                yield from self._read(protocol)
            else:
                yield from self._post(protocol, window, self._token())

    def _recover(self, position: Position) -> Generator[Action | Recover, Any, set[str]]:
        entries: list[Entry] = yield Recover()
        window: set[str] = set()
        at = Position(0, bytes(32))
        for entry in entries:
            if entry.token and at != position:
                if entry.previous != at.hash or entry.head.position.seq != at.seq + 1:
                    self.world.violations.append(f"the chain breaks at batch {entry.head.position.seq}")
                at = entry.head.position
                window.add(entry.token)
        if at != position:
            raise Halted("history was lost: the journal ends before the head")
        return window

    def _token(self) -> str:
        """A new request, or one again whose client was never answered."""
        world = self.world
        if world.open_tokens and world.chance.random() < 0.5:
            return world.chance.choice(world.open_tokens)
        world.tokens += 1
        world.open_tokens.append(f"t{world.tokens}")
        return world.open_tokens[-1]

    def _read(self, protocol: CommitProtocol) -> Generator[Action, Any, None]:
        """A current read: what was acknowledged before it began must be in it."""
        before = max((seq for _, seq, _ in self.world.acknowledged), default=0)
        at = protocol.acknowledged
        batch = Batch(at.seq, 0, at.hash, at.hash, "")
        while not (yield from protocol.commit(batch, self.world.now_s)):
            pass
        self.world.acknowledge(self, "", at)
        if at.seq < before and not self.world.lossy:
            self.world.violations.append(f"{self.owner} read batch {at.seq} after {before} was acknowledged")

    def _post(self, protocol: CommitProtocol, window: set[str], token: str) -> Generator[Action, Any, None]:
        forgotten = self.world.chance.random() < FORGETS
        while True:
            at = protocol.acknowledged
            found = yield from protocol.lookup(None, [Asked([token])])
            if found or (token in window and not forgotten):
                batch = Batch(at.seq, 0, at.hash, at.hash, token)
            else:
                batch = Batch(at.seq + 1, 1, at.hash, chained(at.hash, token), token)
            if (yield from protocol.commit(batch, self.world.now_s)):
                break
        window.add(token)
        self.world.acknowledge(self, token, Position(batch.seq, batch.hash))
