"""A true story of clients and journal, and the lies that are told in copies of it.

Guarded here: each lie changes one thing that a broken ledger could show, and is told to a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from tests.faults.checker.history import Attempt
from tests.faults.checker.journal import Journal
from tests.faults.checker.judge import judged

MS = 1_000_000


@dataclass
class Story:
    """What clients saw, and what is recorded."""

    attempts: list[Attempt]
    journal: Journal

    def copied(self) -> Story:
        """To lie in."""
        return Story(copy.deepcopy(self.attempts), Journal(list(self.journal.entries), *self.rest()))

    def rest(self) -> tuple[list[tuple[int, int, int, int]], int]:
        return list(self.journal.batches), self.journal.head

    def wrong(self) -> list[str]:
        return judged(self.attempts, self.journal).wrong

    def reads(self) -> list[Attempt]:
        return [
            each for each in self.attempts if "/v1/accounts/" in each.path and each.status == 200 and not each.commands
        ]

    def accepted(self) -> list[Attempt]:
        """Single transfers that were accepted, by those who decided them."""
        return [
            each for each in self.attempts if each.status == 201 and each.path == "/v1/transfers" and not each.replayed
        ]

    def place_of(self, attempt: Attempt) -> int:
        """Where its row is among the entries."""
        (place,) = [i for i, each in enumerate(self.journal.entries) if each.id == attempt.commands[0].id
                    and each.tenant == attempt.tenant]  # fmt: skip
        return place


def dropped_row(story: Story) -> None:
    del story.journal.entries[story.place_of(story.accepted()[-1])]


def dropped_batch(story: Story) -> None:
    """The tail is gone, as after a failover: nothing left contradicts itself but what clients know."""
    known = story.journal.entries[story.place_of(story.accepted()[-1])].seq
    del story.journal.batches[known - 1 :]
    story.journal.head = known - 1
    story.journal.entries[:] = [each for each in story.journal.entries if each.seq < known]


def row_twice(story: Story) -> None:
    entries, place = story.journal.entries, story.place_of(story.accepted()[5])
    again = entries[place]
    last = entries[-1]
    entries.append(replace(again, position=last.position + 1, seq=last.seq + 1, recorded_ns=last.recorded_ns + 1))
    story.journal.batches.append((last.seq + 1, 1, last.recorded_ns + 1, last.recorded_ns + 1))
    story.journal.head += 1


def swapped_balance(story: Story) -> None:
    reply = story.accepted()[3].reply
    sides = reply["debit_account"], reply["credit_account"]
    for name in set(sides[0]) - {"id"}:
        sides[0][name], sides[1][name] = sides[1][name], sides[0][name]


def wrong_available(story: Story) -> None:
    reply = story.accepted()[3].reply["credit_account"]
    reply["available"] = str(int(reply["available"]) + 1)


def balance_of_a_row_changed(story: Story) -> None:
    place = story.place_of(story.accepted()[3])
    debit, credit = story.journal.entries[place].after
    story.journal.entries[place] = replace(
        story.journal.entries[place], after=((debit[0], debit[1] + 1, *debit[2:]), credit)
    )


def decided_twice(story: Story) -> None:
    again = next(each for each in story.attempts if each.replayed and each.path == "/v1/transfers")
    again.replayed = False


def stale_read(story: Story) -> None:
    """The last look at an account gets what a much earlier one got."""
    reads = story.reads()
    last = next(each for each in reversed(reads) if any(early_and_other(each, other) for other in reads))
    last.reply = next(other.reply for other in reads if early_and_other(last, other))


def early_and_other(last: Attempt, other: Attempt) -> bool:
    same = other.path == last.path and other.tenant == last.tenant
    return same and other.ended_ns < last.began_ns and other.reply["balances"] != last.reply["balances"]


def read_from_nowhere(story: Story) -> None:
    story.reads()[10].reply["balances"]["debits_posted"] = "123456789"


def reordered_pair(story: Story) -> None:
    """One that was recorded late had been answered before one was asked that was recorded early."""
    one, *_, other = story.accepted()
    one.began_ns, one.ended_ns = other.ended_ns + MS, other.ended_ns + 2 * MS


def swapped_rows(story: Story) -> None:
    entries = story.journal.entries
    place = next(
        i for i, (a, b) in enumerate(pairwise(entries))
        if a.kind == b.kind == "transfer" and not a.refusal and not b.refusal and a.tenant == b.tenant
        and {a.debit, a.credit} & {b.debit, b.credit} and a.seq == b.seq
    )  # fmt: skip
    one, two = entries[place], entries[place + 1]
    entries[place] = replace(two, recorded_ns=one.recorded_ns, position=one.position)
    entries[place + 1] = replace(one, recorded_ns=two.recorded_ns, position=two.position)


def denied(story: Story) -> None:
    """Everybody who asked for something recorded was told that nothing is recorded."""
    one = story.accepted()[7]
    for each in story.attempts:
        if one.commands[0] in each.commands:
            each.status, each.reply = 503, {"code": "unavailable"}


def other_outcome(story: Story) -> None:
    """A business no that was told as something else."""
    one = next(each for each in story.attempts if each.status == 422 and each.reply["code"] == "exceeds_credits")
    one.reply["code"] = "exceeds_debits"


def other_body_accepted(story: Story) -> None:
    conflicts = [each for each in story.attempts if each.status == 422 and each.reply["code"] == "idempotency_conflict"]
    one, first = next((a, b) for a in conflicts for b in story.accepted() if same_id(a, b))
    one.status, one.reply, one.text, one.replayed = 201, first.reply, first.text, True


def same_id(one: Attempt, other: Attempt) -> bool:
    return (one.tenant, one.commands[0].id) == (other.tenant, other.commands[0].id)


def conflict_about_nothing(story: Story) -> None:
    one = story.accepted()[1]
    one.status, one.reply = 422, {"code": "idempotency_conflict"}


def other_bytes_for_a_retry(story: Story) -> None:
    again = next(
        each for each in story.attempts if each.replayed and each.path == "/v1/transfers" and each.status == 201
    )
    again.text += " "


def account_that_is_not_found(story: Story) -> None:
    story.reads()[-1].status = 404


def of_another_tenant(story: Story) -> None:
    """A hold of the other tenant is shown."""
    one = next(
        each for each in story.attempts if each.method == "GET" and each.status == 404 and "transfers" in each.path
    )
    entry = next(each for each in story.journal.entries if each.kind == "transfer" and each.tenant != one.tenant)
    one.path, one.status = f"/v1/transfers/{entry.id:032x}", 200
    one.reply = {"id": f"{entry.id:032x}", "status": "accepted"}


def expired_too_early(story: Story) -> None:
    entries = story.journal.entries
    place = next(i for i, each in enumerate(entries) if each.kind == "expire")
    hold = next(i for i, each in enumerate(entries) if each.id == entries[place].target and each.kind == "pending")
    entries[hold] = replace(entries[hold], timeout_s=entries[hold].timeout_s + 1)


def nobody_asked(story: Story) -> None:
    one = story.accepted()[9].commands[0]
    story.attempts[:] = [each for each in story.attempts if one not in each.commands]


def gap_in_the_sequence(story: Story) -> None:
    story.journal.batches.pop(len(story.journal.batches) // 2)


def internal_error(story: Story) -> None:
    story.accepted()[0].status = 500


LIES: dict[Callable[[Story], None], str] = {
    dropped_row: "says",
    dropped_batch: "it is lost",
    row_twice: "recorded before",
    swapped_balance: "was told",
    wrong_available: "was told available",
    balance_of_a_row_changed: "the model",
    decided_twice: "was told that it decided",
    stale_read: "old balances",
    read_from_nowhere: "do not fit together",
    reordered_pair: "before it was asked",
    swapped_rows: "the model",
    denied: "was told that it is not",
    other_outcome: "the journal says exceeds_credits",
    other_body_accepted: "has another body",
    conflict_about_nothing: "but nothing else was recorded",
    other_bytes_for_a_retry: "got other bytes",
    account_that_is_not_found: "does not find an account",
    of_another_tenant: "which its tenant does not have",
    expired_too_early: "not what anybody asked for",
    nobody_asked: "asked for by nobody",
    gap_in_the_sequence: "stands where",
    internal_error: "was answered 500",
}
