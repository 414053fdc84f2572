"""The words of the wire, written down once more from the documentation: refusals, flags, kinds, records.

Guarded here: nothing is imported from the server. A test compares these tables with the server's own.
"""

from __future__ import annotations

import datetime
import struct
from typing import Final
from uuid import UUID

DECLINES: Final = {
    3: "linked_event_failed", 33: "accounts_must_share_the_ledger", 34: "transfer_must_share_the_ledger",
    35: "pending_transfer_not_pending", 36: "transfer_not_reversible", 37: "target_has_different_debit_account",
    38: "target_has_different_credit_account", 39: "target_has_different_ledger", 40: "target_has_different_code",
    41: "exceeds_pending_amount", 42: "pending_transfer_has_different_amount", 43: "pending_transfer_already_posted",
    44: "pending_transfer_already_voided", 45: "pending_transfer_expired", 46: "group_too_large",
    47: "exceeds_reversible_amount", 48: "imported_must_not_regress", 49: "imported_must_postdate_debit_account",
    50: "imported_must_postdate_credit_account", 51: "debit_account_closed", 52: "credit_account_closed",
    53: "overflows_debits_pending", 54: "overflows_credits_pending", 55: "overflows_debits_posted",
    56: "overflows_credits_posted", 57: "overflows_debits", 58: "overflows_credits", 59: "exceeds_credits",
    60: "exceeds_debits", 64: "too_many_reversals",
}  # fmt: skip
"""Business decisions: what the journal keeps in `status`."""
PASSING: Final = {
    2: "linked_chain_refused", 8: "idempotency_conflict", 28: "ledger_not_found", 29: "debit_account_not_found",
    30: "credit_account_not_found", 31: "pending_transfer_not_found", 32: "reversed_transfer_not_found",
}  # fmt: skip
"""Refusals that leave no trace, of those that sensible requests can meet."""
REFUSALS: Final = DECLINES | PASSING
NOT_FOUND: Final = frozenset(code for code in PASSING.values() if code.endswith("_not_found"))

NOTHING_RECORDED: Final = frozenset({"unavailable", "queue_full", "stopping"})
"""Codes of a 503 that says so."""

KINDS: Final = {
    1: "ledger", 2: "account", 3: "transfer", 4: "pending", 5: "post", 6: "void", 7: "reverse", 8: "expire",
}  # fmt: skip
TRANSFER_FLAGS: Final = {
    1: "linked", 2: "pending", 4: "post_pending", 8: "void_pending", 16: "balancing_debit", 32: "balancing_credit",
    64: "closing_debit", 128: "closing_credit", 256: "imported", 512: "reverse", 1024: "group",
}  # fmt: skip
ACCOUNT_FLAGS: Final = {
    1: "linked", 2: "debits_must_not_exceed_credits", 4: "credits_must_not_exceed_debits", 16: "imported", 32: "closed",
}  # fmt: skip
RECORD: Final = struct.Struct("<16s16s16s16s16sQIIHH28x")
RESULT: Final = struct.Struct("<QHHI16s64s64s")
ALL: Final = 2**128 - 1


def flags_of(bits: int, names: dict[int, str]) -> frozenset[str]:
    """The names of the bits that are set."""
    return frozenset(name for bit, name in names.items() if bits & bit)


def number(text: str) -> int:
    """The number of a UUID."""
    return UUID(text).int


def little(data: bytes) -> int:
    """An unsigned number, least byte first."""
    return int.from_bytes(data, "little")


def four(data: bytes) -> tuple[int, int, int, int]:
    """The counters of a result record."""
    return little(data[0:16]), little(data[16:32]), little(data[32:48]), little(data[48:64])


def counters(packed: bytes) -> tuple[int, ...]:
    """Four numbers as the journal keeps them: each one byte of length, then that many, greatest first."""
    found, at = [], 0
    for _ in range(4):
        length = packed[at]
        found.append(int.from_bytes(packed[at + 1 : at + 1 + length], "big"))
        at += 1 + length
    if at != len(packed):
        raise ValueError(f"{packed.hex()} is not four counters")
    return tuple(found)


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of RFC 3339 in UTC."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    at = datetime.datetime.fromisoformat(whole + "+00:00")
    return int(at.timestamp()) * 10**9 + int(rest.ljust(9, "0") or 0)
