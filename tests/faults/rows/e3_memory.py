"""E3: what an account, an open hold and an id of the window cost in memory; and what happens at the bounds.

The last kind of cycle fills a server until it has no room for accounts and holds: it must say 503 with a code,
hold no more memory than its bounds allow, and go on serving what needs no room.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from benchmarks.bodies import accounts_body
from benchmarks.engine import Held, bytes_each
from benchmarks.processes import resident_bytes
from tests.faults.audit import findings
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.load import Connection
from tests.faults.nouns import Cycle, Row, Run

COUNTS: Final = {"submission": 1_000_000, "campaign": 4_000_000}
LIMITS_BYTES: Final[dict[Held, int]] = {"account": 200, "hold": 200, "window_id": 40}
ROOM: Final = 20_000
"""Accounts and holds that the small server may have."""
BATCH: Final = 4_000
TRIES: Final = 3 * ROOM // BATCH
GROWTH_BYTES_MAX: Final = 96 * 1024 * 1024
"""Of a server that is full: its accounts, holds and window are 9 MB, the rest are buffers of requests."""


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One thing a cycle."""
    for number in asked.numbers:
        place = number % (len(LIMITS_BYTES) + 1)
        if place == len(LIMITS_BYTES):
            async with ground(asked.directory, planted=asked.planted, accounts_max=ROOM, holds_max=ROOM) as made:
                yield await full(made, number)
            continue
        what = tuple(LIMITS_BYTES)[place]
        each = await asyncio.to_thread(bytes_each, what, COUNTS[asked.size])
        assert each is not None, "this machine does not show what memory a process has"
        violations = (
            [] if each <= LIMITS_BYTES[what] else [f"{what}: {each:.0f} bytes, {LIMITS_BYTES[what]} are allowed"]
        )
        yield Cycle(number, 1, violations, {f"{what}_bytes_max": round(each, 1)})


async def full(place: Ground, number: int) -> Cycle:
    """Accounts and holds until there is no room, and more."""
    server = await place.start_server()
    client = Client(place, server.url)
    await client.post("/v1/ledgers", b'{"id":1,"asset":"EUR","exponent":2}')
    before = resident_bytes(server.pid)
    refused: dict[str, int] = {}
    first, second = (1 << 100) + 1, (1 << 100) + 2
    for turn in range(TRIES):
        ids = [(1 << 100) + 1 + turn * BATCH + each for each in range(BATCH)]
        client.count(await client.post("/v1/accounts/batch", accounts_body(ids, 1, ())), refused)
    for turn in range(TRIES):
        holds = [
            {"id": str(UUID(int=(2 << 100) + turn * BATCH + each)), "debit_account_id": str(UUID(int=first)),
             "credit_account_id": str(UUID(int=second)), "amount": "1", "ledger": 1, "code": 1, "flags": ["pending"]}
            for each in range(BATCH)
        ]  # fmt: skip
        client.count(await client.post("/v1/transfers/batch", json.dumps({"transfers": holds}).encode()), refused)
    after = resident_bytes(server.pid)
    assert before is not None and after is not None and server.process is not None
    single = {"id": str(UUID(int=3 << 100)), "ledger": 1, "code": 1}
    status, body = await client.post("/v1/accounts", json.dumps(single).encode())
    moved = {**holds[0], "id": str(UUID(int=4 << 100)), "flags": []}
    accepted, _ = await client.post("/v1/transfers", json.dumps(moved).encode())
    wrong = [f"check: {each}" for each in await findings(place)]
    if refused != {"accounts_full": TRIES * BATCH - ROOM, "holds_full": TRIES * BATCH - ROOM}:
        wrong.append(f"refused were {refused}, with room for {ROOM} of {TRIES * BATCH}")
    if (status, json.loads(body)["code"]) != (503, "accounts_full"):
        wrong.append(f"an account too many was answered {status} {body[:200]!r}")
    if accepted != 201 or server.process.poll() is not None:
        wrong.append(f"a full server does not move money: {accepted}, exit code {server.process.poll()}")
    if after - before > GROWTH_BYTES_MAX:
        wrong.append(f"it grew by {(after - before) >> 20} MiB")
    return Cycle(number, 1, wrong, {"grown_mib_max": (after - before) >> 20})


class Client:
    """One client of one tenant."""

    def __init__(self, place: Ground, url: str) -> None:
        self._url, self._key = url, place.keys[TENANTS[0]]
        self._connection = Connection()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        await self._connection.open(self._url)
        head = f"POST {path} HTTP/1.1\r\nhost: {self._url[7:]}\r\nauthorization: Bearer {self._key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        answer = await self._connection.ask(head.encode() + body)
        return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]

    @staticmethod
    def count(answer: tuple[int, bytes], refused: dict[str, int]) -> None:
        """What a batch was refused, by code."""
        assert answer[0] == 200, answer[1][:300]
        for result in json.loads(answer[1])["results"]:
            if result.get("status") == "refused":
                refused[result["refusal"]] = refused.get(result["refusal"], 0) + 1


ROW: Final = Row(
    id="E3",
    what="memory of an account, a hold, an id of the window; a server that is full",
    unit="measurements",
    passes="at most 200, 200 and 40 bytes each; at the bound 503, and it goes on",
    submission=4,
    campaign=4,
    run=run,
)
