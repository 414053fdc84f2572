"""One session: which parts run in which order, on which server, and what they add to the result.

Guarded here: what is compared runs side by side, baselines and workloads, so that both meet the same machine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks import baselines, engine, growth, peers, restart, service
from benchmarks.nouns import BATCH_TRANSFERS, SMOKE, Case, Measured, Size
from benchmarks.processes import machine, resident_bytes
from benchmarks.proof import prove_ids
from benchmarks.report import add_figures, commit
from benchmarks.run import Runner
from benchmarks.workloads import IN_TURN, SQL_PLAIN_PER_S_MAX, WORKLOADS, Planner, w5_at_half
from pyledger.settings import Settings

ROOT: Final = Path(__file__).parent.parent

PARTS: Final = ("engine", "append", *WORKLOADS, "echo", "sql", "start", "growth", "peers")
"""Everything that can be asked for by `--only`."""

QUICK_PARTS: Final = tuple(part for part in PARTS if part != "growth")

SQL_CASES: Final = (("sql_grouped_256", 256, True), ("sql_plain_256", 256, False), ("sql_plain_1024", 1_024, False))
"""Of the lock-and-update ledger: name, connections, whether with group commit."""

ECHO_CONNECTIONS: Final = (256, 1_024)
TURNS: Final = 3
"""In which singles and their echo are measured: an odd number, for the one in the middle."""

DEFAULTS: Final = Settings()
ANSWER_TIMEOUT_MS: Final = 120_000
"""Of a server on which hundreds of full requests wait at once because it was asked for."""

PGLEDGER_ACCOUNTS: Final = (50, 10)
"""As in W6, with whose first case its first is compared."""
W6_COMPARED: Final = "w6_50"


Cases = Callable[[Runner, service.Service, list[Case]], Awaitable[None]]
"""Runs some of the cases on a server."""


def queue_settings(connections: tuple[int, ...]) -> dict[str, object]:
    """What a server needs on which so many connections send full requests: the default queue holds eight."""
    rows = max(connections, default=0) * BATCH_TRANSFERS
    if rows <= DEFAULTS.queue_rows_max:
        return {}
    return {"queue_rows_max": rows, "answer_timeout_ms": ANSWER_TIMEOUT_MS}


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
    pgledger: str = ""
    connections: tuple[int, ...] = ()
    """Further numbers of connections that send full requests."""


@dataclass(slots=True)
class Session:
    """What has been measured so far."""

    asked: Asked
    show: Callable[[str, str, int, int], None]
    """Progress: part, phase, done so far, of how many (0: unknown)."""
    done: Callable[[Measured], None]
    figures: dict[str, float] = field(default_factory=dict)
    further: dict[str, float] = field(default_factory=dict)
    lines: list[Measured] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    body_bytes: int = baselines.SINGLE_BODY_BYTES
    """Of the ledger's answer to a single."""
    planner: Planner = field(init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        # Seconds as the first number: a database that was benchmarked before has other ledgers.
        first_ledger = int(time.time()) % 1_000_000_000 + 1_000_000_000
        self.planner = Planner(self.asked.size, first_ledger, self.asked.connections)
        self.about = {
            "size": self.asked.size.name,
            "parts": list(self.asked.parts),
            "settings": queue_settings(self.asked.connections),
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
        self.about["took_s"] = round(time.monotonic() - self._began, 1)
        measured.took_s = round(self.about["took_s"] - sum(line.took_s for line in self.lines), 1)
        self.lines.append(measured)
        self.done(measured)

    async def run(self) -> None:
        """Everything that was asked for, in order. Raises `ProofFailed`."""
        try:
            await self._run()
        finally:
            self.about["took_s"] = round(time.monotonic() - self._began, 1)

    async def _run(self) -> None:
        size = self.asked.size
        if self.wants("engine"):
            await self._engine(size)
        if self.wants("peers"):
            await self._peers(size)
        wanted = [case for name, cases in WORKLOADS.items() if self.wants(name) for case in cases(self.planner)]
        if any(case.plan.form != "single" for case in wanted) or self.wants("append"):
            await self._on_a_server("batches", self._batches, wanted)
        if any(case.plan.form == "single" for case in wanted) or self.wants("echo") or self.wants("sql"):
            await self._on_a_server("singles", self._singles, wanted)
        if self.wants("start") and not self.asked.url:
            found = await restart.measure(
                self.asked.scratch / "start", size, next(self.planner.ledgers), self.tell("start")
            )
            self.figures["start_s"], self.more["start"] = round(found["start_s"], 2), found
        if self.wants("growth") and not self.asked.url:
            await self._growth(size)

    async def _peers(self, size: Size) -> None:
        if self.asked.tigerbeetle:
            self.show("peers", "tigerbeetle benchmark", 0, 0)
            self.keep(await peers.tigerbeetle(self.asked.tigerbeetle, size.w1_transfers, self.asked.scratch))
            self.further["tigerbeetle_per_s"] = round(self.lines[-1].per_s, 1)
        for accounts in PGLEDGER_ACCOUNTS if self.asked.pgledger else ():
            self.show("peers", f"pgledger, {accounts} accounts", 0, 0)
            self.keep(await peers.pgledger(self.asked.pgledger, accounts, size.single_s / 2))
            self.further.setdefault("pgledger_per_s", round(self.lines[-1].per_s, 1))

    async def _engine(self, size: Size) -> None:
        self.show("engine", "microbenchmarks", 0, 0)
        self.more["engine"] = await asyncio.to_thread(engine.measure, self.asked.scratch)
        self.show("engine", "the core alone", 0, 0)
        self.more["engine"] |= await asyncio.to_thread(engine.codec_rates, ROOT)
        rate = await asyncio.to_thread(engine.apply_rate, ROOT)
        if rate is not None:
            self.figures["apply_per_s"] = rate
        for what in get_args(engine.Held):
            self.show("engine", f"memory of each {what}", 0, 0)
            bytes_each = await asyncio.to_thread(engine.bytes_each, what, size.start_accounts)
            if bytes_each is not None:
                into = self.figures if what == "account" else self.further
                into[f"bytes_per_{what}"] = round(bytes_each, 1)

    async def _on_a_server(self, name: str, run: Cases, wanted: list[Case]) -> None:
        """One of each kind of requests has its server: what full ones leave to be sealed falls on no single."""
        self.show(name, "start", 0, 0)
        server = await self._serve(name, queue_settings(self.asked.connections))
        try:
            await run(
                Runner(server, self.asked.scratch, self.tell(name), rested=self.asked.size.rested), server, wanted
            )
            self.show("proof", "ids of the whole journal", 0, 0)
            await prove_ids(server.database)
        finally:
            await server.close()

    async def _singles(self, runner: Runner, server: service.Service, wanted: list[Case]) -> None:
        """The baselines beside the singles of W1, then all other cases of one a request."""
        singles = {case.plan.case: case for case in wanted if case.plan.form == "single"}
        for connections in ECHO_CONNECTIONS:
            await self._beside_echo(runner, server, singles.pop(f"single_{connections}", None), connections)
        await self._sql_baselines(server)
        for workload, cases in itertools.groupby(singles.values(), lambda case: case.workload):
            peak = max([(await self._case(runner, case)).per_s for case in cases])
            if workload == "W5":
                await self._case(runner, w5_at_half(self.planner, peak))

    async def _beside_echo(self, runner: Runner, server: service.Service, case: Case | None, connections: int) -> None:
        """Singles of W1 and the echo of them, in turns of some seconds; the turn in the middle counts for each.

        The machine of one second is not that of the next, and their ratio is what a target is about."""
        seconds, singles, echoes = self.asked.size.single_s / 2, list[Measured](), list[Measured]()
        for _ in range(TURNS):
            if case is not None:
                runner.tell = self.tell(case.plan.case)
                turn = self.planner.singles("W1", case.plan.case, case.title, connections, seconds_max=seconds)
                singles.append(await runner.run(turn))
                self.body_bytes = baselines.body_bytes(singles[-1])
            if self.wants("echo"):
                plan = self.planner.singles("W1", f"echo_{connections}", "", connections, seconds_max=seconds).plan
                tell = self.tell(plan.case)
                echoes.append(await baselines.echo(plan, server.key, self.asked.scratch, self.body_bytes, tell))
        for turns in filter(None, (singles, echoes)):
            middle = sorted(turns, key=lambda turn: turn.per_s)[len(turns) // 2]
            middle.notes["turns_per_s"] = [round(turn.per_s, 1) for turn in turns]
            self.figures[f"{middle.case}_per_s"] = round(middle.per_s, 1)
            self.keep(middle)

    async def _batches(self, runner: Runner, server: service.Service, wanted: list[Case]) -> None:
        """The raw append and all cases of full requests."""
        if self.wants("append") and not self.asked.url:
            transfers = self.asked.size.w1_transfers
            self.keep(await baselines.append_ceiling(server, transfers, self.tell("append", transfers)))
            self.figures["append_ceiling_per_s"] = round(self.lines[-1].per_s, 1)
        batches = [case for case in wanted if case.plan.form != "single"]
        for case in sorted(batches, key=lambda case: IN_TURN.get(case.plan.case, len(IN_TURN))):
            await self._case(runner, case)
        self._memory(server, {case.plan.case for case in batches})

    def _memory(self, server: service.Service, cases: Collection[str]) -> None:
        """What the server holds after these cases besides accounts and ids, whose sizes were measured before.

        The room that holds had is counted: they are open no more."""
        resident = resident_bytes(server.process.pid) if server.process is not None else None
        each_account, each_id = self.figures.get("bytes_per_account"), self.further.get("bytes_per_window_id")
        if resident is None or each_account is None or each_id is None:
            return
        ours = [line for line in self.lines if line.case in cases]
        if not ours:
            return
        ids = min(DEFAULTS.window_ids, sum(line.accepted for line in ours))
        besides = resident - ids * each_id - sum(line.proof["accounts"] for line in ours) * each_account
        self.further["server_besides_mb"] = round(besides / 1e6, 1)
        self.more["memory"] = {
            "resident_mb": round(resident / 1e6, 1),
            "ids": ids,
            "after": [line.case for line in ours],
        }

    async def _serve(self, name: str, settings: dict[str, object]) -> service.Service:
        if self.asked.url:
            named = service.Service(self.asked.url, self.asked.key, self.asked.database)
            await named.connect()
        else:
            premake_wal = self.asked.size is not SMOKE
            named = await service.start(self.asked.scratch / name, settings, premake_wal=premake_wal)
        self.about["postgresql"] = await named.configuration()
        return named

    async def _growth(self, size: Size) -> None:
        servers: list[service.Service] = []
        runners: list[Runner] = []
        try:
            for name, settings in (("large", growth.settings(size)), ("small", {})):
                servers.append(await self._serve(f"growth_{name}", settings))
                runners.append(Runner(servers[-1], self.asked.scratch, self.tell("growth")))
            large, small = ((lambda case, runner=each: self._case(runner, case)) for each in runners)
            found = await growth.measure(self.planner, large, small)
            self.more["growth"], self.further = found, self.further | growth.ratios(found)
        finally:
            for server in servers:
                await server.close()

    async def _case(self, runner: Runner, case: Case) -> Measured:
        runner.tell = self.tell(case.plan.case, case.plan.transfers)
        measured = await runner.run(case)
        add_figures(self.figures, case, measured)
        if case.plan.case == W6_COMPARED:
            self.further["w6_per_s"] = round(measured.per_s, 1)
        self.keep(measured)
        return measured

    async def _sql_baselines(self, server: service.Service) -> None:
        """Beside the singles of W1, with the same requests."""
        for name, connections, grouped in SQL_CASES if self.wants("sql") and not self.asked.url else ():
            fields = {} if grouped else {"per_s_max": SQL_PLAIN_PER_S_MAX}
            plan = self.planner.singles("W1", name, "", connections, **fields).plan
            tell = self.tell(name, plan.transfers)
            self.keep(
                await baselines.lock_and_update(
                    server, plan, self.asked.scratch, self.body_bytes, tell, grouped=grouped
                )
            )
            per_s = round(self.lines[-1].per_s, 1)
            if name == "sql_plain_256":
                self.figures["sql_baseline_256_per_s"] = per_s
            elif grouped:
                self.further["sql_group_commit_256_per_s"] = per_s
            else:
                self.further["sql_plain_1024_per_s"] = per_s
