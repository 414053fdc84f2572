"""The journal, replayed through the model: does every row follow from the rows before it and from what was asked?

Guarded here: the only thing taken from the journal is the order and the time. What each row says is compared
with what the model makes of the clients' own bytes; a row that nobody asked for is one too many.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import Final

from tests.faults.checker.history import Attempt
from tests.faults.checker.journal import Entry, Journal
from tests.model.model import Model
from tests.model.nouns import Account, Answer, Command, Key

WRONG_MAX: Final = 50
"""After so many the model has lost its way, and the rest says nothing."""
KINDS: Final = {"pending": "pending", "post_pending": "post", "void_pending": "void", "reverse": "reverse"}
"""The flag that makes a transfer another kind of row."""

State = tuple[int, ...]
"""Debits pending and posted, credits pending and posted."""


class Replay:
    """The model, and what it makes of each row."""

    def __init__(self, attempts: list[Attempt], journal: Journal) -> None:
        self.model = Model()
        self.wrong: list[str] = []
        self.entries: dict[Key, Entry] = {}
        self.command: dict[Key, Command] = {}
        """Which command each row is of."""
        self.history: dict[Key, tuple[list[int], list[State]]] = {}
        """Of each account the positions at which it changed, and its counters from there on."""
        self.asked: dict[Key, list[Attempt]] = defaultdict(list)
        """All attempts that have an id."""
        self._journal = journal
        for attempt in attempts:
            for command in attempt.commands:
                self.asked[command.tenant, command.id].append(attempt)

    def run(self) -> None:
        """All batches, in order."""
        for seq, entries in groupby(self._journal.entries, lambda each: each.seq):
            self._batch(seq, list(entries))
            if len(self.wrong) >= WRONG_MAX:
                self.wrong.append(f"the rest from batch {seq} on was not looked at")
                return

    def _batch(self, seq: int, entries: list[Entry]) -> None:
        for each in entries:
            self.entries[each.tenant, each.id] = each
        expired = [each for each in entries if each.kind == "expire"]
        if expired != entries[: len(expired)]:
            self.wrong.append(f"batch {seq}: holds expire after the first command")
        self._expire(expired)
        requests, asked = self._requests(entries[len(expired) :])
        open_before = list(self.model.holds)
        decided = self.model.batch(requests, entries[0].recorded_ns)
        released = {(each.tenant, each.target) for each in expired}
        due = {key for key in open_before if self.model.rows[key].state == "expired"}
        if released != due:
            self.wrong.append(f"batch {seq} lets {len(released)} holds expire, {len(due)} are due")
        answers = {
            (command.tenant, command.id): answer
            for commands, answered in zip(requests, decided, strict=True)
            for command, answer in zip(commands, answered, strict=True)
        }
        for each in asked:
            key = each.tenant, each.id
            self._compare(each, self.command[key], answers.get(key, ("", None)))
        for each in entries:
            self._remember(each)

    def _expire(self, expired: list[Entry]) -> None:
        """The ledger's own rows, one by one: each releases what its hold holds, and nothing else."""
        states: dict[Key, list[int]] = {}
        for each in expired:
            hold = self.model.rows.get((each.tenant, each.target))
            if hold is None or hold.state != "open" or not hold.is_due(expired[0].recorded_ns):
                self.wrong.append(f"{each.name} expires what is not due")
                continue
            if (each.debit, each.credit, each.amount) != (hold.terms.debit, hold.terms.credit, hold.amount):
                self.wrong.append(f"{each.name} is not what its hold holds")
                continue
            parties = [(each.tenant, each.debit), (each.tenant, each.credit)]
            for key, pending in zip(parties, (0, 2), strict=True):
                state = states.setdefault(key, list(counters(self.model.accounts[key])))
                state[pending] -= each.amount
            expected = tuple(tuple(states[key]) for key in parties)
            if each.after != expected:
                self.wrong.append(f"{each.name} leaves {each.after}, the model {expected}")

    def _requests(self, entries: list[Entry]) -> tuple[list[list[Command]], list[Entry]]:
        """The requests that these rows come from, in their order, and the rows that have one.

        Rows of one request follow each other in its order. One that stands elsewhere is of a twin of it, which was
        decided later: what the first one could not do yet is the twin's."""
        requests: list[list[Command]] = []
        found: list[Entry] = []
        places: dict[Key, int] = {}
        last = -1
        for each in entries:
            key = each.tenant, each.id
            attempt, command = self._asked_for(each)
            if attempt is None or command is None:
                continue
            self.command[key] = command
            found.append(each)
            if places.get(key, -1) <= last:
                requests.append(list(attempt.commands))
                places = {(one.tenant, one.id): place for place, one in enumerate(attempt.commands)}
            last = places[key]
        return requests, found

    def _asked_for(self, entry: Entry) -> tuple[Attempt | None, Command | None]:
        """An attempt that asked for just this row."""
        attempts = self.asked.get((entry.tenant, entry.id), [])
        for attempt in attempts:
            for command in attempt.commands:
                if command.id == entry.id and fits(entry, command):
                    return attempt, command
        what = "is not what anybody asked for" if attempts else "was asked for by nobody"
        self.wrong.append(f"{entry.name} {what}")
        return None, None

    def _compare(self, entry: Entry, command: Command, answer: Answer) -> None:
        """A row as it is and as the model has it."""
        refusal, row = answer
        if row is None:
            self.wrong.append(f"{entry.name} is recorded, the model says {refusal or 'nothing'}")
            return
        if entry.refusal != refusal:
            self.wrong.append(f"{entry.name}: {entry.refusal or 'accepted'}, the model says {refusal or 'accepted'}")
        elif entry.recorded_ns != row.recorded_ns:
            self.wrong.append(f"{entry.name} is recorded at {entry.recorded_ns}, the model has {row.recorded_ns}")
        elif not refusal and command.kind == "transfer":
            expected = tuple(counters(account) for account in row.after)
            mine = (row.terms.debit, row.terms.credit, row.amount, row.terms.ledger, row.terms.code)
            if (entry.debit, entry.credit, entry.amount, entry.ledger, entry.code) != mine:
                self.wrong.append(f"{entry.name} moves other money than the model")
            elif entry.after != expected:
                self.wrong.append(f"{entry.name} leaves {entry.after}, the model {expected}")

    def _remember(self, entry: Entry) -> None:
        """The balances from this position on."""
        if entry.refusal:
            return
        if entry.kind == "account":
            self.history[entry.tenant, entry.id] = ([entry.position], [(0, 0, 0, 0)])
        for account, state in zip((entry.debit, entry.credit), entry.after, strict=False):
            if (kept := self.history.get((entry.tenant, account))) is not None:
                kept[0].append(entry.position)
                kept[1].append(state)


def counters(account: Account) -> State:
    """In the order of the wire."""
    return account.pending[0], account.posted[0], account.pending[1], account.posted[1]


def fits(entry: Entry, command: Command) -> bool:
    """Whether the row is of this command, by all that both say."""
    if next((KINDS[flag] for flag in KINDS if flag in command.flags), command.kind) != entry.kind:
        return False
    if command.kind == "ledger":
        return (command.ledger, command.code) == (entry.ledger, entry.code)
    same = (command.flags, command.reference) == (entry.flags, entry.reference)
    if command.kind == "account":
        return same and (command.ledger, command.code, command.amount) == (entry.ledger, entry.code, entry.amount)
    return (
        same
        and (command.target, command.timeout_s) == (entry.target, entry.timeout_s)
        and command.amount in (None, entry.amount)
        and command.debit in (0, entry.debit)
        and command.credit in (0, entry.credit)
        and command.ledger in (0, entry.ledger)
        and command.code in (0, entry.code)
    )
