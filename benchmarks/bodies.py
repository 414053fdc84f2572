"""Requests, built before the clock starts: ids, transfers in each form, accounts, and the HTTP around them.

Guarded here: a plan and its seed always give the same traffic, except for the time inside the ids; ids grow
in the order in which they are sent, as a client's UUIDv7 do, at about the pace at which they are built.
"""

from __future__ import annotations

import struct
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Final

from benchmarks.nouns import IDS_PER_MS, Plan

BINARY_TYPE: Final = "application/vnd.pyledger.transfers"
JSON_TYPE: Final = "application/json"
ACCOUNTS_PER_REQUEST: Final = 8_190

LINKED: Final = 1 << 0
PENDING: Final = 1 << 1

_ACCOUNT_STEP: Final = 0x9E37_79B9
"""Between an account's id and the next one's; odd, so that low bits vary as a client's would."""

_TAIL = struct.Struct("<16xQIIHH28x")
"""A record after its amount: no target, effective time, timeout, ledger, code, flags, reserved."""


def uuid_text(number: int) -> str:
    """An id as JSON carries it."""
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def first_account(ledger: int) -> int:
    """The id of a new case's first account; the others follow by `account_id`."""
    low = Random(ledger).getrandbits(40)  # noqa: S311 - an id of a benchmark
    return int(time.time() * 1_000) << 80 | 7 << 76 | (ledger & 0xFFF) << 64 | 2 << 62 | low


def account_id(first: int, index: int) -> int:
    """The id of a case's account by its index."""
    return first + index * _ACCOUNT_STEP


class Ids:
    """UUIDv7 ids in increasing order, from now on, `IDS_PER_MS` to a millisecond."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._start_ms = int(time.time() * 1_000)
        self._made = 0

    def next(self) -> int:
        """One more id."""
        ahead_ms, step = divmod(self._made, IDS_PER_MS)
        self._made += 1
        high = (self._start_ms + ahead_ms) << 16 | 7 << 12 | step * (4_096 // IDS_PER_MS)
        return high << 64 | 2 << 62 | self._random.getrandbits(62)


@dataclass(slots=True)
class Traffic:
    """What a worker sends, in order. The lists run in parallel, one entry a request."""

    requests: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    """The ids in each request, big-endian, 16 bytes each."""
    transfers: array[int] = field(default_factory=lambda: array("l"))
    """Transfers in each request; 0 for one that opens accounts."""
    due_s: array[float] = field(default_factory=lambda: array("d"))
    """When each is to be sent, from the start of the run; empty in a closed loop."""
    group: int = 1
    """Requests that go over one connection one after the other."""

    def add(self, request: bytes, ids: bytes, transfers: int, due_s: float | None = None) -> None:
        """One more request."""
        self.requests.append(request)
        self.ids.append(ids)
        self.transfers.append(transfers)
        if due_s is not None:
            self.due_s.append(due_s)


class Envelope:
    """The HTTP/1.1 around a body: one server, one key."""

    def __init__(self, host: str, key: str) -> None:
        access = f"authorization: Bearer {key}\r\n" if key else ""
        self._fixed = f" HTTP/1.1\r\nhost: {host}\r\n{access}"

    def get(self, path: str) -> bytes:
        """A request without a body."""
        return f"GET {path}{self._fixed}\r\n".encode()

    def post(self, path: str, body: bytes, content_type: str = JSON_TYPE) -> bytes:
        """A request with a body."""
        head = f"POST {path}{self._fixed}content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


def pairs(plan: Plan, random: Random) -> Iterator[tuple[int, int]]:
    """Indexes of debit and credit account, for ever; never the same twice in one pair."""
    last = plan.accounts - 1
    if plan.choice == "one_pair":
        while True:
            yield 0, 1
    if plan.choice == "zipf":
        weights = list(accumulate(1.0 / rank for rank in range(1, plan.accounts + 1)))
        drawn = iter(lambda: random.choices(range(plan.accounts), cum_weights=weights, k=4_096), None)
        indexes = (index for block in drawn for index in block)
        while True:
            debit, credit = next(indexes), next(indexes)
            yield debit, credit if credit != debit else (credit + 1) % plan.accounts
    while True:
        debit = 0 if random.random() < plan.hot_share else int(random.random() * plan.accounts)
        credit = int(random.random() * last)
        yield debit, credit + (credit >= debit)


def flags_of(plan: Plan, random: Random, position: int) -> tuple[int, int]:
    """Flags and timeout of the transfer at this position of its request."""
    flags = LINKED if plan.linked and position < plan.per_request - 1 else 0
    if plan.pending_share and random.random() < plan.pending_share:
        return flags | PENDING, random.randint(*plan.timeouts_s)
    return flags, 0


def transfer_json(
    number: int, debit: str, credit: str, amount: int, ledger: int, *, flags: int = 0, timeout_s: int = 0
) -> str:
    """One transfer, as compact as a client's encoder makes it."""
    text = (
        f'{{"id":"{uuid_text(number)}","debit_account_id":"{debit}","credit_account_id":"{credit}",'
        f'"amount":"{amount}","ledger":{ledger},"code":1'
    )
    if flags:
        names = [name for bit, name in ((LINKED, '"linked"'), (PENDING, '"pending"')) if flags & bit]
        text += f',"flags":[{",".join(names)}]'
    if timeout_s:
        text += f',"timeout_s":{timeout_s}'
    return text + "}"


