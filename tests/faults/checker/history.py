"""The clients' log, read: every attempt with the commands that its bytes ask for.

Guarded here: the commands are made of the very bytes that were sent, by readers that are not the server's.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.checker.words import ALL, RECORD, TRANSFER_FLAGS, flags_of, little, number
from tests.model.nouns import Command

VERBS = {"post": "post_pending", "void": "void_pending", "reverse": "reverse"}
NEVER_NS = 2**63


def ledger_key(ledger: int) -> int:
    """Ledgers have numbers; here they get ids that nothing else has."""
    return 1 << 127 | ledger


@dataclass(slots=True, eq=False)
class Attempt:
    """One request that was sent once."""

    line: int
    tenant: int
    method: str
    path: str
    began_ns: int
    ended_ns: int
    """`NEVER_NS` if no answer came."""
    status: int
    replayed: bool
    reply: Any
    """What JSON says, the bytes of result records, or None."""
    text: str = ""
    """The reply's JSON as it came."""
    commands: tuple[Command, ...] = ()
    floor: int = field(default=0, init=False)
    """The latest position that anybody had seen before this was sent."""

    @property
    def answered(self) -> bool:
        """Whether an answer came."""
        return self.ended_ns != NEVER_NS

    @property
    def name(self) -> str:
        """Where to find it."""
        return f"line {self.line} ({self.method} {self.path}, tenant {self.tenant})"


def read(path: Path, tenants: dict[str, int]) -> list[Attempt]:
    """Every attempt of a log, in the order of its lines."""
    with path.open(encoding="utf-8") as lines:
        return [attempt(place, json.loads(line), tenants) for place, line in enumerate(lines, 1)]


def attempt(line: int, said: dict[str, Any], tenants: dict[str, int]) -> Attempt:
    """One line."""
    tenant, text = tenants[said["tenant"]], said.get("reply", "")
    reply: Any = base64.b64decode(said["binary_reply"]) if "binary_reply" in said else None
    if text:
        reply = json.loads(text)
    commands: tuple[Command, ...] = ()
    if said["method"] == "POST":
        if "binary" in said:
            commands = records(base64.b64decode(said["binary"]), tenant)
        else:
            commands = asked(said["path"], json.loads(said["body"]), tenant)
    ended_ns = NEVER_NS if said["ended_ns"] is None else said["ended_ns"]
    return Attempt(
        line, tenant, said["method"], said["path"], said["began_ns"], ended_ns, said.get("status", 0),
        said.get("replayed", False), reply, text, commands,
    )  # fmt: skip


def asked(path: str, body: dict[str, Any], tenant: int) -> tuple[Command, ...]:
    """The commands of a JSON request."""
    parts = path.removeprefix("/v1/").split("/")
    if parts == ["ledgers"]:
        key, asset = ledger_key(body["id"]), body["asset"]
        return (Command("ledger", key, tenant, ledger=body["id"], code=body["exponent"], reference=asset),)
    if parts == ["accounts"]:
        return (account(body, tenant),)
    if parts == ["accounts", "batch"]:
        return tuple(account(each, tenant) for each in body["accounts"])
    if parts == ["transfers"]:
        return (transfer(body, tenant),)
    if parts == ["transfers", "batch"]:
        return tuple(transfer(each, tenant) for each in body["transfers"])
    _, target, verb = parts
    return (
        Command(
            "transfer",
            number(body["id"]),
            tenant,
            amount=amount(body),
            target=number(target),
            flags=frozenset({VERBS[verb]}),
            reference=body.get("reference", ""),
        ),
    )


def amount(body: dict[str, Any]) -> int | None:
    """None where all is asked for."""
    return int(body["amount"]) if "amount" in body else None


def account(body: dict[str, Any], tenant: int) -> Command:
    """An account to open."""
    return Command(
        "account",
        number(body["id"]),
        tenant,
        amount=int(body.get("allowance", "0")),
        ledger=body["ledger"],
        code=body["code"],
        flags=frozenset(body.get("flags", ())),
        reference=body.get("reference", ""),
    )


def transfer(body: dict[str, Any], tenant: int) -> Command:
    """A transfer, a hold, or what acts on one."""
    flags = frozenset(body.get("flags", ())) | ({"reverse"} if "reverses" in body else frozenset())
    target = body.get("pending_id", body.get("reverses"))
    return Command(
        "transfer",
        number(body["id"]),
        tenant,
        number(body["debit_account_id"]) if "debit_account_id" in body else 0,
        number(body["credit_account_id"]) if "credit_account_id" in body else 0,
        amount(body),
        number(target) if target else 0,
        body.get("ledger", 0),
        body.get("code", 0),
        flags,
        body.get("timeout_s", 0),
        0,
        body.get("reference", ""),
    )


def records(data: bytes, tenant: int) -> tuple[Command, ...]:
    """The commands of a binary request."""
    found = []
    for each, debit, credit, moved, target, effective_ns, timeout_s, ledger, code, bits in RECORD.iter_unpack(data):
        asks_for = little(moved)
        flags = flags_of(bits, TRANSFER_FLAGS)
        found.append(
            Command(
                "transfer", little(each), tenant, little(debit), little(credit),
                None if asks_for == ALL else asks_for, little(target), ledger, code, flags, timeout_s, effective_ns,
            )
        )  # fmt: skip
    return tuple(found)
