"""The journal, read through SQL: its rows in order, and what is wrong with that order by itself.

Guarded here: the order is that of the recorded time, and nothing of a row is believed that its neighbours,
its batch or the head contradict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.faults.checker.history import ledger_key
from tests.faults.checker.words import ACCOUNT_FLAGS, DECLINES, KINDS, TRANSFER_FLAGS, counters, flags_of

ROWS = """
SELECT seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount::text AS amount, target,
    ledger, code, flags, timeout_s, reference, debit_after, credit_after
FROM pyledger.journal WHERE shard = 0 ORDER BY recorded_ns
"""
BATCHES = "SELECT seq, rows, first_ns, last_ns FROM pyledger.batch WHERE shard = 0 ORDER BY seq"
HEAD = "SELECT seq FROM pyledger.head WHERE shard = 0"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the journal."""

    position: int
    """Its place in the order, from 1."""
    seq: int
    recorded_ns: int
    id: int
    tenant: int
    kind: str
    refusal: str
    debit: int
    credit: int
    amount: int
    target: int
    ledger: int
    code: int
    flags: frozenset[str]
    timeout_s: int
    reference: str
    after: tuple[tuple[int, ...], ...]
    """The four counters of the debit and of the credit account; empty where it moved nothing."""

    @property
    def name(self) -> str:
        """Which row this is."""
        return f"row {self.position} (batch {self.seq}, {self.kind} {self.id:032x}, tenant {self.tenant})"


@dataclass(slots=True)
class Journal:
    """All that is recorded."""

    entries: list[Entry]
    batches: list[tuple[int, int, int, int]]
    """Number, rows, first and last time of each."""
    head: int


async def load(dsn: str) -> Journal:
    """Read it, in one snapshot."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(ROWS)
            batches = [tuple(row.values()) for row in await connection.fetch(BATCHES)]
            head = await connection.fetchval(HEAD)
    finally:
        await connection.close()
    return Journal([entry(place, row) for place, row in enumerate(rows, 1)], batches, head)


def entry(position: int, row: Any) -> Entry:
    """One row, in the words of the wire."""
    kind = KINDS[row["kind"]]
    names = ACCOUNT_FLAGS if kind == "account" else TRANSFER_FLAGS
    return Entry(
        position=position,
        seq=row["seq"],
        recorded_ns=row["recorded_ns"],
        id=ledger_key(row["ledger"]) if kind == "ledger" else row["id"].int,
        tenant=row["tenant"],
        kind=kind,
        refusal=DECLINES.get(row["status"], f"status {row['status']}") if row["status"] else "",
        debit=row["debit_account"].int if row["debit_account"] else 0,
        credit=row["credit_account"].int if row["credit_account"] else 0,
        amount=int(row["amount"]),
        target=row["target"].int if row["target"] else 0,
        ledger=row["ledger"],
        code=row["code"],
        flags=flags_of(row["flags"], names),
        timeout_s=row["timeout_s"],
        reference=row["reference"] or "",
        after=tuple(counters(each) for each in (row["debit_after"], row["credit_after"]) if each is not None),
    )


def order(journal: Journal) -> list[str]:
    """What is wrong with the order: times, batches, ids, head."""
    wrong, ids = [], set()
    last_ns = last_seq = 0
    found: dict[int, list[int]] = {}
    for each in journal.entries:
        if each.recorded_ns <= last_ns:
            wrong.append(f"{each.name} is not later than the row before it")
        if each.seq < last_seq:
            wrong.append(f"{each.name} is of an earlier batch than the row before it")
        last_ns, last_seq = each.recorded_ns, each.seq
        if (each.tenant, each.id) in ids:
            wrong.append(f"{each.name} has an id that was recorded before")
        ids.add((each.tenant, each.id))
        found.setdefault(each.seq, []).append(each.recorded_ns)
    for place, (seq, rows, first_ns, last) in enumerate(journal.batches, 1):
        times = found.pop(seq, [])
        if seq != place:
            wrong.append(f"batch {seq} stands where {place} should")
        if (len(times), times[:1], times[-1:]) != (rows, [first_ns], [last]):
            wrong.append(f"batch {seq} says {rows} rows from {first_ns} to {last}, the journal has {len(times)}")
    wrong += [f"rows of batch {seq}, which there is not" for seq in found]
    if journal.head != len(journal.batches):
        wrong.append(f"the head names batch {journal.head}, there are {len(journal.batches)}")
    return wrong
