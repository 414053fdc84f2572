"""First pages of history over a long journal, and posting while partitions are sealed: `python -m benchmarks.history`.

`--keep` keeps a run for docs/PERFORMANCE.md. Guarded here: one server does all of it, with settings that anybody may
choose; a run with a seal stands beside one without, of the same size and right before or after it, in both orders; and
no figure is shown before each acknowledged id was found once in the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import asyncpg

from benchmarks import service as services
from benchmarks.bodies import account_id, accounts_body, first_account, uuid_text
from benchmarks.lifetime import Guard, scratch
from benchmarks.load import drive
from benchmarks.nouns import BATCH_CONNECTIONS, BATCH_TRANSFERS, Plan, ProofFailed
from benchmarks.once import Once
from benchmarks.outcome import Outcome
from benchmarks.processes import machine
from benchmarks.proof import QUERIES
from benchmarks.report import commit
from benchmarks.seals import Leg, Seals, pair_rows
from benchmarks.service import Service
from benchmarks.summary import percentiles
from pyledger.ledger.times import instant

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "history.json"
LEDGER: Final = 1
HOT_SHARE: Final = 0.02
"""Of the rows debit the busy account."""
STEADY_SHARE: Final = 0.5
"""Of the rate without a seal, at which is posted while pages are read."""
STEADY_PART: Final = 0.2
"""Of all rows, which are posted like that; however few seconds they last, no more pages are read."""
SEALED_PART: Final = 0.05
"""Of the rows of a run, in the partition that is sealed beside it: at full rate that takes as long as the run."""
STEADY_S: Final = 2.0
"""So long it is posted before the first of those pages."""
SEALED_WAIT_S: Final = 900.0
PAGE_ROWS: Final = 100
IDLE: Final = "idle"
BESIDE: Final = "posting at half rate"
TELL_S: Final = 5
FILL_REST_S: Final = 5.0
"""Between two requests that move the books' clock on, until a partition is over."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is posted, in how many runs, and how many pages of each kind are read."""

    name: str
    rows: int
    pairs: int
    pages: int
    seal_rows: int
    accounts: int = 10_000

    @property
    def settings(self) -> dict[str, object]:
        """Of the server: partitions end early enough for several of them to be sealed."""
        return {"seal_rows": self.seal_rows, "seal_interval_s": 60}


QUICK: Final = Size("quick", 15_000_000, 1, 500, 200_000)
FULL: Final = Size("full", 90_000_000, 3, 500, 200_000)


def questions(account: str, moment: str) -> dict[str, str]:
    """First pages that are asked for."""
    return {
        "transfers, newest first": f"/v1/transfers?account_id={account}&limit={PAGE_ROWS}",
        "transfers, oldest first": f"/v1/transfers?account_id={account}&limit={PAGE_ROWS}&order=oldest",
        "statement": f"/v1/accounts/{account}/statement?limit={PAGE_ROWS}",
        "statement since a moment": f"/v1/accounts/{account}/statement?limit={PAGE_ROWS}&since={moment}",
    }


