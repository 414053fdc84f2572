"""What `pyledger._rust` has for reading requests, as a stub of its own: the other one is long enough. There is no such
module.

Units and errors are those of `_rust.pyi`.
"""

from typing import Literal, final

class Malformed(ValueError):
    """A request's bytes are wrong, so none of it was looked at further. `str()` is the detail."""

    code: str
    """One of the codes of `MALFORMED`."""
    detail: str
    """One sentence for a person, naming the field."""
    index: int | None
    """Which command of the batch, from 0; None for the body as a whole."""

@final
class Commands:
    """One request, decoded: its commands, and the form that its reply takes. Immutable."""

    @property
    def rows(self) -> int:
        """Commands in it, 1 to 8,190."""
    @property
    def weight(self) -> int:
        """Journal rows that it appends at most: one a command, `group_holds_max` for a group's resolution."""
    @property
    def ids(self) -> list[str]:
        """The commands' ids in order, derived ones included."""
    @property
    def has_texts(self) -> bool:
        """Whether any of them has a reference or metadata."""
    def records(self) -> bytes:
        """Transfers as the records of 128 bytes that `decode_transfers_binary` reads, without their texts."""

def decode_ledger(body: bytes, tenant: int) -> Commands:
    """Read `{"id": 1..2147483647, "asset": "EUR", "exponent": 2, "metadata"?: {}}`. Raises `Malformed`.

    The command's id is derived from tenant and number, so the request is idempotent by itself.
    """

def decode_account(body: bytes, tenant: int, key: str | None) -> Commands:
    """Read one account; `key` is the Idempotency-Key header. Raises `Malformed`.

    Fields: id, ledger, code, flags, allowance, reference, metadata, effective_at. Either `id` or `key`.
    """

def decode_accounts(body: bytes, tenant: int) -> Commands:
    """Read `{"accounts": [account, ...]}`, 1 to 8,190, each with its id. Raises `Malformed`."""

def decode_transfer(body: bytes, tenant: int, key: str | None) -> Commands:
    """Read one transfer; `key` is the Idempotency-Key header. Raises `Malformed`.

    Fields: id, debit_account_id, credit_account_id, amount, ledger, code, flags, timeout_s, pending_id,
    reverses, reference, metadata, effective_at. Either `id` or `key`. `null` is the same as leaving out.
    """

def decode_transfers(body: bytes, tenant: int) -> Commands:
    """Read `{"transfers": [transfer, ...]}`, 1 to 8,190, each with its id. Raises `Malformed`."""

def decode_transfers_binary(body: bytes, tenant: int) -> Commands:
    """Read 1 to 8,190 little-endian records of 128 bytes; the reply is records of 160. Raises `Malformed`."""

def decode_resolution(
    body: bytes, tenant: int, action: Literal["post", "void", "reverse"], target: str, key: str | None
) -> Commands:
    """Read the body of `/transfers/{target}/post`, `/void` or `/reverse`; empty is `{}`. Raises `Malformed`.

    Fields: id, amount, group (post and void), reference, metadata, effective_at. Either `id` or `key`.
    """

def json_depth(body: bytes) -> int:
    """Levels of objects and arrays within each other; of bytes that are not JSON some number."""

@final
class RowReader:
    """Reads the rows of one file from some place on, request by request."""

    def __new__(
        cls,
        *,
        accounts: bool,
        columns: list[str] | None,
        imported: bool,
        ids_from: str,
        rows_counted: bool,
        rows_max: int,
        number: int,
        torn: bool,
    ) -> RowReader:
        """Of transfers or accounts; of cells by their `columns`, or without those of a JSON object a line.

        A request has `rows_max` rows at most. `number` is that of the first line, or row if `rows_counted`; `torn` says
        that it goes on with a chain that no request can hold. Raises `ValueError` for a column that there is not."""

    def read(self, text: bytes, start: int, *, more: bool, end: bool) -> ReadRows:
        """The next request, from the byte `start` on; of no bytes if there is not enough to say anything.

        `end` says that the file ends with this, `more` that it does not and that more can be had at once. Raises
        `ValueError` for a line that is too long to be one."""

@final
class ReadRows:
    """The rows of some lines of a file, as they are sent. Immutable."""

    @property
    def body(self) -> bytes:
        """The body of a request of all rows that are to be sent; nothing without rows."""
    @property
    def binary(self) -> bool:
        """Whether that is records of 128 bytes; else it is JSON."""
    @property
    def rows(self) -> int:
        """Rows in it."""
    def row(self, place: int) -> tuple[int, str]:
        """The line of one of them, and its id. Raises `IndexError`."""
    @property
    def wrong(self) -> list[tuple[int, str, str, str]]:
        """Rows that are not sent: line, id or nothing, code, one sentence."""
    @property
    def skipped(self) -> int:
        """Rows that were left out because they were declined."""
    @property
    def covers(self) -> int:
        """Rows that were read, whatever becomes of them."""
    @property
    def bytes(self) -> int:
        """Bytes that were read."""
    @property
    def next_number(self) -> int:
        """The number of the line after those."""
    @property
    def torn(self) -> bool:
        """Whether that one goes on with a chain that no request can hold."""
