"""The binary form of a batch: 128 bytes a transfer, 160 bytes a result, little-endian.

Guarded here: what the record cannot hold (`reference`, `metadata`) is refused, never dropped. The layout is
that of the README's section on the binary form.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from uuid import UUID

from pyledger.client.nouns import (
    AMOUNT_ALL,
    BatchItem,
    BatchReply,
    Counters,
    NewTransfer,
    TransferFlags,
    checked_amount,
    rfc3339,
)
from pyledger.client.refusals import REFUSALS

CONTENT_TYPE = "application/vnd.pyledger.transfers"
TRANSFER = struct.Struct("<16s16s16s16s16sQIIHH28x")
RESULT = struct.Struct("<QHHI16s64s64s")


def _id(value: UUID | None) -> bytes:
    return (value.int if value is not None else 0).to_bytes(16, "little")


def encode(transfers: Sequence[NewTransfer]) -> bytes:
    """The request body of these transfers."""
    out = bytearray()
    for each in transfers:
        if each.reference is not None or each.metadata is not None:
            raise ValueError("the binary form has no room for a reference or metadata: send this batch as JSON")
        flags = each.flags | (TransferFlags.REVERSE if each.reverses is not None else 0)
        amount = AMOUNT_ALL if each.amount is None else checked_amount(each.amount)
        out += TRANSFER.pack(
            _id(each.id),
            _id(each.debit_account_id),
            _id(each.credit_account_id),
            amount.to_bytes(16, "little"),
            _id(each.reverses or each.pending_id),
            each.effective_ns or 0,
            each.timeout_s,
            each.ledger,
            each.code,
            int(flags),
        )
    return bytes(out)


def _after(counters: bytes) -> Counters:
    return Counters(*(int.from_bytes(counters[start : start + 16], "little") for start in (0, 16, 32, 48)))


def decode(transfers: Sequence[NewTransfer], body: bytes) -> BatchReply:
    """The reply to these transfers."""
    if len(body) != len(transfers) * RESULT.size:
        raise ValueError(f"{len(body)} bytes are not {len(transfers)} results of {RESULT.size} bytes")
    results, counts = [], {"accepted": 0, "declined": 0, "refused": 0}
    for each, (recorded_ns, refusal, _bits, _zero, amount, debit, credit) in zip(
        transfers, RESULT.iter_unpack(body), strict=True
    ):
        status = "accepted" if refusal == 0 else "declined" if recorded_ns else "refused"
        counts[status] += 1
        taken = status == "accepted"
        code = REFUSALS.get(refusal, f"refusal_{refusal}") if refusal else None
        results.append(
            BatchItem(
                each.id,
                status,
                rfc3339(recorded_ns) if recorded_ns else None,
                code,
                None,
                int.from_bytes(amount, "little") if taken else None,
                debit_after=_after(debit) if taken else None,
                credit_after=_after(credit) if taken else None,
            )
        )
    return BatchReply(results, **counts)
