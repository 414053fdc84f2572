"""C4: the wire between server and PostgreSQL is cut at every byte of an append and its COMMIT, both ways; also of an
append whose rows are sent ahead of its turn, by the second session or by the first.

Guarded here: each answer that a client gets afterwards is what the journal shows, by id, once; and the journal
shows a batch whose COMMIT did not get through whole only if it was appended again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import asyncpg

from pyledger.client import new_id
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.load import Connection
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.proxy import Armed, Break, Cut, Proxy, Way
from tests.faults.wire_table import Place, places
from tests.ledger.tools import findings

SHAPES: Final = ("one", "declined", "linked", "full", "ahead by second", "ahead by first")
"""An append of one transfer, of one that is declined, of a chain of three, of as many as a batch can hold; and of one
transfer whose rows are sent while others commit."""
FULL_PLACES: Final = 60
"""Of a full batch not every byte: it has two million."""
FULL_COMMANDS: Final = 8_190
WRITER: Final = b"pyledger writer"
APPEND: Final = rb"Q....COPY pyledger\.journal"
AHEAD: Final = rb"Q....BEGIN ISOLATION LEVEL"
BEFORE: Final = {"ahead by second": (APPEND,), "ahead by first": (APPEND, AHEAD)}
"""What must be on its way when the one is asked for that is to be sent ahead: an append by the first session, and for
the first session to have its turn again one that the second has sent ahead."""
SLOW_S: Final = 0.005
"""How long each piece of what PostgreSQL says takes meanwhile, so that a commit lasts until the next rows are there."""
LOOK_S: Final = 0.0005
AHEAD_TRIES: Final = 100
"""The first one after a cut opens the second session, and others go without it until it is there."""
BETWEEN_TRIES_S: Final = 0.01
FENCE: Final = rb"UPDATE pyledger\.head SET epoch"
NEVER_BYTES: Final = 2**40
BREAKS: Final = (Break.RESET, Break.CLOSE, Break.CLIENT_FIRST, Break.TARGET_FIRST)
FENCE_CUT_SHARE: Final = 0.1
"""Of the cuts, so many are followed by one in the middle of the fence."""
FENCE_BYTES_MAX: Final = 400
COMPANY_SHARE: Final = 0.15
"""Of the cuts, so many meet further requests, which wait for the batch that is cut."""
COMPANY_S: Final = 0.003
RETRY_SHARE: Final = 0.1
LARGE: Final = 10**12
"""Moved first, so that balances keep their number of digits and appends their number of bytes."""
CHECK_EACH: Final = 500
ANSWER_S: Final = 30.0
PAUSE_S: Final = 0.02
RETRIED: Final = {408, 500, 503}

Told = tuple[str, int, dict[str, Any]]
"""An id, the status of its answer, and the answer."""


class Cutter:
    """A server whose way to PostgreSQL leads through our proxy."""

    def __init__(self, here: Ground, proxy: Proxy, sql: asyncpg.Connection[Any]) -> None:
        self.here, self.proxy, self.sql = here, proxy, sql
        self.accounts = [str(new_id()) for _ in range(3)]
        self.epoch = 0
        """Before the cut."""
        self.by_first = False
        """Whether what was sent ahead was with the first session."""
        self._idle: list[Connection] = []

    async def open(self) -> None:
        """Start the server and make its books."""
        assert self.here.database is not None
        url = f"postgresql://test_server@127.0.0.1:{self.proxy.port}/{self.here.database.name}?sslmode=disable"
        await self.here.start_server(url=url)
        await self.send("/v1/ledgers", {"id": 1, "asset": "EUR", "exponent": 2})
        flags = ([], [], ["debits_must_not_exceed_credits"])
        accounts = [
            {"id": each, "ledger": 1, "code": 1, "flags": flag} for each, flag in zip(self.accounts, flags, strict=True)
        ]
        await self.send("/v1/accounts/batch", {"accounts": accounts})
        await self.send("/v1/transfers", self.transfer(amount=LARGE))

    def transfer(self, shape: str = "", amount: int = 1) -> dict[str, Any]:
        """The body of one; a declined one wants money that is not there."""
        debit, credit, poor = self.accounts
        return {
            "id": str(new_id()), "debit_account_id": poor if shape == "declined" else debit,
            "credit_account_id": credit, "amount": str(amount), "ledger": 1, "code": 1,
        }  # fmt: skip

    async def send(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Ask until there is an outcome; status and body."""
        connection = self._idle.pop() if self._idle else Connection()
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {self.here.keys[TENANTS[0]]}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        async with asyncio.timeout(ANSWER_S):
            while True:
                try:
                    await connection.open(self.here.server.url)
                    answer = await connection.ask(head.encode() + data)
                except ConnectionError:  # a server may hang up when nothing was asked for a while
                    await asyncio.sleep(PAUSE_S)
                    continue
                status, said = int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]
                if status not in RETRIED:
                    self._idle.append(connection)
                    return status, json.loads(said)

    async def ask(self, shape: str) -> list[Told]:
        """One request of a shape, until there is an outcome."""
        if shape in ("one", "declined"):
            body = self.transfer(shape)
            return [(body["id"], *await self.send("/v1/transfers", body))]
        rows = [self.transfer() for _ in range(3 if shape == "linked" else FULL_COMMANDS)]
        if shape == "linked":
            rows = [row | {"flags": ["linked"]} for row in rows[:-1]] + rows[-1:]
        status, said = await self.send("/v1/transfers/batch", {"transfers": rows})
        assert status == 200, said
        return [(each["id"], 201 if each["status"] == "accepted" else 422, each) for each in said["results"]]

    async def measure(self, shape: str) -> Armed:
        """What passes on the wire for an append of this shape."""
        if shape in BEFORE:
            armed, _ = await self.ahead(shape, Cut(Way.UP, NEVER_BYTES, marker=AHEAD, only=WRITER))
            return armed
        (armed,) = self.proxy.arm(Cut(Way.UP, NEVER_BYTES, marker=APPEND, only=WRITER))
        await self.ask(shape)
        assert len(armed.passed[Way.UP]) > 0, "no append was seen on the wire"
        return armed

    async def ahead(self, shape: str, *cuts: Cut) -> tuple[Armed, list[Told]]:
        """A transfer whose rows are sent while others are appended, with these cuts; it is the first that is told."""
        told: list[Told] = []
        for _ in range(AHEAD_TRIES):
            asks, observed, ready = [], [], True
            self.proxy.delay_s[Way.DOWN] = SLOW_S
            for marker in BEFORE[shape]:
                (before,) = self.proxy.arm(Cut(Way.UP, NEVER_BYTES, marker=marker, only=WRITER))
                asks.append(asyncio.create_task(self.ask("one")))
                observed.append(before)
                ready = ready and await seen(before, asks[-1])
            armed = self.proxy.arm(*(cuts if ready else ()))
            asks.insert(0, asyncio.create_task(self.ask("one")))
            answers = await asyncio.gather(*asks)
            self.proxy.arm()
            self.proxy.delay_s[Way.DOWN] = 0.0
            told[:0] = [each for some in answers for each in some]
            if armed and armed[0].link is not None:
                self.by_first = armed[0].link is observed[0].link
                return armed[0], told
            await asyncio.sleep(BETWEEN_TRIES_S)
        raise AssertionError("no rows are sent ahead")

    async def cut(self, place: Place, chance: random.Random) -> tuple[int, list[Told]]:
        """Cut there, and learn what became of whatever was asked; when the wire was cut, 0 if it was not."""
        self.epoch = await self.sql.fetchval(EPOCH)
        how = chance.choice(BREAKS)
        marker = AHEAD if place.shape in BEFORE else APPEND
        cuts = [Cut(place.way, place.after_bytes, how, marker=marker, only=WRITER)]
        if chance.random() < FENCE_CUT_SHARE:
            again = (chance.choice(list(Way)), chance.randrange(FENCE_BYTES_MAX), chance.choice(BREAKS))
            cuts.append(Cut(*again, marker=FENCE, only=WRITER))
        if place.shape in BEFORE:
            sent, told = await self.ahead(place.shape, *cuts)
            return sent.struck_ns, told
        full = place.shape == "full"
        company = [chance.random() * COMPANY_S for _ in range(1 if full else 3)]
        if not full and chance.random() > COMPANY_SHARE:
            company = []
        armed = self.proxy.arm(*cuts)
        asks = [self.ask(place.shape), *(self.later(seconds, full) for seconds in company)]
        told = [each for answers in await asyncio.gather(*asks) for each in answers]
        self.proxy.arm()
        return armed[0].struck_ns, told

    async def later(self, seconds: float, full: bool) -> list[Told]:
        """Company for the one that is cut: a full batch that waits is decided while that one commits."""
        await asyncio.sleep(seconds)
        return await self.ask("full" if full else "one")

    async def judge(self, place: Place, struck_ns: int, told: list[Told]) -> tuple[list[str], bool]:
        """What is wrong with what was told, by the journal; and whether the cut batch was there all the same."""
        wrong, ids = [], [each for each, *_ in told]
        rows = await self.sql.fetch(FOUND, ids)
        by_id: dict[str, list[asyncpg.Record]] = {each: [] for each in ids}
        for row in rows:
            by_id[str(row["id"])].append(row)
        for each, status, said in told:
            found, at = by_id[each], said["recorded_at"]
            if len(found) != 1:
                wrong.append(f"{each} was answered with {status} and is in the journal {len(found)} times")
            elif (status, found[0]["status"] == 0) not in {(201, True), (422, False)}:
                wrong.append(f"{each} was answered with {status}, the journal says {found[0]['status']}")
            elif nanoseconds(at) != found[0]["recorded_ns"]:
                wrong.append(f"{each} was answered with {at}, the journal says {found[0]['recorded_ns']}")
        first = by_id[ids[0]]
        # What a fence finds missing is decided again, by the same clock. (Rows whose way ahead was cut are sent again.)
        fenced = self.epoch < await self.sql.fetchval(EPOCH)
        landed = bool(first) and fenced and first[0]["recorded_ns"] < struck_ns
        if landed and not place.whole:
            wrong.append(f"{ids[0]} is there, but the wire was cut before PostgreSQL had its COMMIT")
        return wrong, landed

    async def replays(self, told: list[Told], shape: str) -> list[str]:
        """Ask for the first outcome again: it must be the same."""
        each, status, said = told[0]
        body = self.transfer(shape) | {"id": each}
        again = await self.send("/v1/transfers", body)
        same = again[0] == status and again[1]["recorded_at"] == said["recorded_at"]
        return [] if same else [f"{each}: {status} {said} at first, {again} when asked again"]


