"""G3: hostile HTTP beside honest clients: malformed, smuggled, slow, reset, huge, and JSON that no parser should like.

Guarded here: the server lives, takes no smuggled command, answers nothing with a 5xx of its own fault, holds no more
memory than its bounds, and honest clients wait at most three times as long as without the attack.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.processes import resident_bytes
from pyledger.client import new_id
from tests.faults.audit import findings
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.hostile import KINDS
from tests.faults.load import Connection
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.results import ROOT
from tests.faults.running import ended

QUIET_S: Final = {"submission": 1.5, "campaign": 4.0}
ATTACK_S: Final = {"submission": 2.5, "campaign": 20.0}
TRIES: Final = 3
"""An attack makes honest clients wait each time, whatever else the machine does only now and then: what counts is the
best of so many tries, each beside its own quiet moment. Everything else that is wrong counts in any of them."""
HONEST_PER_S: Final = 150
HONEST_CONNECTIONS: Final = 8
WORSE_MAX: Final = 3.0
FLOOR_MS: Final = 5.0
"""A p99 below it is the scheduler's noise on two cores that server, PostgreSQL and clients share."""
GROWTH_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bodies under way are bounded by `connections_max` and by what the server lets them hold together."""
OWN_FAULT: Final = ("500", "502", "504")
ACCEPTED: Final = ("200", "201")
ALL_KINDS: Final = (*KINDS, "smuggled")


class Books:
    """A server with one ledger and two accounts, and honest clients."""

    def __init__(self, here: Ground) -> None:
        self.here = here
        self.key = here.keys[TENANTS[0]]
        self.accounts = [str(new_id()) for _ in range(2)]

    def request(self, path: str, body: dict[str, Any], *lines: str) -> bytes:
        """A whole request."""
        data = json.dumps(body).encode()
        head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {self.key}"]
        head += ["content-type: application/json", *(lines or (f"content-length: {len(data)}",))]
        return ("\r\n".join(head) + "\r\n\r\n").encode() + data

    def transfer(self) -> dict[str, Any]:
        """The body of one."""
        debit, credit = self.accounts
        return {
            "id": str(new_id()), "debit_account_id": debit, "credit_account_id": credit, "amount": "1", "ledger": 1,
            "code": 1,
        }  # fmt: skip

    async def open(self) -> None:
        """Make them."""
        connection = Connection()
        await connection.open(self.here.server.url)
        await connection.ask(self.request("/v1/ledgers", {"id": 1, "asset": "EUR", "exponent": 2}))
        opened = [{"id": each, "ledger": 1, "code": 1} for each in self.accounts]
        answer = await connection.ask(self.request("/v1/accounts/batch", {"accounts": opened}))
        assert b'"accepted":2' in answer, answer
        connection.close()

    async def honest(self, seconds: float) -> tuple[float, list[str]]:
        """Ask at a pace that does not wait for answers; the p99 in ms from when each was due, and what went wrong."""
        until, wrong, took = time.monotonic() + seconds, [], []

        async def one(number: int) -> None:
            connection, due = Connection(), time.monotonic() + number / HONEST_PER_S
            try:
                while due < until:
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await connection.open(self.here.server.url)
                    answer = await connection.ask(self.request("/v1/transfers", self.transfer()))
                    took.append((time.monotonic() - due) * 1000)
                    if answer[9:12] != b"201":
                        wrong.append(f"an honest client was answered {answer[:200]!r}")
                    due += HONEST_CONNECTIONS / HONEST_PER_S
            except (OSError, TimeoutError) as error:
                wrong.append(f"an honest client was not answered: {type(error).__name__}: {error}")
            finally:
                connection.close()

        await asyncio.gather(*(one(number) for number in range(HONEST_CONNECTIONS)))
        took.sort()
        return took[int(len(took) * 0.99)] if took else float("inf"), wrong

    async def smuggle(self) -> tuple[list[str], dict[str, Any]]:
        """Requests whose end two readers may see in two places: what hides behind the first end must not be taken."""
        framings = (
            ("content-length: {all}", "transfer-encoding: chunked"),
            ("transfer-encoding: chunked", "content-length: {all}"),
            ("content-length: {all}", "transfer-encoding: chunked", "transfer-encoding: identity"),
            ("content-length: {all}", "transfer-encoding: xchunked"), ("content-length: 5", "content-length: {all}"),
            ("content-length: {all}", "transfer-encoding : chunked"), ("content-length: +5",),
            ("content-length: 5, {all}",),
        )  # fmt: skip
        wrong = []
        for framing in framings:
            hidden = self.transfer()
            body = b"0\r\n\r\n" + self.request("/v1/transfers", hidden)
            head = self.request("/v1/ledgers", {}, *(line.format(all=len(body)) for line in framing))[:-2]
            connection = Connection()
            await connection.open(self.here.server.url)
            try:
                await asyncio.wait_for(connection.ask(head + body), 2)
            except Exception:
                pass
            finally:
                connection.close()
            await asyncio.sleep(0.1)
            async with self.here.connected() as sql:
                if await sql.fetchval("SELECT count(*) FROM pyledger.journal WHERE id = $1", hidden["id"]):
                    wrong.append(f"a command was smuggled in with {' and '.join(framing)}")
        return wrong, {"sent": len(framings)}

    async def attacked(self, kind: str, seconds: float, seed: int) -> tuple[list[str], dict[str, Any]]:
        """One kind of attack by another process; what is wrong with what it was answered."""
        if kind == "smuggled":
            return await self.smuggle()
        command = ["-m", "tests.faults.hostile", kind, self.here.server.url, self.key, str(seconds), str(seed)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        said, _ = await ended(process)
        assert process.returncode == 0, f"the attacker failed with {process.returncode}"
        came = json.loads(said)
        wrong = [f"{kind}: answered {n} times with {each}" for each, n in came["answers"].items() if each in OWN_FAULT]
        wrong += [f"{kind}: accepted {n} times" for each, n in came["answers"].items() if each in ACCEPTED]
        return wrong, {"sent": came["sent"], "answers": came["answers"]}


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One kind of attack a cycle, in turn, on one server."""
    async with ground(asked.directory, planted=asked.planted) as here:
        await here.start_server()
        books = Books(here)
        await books.open()
        await books.honest(QUIET_S[asked.size] / 2)
        for number in asked.numbers:
            yield await one(books, number, asked)


