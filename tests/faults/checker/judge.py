"""The verdict: is there one order of everything that explains every answer, and does real time agree with it?

The order is the journal's; a position in it is a row's place. Every attempt carries the latest position that
anybody had seen answered before it was sent, its floor. Then:

- what it recorded lies above its floor: it took effect after what was answered before it was asked;
- what it read was true at its floor or later, and counts as seen at the first such position from then on;
- what was acknowledged is recorded once, as it was told; what was told "nothing is recorded" is not there;
- a retry got the first outcome, to the byte; the same id with another body got idempotency_conflict.

Taking the first position that explains a read is right: a read binds only what comes after it, and the earlier
it is, the less it binds. So an order that explains everything is found if there is one. Guarded here: no
answer is taken for granted, and what is unknown (no answer, `outcome_unknown`) may have gone either way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict

from tests.faults.checker.history import NEVER_NS, Attempt, ledger_key
from tests.faults.checker.journal import Entry, Journal, order
from tests.faults.checker.replay import Replay
from tests.faults.checker.replies import Said, derived, differences, said
from tests.faults.checker.words import NOT_FOUND, NOTHING_RECORDED, nanoseconds, number
from tests.model.nouns import Command, Key

TRANSFERS = frozenset({"transfer", "pending", "post", "void", "reverse", "expire"})


class Judge:
    """Goes through all attempts in the order of real time."""

    def __init__(self, attempts: list[Attempt], journal: Journal) -> None:
        self.attempts, self.journal = attempts, journal
        self.replay = Replay(attempts, journal)
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._floor = 0
        self._denied: set[tuple[int, Key]] = set()
        """Lines and ids of which an answer said that nothing was recorded."""
        self._first_said: dict[Key, tuple[str, str]] = {}
        self._decided_by: dict[Key, list[Attempt]] = defaultdict(list)

    def judge(self) -> list[str]:
        """Everything that cannot be."""
        self.wrong += order(self.journal)
        self.replay.run()
        self.wrong += self.replay.wrong
        if self.wrong:
            # Balances and times below would only echo it.
            return self.wrong
        events = [(each.began_ns, 0, each) for each in self.attempts]
        events += [(each.ended_ns, 1, each) for each in self.attempts if each.answered]
        # At the same nanosecond: sent before answered, so that nothing is taken for a sequence that is none.
        for _, ended, attempt in sorted(events, key=lambda event: event[:2]):
            if ended:
                self._floor = max(self._floor, self._answered(attempt))
            else:
                attempt.floor = self._floor
        for key, entry in self.replay.entries.items():
            self._recorded(key, entry)
        return self.wrong

    def _say(self, attempt: Attempt, what: str) -> None:
        self.wrong.append(f"{attempt.name} {what}")

    def _answered(self, attempt: Attempt) -> int:
        """Judge one answer; the latest position that it shows."""
        self.counts["answered"] += 1
        if attempt.status == 503:
            self._unavailable(attempt)
            return 0
        if attempt.status not in (200, 201, 404, 422):
            self._say(attempt, f"was answered {attempt.status}: {str(attempt.reply)[:200]}")
            return 0
        try:
            if attempt.method == "GET":
                return self._read(attempt)
            return self._written(attempt)
        except (KeyError, ValueError, TypeError) as error:
            self._say(attempt, f"got an answer that cannot be read: {type(error).__name__} {error}")
            return 0

    def _unavailable(self, attempt: Attempt) -> None:
        code = attempt.reply["code"]
        if code in NOTHING_RECORDED:
            self._denied |= {(attempt.line, (each.tenant, each.id)) for each in attempt.commands}
        elif code != "outcome_unknown":
            self._say(attempt, f"was answered 503 {code}")
        self.counts[code] += 1

    # Writes.

    def _written(self, attempt: Attempt) -> int:
        told = said(attempt)
        if len(told) != len(attempt.commands):
            raise ValueError(f"{len(told)} outcomes of {len(attempt.commands)} commands")
        shown = 0
        for command, each in zip(attempt.commands, told, strict=True):
            shown = max(shown, self._outcome(attempt, command, each))
        if any(each.refusal == "linked_chain_refused" for each in told) and all(
            each.recorded or each.refusal == "linked_chain_refused" for each in told
        ):
            self._say(attempt, "has a refused chain and no member that was refused")
        return shown

    def _outcome(self, attempt: Attempt, command: Command, told: Said) -> int:
        key = command.tenant, command.id
        entry = self.replay.entries.get(key)
        if told.recorded:
            return self._acknowledged(attempt, command, told, entry)
        self.counts["refused"] += 1
        if told.refusal == "idempotency_conflict":
            if entry is None or self.replay.command[key] == command:
                self._say(attempt, f"has a conflict about {command.id:032x}, but nothing else was recorded")
            return entry.position if entry is not None else 0
        self._denied.add((attempt.line, key))
        if told.refusal in NOT_FOUND:
            self._not_found(attempt, command, told.refusal)
        elif told.refusal != "linked_chain_refused":
            self._say(attempt, f"was refused with {told.refusal}")
        return 0

    def _acknowledged(self, attempt: Attempt, command: Command, told: Said, entry: Entry | None) -> int:
        key = command.tenant, command.id
        self.counts["operations"] += 1
        self.counts["replayed"] += bool(told.replayed)
        if entry is None:
            self._say(attempt, f"was told of {command.id:032x}, which is not in the journal: it is lost")
            return 0
        if self.replay.command[key] != command:
            self._say(attempt, f"has another body than what was recorded of {command.id:032x}, and got its outcome")
        for each in differences(entry, told, self.replay.model.accounts):
            self._say(attempt, f"{command.id:032x}: {each}")
        if told.replayed is False:
            self._decided_by[key].append(attempt)
        if len(attempt.commands) == 1 and attempt.text:
            first, where = self._first_said.setdefault(key, (attempt.text, attempt.name))
            if first != attempt.text:
                self._say(attempt, f"got other bytes than {where}")
        return entry.position

    def _not_found(self, attempt: Attempt, command: Command, refusal: str) -> None:
        """What does not exist must not have been there when it was asked."""
        named = {
            "ledger_not_found": ledger_key(command.ledger),
            "debit_account_not_found": command.debit,
            "credit_account_not_found": command.credit,
            "pending_transfer_not_found": command.target,
            "reversed_transfer_not_found": command.target,
        }[refusal]
        entry = self.replay.entries.get((command.tenant, named))
        an_account = refusal.endswith("account_not_found")
        if entry is not None and entry.position <= attempt.floor and (entry.kind == "account" or not an_account):
            self._say(attempt, f"was told {refusal}, but it was there already")

    # Reads.

    def _read(self, attempt: Attempt) -> int:
        noun, _, rest = attempt.path.removeprefix("/v1/").partition("/")
        self.counts["operations"] += 1
        if noun == "accounts":
            return self._account(attempt, (attempt.tenant, number(rest)))
        if noun == "transfers":
            return self._transfer(attempt, (attempt.tenant, number(rest)))
        shown = 0
        for item in attempt.reply["data"]:
            shown = max(shown, self._item(attempt, (attempt.tenant, number(item["id"])), item))
        return shown

    def _account(self, attempt: Attempt, key: Key) -> int:
        positions, states = self.replay.history.get(key, ([], []))
        now = bisect_right(positions, attempt.floor) - 1
        if attempt.status == 404:
            if now >= 0:
                self._say(attempt, "does not find an account that was there already")
            return attempt.floor
        account, shown = self.replay.model.accounts.get(key), attempt.reply
        if account is None:
            self._say(attempt, "shows an account that its tenant does not have")
            return 0
        entry = self.replay.entries[key]
        if (number(shown["id"]), nanoseconds(shown["created_at"])) != (entry.id, entry.recorded_ns):
            self._say(attempt, "shows another account")
        names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
        seen = tuple(int(shown["balances"][name]) for name in names)
        if shown["balances"] != {name: str(value) for name, value in derived(seen, account).items()}:
            self._say(attempt, f"shows balances that do not fit together: {shown['balances']}")
        for place in range(max(0, now), len(states)):
            if states[place] == seen:
                return max(attempt.floor, positions[place])
        stale = seen in states[: max(0, now)]
        self._say(attempt, f"shows {'old balances' if stale else 'balances that never were'}: {seen}")
        return 0

    def _transfer(self, attempt: Attempt, key: Key) -> int:
        if attempt.status == 200:
            return self._item(attempt, key, attempt.reply)
        entry = self.replay.entries.get(key)
        if entry is not None and entry.kind in TRANSFERS and entry.position <= attempt.floor:
            self._say(attempt, "does not find a transfer that was there already")
        return attempt.floor

    def _item(self, attempt: Attempt, key: Key, item: dict[str, object]) -> int:
        entry = self.replay.entries.get(key)
        if entry is None:
            self._say(attempt, f"shows {key[1]:032x}, which its tenant does not have")
            return 0
        told = Said(str(item.get("refusal", "")), True, None, item)
        for each in differences(entry, told, self.replay.model.accounts):
            self._say(attempt, f"shows {key[1]:032x}: {each}")
        return entry.position

    # What is recorded.

    def _recorded(self, key: Key, entry: Entry) -> None:
        """Somebody asked for it who was not told no, and not after it had happened."""
        if entry.kind == "expire":
            return
        command = self.replay.command[key]
        asked = [each for each in self.replay.asked[key] if command in each.commands]
        able = [each for each in asked if (each.line, key) not in self._denied]
        decided = self._decided_by[key]
        if not able:
            self.wrong.append(f"{entry.name} is recorded, and everybody who asked for it was told that it is not")
        elif entry.position <= min(each.floor for each in able):
            self._say(able[0], f"asked for {entry.name} when what comes after it was answered already")
        if len(decided) > 1:
            self._say(decided[1], f"was told that it decided {entry.name}, as was {decided[0].name}")
        for each in decided:
            if entry.position <= each.floor:
                self._say(each, f"decided {entry.name} before it was asked")


def judged(attempts: list[Attempt], journal: Journal) -> Judge:
    """A judge that has judged."""
    judge = Judge(attempts, journal)
    judge.judge()
    judge.counts["rows"] = len(journal.entries)
    judge.counts["unknown"] = sum(each.ended_ns == NEVER_NS for each in attempts)
    return judge
