"""A model's command in the forms that clients send, and a reply in the words of the model.

Guarded here: one command has the same meaning in every form, so that a retry in another form is a retry.
"""

from __future__ import annotations

import datetime
import functools
import json
import struct
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pyledger import _rust
from tests.model.nouns import MAX, Command

FLAGS = {
    name: 1 << bit
    for bit, name in enumerate(
        [
            "linked",
            "pending",
            "post_pending",
            "void_pending",
            "balancing_debit",
            "balancing_credit",
            "closing_debit",
            "closing_credit",
            "imported",
            "reverse",
            "group",
        ]
    )
}
UUIDS_KEPT = 4_096
RESULT = struct.Struct("<QHHI16s64s64s")
CODE_BY_NUMBER = {number: code for number, code, _class, _detail in _rust.REFUSALS}


@functools.lru_cache(UUIDS_KEPT)
def uuid(number: int) -> str:
    """The UUID of a 128-bit number."""
    return str(UUID(int=number))


@functools.cache
def ledger_id(tenant: int, ledger: int) -> int:
    """The id that the core derives for a ledger from its number."""
    body = {"id": ledger, "asset": "EUR", "exponent": 2}
    return UUID(_rust.decode_ledger(json.dumps(body).encode(), tenant).ids[0]).int


def time(at_ns: int) -> str:
    """RFC 3339 with nine digits."""
    whole, rest = divmod(at_ns, 10**9)
    return f"{datetime.datetime.fromtimestamp(whole, datetime.UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def as_json(c: Command) -> dict[str, Any]:
    """The object of a transfer or an account."""
    body: dict[str, Any] = {"id": uuid(c.id), "flags": sorted(c.flags - {"reverse"})}
    body |= {"ledger": c.ledger} if c.ledger else {}
    body |= {"code": c.code} if c.code else {}
    body |= {"reference": c.reference} if c.reference else {}
    body |= {"effective_at": time(c.effective_ns)} if c.effective_ns else {}
    if c.kind == "account":
        return body | ({"allowance": str(c.amount)} if c.amount else {})
    body |= {"amount": str(c.amount)} if c.amount is not None else {}
    body |= {"debit_account_id": uuid(c.debit)} if c.debit else {}
    body |= {"credit_account_id": uuid(c.credit)} if c.credit else {}
    body |= {"timeout_s": c.timeout_s} if c.timeout_s else {}
    if c.target:
        body["reverses" if "reverse" in c.flags else "pending_id"] = uuid(c.target)
    return body


def as_record(c: Command) -> bytes:
    """The 128 bytes of a transfer."""
    numbers = [c.id, c.debit, c.credit, MAX if c.amount is None else c.amount, c.target]
    return b"".join(each.to_bytes(16, "little") for each in numbers) + struct.pack(
        "<QIIHH28x", c.effective_ns, c.timeout_s, c.ledger, c.code, sum(FLAGS[flag] for flag in c.flags)
    )


@dataclass(frozen=True)
class Request:
    """Commands of one tenant, and the form that they are sent in."""

    form: str  # ledger, account, accounts, transfer, resolution, transfers or binary
    commands: tuple[Command, ...]

    def decoded(self) -> _rust.Commands:
        """What the boundary makes of it."""
        first = self.commands[0]
        if self.form == "ledger":
            body = {"id": first.ledger, "asset": first.reference, "exponent": first.code}
            return _rust.decode_ledger(json.dumps(body).encode(), first.tenant)
        if self.form == "account":
            return _rust.decode_account(json.dumps(as_json(first)).encode(), first.tenant, None)
        if self.form == "transfer":
            return _rust.decode_transfer(json.dumps(as_json(first)).encode(), first.tenant, None)
        if self.form == "resolution":
            return self._resolution(first)
        if self.form == "binary":
            return _rust.decode_transfers_binary(b"".join(map(as_record, self.commands)), first.tenant)
        body = {self.form: [as_json(each) for each in self.commands]}
        decode = _rust.decode_accounts if self.form == "accounts" else _rust.decode_transfers
        return decode(json.dumps(body).encode(), first.tenant)

    def _resolution(self, c: Command) -> _rust.Commands:
        action: Literal["post", "void", "reverse"] = (
            "reverse" if "reverse" in c.flags else ("post" if "post_pending" in c.flags else "void")
        )
        body: dict[str, Any] = {"id": uuid(c.id)}
        body |= {"amount": str(c.amount)} if c.amount is not None else {}
        body |= {"group": True} if "group" in c.flags else {}
        body |= {"reference": c.reference} if c.reference else {}
        body |= {"effective_at": time(c.effective_ns)} if c.effective_ns else {}
        return _rust.decode_resolution(json.dumps(body).encode(), c.tenant, action, uuid(c.target), None)


@dataclass(frozen=True)
class Seen:
    """What a client sees of one command's outcome, in any form."""

    refusal: str
    recorded: bool
    recorded_ns: int | None = None
    amount: int | None = None
    debit: tuple[int, ...] | None = None
    credit: tuple[int, ...] | None = None


def read(request: Request, reply: _rust.Reply) -> list[Seen]:
    """A reply, one outcome a command."""
    if request.form == "binary":
        return [_record(each) for each in RESULT.iter_unpack(reply.body)]
    body = json.loads(reply.body)
    if reply.outcome == "batch":
        assert set(body) == {"results", "accepted", "declined", "refused"}
        return [_item(each) for each in body["results"]]
    if reply.outcome == "accepted":
        return [_item(body)]
    assert body["code"] == reply.refusal
    assert body["type"] == f"urn:pyledger:problem:{reply.refusal}"
    return [Seen(body["code"], "recorded_at" in body, nanoseconds(body.get("recorded_at")))]


def _item(body: dict[str, Any]) -> Seen:
    status = body.get("status", "accepted")
    if status != "accepted":
        assert status == ("declined" if "recorded_at" in body else "refused")
        return Seen(body["refusal"], status == "declined", nanoseconds(body.get("recorded_at")))
    at = nanoseconds(body.get("recorded_at", body.get("created_at")))
    if "debit_account" not in body:
        return Seen("", True, at)
    return Seen("", True, at, int(body["amount"]), _after(body["debit_account"]), _after(body["credit_account"]))


def _after(account: dict[str, str]) -> tuple[int, ...]:
    names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
    return tuple(int(account[name]) for name in names)


def _record(fields: tuple[Any, ...]) -> Seen:
    recorded_ns, refusal, _bits, zero, amount, debit, credit = fields
    assert zero == 0
    if refusal:
        return Seen(CODE_BY_NUMBER[refusal], recorded_ns != 0, recorded_ns or None)
    four = [tuple(int.from_bytes(side[at : at + 16], "little") for at in (0, 16, 32, 48)) for side in (debit, credit)]
    return Seen("", True, recorded_ns, int.from_bytes(amount, "little"), four[0], four[1])


def nanoseconds(text: str | None) -> int | None:
    """Nanoseconds since 1970 of RFC 3339 as the ledger writes it."""
    if text is None:
        return None
    whole, _, rest = text.removesuffix("Z").partition(".")
    at = datetime.datetime.fromisoformat(whole + "+00:00")
    return int(at.timestamp()) * 10**9 + int(rest.ljust(9, "0") or 0)
