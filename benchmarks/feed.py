"""What it costs the writer that others follow the feed: `python -m benchmarks.feed`; `--keep` keeps it for
docs/PERFORMANCE.md.

Guarded here: a run with readers stands beside one without, of the same size and right before or after it, in both
orders, on one server whose sealing is held back. No figure is shown before each acknowledged id was found once in the
journal, and each reader was given each of its rows once and in its order, by their times in PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import service as services
from benchmarks.bodies import account_id, accounts_body, first_account
from benchmarks.followers import PAGE_ROWS, READERS, SLOW_S, Followers, Seen
from benchmarks.lifetime import Guard, scratch
from benchmarks.load import drive
from benchmarks.nouns import BATCH_CONNECTIONS, BATCH_TRANSFERS, Measured, Plan, ProofFailed
from benchmarks.once import PROOF_S_MAX, Once
from benchmarks.processes import cpu_s, machine
from benchmarks.report import commit
from benchmarks.seals import Seals
from benchmarks.service import Service
from benchmarks.summary import summarize
from pyledger import sql
from pyledger.ledger.feed import TAIL_LINGER_S

ROWS: Final = 2_000_000
ROUNDS: Final = 3
FIRST_PART: Final = 0.1
"""Of the rows of a run, posted before the first of them."""
ACCOUNTS: Final = 8_000
LEDGER: Final = 1
NONE, FOLLOWING, SLOW = "none", "follow", "are slow"
ORDER: Final = (FOLLOWING, NONE, SLOW)
"""Of a round, and backwards of the next one: either kind of readers is beside the run without any."""
ROOT: Final = Path(__file__).parent.parent
KEPT: Final = Path(__file__).parent / "results" / "feed.json"
HEADS: Final = (
    "readers", "first", "rows/s without", "with", "ratio", "p99 ms without", "with", "server us without", "with",
    "rows/s received", "rows behind", "all had all after s", "readers' cores",
)  # fmt: skip
_QUERIES: Final = sql.load("benchmarks", "feed.sql")

Tell = Callable[[str, int, int], None]
"""What is done, how far it is, of how much (0: unknown)."""
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Leg:
    """One run, with or without readers."""

    readers: str
    rows: int
    seconds: float
    per_s: float
    latency_ms: dict[str, float]
    server_us: float
    """CPU time of the server while is posted, in microseconds of a row; PostgreSQL's is not in it."""
    generator_share: float
    received_per_s: float = 0.0
    """Rows that all readers together were given a second, while is posted."""
    behind_rows: int = 0
    """Rows that the slowest reader did not have at the last answer to whoever posts."""
    caught_up_s: float = 0.0
    """From then on, until each reader had all."""
    reader_share: float = 0.0
    """Of one core, what all readers together took while is posted."""


class Looks:
    """CPU seconds of the server and of the readers, from the first look to the last."""

    def __init__(self, *process_ids: int | None) -> None:
        self._process_ids = process_ids
        self._seen: list[tuple[float, ...]] = []

    def look(self) -> None:
        """Now."""
        used = ((each and cpu_s(each)) or 0.0 for each in self._process_ids)
        self._seen.append((time.perf_counter(), *used))

    def used(self) -> list[float]:
        """Seconds that have passed, and those that each has used."""
        return [after - before for before, after in zip(self._seen[0], self._seen[-1], strict=True)]


