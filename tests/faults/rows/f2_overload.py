"""F2: three times more is offered than the server holds: it goes on at its pace, and says no to the rest at once.

Peak is what some connections get that send a batch when the one before is answered, before and after. Between,
batches are sent by the clock, three times as many rows a second, over as many connections as it takes. The queue is
set so small that it overflows; what is refused must say busy and when to come back, and nothing of it may be recorded.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

from pyledger.settings import Settings
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.load import Connection
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.rows.e3_memory import Client
from tests.faults.traffic import BINARY_TYPE
from tests.faults.watching import Look, watched

OVERLOAD_S: Final = {"submission": 20, "campaign": 600}
PEAK_S: Final = 8.0
WARM_UP_S: Final = 3.0
TIMES: Final = 3
THROUGH_MIN: Final = 0.8
OFFERED_MIN: Final = 1.5
"""Times peak: with less nothing is proven, and the row is broken. Where the cores do other things too, three times as
much cannot be offered."""
TRIES: Final = 2
"""A pace that something else on the machine took counts only if it does so again."""
BATCH: Final = 100
PEAK_CONNECTIONS: Final = 16
CONNECTIONS_MAX: Final = 384
QUEUE_ROWS_MAX: Final = 8_190
TICK_S: Final = 0.005
GROWTH_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of a server with all those connections, bodies under way, and a window of ids that fills."""
REFUSAL: Final = "queue_full"
"""The only class of refusal that an overload explains."""
STORED: Final = """
SELECT count(*) AS rows, count(DISTINCT id) AS ids, count(*) FILTER (WHERE status <> 0) AS declined,
    (SELECT sum(rows) FROM pyledger.batch) AS of_batches
FROM pyledger.journal WHERE kind = 3
"""
OPENED: Final = 3
"""Rows before the first transfer."""
DEBIT, CREDIT = 1 << 100, 2 << 100
AFTER_ID: Final = (
    struct.pack("<QQQQQQ", 0, DEBIT >> 64, 0, CREDIT >> 64, 1, 0) + bytes(16) + struct.pack("<QIIHH28x", 0, 0, 1, 1, 0)
)
"""What follows the id in a record: one unit, always from the same account to the same other one."""


