"""The Rust core, as Python sees it: bytes in, bytes out, nothing decided on this side.

Units: amounts are integers of minor units; `*_ns` is nanoseconds since 1970-01-01T00:00:00Z; `*_s` is
seconds; ids are canonical lower-case UUID strings; a `tenant` is 1 to 2147483647, `shard` 0 to 32767.
Malformed bytes of a client raise `Malformed`; malformed bytes of the database raise `Corrupt`. An
argument outside its documented range raises `ValueError`, a call out of order `RuntimeError`.

An `Engine` belongs to one thread. The GIL is released above `gil_rows_min` rows or their bytes.
"""

from typing import Final, Literal, final

from pyledger._rust_feed import FeedPage, FeedQuestion, FeedRows, Sides
from pyledger._rust_requests import (
    Commands,
    Malformed,
    ReadRows,
    RowReader,
    decode_account,
    decode_accounts,
    decode_ledger,
    decode_resolution,
    decode_transfer,
    decode_transfers,
    decode_transfers_binary,
    json_depth,
)
from pyledger._rust_seal import IdFilter, TreeEdge, suspects

__all__ = [
    "GENESIS_HASH", "LIMITS", "MALFORMED", "REFUSALS", "Applied", "Checkpoint", "Commands", "Corrupt", "Engine",
    "FeedPage", "FeedQuestion", "FeedRows", "IdFilter", "Malformed", "ReadRows", "Reply", "RowReader", "Sides",
    "TreeEdge", "archive_table", "decode_account", "decode_accounts", "decode_ledger", "decode_resolution",
    "decode_transfer", "decode_transfers", "decode_transfers_binary", "held_accounts", "json_depth", "prove_row",
    "suspects", "tree_root",
]  # fmt: skip

REFUSALS: Final[list[tuple[int, str, str, str]]]
"""Every refusal of the engine in order of precedence: number in the journal, code, class, detail.

The class is one of "malformed", "unknown", "conflict", "declined", "full", "chain".
"""

MALFORMED: Final[list[tuple[str, str]]]
"""Every code that `Malformed` carries, with its general sentence."""

LIMITS: Final[dict[str, int]]
"""The core's bounds by lower-case name: batch_rows_max, record_bytes, result_bytes, reference_bytes_max,
metadata_bytes_max, metadata_depth_max, group_holds_max, reversals_max, expiries_per_batch_max, id_ahead_ms_max,
ledger_max, timeout_s_max, key_bytes_max, asset_bytes_max, effective_ns_max, gil_rows_min."""

GENESIS_HASH: Final[bytes]
"""The 32 zero bytes that the first batch chains to."""

class Corrupt(ValueError):
    """Bytes read back from the database are not what was written. The message says where.

    An engine that raised it is in no defined state and must be thrown away."""

def prove_row(copy: bytes, recorded_ns: int) -> tuple[int, bytes, tuple[int, bytes, list[bytes]] | None]:
    """A batch's COPY OUT stream, ordered by time: how many rows, and their root. And of the row of `recorded_ns`, if
    it is there: number from 0, COPY tuple (which its leaf is the hash of), audit path. Raises `Corrupt`."""

def archive_table(copy: bytes) -> tuple[bytes, bytes]:
    """A COPY OUT stream of the journal: where each tuple begins in it and the last one ends, 32-bit numbers, least
    significant byte first; and a line of CSV for each row, for people. Raises `Corrupt`."""

def tree_root(leaves: bytes) -> bytes:
    """The root of RFC 6962 over leaves that are hashes already, 32 bytes each, one after the other."""

def held_accounts(engine: Engine, tenant: int, ledger: int, after: str | None, limit: int) -> bytes:
    """What at most `limit` accounts of a ledger hold, in the order of their opening, after `after`, or `ValueError` if
    that is none: 90 bytes each, id (16), code (2), when it was opened (8), and its counters (16 each), most significant
    byte first: debits pending, debits posted, credits pending, credits posted."""