def accounts_body(ids: list[int], ledger: int, flags: tuple[str, ...]) -> bytes:
    """The body that opens these accounts."""
    names = ",".join(f'"{name}"' for name in flags)
    tail = f'","ledger":{ledger},"code":1,"flags":[{names}]}}'
    return ('{"accounts":[' + ",".join('{"id":"' + uuid_text(each) + tail for each in ids) + "]}").encode()


def build(plan: Plan, envelope: Envelope) -> Traffic:
    """Every request of the plan."""
    random = Random(plan.seed)  # noqa: S311 - traffic, no secret
    if plan.choice == "fresh":
        return _fresh(plan, envelope, random)
    if plan.post_after_s:
        traffic = _two_phase(plan, envelope, random)
    elif plan.form == "binary":
        traffic = _binary(plan, envelope, random)
    elif plan.form == "json":
        traffic = _json(plan, envelope, random)
    else:
        traffic = _singles(plan, envelope, random)
    if plan.offered_per_s and not traffic.due_s:
        traffic.due_s = arrivals(random, len(traffic.requests), plan.offered_per_s)
    return traffic


def arrivals(random: Random, count: int, per_s: float) -> array[float]:
    """Times of independent arrivals: what a crowd of clients that do not know of each other makes."""
    return array("d", accumulate(random.expovariate(per_s) for _ in range(count)))


def _binary(plan: Plan, envelope: Envelope, random: Random) -> Traffic:
    ids, chosen, traffic = Ids(random), pairs(plan, random), Traffic()
    accounts = [account_id(plan.first_account, each).to_bytes(16, "little") for each in range(plan.accounts)]
    amounts = [each.to_bytes(16, "little") for each in range(plan.amount_max + 1)]
    plain = _TAIL.pack(0, 0, plan.ledger, 1, 0)
    varied = bool(plan.pending_share) or plan.linked
    for _ in range(plan.requests):
        numbers: list[bytes] = []
        parts: list[bytes] = []
        for position in range(plan.per_request):
            number, (debit, credit) = ids.next(), next(chosen)
            tail = plain
            if varied:
                flags, timeout_s = flags_of(plan, random, position)
                tail = _TAIL.pack(0, timeout_s, plan.ledger, 1, flags)
            numbers.append(number.to_bytes(16, "big"))
            parts += (
                number.to_bytes(16, "little"),
                accounts[debit],
                accounts[credit],
                amounts[1 + int(random.random() * plan.amount_max)],
                tail,
            )
        traffic.add(
            envelope.post("/v1/transfers/batch", b"".join(parts), BINARY_TYPE), b"".join(numbers), plan.per_request
        )
    return traffic


