"""A journal row out of its COPY tuple, by itself: nothing but the tuple's bytes is looked at. Pure.

The invariant: of each row there is one tuple, so what is read is what was hashed; bytes that are left over, or that
say one thing in two ways, are refused. The columns are those of rust_ext/core/src/journal.rs.
"""

import struct
import uuid
from typing import Annotated, Final

from msgspec import Meta, Struct

from pyledger._rust import LIMITS, REFUSALS

COLUMNS: Final = 21
KINDS: Final = ("", "ledger", "account", "transfer", "pending", "post", "void", "reverse", "expire")
"""By the number in the journal."""
_TRANSFER: Final = KINDS.index("transfer")
"""It, and what comes after it, touches two accounts."""
_REFUSALS: Final = {number: code for number, code, kind, _ in REFUSALS if kind == "declined"}
"""What is final; no other refusal is ever stored."""
_AMOUNT_MAX: Final = 2**128 - 1


class BadRow(ValueError):
    """Bytes that are no row."""


class Counters(Struct, frozen=True, forbid_unknown_fields=True):
    """What an account held after the row, in minor units."""

    debits_pending: str
    debits_posted: str
    credits_pending: str
    credits_posted: str


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One decided command as the journal has it: the outcome is `accepted`, or the code of its refusal."""

    id: str
    kind: str
    outcome: str
    recorded_ns: Annotated[str, Meta(description="Nanoseconds since 1970.")]
    ledger: int
    debit_account_id: str | None
    credit_account_id: str | None
    amount: str
    target_id: Annotated[str | None, Meta(description="What was posted, voided, reversed or has expired.")]
    code: int
    flags: Annotated[int, Meta(description="By bit, as in the binary form of a batch.")]
    timeout_s: int
    effective_ns: str | None
    tenant: int
    fingerprint: Annotated[str, Meta(description="Of the request: 16 bytes in hexadecimal.")]
    reference: str | None
    metadata: Annotated[str | None, Meta(description="Canonical JSON, as text.")]
    debit_account_after: Counters | None
    credit_account_after: Counters | None


def read_row(leaf: bytes) -> tuple[int, int, Row]:
    """Shard, batch and content of a row. Raises `BadRow`."""
    fields = _fields(leaf)
    shard, seq, recorded_ns = _int(fields[0], 2), _int(fields[1], 8), _int(fields[2], 8)
    tenant, kind, status = _int(fields[4], 4), _int(fields[5], 2), _int(fields[6], 2)
    if not 1 <= kind < len(KINDS) or (status and status not in _REFUSALS):
        raise BadRow(f"there is no row of kind {kind} and status {status}")
    touches = kind >= _TRANSFER and not status
    if not seq or not recorded_ns or not tenant or (fields[19] is not None, fields[20] is not None) != (touches,) * 2:
        raise BadRow("a number is zero that never is, or balances are there and should not be, or the reverse")
    return shard, seq, Row(
        id=_id(fields[3]),
        kind=KINDS[kind],
        outcome=_REFUSALS[status] if status else "accepted",
        recorded_ns=str(recorded_ns),
        ledger=_int(fields[11], 4),
        debit_account_id=_id_or_none(fields[7]),
        credit_account_id=_id_or_none(fields[8]),
        amount=str(_numeric(fields[9])),
        target_id=_id_or_none(fields[10]),
        code=_int_of_16_bits(fields[12]),
        flags=_int_of_16_bits(fields[13]),
        timeout_s=_int(fields[14], 4),
        effective_ns=None if fields[15] is None else str(_int(fields[15], 8, least=1)),
        tenant=tenant,
        fingerprint=_fingerprint(fields[16]),
        reference=_text(fields[17], LIMITS["reference_bytes_max"]),
        metadata=_text(fields[18], LIMITS["metadata_bytes_max"]),
        debit_account_after=_counters(fields[19]),
        credit_account_after=_counters(fields[20]),
    )  # fmt: skip


def _fields(leaf: bytes) -> list[bytes | None]:
    """The columns of a tuple: a count, then length and bytes of each; length -1 is NULL."""
    found: list[bytes | None] = []
    try:
        (count,) = struct.unpack_from(">h", leaf)
        at = 2
        for _ in range(COLUMNS):
            (length,) = struct.unpack_from(">i", leaf, at)
            at += 4
            if length < -1:
                raise BadRow("a length is negative")
            found.append(None if length == -1 else leaf[at : at + length])
            at += max(0, length)
    except struct.error as error:
        raise BadRow("it ends too early") from error
    if count != COLUMNS or at != len(leaf):
        raise BadRow(f"it is not {COLUMNS} columns and no more")
    return found


def _there(field: bytes | None) -> bytes:
    if field is None:
        raise BadRow("a column is missing")
    return field


def _int(field: bytes | None, length: int, least: int = 0) -> int:
    if len(_there(field)) != length:
        raise BadRow("a number has another length")
    number = int.from_bytes(_there(field), "big", signed=True)
    if number < least:
        raise BadRow("a number is too small for its column")
    return number


def _int_of_16_bits(field: bytes | None) -> int:
    number = _int(field, 4)
    if number >> 16:
        raise BadRow("a number is too large for its column")
    return number


def _id(field: bytes | None) -> str:
    """Never zero: NULL stands for that, where it may be."""
    if len(_there(field)) != 16 or not any(_there(field)):
        raise BadRow("an id has another length, or is zero")
    return str(uuid.UUID(bytes=_there(field)))


def _fingerprint(field: bytes | None) -> str:
    if len(_there(field)) != 16:
        raise BadRow("a fingerprint has another length")
    return _there(field).hex()


def _id_or_none(field: bytes | None) -> str | None:
    return None if field is None else _id(field)


def _text(field: bytes | None, bytes_max: int) -> str | None:
    if field is not None and not 1 <= len(field) <= bytes_max:
        raise BadRow(f"a text has {len(field)} bytes instead of 1 to {bytes_max}")
    try:
        return None if field is None else field.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRow("a text is not UTF-8") from error


def _numeric(field: bytes | None) -> int:
    """A whole number in PostgreSQL's base of 10,000: how many digits, the power of the first, sign, scale, digits."""
    raw = _there(field)
    if len(raw) < 8 or len(raw) % 2:
        raise BadRow("an amount has another length")
    count, weight, sign, scale, *digits = struct.unpack(f">{len(raw) // 2}h", raw)
    if count != len(digits) or sign or scale or (not count <= weight + 1 <= 10 if count else weight):
        raise BadRow("an amount is no whole number")
    if digits and (not digits[0] or not digits[-1] or not all(0 <= digit < 10_000 for digit in digits)):
        raise BadRow("an amount is not in its shortest form")
    number = 0
    for digit in digits:
        number = number * 10_000 + int(digit)
    number *= 10_000 ** (weight + 1 - count) if count else 1
    if number > _AMOUNT_MAX:
        raise BadRow("an amount has more than 128 bits")
    return number


def _counters(field: bytes | None) -> Counters | None:
    """Four numbers, each a byte of length and that many bytes, none of them leading zeros."""
    if field is None:
        return None
    numbers, at = [], 0
    for _ in range(4):
        length = field[at] if at < len(field) else 0
        digits = field[at + 1 : at + 1 + length]
        if length > 16 or digits.startswith(b"\0"):
            raise BadRow("a balance is not in its shortest form")
        numbers.append(str(int.from_bytes(digits, "big")))
        at += 1 + length
    if at != len(field):
        raise BadRow("balances are not four numbers and no more")
    return Counters(*numbers)
