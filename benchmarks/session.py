"""One session: which parts run in which order, on which server, and what they add to the result.

Guarded here: a baseline runs right beside what it is compared with, so that both meet the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import baselines, engine, peers, restart, service
from benchmarks.nouns import BATCH_TRANSFERS, SMOKE, Case, Measured, Plan, Size
from benchmarks.processes import machine
from benchmarks.proof import prove_ids
from benchmarks.report import add_figures, commit
from benchmarks.run import Runner
from benchmarks.workloads import WORKLOADS, Planner, w5_at_half

ROOT: Final = Path(__file__).parent.parent

PARTS: Final = ("engine", "append", *WORKLOADS, "echo", "sql", "start", "growth", "peers")
"""Everything that can be asked for by `--only`."""

QUICK_PARTS: Final = tuple(part for part in PARTS if part != "growth")

SINGLE_ANSWER_BYTES: Final = 750
"""Of a body, until the ledger's own answers were measured in the run."""
_HEAD_BYTES: Final = 190

GROWN_ACCOUNTS: Final = 10_000_000
GROWN_ROWS: Final = 50_000_000
GROWN_SETTINGS: Final[dict[str, object]] = {"accounts_max": 12_000_000}


@dataclass(slots=True)
class Asked:
    """What the command line asked for."""

    size: Size
    parts: tuple[str, ...]
    scratch: Path
    url: str = ""
    key: str = ""
    database: str = ""
    tigerbeetle: Path | None = None