class History:
    """One run on one server."""

    def __init__(self, size: Size, service: Service, directory: Path, tell: Callable[[str], None]) -> None:
        self._size, self._service, self._directory, self._tell = size, service, directory, tell
        self._plan = Plan(
            case="history", form="binary", ledger=LEDGER, first_account=first_account(LEDGER), accounts=size.accounts,
            requests=0, connections=BATCH_CONNECTIONS, per_request=BATCH_TRANSFERS, choice="hot_debit",
            hot_share=HOT_SHARE,
        )  # fmt: skip
        self._runs = 0
        self.once = Once(service)
        self._begun_ns = 0
        self._chance = Random(size.rows)  # noqa: S311 - traffic, no secret

    async def open_books(self) -> None:
        """The ledger and its accounts."""
        caller, envelope = self._service.caller(), self._service.envelope
        ledger = json.dumps({"id": LEDGER, "asset": "EUR", "exponent": 2}).encode()
        await caller.expect(envelope.post("/v1/ledgers", ledger), 201)
        ids = [account_id(self._plan.first_account, place) for place in range(self._size.accounts)]
        for at in range(0, len(ids), 8_000):
            body = accounts_body(ids[at : at + 8_000], LEDGER, ())
            await caller.expect(envelope.post("/v1/accounts/batch", body), 200)
        caller.close()
        self._begun_ns = await self._service.mark_ns()
        await self.once.begin()

    async def post(self, rows: int, per_s: float = 0.0, begun: asyncio.Event | None = None) -> list[Outcome]:
        """So many rows, as fast as they are taken or at a steady rate. Raises `ProofFailed` unless all are accepted."""
        self._runs += 1
        number = self._runs

        def tell(phase: str, so_far: int) -> None:
            if phase == "run" and begun is not None:
                begun.set()
            self._tell(f"run {number}: {phase} {so_far:,} of {rows:,}")

        await self.once.prove()  # what was posted before
        requests = max(1, rows // BATCH_TRANSFERS)
        plan = replace(self._plan, case=f"history-{number}", requests=requests, seed=number)
        plan = replace(plan, offered_per_s=per_s / BATCH_TRANSFERS)
        outcomes, files = await drive(plan, self._service.url, self._service.key, self._directory, tell)
        if errors := [each.errors for each in outcomes if each.errors]:
            raise ProofFailed("history", [f"run {number}: {errors}"])
        await self.once.keep(files)
        return outcomes

    async def posting(self, rows: int, per_s: float = 0.0) -> asyncio.Future[list[Outcome]]:
        """As `post`, but returns when the first request was sent, or none will be."""
        begun = asyncio.Event()
        posting = asyncio.ensure_future(self.post(rows, per_s, begun))
        await asyncio.wait({posting, asyncio.ensure_future(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        return posting

    async def pairs(self, seals: Seals) -> list[list[Leg]]:
        """Runs with and without a seal, in turns of both orders, once there is something to seal for each."""
        rows = int(self._size.rows * (1 - STEADY_PART) / (2 * self._size.pairs))
        await seals.hold()
        for _ in range(self._size.pairs):
            await self.end_partition(seals, int(rows * SEALED_PART))
        found = []
        for pair in range(self._size.pairs):
            order = (False, True) if pair % 2 == 0 else (True, False)
            found.append([await self.leg(seals, rows, sealing=sealing) for sealing in order])
        return found

    async def end_partition(self, seals: Seals, rows: int) -> None:
        """Post so many rows, and wait until the partition that has them is over and can be sealed."""
        await self.post(rows)
        due = await seals.ask("partitions_due")
        while await seals.ask("partitions_due") == due:
            await asyncio.sleep(FILL_REST_S)
            await self.post(BATCH_TRANSFERS)

    async def leg(self, seals: Seals, rows: int, *, sealing: bool) -> Leg:
        """One run, beside which one partition is sealed, or none, and as far from PostgreSQL's next checkpoint."""
        await seals.hold()
        before = await seals.ask("rows_sealed")
        await self.once.prove()  # before the checkpoint, which then is right before the run
        await seals.ask("checkpoint")
        posting = await self.posting(rows)
        if sealing:
            await seals.let()
            await seals.hold()
        outcomes = await posting
        leg = seals.leg(outcomes, sealing=sealing, sealed_rows=await seals.ask("rows_sealed") - before)
        self._tell(f"{'with' if sealing else 'without'} a seal: {leg.per_s:,.0f}/s, p99 {leg.latency_ms['99']:.0f} ms")
        return leg

    async def beside_posting(self, per_s: float) -> list[dict[str, Any]]:
        """Pages while is posted at a steady rate."""
        posting = await self.posting(int(self._size.rows * STEADY_PART), per_s)
        await asyncio.sleep(STEADY_S)
        try:
            found = await self.pages(BESIDE, lambda: not posting.done())
        except BaseException:
            posting.cancel()
            raise
        await posting
        return found

    async def pages(self, state: str, more: Callable[[], bool]) -> list[dict[str, Any]]:
        """Each question about the busy account and about others, in turns, over one connection."""
        caller, envelope = self._service.caller(), self._service.envelope
        indexed_ns = await self._service.database.fetchval(QUERIES["indexed_until"])
        seen: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for turn in range(self._size.pages + 1):
            self._tell(f"pages, {state}: {turn} of {self._size.pages}")
            moment = instant(self._chance.randrange(self._begun_ns, max(self._begun_ns + 1, indexed_ns)))
            for who, place in (("busy", 0), ("another", self._chance.randrange(1, self._size.accounts))):
                account = uuid_text(account_id(self._plan.first_account, place))
                for what, path in questions(account, moment).items():
                    began_s = time.perf_counter()
                    page = await caller.expect(envelope.get(path), 200)
                    took_s = time.perf_counter() - began_s
                    if turn:  # the first one finds connections closed and plans unmade
                        seen.setdefault((who, what), []).append((took_s, len(json.loads(page)["data"])))
            if not more():
                break
        caller.close()
        return [
            {
                "state": state, "account": who, "what": what, "requests": len(each),
                "rows": median(rows for _, rows in each), "latency_ms": percentiles([took_s for took_s, _ in each]),
            }
            for (who, what), each in seen.items()
        ]  # fmt: skip


async def measure(size: Size, directory: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """All of it, on a server of its own. Raises `ProofFailed`."""
    began_s, began_at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tell("start of the server")
    service = await services.start(directory / "server", size.settings)
    seals = Seals(await asyncpg.connect(service.owner_dsn))
    watching = asyncio.ensure_future(seals.watch())
    try:
        history = History(size, service, directory, tell)
        await history.open_books()
        pairs = await history.pairs(seals)
        await seals.let()
        per_s = STEADY_SHARE * median(leg.per_s for pair in pairs for leg in pair if not leg.sealing)
        found = await history.beside_posting(per_s)
        tell("waiting for seals")
        _, sealed = await asyncio.gather(history.once.prove(), seals.sealed(SEALED_WAIT_S))
        await seals.hold()
        found += await history.pages(IDLE, lambda: True)
        rows, indexed = await service.database.fetchrow(QUERIES["rows_and_indexed"])
        return {
            "size": size.name, "settings": size.settings, "machine": machine(), **commit(ROOT), "began_at": began_at,
            "postgresql": await service.configuration(),
            "rows": rows, "rows_indexed": indexed, "partitions": sealed[1], "partitions_sealed": sealed[0],
            "steady_per_s": round(per_s), "proven": history.once.proven, "took_s": round(time.monotonic() - began_s),
            "pairs": [[asdict(leg) for leg in pair] for pair in pairs], "pages": found,
        }  # fmt: skip
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await seals.close()
        await service.close()


def page_rows(found: dict[str, Any]) -> list[list[str]]:
    """A line a question: what a first page took."""
    return [
        [each["what"], each["account"], each["state"], str(each["requests"]), f"{each['rows']:.0f}"]
        + [f"{each['latency_ms'][name]:.1f}" for name in ("50", "95", "99", "100")]
        for each in found["pages"]
    ]


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{FULL.rows:,} rows, half an hour; else {QUICK.rows:,}")
    parser.add_argument("--rows", type=int, help="another number of rows")
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name}, from which the documents' tables come")
    parser.add_argument("--scratch", type=Path)
    asked, guard = parser.parse_args(), Guard()
    size = FULL if asked.full else QUICK
    size = replace(size, rows=asked.rows or size.rows)
    began_s, told = time.monotonic(), dict[str, int]()

    def tell(what: str) -> None:
        """A line for each thing that is done, and nothing more often than once in some seconds."""
        second, name = int(time.monotonic() - began_s), what.split(":", 1)[0]
        if second >= told.get(name, -TELL_S) + TELL_S:
            told[name] = second
            sys.stderr.write(f"{second:>5} s  {what}\n")

    try:
        with scratch(asked.scratch) as directory:
            found = guard.run(measure(size, directory, tell))
    except asyncio.CancelledError:
        return guard.exit_code
    except ProofFailed as failed:
        sys.stderr.write(f"The proof failed: {failed}\n")
        return 1
    for line in (*page_rows(found), *pair_rows(found["pairs"])):
        sys.stdout.write("  ".join(f"{cell:>14}" for cell in line) + "\n")
    if asked.keep:
        KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
