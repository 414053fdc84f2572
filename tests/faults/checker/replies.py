"""What an answer says of a command, and whether the journal's row says the same.

Guarded here: every field that a client can see is compared, also those that follow from others, such as the
available balance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.faults.checker.history import Attempt
from tests.faults.checker.journal import Entry
from tests.faults.checker.words import REFUSALS, RESULT, four, little, nanoseconds, number
from tests.model.nouns import Account, Key

SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Said:
    """What one command was told."""

    refusal: str
    recorded: bool
    replayed: bool | None
    """Whether it was decided earlier; None where the answer does not tell."""
    shown: dict[str, Any] | None = None
    """The object of JSON."""
    record: tuple[Any, ...] | None = None
    """The fields of a result record: time, amount, both accounts' counters."""


def said(attempt: Attempt) -> list[Said]:
    """What each command of an answered write was told. Raises `ValueError` if the answer is no such thing."""
    if isinstance(attempt.reply, bytes):
        return [_record(each) for each in RESULT.iter_unpack(attempt.reply)]
    if attempt.status == 200:
        return [_item(each) for each in attempt.reply["results"]]
    if attempt.status == 201:
        return [Said("", True, attempt.replayed, attempt.reply)]
    recorded = "recorded_at" in attempt.reply
    return [Said(attempt.reply["code"], recorded, attempt.replayed if recorded else None, attempt.reply)]


def _item(item: dict[str, Any]) -> Said:
    status = item.get("status", "accepted")
    return Said(item.get("refusal", ""), status != "refused", None, item)


def _record(fields: tuple[Any, ...]) -> Said:
    recorded_ns, refusal, bits, zero, amount, debit, credit = fields
    if zero:
        raise ValueError("bytes that must be zero are not")
    code = REFUSALS.get(refusal, f"refusal {refusal}") if refusal else ""
    record = (recorded_ns, little(amount), four(debit), four(credit))
    return Said(code, recorded_ns != 0, bool(bits & 1), record=record)


def differences(entry: Entry, told: Said, accounts: dict[Key, Account]) -> list[str]:
    """What was said differently from what is recorded."""
    if told.refusal != entry.refusal:
        return [f"was told {told.refusal or 'accepted'}, the journal says {entry.refusal or 'accepted'}"]
    if told.record is not None:
        return _of_record(entry, told.record)
    assert told.shown is not None
    return _of_object(entry, told.shown, accounts)


def _of_record(entry: Entry, record: tuple[Any, ...]) -> list[str]:
    moved = (entry.recorded_ns, entry.amount, *entry.after)
    expected = moved if not entry.refusal else (entry.recorded_ns, *record[1:])
    return [] if record == expected else [f"was told {record}, the journal says {expected}"]


def _of_object(entry: Entry, shown: dict[str, Any], accounts: dict[Key, Account]) -> list[str]:
    expected = fields(entry)
    found = []
    for name, value in expected.items():
        seen = _normal(name, shown.get(name))
        if name == "status" and "code" in shown and isinstance(shown["code"], str):
            continue  # a problem: the status there is HTTP's
        if seen != value and (value is not None or name in shown):
            found.append(f"was told {name} {shown.get(name)!r}, the journal says {value!r}")
    for name, account, after in zip(
        ("debit_account", "credit_account"), (entry.debit, entry.credit), entry.after, strict=False
    ):
        if name in shown or not entry.refusal:
            found += [f"{name}: {each}" for each in balances(shown.get(name, {}), account, after, accounts, entry)]
    return found


def _normal(name: str, value: Any) -> Any:
    """As `fields` has it."""
    if value is None:
        return None
    if name in ("recorded_at", "created_at", "expires_at"):
        return nanoseconds(value)
    if name in ("pending_id", "reverses") or (name == "id" and isinstance(value, str)):
        return number(value)
    if name == "flags":
        return frozenset(value)
    return int(value) if name == "amount" else value


def fields(entry: Entry) -> dict[str, Any]:
    """What an object that shows this row must say; None for what it must not have."""
    if entry.kind == "ledger":
        return {"id": entry.ledger, "exponent": entry.code, "created_at": entry.recorded_ns}
    if entry.refusal:
        # A problem says less than an item of a batch: what is not there is not compared.
        return {"id": entry.id, "recorded_at": entry.recorded_ns}
    if entry.kind == "account":
        named = {"id": entry.id, "ledger": entry.ledger, "code": entry.code, "created_at": entry.recorded_ns}
        return {**named, "flags": entry.flags, "reference": entry.reference or None}
    expires = entry.recorded_ns + entry.timeout_s * SECOND_NS if entry.kind == "pending" and entry.timeout_s else None
    return {
        "id": entry.id,
        "kind": entry.kind,
        "status": "accepted",
        "recorded_at": entry.recorded_ns,
        "ledger": entry.ledger,
        "code": entry.code,
        "flags": entry.flags,
        "amount": entry.amount,
        "timeout_s": entry.timeout_s or None,
        "expires_at": expires,
        "reverses": entry.target if entry.kind == "reverse" else None,
        "pending_id": entry.target if entry.target and entry.kind != "reverse" else None,
        "reference": entry.reference or None,
    }


def balances(
    shown: dict[str, Any], account: int, after: tuple[int, ...], accounts: dict[Key, Account], entry: Entry
) -> list[str]:
    """Whether balances are these counters and what follows from them."""
    found = [] if "id" in shown and number(shown["id"]) == account else [f"it is not {account:032x}"]
    expected = derived(after, accounts[entry.tenant, account])
    wrong = {name: shown.get(name) for name, value in expected.items() if shown.get(name) != str(value)}
    return found + [f"was told {name} {value}, it is {expected[name]}" for name, value in wrong.items()]


def derived(state: tuple[int, ...], account: Account) -> dict[str, int]:
    """The seven numbers of an account with these counters, seen from its own side."""
    debits_pending, debits_posted, credits_pending, credits_posted = state
    debits, credits_ = (debits_posted, debits_pending), (credits_posted, credits_pending)
    own, other = (debits, credits_) if "credits_must_not_exceed_debits" in account.command.flags else (credits_, debits)
    return {
        "debits_pending": debits_pending,
        "debits_posted": debits_posted,
        "credits_pending": credits_pending,
        "credits_posted": credits_posted,
        "posted": own[0] - other[0],
        "pending": own[1] - other[1],
        "available": own[0] + (account.command.amount or 0) - sum(other),
    }
