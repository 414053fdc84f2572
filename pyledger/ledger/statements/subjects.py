"""Whose statement it is: an account as it is now, and the last batch that this includes."""

from __future__ import annotations

import msgspec

from pyledger._rust import Engine
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

        def look(engine: Engine) -> tuple[bytes, bytes | None] | None:
            account = engine.account_json(tenant, account_id, None, None)
            if account is None:
                return None
            return account, engine.ledger_json(tenant, msgspec.json.decode(account)["ledger"], None)

        found = await self._writer.read(look)
        # In the step that wakes us nothing was committed after what we were shown: a commit waits for PostgreSQL.
        head_seq, head_ns = self._writer.stats.head_seq, self._writer.stats.head_ns
        if found is None:
            return None
        account, ledger = found
        assert ledger is not None
        body, book = msgspec.json.decode(account), msgspec.json.decode(ledger)
        counters = Counters(*(int(body["balances"][name]) for name in Counters._fields))
        created_ns = nanoseconds(body["created_at"])
        reference, metadata = await self._reads.texts_of(tenant, account_id, created_ns)
        if reference is not None:
            body["reference"] = reference
        if metadata is not None:
            body["metadata"] = msgspec.json.decode(metadata)
        return Subject(body, created_ns, book["asset"], book["exponent"], counters, head_seq, head_ns)

    async def confirm(self) -> None:
        """The head is still ours, as it must be before anything is answered. Raises `Unavailable`."""
        await self._writer.read(lambda _: None)