def _texts(plan: Plan, random: Random) -> Iterator[tuple[int, str]]:
    ids, chosen = Ids(random), pairs(plan, random)
    accounts = [uuid_text(account_id(plan.first_account, each)) for each in range(plan.accounts)]
    position = 0
    # Drawn in the same order as for the binary form, so that both are the same transfers.
    while True:
        number, (debit, credit) = ids.next(), next(chosen)
        flags, timeout_s = flags_of(plan, random, position)
        amount = 1 + int(random.random() * plan.amount_max)
        position = (position + 1) % plan.per_request
        yield (
            number,
            transfer_json(
                number, accounts[debit], accounts[credit], amount, plan.ledger, flags=flags, timeout_s=timeout_s
            ),
        )


def _json(plan: Plan, envelope: Envelope, random: Random) -> Traffic:
    traffic, texts = Traffic(), _texts(plan, random)
    for _ in range(plan.requests):
        made = [next(texts) for _ in range(plan.per_request)]
        body = '{"transfers":[' + ",".join(text for _, text in made) + "]}"
        traffic.add(
            envelope.post("/v1/transfers/batch", body.encode()),
            b"".join(number.to_bytes(16, "big") for number, _ in made),
            plan.per_request,
        )
    return traffic


def _singles(plan: Plan, envelope: Envelope, random: Random) -> Traffic:
    traffic, texts = Traffic(), _texts(plan, random)
    for _ in range(plan.requests):
        number, text = next(texts)
        traffic.add(envelope.post("/v1/transfers", text.encode()), number.to_bytes(16, "big"), 1)
    return traffic


def _fresh(plan: Plan, envelope: Envelope, random: Random) -> Traffic:
    """Each transfer between two accounts of its own: one request opens them, the next one moves."""
    traffic, ids = Traffic(group=2), Ids(random)
    for _ in range(plan.requests):
        opened = [ids.next() for _ in range(plan.per_request * 2)]
        moved = [ids.next() for _ in range(plan.per_request)]
        traffic.add(
            envelope.post("/v1/accounts/batch", accounts_body(opened, plan.ledger, ())),
            b"".join(each.to_bytes(16, "big") for each in opened),
            0,
        )
        texts = [
            transfer_json(
                number,
                uuid_text(opened[2 * each]),
                uuid_text(opened[2 * each + 1]),
                1 + int(random.random() * plan.amount_max),
                plan.ledger,
            )
            for each, number in enumerate(moved)
        ]
        traffic.add(
            envelope.post("/v1/transfers/batch", ('{"transfers":[' + ",".join(texts) + "]}").encode()),
            b"".join(each.to_bytes(16, "big") for each in moved),
            plan.per_request,
        )
    return traffic


def _two_phase(plan: Plan, envelope: Envelope, random: Random) -> Traffic:
    """Half of the requests hold money, the other half post those holds `post_after_s` later."""
    count = plan.requests // 2
    ids, chosen, due = Ids(random), pairs(plan, random), arrivals(random, count, plan.offered_per_s / 2)
    accounts = [uuid_text(account_id(plan.first_account, each)) for each in range(plan.accounts)]
    events: list[tuple[float, int, bytes]] = []
    holds = [ids.next() for _ in range(count)]
    for hold, at_s in zip(holds, due, strict=True):
        (debit, credit), amount = next(chosen), 1 + int(random.random() * plan.amount_max)
        text = transfer_json(hold, accounts[debit], accounts[credit], amount, plan.ledger, flags=PENDING)
        events.append((at_s, hold, envelope.post("/v1/transfers", text.encode())))
        post = ids.next()
        body = f'{{"id":"{uuid_text(post)}"}}'.encode()
        events.append((at_s + plan.post_after_s, post, envelope.post(f"/v1/transfers/{uuid_text(hold)}/post", body)))
    traffic = Traffic()
    for at_s, number, request in sorted(events):
        traffic.add(request, number.to_bytes(16, "big"), 1, at_s)
    return traffic
