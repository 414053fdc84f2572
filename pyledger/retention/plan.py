"""What is to be done with each partition, and why not. Pure.

Guarded here: what is dropped is always the beginning of the journal, so the oldest partition that may not be dropped
keeps all later ones here; and a partition that somebody restored stays until it is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyledger.retention.nouns import Hold, Part, Partition
from pyledger.retention.policy import Policy, Terms


@dataclass(frozen=True, slots=True)
class Step:
    """One partition, what is done with it (`archive`, `drop`), and what else there is to say."""

    partition: Partition
    do: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A partition as it is found: what is in it, and the legal holds that it has rows of."""

    partition: Partition
    parts: tuple[Part, ...]
    holds: tuple[Hold, ...]
    holds_placed: int
    """How many there were in all when they were looked at."""
    ledgers: frozenset[tuple[int, int]]
    """The tenant and the number of every ledger that there is."""

    @property
    def rows(self) -> int:
        """Of all ledgers."""
        return self.partition.rows or 0


def plan(
    seen: Sequence[Seen], policy: Policy, tenants: Mapping[int, str], now_ns: int, again: str | None = None
) -> list[Step]:
    """The steps, oldest partition first. `again` names a partition that was restored and may go once more,
    or whose archive is lost before it was dropped."""
    steps: list[Step] = []
    stays: str | None = None
    for each in seen:
        step = _step(each, policy, tenants, now_ns, stays, again)
        steps.append(step)
        is_kept = each.partition.rows != 0 and each.partition.step not in ("dropped", "restored")
        if is_kept and "drop" not in step.do:
            stays = stays or each.partition.name
    return steps


def _step(
    seen: Seen, policy: Policy, tenants: Mapping[int, str], now_ns: int, stays: str | None, again: str | None
) -> Step:
    partition, do, why = seen.partition, [], ""
    terms = _terms(seen, policy, tenants)
    end_ns = partition.end_ns
    if partition.is_dropped:
        why = "dropped"
    elif partition.rows is None:
        why = "not over yet" if end_ns > now_ns else "not sealed yet"
    elif not partition.rows:
        why = "empty"
    elif partition.step == "restored" and again != partition.name:
        why = "restored: it stays until --again names it"
    elif seen.holds:
        why = "legal hold " + ", ".join(str(hold.number) for hold in seen.holds)
    elif not terms.is_due("archived", end_ns, now_ns):
        why = "not old enough" if terms.archived_after_days is not None else "never, says the policy"
    else:
        if partition.step != "archived" or again == partition.name:
            do.append("archive")
        if not terms.is_due("dropped", end_ns, now_ns):
            why = "not dropped: not old enough" if terms.dropped_after_days is not None else "never dropped"
        elif stays is not None and partition.step != "restored":
            why = f"not dropped: {stays}, which is older, stays"
        else:
            do.append("drop")
    return Step(partition, tuple(do), why)


def _terms(seen: Seen, policy: Policy, tenants: Mapping[int, str]) -> Terms:
    """The longest of all ledgers that it has rows of. A decline that names none of its tenant's stays as long as the
    other rows of its tenant that are there, and alone as long as those of any ledger of its tenant."""
    named = {(part.tenant, part.ledger) for part in seen.parts}
    found = named & seen.ledgers
    for tenant in {tenant for tenant, _ in named} - {tenant for tenant, _ in found}:
        found |= {each for each in seen.ledgers if each[0] == tenant} or {(tenant, 0)}
    return policy.terms((tenants.get(tenant, ""), number) for tenant, number in found)
