"""A simple model of what accounts held at any moment, from the journal's rows alone, and a history worth asking about.

Guarded here: the balances that the journal keeps with each row, of which statements are made, are not looked at.
"""

from __future__ import annotations

import bisect
import random
from collections import defaultdict
from typing import Any, NamedTuple

import asyncpg

from pyledger.ledger import Ledger
from pyledger.ledger.times import instant
from tests.ledger.tools import TENANT, fields, let_pass, new_id, transfers
from tests.support.clusters import Database

SECOND_NS = 10**9
NOTHING = (0, 0, 0, 0)
MOVES = (3, 5, 7)
WAYS = ("date", "import", "close", "group", "all")
"""Of moving money, beside the plain ones."""
TRANSFER, PENDING, POST, VOID, REVERSE, EXPIRE = range(3, 9)


class Seen(NamedTuple):
    """A row, as one of its accounts sees it, and what that account had after it."""

    recorded_ns: int
    id: str
    kind: int
    is_debit: bool
    amount: int
    effective_ns: int | None
    after: tuple[int, int, int, int]

    @property
    def date(self) -> tuple[int, int]:
        """Its place in the order of effective dates."""
        return self.recorded_ns if self.effective_ns is None else self.effective_ns, self.recorded_ns


class Replay:
    """All accounts of one tenant, at all moments."""

    def __init__(self, tenant: int, rows: list[Any]) -> None:
        self.tenant = tenant
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.opened: dict[str, int] = {}
        self.moments = [row["recorded_ns"] for row in rows]
        self._held: dict[str, int] = {}
        for row in rows:
            if row["status"]:
                continue
            if row["kind"] == 2:
                self.opened[row["id"]] = row["recorded_ns"]
            elif row["kind"] > 2:
                self._add(row)

    @classmethod
    async def of(cls, database: Database, tenant: int) -> Replay:
        """What the journal has now."""
        connection = await asyncpg.connect(database.server_dsn)
        try:
            return cls(
                tenant,
                await connection.fetch(
                    "SELECT recorded_ns, id::text, kind, status, debit_account::text, credit_account::text, amount, "
                    "target::text, effective_ns FROM pyledger.journal WHERE tenant = $1 ORDER BY recorded_ns",
                    tenant,
                ),
            )
        finally:
            await connection.close()

    def _add(self, row: Any) -> None:
        kind, amount = row["kind"], int(row["amount"])
        pending = posted = 0
        if kind == PENDING:
            pending = self._held[row["id"]] = amount
        elif kind in (TRANSFER, REVERSE):
            posted = amount
        else:
            pending = -self._held.pop(row["target"])
            posted = amount if kind == POST else 0
        for is_debit in (True, False):
            account = row["debit_account" if is_debit else "credit_account"]
            debits_pending, debits_posted, credits_pending, credits_posted = self.at(account, 2**63)
            after = (
                (debits_pending + pending, debits_posted + posted, credits_pending, credits_posted)
                if is_debit
                else (debits_pending, debits_posted, credits_pending + pending, credits_posted + posted)
            )
            self.seen[account].append(
                Seen(row["recorded_ns"], row["id"], kind, is_debit, amount, row["effective_ns"], after)
            )

    def at(self, account: str, before_ns: int) -> tuple[int, int, int, int]:
        """What an account had right before a moment."""
        rows = self.seen[account]
        place = bisect.bisect_left(rows, before_ns, key=lambda row: row.recorded_ns)
        return rows[place - 1].after if place else NOTHING

    def by_date(self, account: str, before_ns: int) -> tuple[int, int]:
        """Debits and credits posted with a date before a moment."""
        moves = [row for row in self.seen[account] if row.kind in MOVES and row.date < (before_ns, 0)]
        return tuple(sum(row.amount for row in moves if row.is_debit is side) for side in (True, False))  # type: ignore[return-value]

    def moment(self, dice: random.Random) -> int:
        """A moment from before the first row until after the last: at a row, next to it, or anywhere."""
        low, high = self.moments[0] - SECOND_NS, self.moments[-1] + SECOND_NS
        return dice.choice([dice.choice(self.moments) + dice.choice([-1, 0, 1]), dice.randint(low, high)])


class Life:
    """Commands of all kinds, at random: some are declined, some holds end by themselves."""

    def __init__(self, ledger: Ledger, dice: random.Random, accounts: list[str], tenant: int = TENANT) -> None:
        self.ledger, self.dice, self.accounts, self.tenant = ledger, dice, accounts, tenant
        self.groups: list[str] = []
        self.moved: list[str] = []
        self.held: list[str] = []

    def command(self) -> dict[str, Any]:
        """One more."""
        dice = self.dice
        debit, credit = dice.sample(self.accounts, 2)
        what = dice.choice(["move"] * 5 + ["hold"] * 4 + [*["post", "post", "void", "reverse"], *WAYS])
        plain = fields(debit, credit, dice.randint(1, 60), reference=dice.choice(["a", "=b", None]))
        if what in ("post", "void", "reverse") and (known := self.moved if what == "reverse" else self.held):
            target = "reverses" if what == "reverse" else "pending_id"
            flags = [] if what == "reverse" else [f"{what}_pending"]
            amount = dice.choice([None, str(dice.randint(1, 20))]) if what != "void" else None
            return {"id": new_id(), "flags": flags, target: dice.choice(known), "amount": amount}
        if what == "group" and self.groups:
            flags = [dice.choice(["post_pending", "void_pending"]), "group"]
            return {"id": new_id(), "flags": flags, "pending_id": self.groups.pop(dice.randrange(len(self.groups)))}
        if what in ("hold", "close"):
            self.held.append(plain["id"])
            flags = ["pending"] + (["closing_debit"] if what == "close" and dice.random() < 0.3 else [])
            return plain | {"flags": flags, "timeout_s": dice.choice([0, 0, 5, 60, 600])}
        self.moved.append(plain["id"])
        now_ns = self.ledger._clock()
        if what == "all":
            return plain | {"flags": [dice.choice(["balancing_debit", "balancing_credit"])], "amount": "1000"}
        if what == "date":
            return plain | {"effective_at": instant(now_ns + dice.randint(-(10**14), 10**13))}
        if what == "import":
            return plain | {"flags": ["imported"], "effective_at": instant(now_ns - 1_000)}
        return plain

    def group(self) -> list[dict[str, Any]]:
        """Two holds that are one, to be resolved as one."""
        pair = [fields(*self.dice.sample(self.accounts, 2), self.dice.randint(1, 9), flags=["pending"]) for _ in "ab"]
        pair[0]["flags"] = ["pending", "linked"]
        self.groups.append(pair[1]["id"])
        return pair

    async def go_on(self, batches: int) -> None:
        """So many batches, and time between them."""
        for _ in range(batches):
            commands = [self.command() for _ in range(self.dice.randint(1, 30))]
            if self.dice.random() < 0.3:
                commands += self.group()
            elif len(commands) > 3 and self.dice.random() < 0.3:
                commands[0] = commands[0] | {"flags": [*commands[0].get("flags", []), "linked"]}
            await self.ledger.writer.submit(transfers(commands, self.tenant))
            if self.dice.random() < 0.3:
                let_pass(self.ledger, self.dice.randint(1, 100 * SECOND_NS))
