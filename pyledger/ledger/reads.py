"""History from PostgreSQL. Under construction; signatures are final."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of transfers asks for; all that is set must hold. Times in nanoseconds."""

    account: str | None = None
    ledger: int | None = None
    reference: str | None = None
    from_ns: int | None = None
    until_ns: int | None = None
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """JSON objects of one page, and the cursor of the next one; None at the end.

    A page may be short, even empty, and still have a next one: a scan is bounded."""

    items: list[bytes]
    next: str | None


class Reads:
    """Reads of one shard: current ones ride with the writer, history comes from PostgreSQL."""

    async def ledger(self, tenant: int, number: int) -> bytes | None:
        """One ledger as JSON, current."""
        raise NotImplementedError

    async def ledgers(self, tenant: int, cursor: str | None, limit: int) -> Page:
        """Ledgers in order of number, current. Raises `BadCursor`."""
        raise NotImplementedError

    async def account(self, tenant: int, id: str) -> bytes | None:
        """One account with its balances now, as JSON."""
        raise NotImplementedError

    async def accounts(self, tenant: int, ledger: int | None, cursor: str | None, limit: int) -> Page:
        """Accounts in order of creation with their balances now. Raises `BadCursor`."""
        raise NotImplementedError

    async def transfer(self, tenant: int, id: str) -> bytes | None:
        """One transfer as its reply was, accepted or declined, as JSON."""
        raise NotImplementedError

    async def transfers(self, tenant: int, asked: Filter, cursor: str | None, limit: int) -> Page:
        """Transfers newest first (or oldest first). Raises `BadCursor`."""
        raise NotImplementedError