@final
class Reply:
    """The answer to one request, final once the batch it rode in is committed. Immutable."""

    @property
    def body(self) -> bytes:
        """JSON: the row, a batch's `{"results": [...], "accepted": n, "declined": n, "refused": n}`, or a
        problem (RFC 9457, without "status"); or the result records of a binary batch."""
    @property
    def outcome(
        self,
    ) -> Literal["accepted", "malformed", "unknown", "conflict", "declined", "full", "chain", "batch"]:
        """What became of a single command: "accepted" or the class of its refusal; "batch" for a batch."""
    @property
    def replayed(self) -> bool:
        """True if the outcome was decided earlier; of a batch, if that holds for each of its commands."""
    @property
    def refusal(self) -> str | None:
        """The code of a single command's refusal."""

@final
class Applied:
    """One batch as decided: what to append, and what to answer once it is committed. Immutable."""

    @property
    def seq(self) -> int:
        """The batch's sequence number; that of the head before it if it has no rows."""
    @property
    def rows(self) -> int:
        """Journal rows; 0 if there is nothing to append."""
    @property
    def copy(self) -> bytes:
        """A complete binary COPY stream for the table `journal`; empty if there are no rows."""
    @property
    def prev_hash(self) -> bytes:
        """The head's hash before it, 32 bytes."""
    @property
    def hash(self) -> bytes:
        """The head's hash after it, 32 bytes; `prev_hash` if there are no rows."""
    @property
    def root(self) -> bytes:
        """The Merkle root over its rows, 32 bytes."""
    @property
    def first_ns(self) -> int:
        """When its first row was recorded; 0 if there are no rows."""
    @property
    def last_ns(self) -> int:
        """When its last row was recorded; 0 if there are no rows."""
    @property
    def declines(self) -> dict[str, int]:
        """Commands that got no for the first time in this batch, recorded or not, by code; no replays."""
    @property
    def replies(self) -> list[Reply]:
        """One reply a submission, in order. Encoded on first use, best while the batch commits.

        Raises `RuntimeError` when first used after the engine undid the batch.
        """

@final
class Checkpoint:
    """What changed since the last checkpoint, as of one committed batch. Immutable."""

    @property
    def seq(self) -> int:
        """The last batch it includes."""
    @property
    def hash(self) -> bytes:
        """The head's hash at `seq`, 32 bytes."""
    @property
    def last_ns(self) -> int:
        """When the last row it includes was recorded."""
    @property
    def ledgers(self) -> int:
        """Rows in `ledger_copy`."""
    @property
    def accounts(self) -> int:
        """How many accounts are new or changed. `Engine.checkpoint_rows` gives them, and the next two."""
    @property
    def holds(self) -> int:
        """How many holds were opened since."""
    @property
    def holds_removed(self) -> int:
        """How many holds are open no more that an earlier checkpoint may contain."""
    @property
    def ledger_copy(self) -> bytes:
        """A complete binary COPY stream for the table `ledger`: rows new or changed."""