class Offer:
    """Batches of transfers over some connections, and what became of them."""

    def __init__(self, place: Ground) -> None:
        self.url, self.counts = place.server.url, Counter[str]()
        self.wrong: list[str] = []
        self.took_ns: list[int] = []
        self._key, self._sent = place.keys[TENANTS[0]], 0
        self._idle: list[Connection] = []
        self._made = 0
        self._under_way: set[asyncio.Task[None]] = set()

    def _request(self) -> bytes:
        # UUIDv7, as our own client makes them.
        first = time.time_ns() // 1_000_000 << 80 | 7 << 76 | 2 << 62 | self._sent
        body = b"".join(each.to_bytes(16, "little") + AFTER_ID for each in range(first, first + BATCH))
        self._sent += BATCH
        head = f"POST /v1/transfers/batch HTTP/1.1\r\nhost: {self.url[7:]}\r\nauthorization: Bearer {self._key}\r\n"
        return f"{head}content-type: {BINARY_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    async def send(self, connection: Connection) -> None:
        """One batch; it is counted by what was said to it."""
        began_ns = time.monotonic_ns()
        self.counts["offered"] += BATCH
        await connection.open(self.url)
        answer = await connection.ask(self._request())
        self.took_ns.append(time.monotonic_ns() - began_ns)
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            self.counts["accepted"] += BATCH
            return
        self.counts["refused"] += BATCH
        code = json.loads(body).get("code") if body.startswith(b"{") else None
        if not head.startswith(b"HTTP/1.1 503") or code != REFUSAL or b"retry-after:" not in head.lower():
            self.wrong.append(f"refused as {head.splitlines()[0]!r} {body[:120]!r}")

    async def as_fast_as_answered(self, seconds: float) -> float:
        """Rows a second of a few connections, the first moments aside."""

        async def one(until: float) -> None:
            connection = Connection()
            while time.monotonic() < until:
                await self.send(connection)
            connection.close()

        until = time.monotonic() + seconds
        every = asyncio.gather(*(one(until) for _ in range(PEAK_CONNECTIONS)))
        await asyncio.sleep(WARM_UP_S)
        before, began = self.counts["accepted"], time.monotonic()
        await every
        return (self.counts["accepted"] - before) / (time.monotonic() - began)

    async def by_the_clock(self, rows_per_s: float, seconds: float) -> None:
        """So many rows a second, whatever is answered; what no connection is free for is not offered."""
        began, due = time.monotonic(), 0.0
        while (now := time.monotonic()) < began + seconds:
            due = min(due + BATCH * CONNECTIONS_MAX, (now - began) * rows_per_s)
            while self.counts["due"] < due:
                self.counts["due"] += BATCH
                self._start()
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*self._under_way)

    def _start(self) -> None:
        if self._idle:
            connection = self._idle.pop()
        elif self._made < CONNECTIONS_MAX:
            self._made += 1
            connection = Connection()
        else:
            return

        async def go() -> None:
            try:
                await self.send(connection)
            finally:
                self._idle.append(connection)

        task = asyncio.create_task(go())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def overload(place: Ground, number: int, seconds: float) -> tuple[Cycle, list[str]]:
    """Peak, then three times as much. What is wrong with it, and apart from it what is wrong with its pace."""
    server = await place.start_server(
        queue_rows_max=QUEUE_ROWS_MAX,
        checkpoint_interval_s=10,
        window_ids=1_000_000,
        ahead_rows_min=Settings().ahead_rows_min,
    )
    client = Client(place, server.url)
    await client.post("/v1/ledgers", b'{"id":1,"asset":"EUR","exponent":2}')
    for each in (DEBIT, CREDIT):
        status, said = await client.post(
            "/v1/accounts", json.dumps({"id": str(UUID(int=each)), "ledger": 1, "code": 1}).encode()
        )
        assert status == 201, said
    offer = Offer(place)
    peak = await offer.as_fast_as_answered(PEAK_S)
    before = offer.counts.copy()
    offer.took_ns.clear()
    async with watched(server) as watch:
        began = time.monotonic()
        await offer.by_the_clock(TIMES * peak, seconds)
        took = time.monotonic() - began
    times = sorted(offer.took_ns)
    rate = {name: (offer.counts[name] - before[name]) / took for name in ("offered", "accepted", "refused")}
    # The machine may have become slower meanwhile, and then it holds less: the lower of the two is what it surely does.
    peak = min(peak, await offer.as_fast_as_answered(PEAK_S))
    assert rate["offered"] >= OFFERED_MIN * peak, (
        f"only {rate['offered']:,.0f} a second could be offered, peak is {peak:,.0f}"
    )
    wrong = offer.wrong[:10]
    wrong += bounded(watch.looks) + await stored(place, offer.counts["accepted"])
    notes: dict[str, Any] = {f"{name}_per_s_max": round(value) for name, value in rate.items()}
    notes |= {"peak_per_s_max": round(peak), "through": round(rate["accepted"] / peak, 2)}
    notes |= {"queue_rows_max": max(look.queue_rows for look in watch.looks)}
    notes |= {"p99_ms_max": round(times[len(times) * 99 // 100] / 1e6, 1)}
    await place.kill_servers()
    return Cycle(number, offer.counts["offered"] - before["offered"], wrong, notes), through(rate, peak)


def through(rate: dict[str, float], peak: float) -> list[str]:
    """It goes on at its pace, and says no to the rest."""
    if not rate["refused"]:
        return ["nothing was refused, though more was offered than it holds"]
    if rate["accepted"] < THROUGH_MIN * peak:
        return [f"{rate['accepted']:,.0f} a second went through, {rate['accepted'] / peak:.0%} of peak"]
    return []


def bounded(looks: list[Look]) -> list[str]:
    """Queue and memory have a bound."""
    queue = max(look.queue_rows for look in looks)
    grown = max(look.resident_bytes for look in looks) - looks[0].resident_bytes
    wrong = [f"{queue} rows were in the queue, {QUEUE_ROWS_MAX} may be"] if queue > QUEUE_ROWS_MAX else []
    return wrong + ([f"it grew by {grown >> 20} MiB"] if grown > GROWTH_BYTES_MAX else [])


async def stored(place: Ground, accepted: int) -> list[str]:
    """What was acknowledged is recorded once, and nothing else is."""
    async with place.connected() as connection:
        row = await connection.fetchrow(STORED)
    assert row is not None
    found = (row["rows"], row["ids"], row["declined"], row["of_batches"] - OPENED)
    return [] if found == (accepted, accepted, 0, accepted) else [f"{accepted} were acknowledged, recorded are {found}"]


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One overload a cycle, on books of its own."""
    async with ground(asked.directory, planted=asked.planted) as place:
        for number in asked.numbers:
            for tried in range(1, TRIES + 1):
                if (number, tried) != (asked.first, 1):
                    await place.open_books()
                cycle, slow = await overload(place, number, OVERLOAD_S[asked.size])
                if cycle.violations or not slow:
                    break
            cycle.violations.extend(slow)
            cycle.notes["tries"] = tried
            yield cycle


ROW: Final = Row(
    id="F2",
    what="three times more is offered than it holds",
    unit="transfers offered",
    passes="80 % of peak goes through, the queue stays bounded, each refusal says queue_full and is not recorded",
    submission=1,
    campaign=3,
    run=run,
    cycle_timeout_s=1_200.0,
)
