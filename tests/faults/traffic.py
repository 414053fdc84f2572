"""What clients ask: every kind of command in every form, retries, retries with another body, and reads.

Guarded here: all of it comes from one source of chance, so that a seed sends the same commands again (but for
the times in ids); few accounts, so that commands meet; and the same ids of accounts for both tenants.
"""

from __future__ import annotations

import json
import random
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

JSON_TYPE: Final = "application/json"
BINARY_TYPE: Final = "application/vnd.pyledger.transfers"
ACCOUNTS: Final = 12
"""Of each tenant: of three kinds, in turn."""
KINDS: Final = ("", "debits_must_not_exceed_credits", "credits_must_not_exceed_debits")
ALLOWANCE: Final = 500
AMOUNT_MAX: Final = 100
BATCH_MAX: Final = 40
REMEMBERED: Final = 400
"""Holds, transfers and requests that later ones may refer to."""
LEDGERS: Final = (1, 2)
RUN_REQUESTS: Final = 150
"""So many requests in turn look back (retries, reversals, ids without a time, old holds) and do not. A batch with a
single one that does must wait until PostgreSQL was asked; the others can be decided and sent ahead."""
RETRY_SHARE: Final = 0.20
OTHER_BODY_SHARE: Final = 0.10
TWIN_SHARE: Final = 0.06
"""Retries that are sent at the same moment as the first. All three of those that look back, so half of it in all."""
TIMELESS_SHARE: Final = 0.2
CLOCK_AHEAD_MS: Final = 299_500
"""How far the clock of those who do not look back is ahead, just within what a ledger takes: after a start from a
checkpoint any id with an earlier time may have been recorded before, and is looked up."""
WEIGHTS: Final = {
    "transfer": 34, "pending": 14, "post": 9, "void": 5, "reverse": 5, "json_batch": 6, "binary_batch": 5,
    "account": 1, "nobody": 1, "read_account": 12, "read_transfer": 6, "list": 1, "ledger": 1,
}  # fmt: skip
FLAG_BITS: Final = {"linked": 1, "pending": 2, "post_pending": 4, "void_pending": 8, "reverse": 512}
AMOUNT_ALL: Final = 2**128 - 1


@dataclass(slots=True)
class Ask:
    """One request: whose, what, and how many operations are in it."""

    tenant: str
    method: str
    path: str
    kind: str
    body: bytes = b""
    content_type: str = JSON_TYPE
    weight: int = 1
    attempts: int = 0
    ids: list[str] = field(default_factory=list)

    @property
    def writes(self) -> bool:
        """Whether it has an outcome that must be learnt."""
        return self.method == "POST"