@dataclass(frozen=True, slots=True)
class Try:
    """Without the attack, and with it."""

    quiet_ms: float
    honest_ms: float
    grown_bytes: int
    wrong: list[str]
    notes: dict[str, Any]

    @property
    def patient(self) -> bool:
        """Whether honest clients did not wait too long."""
        return self.honest_ms <= WORSE_MAX * max(self.quiet_ms, FLOOR_MS)


async def tried(books: Books, kind: str, asked: Run, seed: int) -> Try:
    """One try."""
    here, seconds = books.here, ATTACK_S[asked.size]
    quiet_ms, wrong = await books.honest(QUIET_S[asked.size])
    most = before = resident_bytes(here.server.pid) or 0
    async with asyncio.TaskGroup() as group:
        attacking = group.create_task(books.attacked(kind, seconds, seed))
        meanwhile = group.create_task(books.honest(seconds))
        while not (attacking.done() and meanwhile.done()):
            most = max(most, resident_bytes(here.server.pid) or 0)
            await asyncio.sleep(0.1)
    (attacked_wrong, notes), (honest_ms, honest_wrong) = attacking.result(), meanwhile.result()
    return Try(quiet_ms, honest_ms, most - before, wrong + attacked_wrong + honest_wrong, notes)


async def one(books: Books, number: int, asked: Run) -> Cycle:
    """One kind, until honest clients did not wait too long, or never."""
    # By the seed too, so that runs that have no time for all of them begin with different ones.
    here, kind, chance = books.here, ALL_KINDS[(asked.seed + number) % len(ALL_KINDS)], asked.chance(number)
    tries: list[Try] = []
    while len(tries) < TRIES and not (tries and tries[-1].patient):
        tries.append(await tried(books, kind, asked, chance.randrange(2**31)))
    last, violations = tries[-1], [each for some in tries for each in some.wrong]
    if not last.patient:
        took = ", ".join(f"{each.honest_ms:.1f} ms beside {each.quiet_ms:.1f} ms" for each in tries)
        violations.append(f"{kind}: the honest p99 with the attack and without it was {took}")
    grown = max(each.grown_bytes for each in tries)
    if grown > GROWTH_BYTES_MAX:
        violations.append(f"{kind}: the server grew by {grown >> 20} MiB")
    assert here.server.process is not None
    if here.server.process.poll() is not None:
        violations.append(f"{kind}: the server has ended with {here.server.process.returncode}: {here.said()}")
        await here.start_again(here.server)
    violations += [f"check: {each.place}: {each.wrong}" for each in await findings(here)]
    notes = last.notes | {"kind": kind, "tries": len(tries), "grown_mib_max": grown >> 20}
    notes |= {"quiet_p99_ms_max": round(last.quiet_ms, 1), "honest_p99_ms_max": round(last.honest_ms, 1)}
    return Cycle(number, sum(int(each.notes["sent"]) for each in tries), violations, notes)


ROW: Final = Row(
    id="G3",
    what="hostile HTTP beside honest clients",
    unit="attacks",
    passes="no crash, memory bounded, honest p99 at most three times the quiet one in one of three tries",
    submission=len(ALL_KINDS),
    campaign=10 * len(ALL_KINDS),
    run=run,
)