@final
class Engine:
    """Every account, every open hold and a window of recent ids of one shard: the state machine."""

    def __new__(
        cls, shard: int, *, ledgers_max: int, accounts_max: int, holds_max: int, window_ids: int, seed: int
    ) -> Engine:
        """An empty engine at the genesis head. `seed` only hardens hash tables; no output depends on it."""
    @property
    def shard(self) -> int:
        """The shard it was made for."""
    @property
    def seq(self) -> int:
        """The committed head's sequence number; 0 before the first batch."""
    @property
    def hash(self) -> bytes:
        """The committed head's hash, 32 bytes."""
    @property
    def last_ns(self) -> int:
        """When the last committed row was recorded; 0 before the first."""
    @property
    def next_expiry_ns(self) -> int | None:
        """When the next open hold expires; an `apply` at or after it records that."""
    @property
    def ledgers(self) -> int:
        """Ledgers, those of uncommitted batches included."""
    @property
    def accounts(self) -> int:
        """Accounts, those of uncommitted batches included."""
    @property
    def holds(self) -> int:
        """Open holds, those of uncommitted batches included."""
    @property
    def uncommitted(self) -> int:
        """Batches applied and neither committed nor undone, those without rows included."""
    def probe(
        self, submissions: list[Commands]
    ) -> tuple[list[int], list[str], list[int], list[str], list[int], list[str], int] | None:
        """What `apply` needs of the journal: (tenants, ids, tenants, targets, tenants, ids, ns), pairs by position.

        Of the first pair the rows with that id are wanted, of the second those whose id or target it is, of the
        third the rows with that id that were recorded at `ns` or later: there are no others. None if nothing is.
        """
    def apply(self, submissions: list[Commands], now_ns: int, old: list[bytes]) -> Applied:
        """Decide a batch at the time `now_ns`, after recording the holds that are due.

        `old` is `record_send(journal row)` of each row that `probe` asked for, in any order; for what is archived
        `record_send` of shard, tenant and id. Each apply is
        followed by one `commit` or by `undo`, also when it has no rows. Raises `Corrupt` on bad `old`.
        """
    def commit(self) -> None:
        """The oldest uncommitted batch is durable. Raises `RuntimeError` if there is none."""
    def undo(self) -> None:
        """Forget every uncommitted batch; the state is to the byte what it was before them."""
    def set_head(self, seq: int, head_hash: bytes, last_ns: int) -> None:
        """The head that a checkpoint was taken at; after `load`, before `replay`, on a new engine only."""
    def load(self, what: Literal["ledger", "account", "hold"], copy: bytes, rows: int = 0) -> int:
        """Load one COPY OUT stream of a checkpoint table and return its rows. Raises `Corrupt`.

        Ledgers first, in any order; then accounts, ordered by slot; then holds ordered by recorded_ns. A
        table may come in several streams; `rows` says how many rows it has in all, to make room at once.
        """
    def expect(self, batches: list[tuple[int, int, int, int, bytes, bytes]]) -> None:
        """The next batches after the head, whose rows `replay` will bring: (seq, rows, first_ns, last_ns,
        root, hash) in order of seq. Raises `Corrupt` if rows of those expected before are missing.
        """
    @property
    def waiting(self) -> int:
        """Rows that were read and wait for others of their batch or of batches before it."""
    def replay(self, copy: bytes, batches: list[tuple[int, int, int, int, bytes, bytes]] | None = None) -> int:
        """Read a COPY OUT stream of any rows of the expected batches, in any order, and apply each batch that
        is whole and next; returns the rows applied. Raises `Corrupt`.

        With `batches`, these are expected first, and `copy` must complete them. Checks every link of the
        chain, every root and every balance; a `Corrupt` names the batch, and the row where it is one.
        """
    def checkpoint(self) -> Checkpoint:
        """What changed since the last one. Raises `RuntimeError` while a batch is uncommitted."""
    def checkpoint_rows(self, table: str, rows_max: int) -> tuple[bytes, int] | None:
        """The next rows of the last checkpoint, as they were when it was taken: a complete binary COPY stream for the
        table `account` or `hold`, or, for `hold_removed`, of tenants and ids; and its number of rows. None once all
        are given. Raises `ValueError` for another table, `RuntimeError` as above."""
    def checkpoint_done(self, checkpoint: Checkpoint) -> None:
        """It is durable. The next one only contains what changed after it."""
    def checkpoint_failed(self, checkpoint: Checkpoint) -> None:
        """It was not stored: the next one contains its changes again. `RuntimeError` as above."""
    def account_json(self, tenant: int, id: str, reference: str | None, metadata: str | None) -> bytes | None:
        """An account with its balances now, with the texts of its journal row; None if there is none."""
    def ledger_json(self, tenant: int, number: int, metadata: str | None) -> bytes | None:
        """A ledger, with the metadata of its journal row; None if there is none."""
    def account_ids(self, tenant: int, ledger: int | None, after: str | None, limit: int) -> list[str]:
        """Ids of at most `limit` accounts in order of creation, after `after`, or `ValueError` if that is none."""
    def ledger_numbers(self, tenant: int, after: int | None, limit: int) -> list[int]:
        """Numbers of at most `limit` ledgers in order of number, after `after`."""
    def row_json(self, record: bytes) -> bytes:
        """A journal row, given as `record_send(row)`, as JSON: what its reply contained. Raises `Corrupt`."""
    def balances(self, slot: int, limit: int) -> list[tuple[int, str, int, int, int, int]]:
        """At most `limit` accounts from `slot` on, in order of creation: tenant, id, debits pending, debits
        posted, credits pending, credits posted."""
    def digest(self) -> bytes:
        """SHA-256 over the whole state in sorted order, 32 bytes."""