EPOCH: Final = "SELECT epoch FROM pyledger.head WHERE shard = 0"
FOUND: Final = "SELECT id, status, recorded_ns FROM pyledger.journal WHERE id = ANY($1)"


def nanoseconds(text: str) -> int:
    """RFC 3339 with nine digits, exactly."""
    whole, _, part = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(part.ljust(9, "0"))


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One cut a cycle; every so often, and at the end, the whole books are checked."""
    async with ground(asked.directory, planted=asked.planted) as here:
        socket = next(here.cluster.place.socket_dir.glob(".s.PGSQL.[0-9]*[0-9]"))
        async with Proxy(str(socket)) as proxy, here.connected() as sql:
            cutter = Cutter(here, proxy, sql)
            await cutter.open()
            table = spread({shape: places(shape, await cutter.measure(shape), asked.seed) for shape in SHAPES})
            for number in asked.numbers:
                yield await one(cutter, number, table[number % len(table)], asked)


async def seen(armed: Armed, ask: asyncio.Task[list[Told]]) -> bool:
    """Whether the beginning of what it waits for passes before this is answered."""
    while armed.link is None and not ask.done():
        await asyncio.sleep(LOOK_S)
    return armed.link is not None


def spread(by_shape: dict[str, list[Place]]) -> list[Place]:
    """All cuts in the order in which they are made: shapes in turn, and those of a full batch strewn among them."""
    full = by_shape.pop("full")[:FULL_PLACES]
    table = [place for turn in itertools.zip_longest(*by_shape.values()) for place in turn if place is not None]
    for number, place in enumerate(full):
        table.insert(number * len(table) // len(full), place)
    return table


async def one(cutter: Cutter, number: int, place: Place, asked: Run) -> Cycle:
    """Cut, learn, judge."""
    chance = asked.chance(number)
    began = time.monotonic()
    wrong: list[str] = []
    notes: dict[str, Any] = {"shape": place.shape, "cut": f"{place.way} {place.after_bytes}", "in": place.within}
    struck_ns, landed = 0, False
    try:
        struck_ns, told = await cutter.cut(place, chance)
        notes["learnt_ms_max"] = round((time.monotonic() - began) * 1000, 1)
        wrong, landed = await cutter.judge(place, struck_ns, told)
        if place.shape not in ("linked", "full") and chance.random() < RETRY_SHARE:
            wrong += await cutter.replays(told, place.shape)
    except (OSError, TimeoutError, AssertionError) as error:
        wrong.append(f"no outcome: {type(error).__name__}: {error}\n{cutter.here.said()}")
    if number % CHECK_EACH == CHECK_EACH - 1 or number == asked.numbers[-1]:
        assert cutter.here.database is not None
        wrong += [f"check: {each.place}: {each.wrong}" for each in await findings(cutter.here.database)]
    struck = bool(struck_ns)
    notes |= {"landed": int(landed), "again": int(struck and not landed), "missed": int(not struck)}
    if place.shape in BEFORE:
        notes |= {"ahead": int(struck), "ahead_by_first": int(struck and cutter.by_first)}
    return Cycle(number, int(struck), wrong, notes)


ROW: Final = Row(
    id="C4",
    what="the wire to PostgreSQL cut at every byte of append and COMMIT",
    unit="cuts",
    passes="every outcome that is told is the one in the journal",
    submission=1_400,
    campaign=10_000,
    run=run,
    cycle_timeout_s=120,
)
