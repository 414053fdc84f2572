"""One run against a server: open the books, let Locust loose, watch, prove, price.

Guarded here: Locust runs in processes of its own, so that neither watching nor proving takes part in the load;
what is priced lies between two readings with nothing but the run between them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import tied
from benchmarks.nouns import ProofFailed
from benchmarks.proof import Claim, prove
from benchmarks.service import Service
from loadtests import cost, gates, measure, readback
from loadtests.books import Caller, open_books
from loadtests.commits import Commits
from loadtests.gates import Gate
from loadtests.nouns import DRAIN_S, START_DELAY_S, Allowed, Books, Plan, Prices, Slo
from loadtests.seen import Seen, acknowledged, write_copy

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
LOCUST_TIMEOUT_S: Final = 120.0
"""What a run may take beyond its own length before it is given up."""
LOCUST_STOP_TIMEOUT_S: Final = 20.0
"""Its sources wait half as long for their flows."""
LOG_SHOWN_BYTES: Final = 2_000
WATCHING_LEAD_S: Final = 0.5
IDLE_S: Final = 4.0
"""How long an idle server is looked at."""
ABOUT_BALANCES: Final = ("debits", "balances", "accounts")
"""How the sentences of a failed proof begin or what they have in them when they are about balances."""


class RunFailed(RuntimeError):
    """A run could not be made. `str()` says why."""


class Asked(msgspec.Struct, frozen=True):
    """How runs are made. `allowed` says, by the cores that were busy otherwise, what a gate's run may take; without
    it slo.toml stands as it is, for the whole run."""

    scratch: Path
    duration_s: float = 0.0
    requests_per_s: float = 0.0
    processes: int = 1
    seed: str = ""
    allowed: Callable[[float | None], Allowed] | None = None
    cores: int = 0
    """That generator and server share; 0 where they do not."""


class Run(msgspec.Struct):
    """One finished run."""

    plan: Plan
    seen: Seen
    gates: list[Gate]
    queue: list[tuple[float, float]]
    """Second of the run, and rows that waited."""
    usage: cost.Usage | None
    cost: cost.Cost | None
    knee: dict[str, float] | None
    proof: dict[str, int]
    cores: measure.Cores

    @property
    def chances(self) -> list[Gate]:
        """Broken bounds that may be the machine's doing; none if another one is broken as well."""
        broken = [gate for gate in self.gates if gate.kept is False]
        return broken if all(gate.chance for gate in broken) else []


