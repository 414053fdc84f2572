"""Whose statement it is: an account as it is now, and the last batch that this includes."""

from __future__ import annotations

import msgspec

from pyledger.ledger.reads import Reads
from pyledger.ledger.statements.nouns import Counters, Subject
from pyledger.ledger.times import nanoseconds
from pyledger.ledger.writer import Writer


class Subjects:
    """The accounts of one shard."""

    def __init__(self, reads: Reads, writer: Writer) -> None:
        self._reads, self._writer = reads, writer

    async def find(self, tenant: int, account_id: str) -> Subject | None:
        """An account; None if there is none."""
        found = await self._reads.account(tenant, account_id)
        if found is None:
            return None
        number = msgspec.json.decode(found)["ledger"]
        now, ledger = await self._writer.read(
            lambda engine: (
                engine.account_json(tenant, account_id, None, None), engine.ledger_json(tenant, number, None)
            )
        )  # fmt: skip
        # In the step that wakes us nothing was committed after what we were shown: a commit waits for PostgreSQL.
        head_seq, head_ns = self._writer.stats.head_seq, self._writer.stats.head_ns
        assert now is not None
        assert ledger is not None
        body, book = msgspec.json.decode(found), msgspec.json.decode(ledger)
        held = msgspec.json.decode(now)["balances"]
        counters = Counters(*(int(held[name]) for name in Counters._fields))
        created_ns = nanoseconds(body["created_at"])
        return Subject(body, created_ns, book["asset"], book["exponent"], counters, head_seq, head_ns)

    async def confirm(self) -> None:
        """The head is still ours, as it must be before anything is answered. Raises `Unavailable`."""
        await self._writer.read(lambda _: None)