class Posting:
    """One run after the other, on one server."""

    def __init__(self, service: Service, directory: Path, tell: Tell) -> None:
        self._service, self._directory, self._tell = service, directory, tell
        self._first_account, self._runs = first_account(LEDGER), 0
        self.once = Once(service)

    async def open_books(self) -> None:
        """The ledger and its accounts."""
        caller, envelope = self._service.caller(), self._service.envelope
        ledger = json.dumps({"id": LEDGER, "asset": "EUR", "exponent": 2}).encode()
        await caller.expect(envelope.post("/v1/ledgers", ledger), 201)
        body = accounts_body([account_id(self._first_account, place) for place in range(ACCOUNTS)], LEDGER, ())
        await caller.expect(envelope.post("/v1/accounts/batch", body), 200)
        caller.close()
        await self.once.begin()

    def _plan(self, rows: int) -> Plan:
        self._runs += 1
        return Plan(
            case=f"feed-{self._runs}", form="binary", ledger=LEDGER, first_account=self._first_account,
            accounts=ACCOUNTS, requests=max(1, rows // BATCH_TRANSFERS), connections=BATCH_CONNECTIONS,
            per_request=BATCH_TRANSFERS, seed=self._runs,
        )  # fmt: skip

    async def leg(self, readers: str, rows: int, slow_s: float = SLOW_S) -> Leg:
        """Post, have it read, prove both. Raises `ProofFailed`."""
        service, plan, mark_ns, seen = self._service, self._plan(rows), await self._service.mark_ns(), list[Seen]()
        if readers == NONE:
            measured, began_s, looks = await self._post(plan, None)
        else:
            with Followers(service.url, service.key, plan.transfers, slow_s if readers == SLOW else 0.0) as followers:
                await followers.ready()
                measured, began_s, looks = await self._post(plan, followers)
                self._tell(f"{plan.case}: waiting for readers", 0, 0)
                seen = await followers.seen()
        await self._prove(plan, seen, mark_ns)
        passed_s, server_s, readers_s = looks.used()
        ended_s = began_s + measured.seconds
        return Leg(
            readers, plan.transfers, round(measured.seconds, 2), round(measured.per_s, 1), measured.latency_ms,
            round(server_s / plan.transfers * 1e6, 2), round(measured.generator_share, 2),
            round(sum(each.by(ended_s) for each in seen) / measured.seconds, 1),
            max((plan.transfers - each.by(ended_s) for each in seen), default=0),
            round(max(0.0, *(each.at_s[-1] - ended_s for each in seen), 0.0), 2),
            round(readers_s / passed_s, 2) if passed_s else 0.0,
        )  # fmt: skip

    async def _post(self, plan: Plan, followers: Followers | None) -> tuple[Measured, float, Looks]:
        """Post all of it; what came of it, when it began, and whose CPU it took."""
        server = self._service.process
        looks = Looks(server.pid if server else None, followers.process_id if followers else None)
        posted = False

        def tell(phase: str, so_far: int) -> None:
            nonlocal posted
            self._tell(f"{plan.case}: {phase}", so_far, plan.transfers)
            if phase == "run" and not posted:
                looks.look()
                posted = so_far >= plan.transfers
                if posted and followers is not None:
                    followers.posted()

        outcomes, files = await drive(plan, self._service.url, self._service.key, self._directory, tell)
        if not posted:
            tell("run", plan.transfers)  # it had ended before it was looked
        measured = summarize(plan, outcomes, "feed", plan.case)
        if measured.errors or measured.accepted != plan.transfers:
            raise ProofFailed(plan.case, [f"{measured.accepted} accepted of {plan.transfers}: {measured.errors}"])
        await self.once.keep(files)
        return measured, min(each.began[0] for each in outcomes), looks

    async def _prove(self, plan: Plan, seen: Sequence[Seen], mark_ns: int) -> None:
        """Ids by what was answered, rows of the readers by what is recorded."""
        self._tell(f"{plan.case}: proof", 0, 0)
        await self.once.prove()
        if seen:
            part = (mark_ns, await self._service.mark_ns())
            digest = await self._service.database.fetchval(_QUERIES["recorded_digest"], *part, timeout=PROOF_S_MAX)
            due = (plan.transfers, digest)
            wrong = [number for number, each in enumerate(seen) if (each.rows[-1], each.digest) != due]
            if wrong:
                raise ProofFailed(plan.case, [f"readers {wrong} were given other rows than the journal has"])


async def measure(asked: argparse.Namespace, directory: Path, tell: Tell, said: Said) -> dict[str, Any]:
    """All rounds, on a server of its own. Raises `ProofFailed`."""
    began_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tell("start of the server", 0, 0)
    service = await services.start(directory / "server")
    seals = Seals(await asyncpg.connect(service.owner_dsn))
    try:
        await seals.hold()
        posting = Posting(service, directory, tell)
        await posting.open_books()
        await posting.leg(NONE, int(asked.rows * FIRST_PART))
        rounds: list[list[Leg]] = []
        for number in range(asked.rounds):
            rounds.append([])
            for readers in ORDER if number % 2 == 0 else ORDER[::-1]:
                # So long the server keeps what is fresh for readers that may come back.
                await asyncio.sleep(TAIL_LINGER_S)
                rounds[-1].append(await posting.leg(readers, asked.rows))
                said(" ".join(f"{name}={value}" for name, value in asdict(rounds[-1][-1]).items()))
        return {
            "rows": asked.rows, "readers": READERS, "page_rows": PAGE_ROWS, "slow_s": SLOW_S, "settings": {},
            "machine": machine(), **commit(ROOT), "began_at": began_at, "postgresql": await service.configuration(),
            "proven": posting.once.proven, "rounds": [[asdict(leg) for leg in legs] for legs in rounds],
        }  # fmt: skip
    finally:
        await seals.close()
        await service.close()


def _figures(without: Mapping[str, Any], beside: Mapping[str, Any]) -> list[float]:
    """Of a pair, in the order of the heads."""
    return [
        without["per_s"], beside["per_s"], beside["per_s"] / without["per_s"],
        without["latency_ms"]["99"], beside["latency_ms"]["99"], without["server_us"], beside["server_us"],
        beside["received_per_s"], beside["behind_rows"], beside["caught_up_s"], beside["reader_share"],
    ]  # fmt: skip


def _cells(figures: Sequence[float]) -> list[str]:
    forms = (",.0f", ",.0f", ".2f", ".0f", ".0f", ".1f", ".1f", ",.0f", ",.0f", ".1f", ".2f")
    return [format(figure, form) for figure, form in zip(figures, forms, strict=True)]


def feed_rows(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """A line a pair of runs, and the medians of either kind of readers."""
    lines = []
    for readers in (FOLLOWING, SLOW):
        every = []
        for legs in rounds:
            kinds = [leg["readers"] for leg in legs]
            pair = [legs[kinds.index(NONE)], legs[kinds.index(readers)]]
            every.append(_figures(*pair))
            first = "with" if kinds.index(readers) < kinds.index(NONE) else "without"
            lines.append([f"{READERS} that {readers}", first, *_cells(every[-1])])
        lines.append(["median", "", *_cells([median(each) for each in zip(*every, strict=True)])])
    return lines


@contextmanager
def shown() -> Iterator[tuple[Tell, Said]]:
    """A bar for what is under way, and lines for what is done."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, soft_wrap=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, so_far: int, total: int) -> None:
            text = f"{what} {so_far:,}" if so_far else what
            bar.update(task, description=text, completed=so_far, total=total or None)

        yield tell, lambda line: bar.console.print(line, highlight=False)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="of each run")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name}, from which the document's table comes")
    parser.add_argument("--scratch", type=Path)
    asked, guard = parser.parse_args(), Guard()
    try:
        with scratch(asked.scratch) as directory, shown() as (tell, said):
            found = guard.run(measure(asked, directory, tell, said))
    except asyncio.CancelledError:
        return guard.exit_code
    except ProofFailed as failed:
        sys.stderr.write(f"The proof failed: {failed}\n")
        return 1
    for line in (HEADS, *feed_rows(found["rounds"])):
        sys.stdout.write("  ".join(f"{cell:>14}" for cell in line) + "\n")
    if asked.keep:
        KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