class Runner:
    """Makes runs on one server."""

    def __init__(self, service: Service, asked: Asked, slo: Slo, prices: Prices) -> None:
        self._service = service
        self._asked = asked
        self._slo = slo
        self._prices = prices
        self.tell: Callable[[str, int, int], None] = _silent
        """Hears how far a run is."""
        self._idle_cpu: tuple[float, float] | None = None
        """CPU seconds a second of server and PostgreSQL that nobody asks anything."""

    async def run(self, plan: Plan) -> Run:
        """Make one run. Raises `RunFailed` and `SetUpFailed`."""
        service, database = self._service, self._service.database
        directory = self._asked.scratch / plan.profile
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        setup = await measure.counters(database) if database is not None else None
        books = await asyncio.to_thread(self._open, plan)
        if database is not None:
            await database.execute(measure.QUERIES["look_after_books"], timeout=LOCUST_TIMEOUT_S)
        # What was written before, by whomever, is on disk now and not half a minute into the run: the kernel waits
        # that long with it, and then each commit waits behind it.
        await asyncio.to_thread(os.sync)
        await self._look_at_idle()
        start = await measure.counters(database) if database is not None else None
        commits = Commits(service)
        async with AsyncExitStack() as stack:
            watch = await stack.enter_async_context(measure.Watch(service))
            # Where cost is what counts, nobody else may commit.
            if database is not None and not plan.volume:
                await stack.enter_async_context(commits)
            await asyncio.sleep(WATCHING_LEAD_S)
            await self._locust(plan, books, directory)
            await asyncio.sleep(WATCHING_LEAD_S)
        end = await measure.counters(database) if database is not None else None
        seen = Seen.load(plan, directory)
        if not seen.processes or not seen.requests:
            raise RunFailed(f"{plan.profile}: Locust sent nothing:\n{_log(directory)}")
        usage = None
        if start is not None and end is not None:
            usage = await self._usage(watch, seen, books, start, end)
        proof, found = await self._prove(books, directory, seen, setup, start)
        first_s = seen.began_wall_s + START_DELAY_S
        seen.commits = [(due_s - first_s, took_ms) for due_s, took_ms in commits.found]
        queue = [(wall_s - first_s, rows) for wall_s, rows in watch.queue if 0.0 <= wall_s - first_s <= plan.seconds]
        deepest = max((rows for _, rows in queue), default=None)
        cores = watch.cores(first_s, first_s + plan.seconds, seen.effort.cores(0.0, plan.seconds))
        allowed = None if self._asked.allowed is None else self._asked.allowed(cores.others)
        return Run(
            plan, seen, gates.judge(plan, seen, found, deepest, self._slo, allowed), queue, usage,
            None if usage is None else cost.price(usage, self._prices),
            gates.knee(plan, seen, self._slo) if plan.past_the_knee else None, proof, cores,
        )  # fmt: skip

    def _open(self, plan: Plan) -> Books:
        caller = Caller(self._service.url, self._service.key)
        try:
            return open_books(caller, plan, self.tell)
        finally:
            caller.close()

    async def _look_at_idle(self) -> None:
        """Once, what the processes use when nobody asks anything."""
        if self._idle_cpu is not None or self._service.database is None:
            return
        self.tell("idle", 0, 0)
        async with measure.Watch(self._service) as watch:
            await asyncio.sleep(IDLE_S)
        used = watch.cpu_between(watch.points[0].wall_s, watch.points[-1].wall_s)
        seconds = watch.points[-1].wall_s - watch.points[0].wall_s
        self._idle_cpu = None if used is None else (used[0] / seconds, used[1] / seconds)

    async def _locust(self, plan: Plan, books: Books, directory: Path) -> None:
        """Run Locust to its end. What it prints goes into a file."""
        asked = self._asked
        arguments = [
            "-f", str(LOCUSTFILE), "--headless", "--host", self._service.url, "--load", plan.profile,
            "--duration", str(asked.duration_s), "--rate", str(asked.requests_per_s), "--seed", asked.seed,
            "--shared-cores", str(asked.cores),
            "--books", msgspec.json.encode(books).decode(), "--out", str(directory), "--only-summary",
        ]  # fmt: skip
        if asked.processes > 1:
            arguments += ["--processes", str(asked.processes)]
        environment = os.environ | {"PYLEDGER_KEY": self._service.key}
        with (directory / "locust.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *tied.command(sys.executable, "-m", "locust", *arguments), stdin=asyncio.subprocess.DEVNULL, stdout=log,
                stderr=log, env=environment, cwd=LOCUSTFILE.parent.parent,
            )  # fmt: skip
            try:
                limit_s = plan.seconds + DRAIN_S + LOCUST_TIMEOUT_S
                await asyncio.wait_for(self._wait(process, plan), limit_s)
            except TimeoutError as error:
                raise RunFailed(f"{plan.profile}: Locust did not end:\n{_log(directory)}") from error
            finally:
                await _end(process)

    async def _wait(self, process: asyncio.subprocess.Process, plan: Plan) -> None:
        """Until the process ends, telling how far it is."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while process.returncode is None:
            self.tell("load", int(min(loop.time() - began_s, plan.seconds)), int(plan.seconds))
            await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=1.0)

    async def _usage(self, watch: measure.Watch, seen: Seen, books: Books, start: measure.Counters,
                     end: measure.Counters) -> cost.Usage | None:  # fmt: skip
        """What each transaction used: CPU from the first arrival to the last, the rest over the whole run."""
        first_s = seen.began_wall_s + START_DELAY_S
        cpu = watch.cpu_between(first_s, first_s + seen.plan.seconds)
        if cpu is None:
            return None
        idle_s = sum(self._idle_cpu) * seen.plan.seconds if self._idle_cpu is not None else 0.0
        return await measure.usage(self._service.database, books.ledger, start, end, cpu, idle_s)

    async def _prove(self, books: Books, directory: Path, seen: Seen, setup: measure.Counters | None,
                     start: measure.Counters | None) -> tuple[dict[str, int], gates.Books]:  # fmt: skip
        """The proof: in the database where it can be looked into, else over HTTP."""
        service, told = self._service, len({id_bytes for id_bytes, _ in acknowledged(directory)})
        if setup is None or start is None:
            pairs = acknowledged(directory)
            ids = await asyncio.to_thread(readback.read_back, service.url, service.key, pairs, self.tell)
            balances = await asyncio.to_thread(readback.trial_balance, service.url, service.key, books)
            return {}, gates.Books(ids, balances, told)
        claim = Claim(
            case=seen.plan.profile, ledger=books.ledger, accounts=books.accounts, setup_mark_ns=setup.head_ns,
            run_mark_ns=start.head_ns, acknowledged=[write_copy(directory)], unanswered=seen.totals["unanswered"],
        )  # fmt: skip
        caller = service.caller()
        try:
            proof = await prove(service.database, caller, service.envelope, claim,
                                lambda phase: self.tell(phase, 0, 0))  # fmt: skip
            return proof, gates.Books([], [], told)
        except ProofFailed as error:
            balances = [each for each in error.failures if any(word in each for word in ABOUT_BALANCES)]
            return {}, gates.Books([each for each in error.failures if each not in balances], balances, told)
        finally:
            caller.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop Locust, with the workers that it started."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), LOCUST_STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _silent(phase: str, done: int, of: int) -> None:
    """Nobody wants to hear how far it is."""


def _log(directory: Path) -> str:
    """The end of what Locust printed."""
    return (directory / "locust.log").read_bytes()[-LOG_SHOWN_BYTES:].decode(errors="replace")


def document(run: Run) -> dict[str, Any]:
    """For the report."""
    return {
        "plan": msgspec.to_builtins(run.plan), "seen": run.seen.document(), "queue": run.queue,
        "gates": msgspec.to_builtins(run.gates), "knee": run.knee, "proof": run.proof,
        "cores": msgspec.to_builtins(run.cores),
        "usage": msgspec.to_builtins(run.usage),
        "cost": None if run.cost is None else {
            **msgspec.to_builtins(run.cost), "running_usd": run.cost.running_usd,
            "storage_usd": run.cost.storage_usd, "text": run.cost.text(),
        },
    }  # fmt: skip
