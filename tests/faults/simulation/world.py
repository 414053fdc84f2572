"""A world of one simulated PostgreSQL and up to three writers, driven and hurt by a seed.

One step moves one of them by one moment, or hurts one. After the troubles the world heals, and then somebody
must get on. Guarded here: the writers run the product's own protocols; what they acknowledge is noted at once
and judged against the log at the end; a seed and its number replay a history.
"""

from __future__ import annotations

import random
from typing import Final

from pyledger.ledger import actions
from pyledger.ledger.actions import Action
from pyledger.ledger.nouns import Fenced, Halted, Position
from pyledger.ledger.rules import Trouble
from tests.faults.simulation.server import Backend, Server
from tests.faults.simulation.writers import Recover, Writer

WRITERS_MAX: Final = 3
TROUBLED_STEPS: Final = 400
HEALED_STEPS_MAX: Final = 4_000
"""In which a healed world must acknowledge something new."""
STEP_S: Final = 0.01
TROUBLES: Final = (
    ["cut"] * 6 + ["terminate"] * 3 + ["cancel"] * 3 + ["kill"] * 3 + ["freeze"] * 3 + ["crash"] * 2 + ["failover"] * 3
)


class World:
    """One history."""

    def __init__(self, chance: random.Random, server: type[Server] = Server) -> None:
        self.chance, self._make = chance, server
        self.now_s = 0.0
        self.synchronous = chance.random() < 0.5
        self.lossy = not self.synchronous and chance.random() < 0.3
        """Whether a failover may lose a tail that was acknowledged."""
        self.replicates = chance.choice([0.01, 0.05, 0.3, 1.0])
        self.troubled = chance.choice([0.01, 0.03, 0.1])
        self.server = server(synchronous=self.synchronous)
        self.writers = [Writer(self, number) for number in range(chance.randint(1, WRITERS_MAX))]
        self.ended: list[Writer] = []
        self.acknowledged: list[tuple[str, int, bytes]] = []
        """Token, batch, hash, in the order in which clients heard of them."""
        self.violations: list[str] = []
        self.tokens = 0
        self.open_tokens: list[str] = []
        """Asked, and not answered: their clients ask again."""

    def run(self) -> None:
        """Trouble, healing, judgement."""
        for _ in range(TROUBLED_STEPS):
            if self.chance.random() < self.troubled:
                getattr(self, self.chance.choice(TROUBLES))()
            self.step()
        self._heal()
        heard = len(self.acknowledged)
        for _ in range(HEALED_STEPS_MAX):
            if len(self.acknowledged) > heard + 1:
                break
            self.step()
        else:
            self.violations.append("no progress in a world that has healed")

    def _heal(self) -> None:
        self.troubled, self.replicates = 0.0, 1.0
        for writer in self.writers:
            writer.frozen_until_s = 0.0
        for backend in [each for each in self.server.backends if not each.connected]:
            self.server.end(backend)  # keepalive has noticed that its client is gone
        self.writers.append(Writer(self, len(self.writers) + len(self.ended)))

    def step(self) -> None:
        """One moment of one writer, one backend or the standby."""
        self.now_s += STEP_S
        if self.server.replicated < self.server.flushed and self.chance.random() < self.replicates:
            self.server.replicated += 1
        movable = [*self.writers, *(each for each in self.server.backends if each.statement is not None)]
        if not movable:
            self.writers.append(Writer(self, len(self.ended)))
            return
        chosen = self.chance.choice(movable)
        if isinstance(chosen, Writer):
            self._move(chosen)
        else:
            self._work(chosen)

    def _move(self, writer: Writer) -> None:
        if writer.frozen_until_s > self.now_s or writer.sleeps_until_s > self.now_s:
            return
        if writer.backend is not None and writer.waiting:
            if not writer.backend.connected:
                writer.trouble = Trouble("the connection was lost")
            elif not writer.answered:
                return
        try:
            self.carry_out(writer, writer.next())
        except Fenced:
            self._leave(writer)
        except Halted as halted:
            # Right after a loss, and a way to contradict oneself before one.
            if not self.lossy:
                self.violations.append(f"{writer.owner} halted: {halted}")
            self._leave(writer)

    def carry_out(self, writer: Writer, action: Action | Recover) -> None:
        """Start what a writer asks for."""
        match action:
            case actions.Pause(seconds):
                writer.sleeps_until_s = self.now_s + seconds
            case actions.ReadClock():
                writer.reply = self.now_s
            case actions.Note():
                pass
            case actions.Drop():
                self._hang_up(writer)
            case actions.Open():
                self._hang_up(writer)
                writer.backend = self.server.connect()
            case Recover():
                writer.reply = list(self.server.log[: self.server.visible])
            case _ if writer.backend is None or not writer.backend.connected:
                writer.trouble = Trouble("there is no connection")
            case _:
                writer.waiting, writer.answered = True, False
                self.server.start(writer.backend, action)

    def acknowledge(self, writer: Writer, token: str, position: Position) -> None:
        """A client hears of a batch, or of a read if there is no token, that stands at a position."""
        heard = writer.heard
        if heard.seq and heard not in (entry.head.position for entry in self.server.log):
            self.violations.append(f"{writer.owner} went on after batch {heard.seq}, which it acknowledged, was lost")
        writer.heard = position
        if token:
            self.acknowledged.append((token, position.seq, position.hash))
            if token in self.open_tokens:
                self.open_tokens.remove(token)

    def _hang_up(self, writer: Writer) -> None:
        """The client goes; PostgreSQL may notice now, or go on with what it was at."""
        if writer.backend is not None:
            writer.backend.connected = False
            if self.chance.random() < 0.5:
                self.server.end(writer.backend)
        writer.backend, writer.waiting = None, False

    def _work(self, backend: Backend) -> None:
        assert backend.statement is not None
        reply, trouble = None, None
        try:
            next(backend.statement)
            return
        except StopIteration as end:
            reply = end.value
        except Trouble as refused:
            trouble = refused
        backend.statement = None
        if not backend.connected:
            self.server.end(backend)
        for writer in self.writers:
            if writer.backend is backend and backend.connected:
                writer.reply, writer.trouble, writer.answered = reply, trouble, True

    def _leave(self, writer: Writer) -> None:
        self._hang_up(writer)
        self.writers.remove(writer)
        self.ended.append(writer)

    # The troubles.

    def _some_writer(self) -> Writer | None:
        return self.chance.choice(self.writers) if self.writers else None

    def cut(self) -> None:
        """The wire of a writer breaks; PostgreSQL notices or goes on."""
        if (writer := self._some_writer()) and writer.backend is not None:
            writer.backend.connected = False
            if self.chance.random() < 0.5:
                self.server.end(writer.backend)

    def terminate(self) -> None:
        """A backend is ended."""
        if self.server.backends:
            self.server.end(self.chance.choice(self.server.backends))

    def cancel(self) -> None:
        """A wait for the standby is cancelled."""
        self.server.cancelled = True

    def kill(self) -> None:
        """A writer dies; another may be started."""
        if writer := self._some_writer():
            self._leave(writer)
            if len(self.writers) < WRITERS_MAX:
                self.writers.append(Writer(self, len(self.writers) + len(self.ended)))

    def freeze(self) -> None:
        """A writer stands still for longer than a lease, and comes back as a zombie."""
        if writer := self._some_writer():
            writer.frozen_until_s = self.now_s + self.chance.uniform(0, 3)

    def crash(self) -> None:
        """PostgreSQL dies and recovers."""
        self.server.crash(self.chance.randint(0, len(self.server.log)))

    def failover(self) -> None:
        """The standby becomes the server, with what it has: all that was acknowledged, unless losses are asked for."""
        if not self.synchronous and not self.lossy:
            self.server.replicated = self.server.flushed
        had = self.server.log[: self.server.replicated]
        self.server.crash(len(self.server.log))
        self.server = self._make(synchronous=self.synchronous, log=had)