@dataclass(slots=True)
class Session:
    """What has been measured so far."""

    asked: Asked
    show: Callable[[str, str, int, int], None]
    """Progress: part, phase, done so far, of how many (0: unknown)."""
    done: Callable[[Measured], None]
    figures: dict[str, float] = field(default_factory=dict)
    lines: list[Measured] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    answer_bytes: int = SINGLE_ANSWER_BYTES
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        # Seconds as the first number: a database that was benchmarked before has other ledgers.
        self.planner = Planner(self.asked.size, int(time.time()) % 1_000_000_000 + 1_000_000_000)
        self.about = {
            "size": self.asked.size.name,
            "parts": list(self.asked.parts),
            "machine": machine(),
            "began_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **commit(ROOT),
        }

    def wants(self, part: str) -> bool:
        """Whether a part is to be run."""
        return part in self.asked.parts

    def tell(self, part: str, total: int = 0) -> Callable[[str, int], None]:
        """Progress of one part."""
        return lambda phase, so_far: self.show(part, phase, so_far, total)

    def keep(self, measured: Measured) -> None:
        """A finished line."""
        self.lines.append(measured)
        self.done(measured)

    async def run(self) -> None:
        """Everything that was asked for, in order. Raises `ProofFailed`."""
        size = self.asked.size
        if self.wants("engine"):
            await self._engine(size)
        if self.wants("peers") and self.asked.tigerbeetle:
            self.show("peers", "tigerbeetle benchmark", 0, 0)
            self.keep(await peers.tigerbeetle(self.asked.tigerbeetle, size.w1_transfers, self.asked.scratch))
        if any(self.wants(part) for part in (*WORKLOADS, "append", "echo", "sql")):
            await self._on_a_server()
        if self.wants("start") and not self.asked.url:
            found = await restart.measure(
                self.asked.scratch / "start", size, next(self.planner.ledgers), self.tell("start")
            )
            self.figures["start_s"], self.more["start"] = round(found["start_s"], 2), found
        if self.wants("growth") and not self.asked.url:
            await self._growth()

    async def _engine(self, size: Size) -> None:
        total = size.micro_batches * 2 * BATCH_TRANSFERS
        self.more["engine"] = await asyncio.to_thread(engine.measure, size.micro_batches, self.tell("engine", total))
        self.show("engine", "apply alone", 0, 0)
        rate = await asyncio.to_thread(engine.apply_rate, ROOT)
        if rate is not None:
            self.figures["apply_per_s"] = rate
        self.show("engine", "memory of accounts", 0, 0)
        size_b = await asyncio.to_thread(engine.bytes_per_account, size.start_accounts)
        if size_b is not None:
            self.figures["bytes_per_account"] = round(size_b, 1)

    async def _on_a_server(self) -> None:
        self.show("server", "start", 0, 0)
        server = await self._serve("server")
        try:
            self.about["postgresql"] = await server.configuration()
            runner = Runner(server, self.asked.scratch, self.tell("server"))
            if self.wants("append") and not self.asked.url:
                transfers = self.asked.size.w1_transfers
                self.keep(await baselines.append_ceiling(server, transfers, self.tell("append", transfers)))
                self.figures["append_ceiling_per_s"] = round(self.lines[-1].per_s, 1)
            for name, cases in WORKLOADS.items():
                if self.wants(name):
                    await self._workload(runner, name, cases(self.planner))
                if name == "W1":
                    await self._single_baselines(server)
            self.show("proof", "ids of the whole journal", 0, 0)
            await prove_ids(server.database)
        finally:
            await server.close()

    async def _serve(self, name: str, **settings: object) -> service.Service:
        if self.asked.url:
            named = service.Service(self.asked.url, self.asked.key, self.asked.database)
            await named.connect()
            return named
        return await service.start(self.asked.scratch / name, premake_wal=self.asked.size is not SMOKE, **settings)

    async def _workload(self, runner: Runner, name: str, cases: Iterable[Case]) -> None:
        peak = 0.0
        for case in cases:
            peak = max(peak, (await self._case(runner, case)).per_s)
        if name == "W5":
            await self._case(runner, w5_at_half(self.planner, peak))

    async def _case(self, runner: Runner, case: Case) -> Measured:
        runner.tell = self.tell(case.plan.case, case.plan.transfers)
        measured = await runner.run(case)
        if case.plan.form == "single" and case.plan.choice == "uniform":
            self.answer_bytes = max(1, measured.answer_bytes - _HEAD_BYTES)
        add_figures(self.figures, case, measured)
        self.keep(measured)
        return measured

    async def _single_baselines(self, server: service.Service) -> None:
        """Beside the singles of W1, with the same requests."""
        for connections in (256, 1_024):
            case = self.planner.singles("W1", f"echo_{connections}", "", connections)
            if self.wants("echo"):
                self.keep(
                    await baselines.echo(
                        case.plan, self.asked.scratch, self.answer_bytes, self.tell(case.plan.case, case.plan.transfers)
                    )
                )
                self.figures[f"echo_{connections}_per_s"] = round(self.lines[-1].per_s, 1)
        for grouped in (True, False):
            if not self.wants("sql") or self.asked.url:
                continue
            plan = self._sql_plan(grouped)
            self.keep(
                await baselines.lock_and_update(
                    server,
                    plan,
                    self.asked.scratch,
                    self.answer_bytes,
                    self.tell(plan.case, plan.transfers),
                    grouped=grouped,
                )
            )
            if grouped:
                self.figures["sql_baseline_256_per_s"] = round(self.lines[-1].per_s, 1)

    def _sql_plan(self, grouped: bool) -> Plan:
        name = "sql_grouped_256" if grouped else "sql_plain_256"
        return self.planner.singles("W1", name, "", 256).plan

    async def _growth(self) -> None:
        """The same traffic on little and on much: rates, and the 99th percentile of singles at a steady pace."""
        server = await self._serve("growth", **GROWN_SETTINGS)
        planner, found = self.planner, {}
        try:
            runner = Runner(server, self.asked.scratch, self.tell("server"))
            small = planner.batches("growth", "growth_small", "1 M rows, 10,000 accounts", 1_000_000, "binary")
            large = planner.batches(
                "growth", "growth_load", "50 M rows over 10 M accounts", GROWN_ROWS, "binary", accounts=GROWN_ACCOUNTS
            )
            await self._case(runner, small)
            for name, case in (("small", small), ("large", large)):
                if case is large:
                    await self._load(runner, large)
                rate = await self._case(runner, _again(case, f"growth_{name}_rate", 1_000_000 // BATCH_TRANSFERS, 7))
                pace = planner.singles("growth", "", "", 256).plan
                steady = replace(
                    case,
                    plan=replace(
                        pace,
                        case=f"growth_{name}_steady",
                        ledger=case.plan.ledger,
                        accounts=case.plan.accounts,
                        first_account=case.plan.first_account,
                        requests=50_000,
                        offered_per_s=5_000.0,
                    ),
                )
                found[name] = (rate.per_s, (await self._case(runner, steady)).latency_ms["99"])
        finally:
            await server.close()
        self.more["growth"] = {
            "rate_ratio": found["large"][0] / found["small"][0],
            "p99_ratio": found["large"][1] / found["small"][1],
        }

    async def _load(self, runner: Runner, case: Case) -> None:
        """Much of the same, in pieces that the generator can hold."""
        pieces = 10
        for piece in range(pieces):
            await self._case(runner, _again(case, f"growth_load_{piece}", case.plan.requests // pieces, 100 + piece))


def _again(case: Case, name: str, requests: int, seed: int) -> Case:
    """More traffic on the same ledger and accounts."""
    return replace(case, figure="", plan=replace(case.plan, case=name, requests=requests, seed=case.plan.seed + seed))