def text(number: int) -> str:
    """An id as JSON carries it."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def account_id(place: int) -> int:
    """The id of an account, the same for every tenant. Version 4: it has no time in it."""
    return 0xACC0_0000_0000_4000_8000_0000_0000_0000 | place + 1


class Traffic:
    """Requests without end, by chance, for some tenants."""

    def __init__(self, chance: random.Random, tenants: tuple[str, ...]) -> None:
        self.chance, self.tenants = chance, tenants
        self._makers: dict[str, Callable[[str], Ask]] = {name: getattr(self, f"_{name}") for name in WEIGHTS}
        self._holds: dict[str, deque[int]] = {each: deque(maxlen=REMEMBERED) for each in tenants}
        self._moved: dict[str, deque[int]] = {each: deque(maxlen=REMEMBERED) for each in tenants}
        self._sent: deque[Ask] = deque(maxlen=REMEMBERED)
        self._accounts = dict.fromkeys(tenants, ACCOUNTS)
        self._made = 0

    @property
    def _looks_back(self) -> bool:
        """Whether what is made now may be about what was recorded long ago."""
        return self._made // RUN_REQUESTS % 2 == 0

    def opening(self) -> list[Ask]:
        """What must be there before anything else; to be sent in order."""
        asks = []
        for tenant in self.tenants:
            asks += [self._open_ledger(tenant, ledger) for ledger in LEDGERS]
            bodies = [self._account_body(tenant, place) for place in range(ACCOUNTS)]
            ids = [body["id"] for body in bodies]
            asks.append(_post(tenant, "/v1/accounts/batch", "opening", {"accounts": bodies}, weight=len(ids), ids=ids))
        return asks

    def closing(self) -> list[Ask]:
        """A last look at every account."""
        return [
            Ask(tenant, "GET", f"/v1/accounts/{text(account_id(place))}", "read_account")
            for tenant in self.tenants
            for place in range(self._accounts[tenant])
        ]

    def next(self) -> list[Ask]:
        """What to send next: one request, or one and its twin at the same moment."""
        chance = self.chance
        self._made += 1
        drawn = chance.random()
        if self._sent and self._looks_back and drawn < RETRY_SHARE + OTHER_BODY_SHARE:
            earlier = self._sent[int(chance.random() ** 2 * len(self._sent)) - len(self._sent)]
            if drawn < RETRY_SHARE:
                return [_again(earlier)]
            changed = self._changed(earlier)
            return [changed] if changed else [_again(earlier)]
        tenant = chance.choice(self.tenants)
        weights = WEIGHTS if self._looks_back else WEIGHTS | {"reverse": 0}
        name = chance.choices(tuple(weights), tuple(weights.values()))[0]
        ask = self._makers[name](tenant)
        if ask.writes:
            self._sent.append(ask)
            if self._looks_back and chance.random() < TWIN_SHARE:
                return [ask, _again(ask)]
        return [ask]

    def _changed(self, earlier: Ask) -> Ask | None:
        """The same id, another command."""
        if earlier.kind not in ("transfer", "pending"):
            return None
        body = json.loads(earlier.body)
        body["amount"] = str(int(body["amount"]) + 1)
        return _post(earlier.tenant, earlier.path, "other_body", body, ids=earlier.ids)

    def _id(self) -> int:
        """Mostly a UUIDv7 of now, sometimes one without a time."""
        low = 2 << 62 | self.chance.getrandbits(62)
        if self._looks_back and self.chance.random() < TIMELESS_SHARE:
            return self.chance.getrandbits(48) << 80 | 4 << 76 | self.chance.getrandbits(12) << 64 | low
        now_ms = time.time_ns() // 1_000_000 + (0 if self._looks_back else CLOCK_AHEAD_MS)
        return now_ms << 80 | 7 << 76 | self.chance.getrandbits(12) << 64 | low

    def _open_ledger(self, tenant: str, ledger: int) -> Ask:
        return _post(tenant, "/v1/ledgers", "ledger", {"id": ledger, "asset": "EUR", "exponent": 2})

    def _ledger(self, tenant: str) -> Ask:
        return self._open_ledger(tenant, self.chance.choice(LEDGERS))

    def _account_body(self, tenant: str, place: int) -> dict[str, Any]:
        kind = KINDS[(place + self.tenants.index(tenant)) % len(KINDS)]
        body: dict[str, Any] = {"id": text(account_id(place)), "ledger": 2 if place == ACCOUNTS - 1 else 1, "code": 1}
        body["flags"] = [kind] if kind else []
        return body | ({"allowance": str(ALLOWANCE)} if kind and place % 2 else {})

    def _account(self, tenant: str) -> Ask:
        place = self._accounts[tenant]
        self._accounts[tenant] += 1
        body = self._account_body(tenant, place)
        return _post(tenant, "/v1/accounts", "account", body, ids=[body["id"]])

    def _pair(self, tenant: str) -> tuple[int, int]:
        """Any two; mostly old accounts, as a few that take nearly everything are the hard case."""
        last = self._accounts[tenant] if self.chance.random() < 0.1 else ACCOUNTS
        debit = int(self.chance.random() ** 1.5 * last)
        credit = (debit + 1 + self.chance.randrange(last - 1)) % last
        return account_id(debit), account_id(credit)

    def _fields(self, tenant: str, flags: tuple[str, ...] = ()) -> dict[str, Any]:
        debit, credit = self._pair(tenant)
        number = self._id()
        (self._holds if "pending" in flags else self._moved)[tenant].append(number)
        made: dict[str, Any] = {
            "id": text(number), "debit_account_id": text(debit), "credit_account_id": text(credit),
            "amount": str(self.chance.randint(1, AMOUNT_MAX)), "ledger": 1, "code": self.chance.randint(1, 9),
        }  # fmt: skip
        if flags:
            made["flags"] = list(flags)
        if "pending" in flags and self.chance.random() < 0.6:
            made["timeout_s"] = self.chance.choice((1, 1, 2, 3))
        return made

    def _transfer(self, tenant: str) -> Ask:
        body = self._fields(tenant)
        if self.chance.random() < 0.3:
            body["reference"] = f"order {self.chance.randrange(1_000)}"
        return _post(tenant, "/v1/transfers", "transfer", body, ids=[body["id"]])

    def _pending(self, tenant: str) -> Ask:
        body = self._fields(tenant, ("pending",))
        return _post(tenant, "/v1/transfers", "pending", body, ids=[body["id"]])

    def _nobody(self, tenant: str) -> Ask:
        """Names an account that never exists."""
        body = self._fields(tenant) | {"credit_account_id": text(self._id())}
        return _post(tenant, "/v1/transfers", "nobody", body, ids=[body["id"]])

    def _act(self, tenant: str, verb: str, among: dict[str, deque[int]]) -> Ask:
        """Sometimes on what another tenant has, which must not exist for this one."""
        whose = self.chance.choice(self.tenants) if self.chance.random() < 0.1 else tenant
        target = self._one_of(among[whose])
        body: dict[str, Any] = {"id": text(self._id())}
        if verb != "void" and self.chance.random() < 0.5:
            body["amount"] = str(self.chance.randint(1, AMOUNT_MAX))
        if verb == "post":
            self._moved[tenant].append(int(body["id"].replace("-", ""), 16))
        return _post(tenant, f"/v1/transfers/{text(target)}/{verb}", verb, body, ids=[body["id"]])

    def _one_of(self, known: deque[int]) -> int:
        """Any of them; without looking back the newest, which then is no more."""
        if not known:
            return self._id()
        return known[self.chance.randrange(len(known))] if self._looks_back else known.pop()

    def _post(self, tenant: str) -> Ask:
        return self._act(tenant, "post", self._holds)

    def _void(self, tenant: str) -> Ask:
        return self._act(tenant, "void", self._holds)

    def _reverse(self, tenant: str) -> Ask:
        return self._act(tenant, "reverse", self._moved)

    def _json_batch(self, tenant: str) -> Ask:
        rows = self._rows(tenant)
        ids = [row["id"] for row in rows]
        return _post(tenant, "/v1/transfers/batch", "json_batch", {"transfers": rows}, weight=len(rows), ids=ids)

    def _rows(self, tenant: str) -> list[dict[str, Any]]:
        """Transfers, holds, resolutions, and chains of them; chains end within their request."""
        rows = []
        for _ in range(self.chance.randint(2, BATCH_MAX)):
            linked = ("linked",) if self.chance.random() < 0.15 else ()
            drawn, holds = self.chance.random(), self._holds[tenant]
            if drawn < 0.1 and holds:
                verb = self.chance.choice(("post_pending", "void_pending"))
                target = text(self._one_of(holds))
                rows.append({"id": text(self._id()), "flags": [verb, *linked], "pending_id": target})
            else:
                rows.append(self._fields(tenant, (("pending",) if drawn < 0.3 else ()) + linked))
        rows[-1]["flags"] = [flag for flag in rows[-1].get("flags", ()) if flag != "linked"]
        return rows

    def _binary_batch(self, tenant: str) -> Ask:
        rows = self._rows(tenant)
        body = b"".join(map(record, rows))
        ids = [row["id"] for row in rows]
        return Ask(tenant, "POST", "/v1/transfers/batch", "binary_batch", body, BINARY_TYPE, len(rows), ids=ids)

    def _read_account(self, tenant: str) -> Ask:
        place = int(self.chance.random() ** 1.5 * ACCOUNTS) if self.chance.random() < 0.95 else self._accounts[tenant]
        return Ask(tenant, "GET", f"/v1/accounts/{text(account_id(place))}", "read_account")

    def _read_transfer(self, tenant: str) -> Ask:
        whose = self.chance.choice(self.tenants) if self.chance.random() < 0.1 else tenant
        known = self._moved[whose] or self._holds[whose]
        number = known[-1 - int(self.chance.random() ** 2 * len(known))] if known else self._id()
        return Ask(tenant, "GET", f"/v1/transfers/{text(number)}", "read_transfer")

    def _list(self, tenant: str) -> Ask:
        return Ask(tenant, "GET", "/v1/transfers?limit=20", "list")


def _post(tenant: str, path: str, kind: str, body: dict[str, Any], weight: int = 1, ids: Any = ()) -> Ask:
    return Ask(tenant, "POST", path, kind, json.dumps(body).encode(), weight=weight, ids=list(ids))


def _again(ask: Ask) -> Ask:
    """The same request, to be sent once more."""
    return Ask(ask.tenant, ask.method, ask.path, ask.kind, ask.body, ask.content_type, ask.weight, ids=ask.ids)


def record(row: dict[str, Any]) -> bytes:
    """A transfer in the binary form, see the README."""

    def number(name: str) -> bytes:
        return int(row.get(name, "0").replace("-", ""), 16).to_bytes(16, "little")

    amount = int(row["amount"]) if "amount" in row else AMOUNT_ALL
    flags = sum(FLAG_BITS[flag] for flag in row.get("flags", ()))
    return (
        number("id") + number("debit_account_id") + number("credit_account_id") + amount.to_bytes(16, "little")
        + number("pending_id") + struct.pack("<QIIHH28x", 0, row.get("timeout_s", 0), row.get("ledger", 0),
        row.get("code", 0), flags)
    )  # fmt: skip
