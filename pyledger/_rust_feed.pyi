"""What `pyledger._rust` has for the feed, as a stub of its own: the other one is long enough. There is no such module.

Units and errors are those of `_rust.pyi`.
"""

from typing import final

from pyledger._rust import Engine

@final
class Sides:
    """What never changes of accounts and decides how their balances are shown, as far as it was asked for."""

    def __new__(cls, accounts_max: int) -> Sides:
        """Nothing known yet; above so many it forgets them all."""
    def learn(self, engine: Engine, tenant: int, ids: bytes) -> None:
        """Learn accounts, 16 bytes each. Raises `Corrupt` if one is not there."""
    def __len__(self) -> int: ...

@final
class FeedQuestion:
    """What somebody reads on for. Immutable."""

    def __new__(
        cls,
        tenant: int,
        *,
        ledger: int | None,
        account: str | None,
        code: int | None,
        declined: bool,
        events: bool,
        tag: str,
    ) -> FeedQuestion:
        """All that is given must hold of a row. `tag` is what each cursor begins with; `events` asks for
        server-sent events instead of members of a JSON array."""

@final
class FeedPage:
    """Rows of the feed, and how far they were looked for. Immutable."""

    @property
    def body(self) -> bytes:
        """Objects with commas between them, or events; each with its cursor."""
    @property
    def rows(self) -> int:
        """Rows in it."""
    @property
    def looked(self) -> int:
        """Rows looked at."""
    @property
    def seq(self) -> int:
        """The batch of the last row looked at."""
    @property
    def recorded_ns(self) -> int:
        """When the last row looked at was recorded."""
    @property
    def missing(self) -> bytes:
        """Accounts that must be learnt before there can be a page, 16 bytes each."""

@final
class FeedRows:
    """The rows of whole batches, decoded once for all who read them. Immutable."""

    def __new__(cls, copy: bytes, shard: int) -> FeedRows:
        """Read a COPY stream in order of time. Raises `Corrupt`."""
    def __len__(self) -> int: ...
    def page(self, question: FeedQuestion, sides: Sides, after_ns: int, rows_max: int, bytes_max: int) -> FeedPage:
        """The rows after `after_ns` that are asked for, at most `rows_max`, and none after `bytes_max` bytes."""
