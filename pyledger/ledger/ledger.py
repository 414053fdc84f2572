"""The ledger as a whole. Under construction; signatures are final."""

from collections.abc import Callable
import time

from pyledger.ledger.nouns import Database, Exit, State, Stats
from pyledger.ledger.reads import Reads
from pyledger.ledger.writer import Writer
from pyledger.settings import Settings


class Ledger:
    """One shard, opened: takeover, recovery, writer, checkpoints, partitions and reads."""

    writer: Writer
    reads: Reads
    stats: Stats

    @classmethod
    async def open(
        cls, settings: Settings, database: Database, *, time_ns: Callable[[], int] = time.time_ns
    ) -> "Ledger":
        """Migrate (if `owner_url` is given), check the database and begin to take over; returns before
        the shard is owned. Raises `StartupRefused`. `state` tells how far it is."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """STARTING, STANDBY, RECOVERING, then SERVING."""
        return self.stats.state

    async def serving(self) -> None:
        """Wait until it serves. Raises `LedgerError` if it ended instead."""
        raise NotImplementedError

    async def ended(self) -> Exit:
        """Wait until it has ended by itself (fenced or halted) or by `close`; `stats.reason` says why."""
        raise NotImplementedError

    async def close(self) -> None:
        """Refuse what is new, answer what was taken, checkpoint, release the head. Never raises."""
        raise NotImplementedError
