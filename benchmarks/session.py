"""One session: which parts run in which order, on which server, and what they add to the result.

Guarded here: what is compared runs side by side, baselines and workloads, so that both meet the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
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

DEFAULTS: Final = Settings()
ANSWER_TIMEOUT_MS: Final = 120_000
"""Of a server on which hundreds of full requests wait at once because it was asked for."""

PGLEDGER_ACCOUNTS: Final = (50, 10)
"""As in W6, with whose first case its first is compared."""
W6_COMPARED: Final = "w6_50"


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
        if any(self.wants(part) for part in (*WORKLOADS, "append", "echo", "sql")):
            await self._on_a_server()
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

    async def _on_a_server(self) -> None:
        self.show("server", "start", 0, 0)
        server = await self._serve("server", queue_settings(self.asked.connections))
        try:
            runner = Runner(server, self.asked.scratch, self.tell("server"), rested=self.asked.size.rested)
            wanted = {name: list(cases(self.planner)) for name, cases in WORKLOADS.items() if self.wants(name)}
            await self._singles(runner, server, wanted)
            if self.wants("append") and not self.asked.url:
                transfers = self.asked.size.w1_transfers
                self.keep(await baselines.append_ceiling(server, transfers, self.tell("append", transfers)))
                self.figures["append_ceiling_per_s"] = round(self.lines[-1].per_s, 1)
            batches = [case for cases in wanted.values() for case in cases if case.plan.form != "single"]
            for case in sorted(batches, key=lambda case: IN_TURN.get(case.plan.case, len(IN_TURN))):
                await self._case(runner, case)
            self._memory(server)
            self.show("proof", "ids of the whole journal", 0, 0)
            await prove_ids(server.database)
        finally:
            await server.close()

    async def _singles(self, runner: Runner, server: service.Service, wanted: Mapping[str, list[Case]]) -> None:
        """All cases of one a request, before any of full requests: what those leave to be sealed would fall on them."""
        for name in WORKLOADS:
            peak = 0.0
            for case in (case for case in wanted.get(name, []) if case.plan.form == "single"):
                peak = max(peak, (await self._case(runner, case)).per_s)
            if name == "W5" and peak:
                await self._case(runner, w5_at_half(self.planner, peak))
            if name == "W1":
                await self._single_baselines(server)

    def _memory(self, server: service.Service) -> None:
        """What the server holds in the end besides accounts and ids, whose sizes were measured before.

        The room that holds had is counted: they are open no more."""
        if not self.wants("W1"):
            return
        resident = resident_bytes(server.process.pid) if server.process is not None else None
        each_account, each_id = self.figures.get("bytes_per_account"), self.further.get("bytes_per_window_id")
        if resident is None or each_account is None or each_id is None:
            return
        ours = [line for line in self.lines if line.workload in WORKLOADS]
        ids = min(DEFAULTS.window_ids, sum(line.accepted for line in ours))
        # The cases of W5 share their accounts.
        accounts = {line.workload if line.workload == "W5" else line.case: line.proof["accounts"] for line in ours}
        besides = resident - ids * each_id - sum(accounts.values()) * each_account
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
        if case.plan.form == "single" and case.plan.choice == "uniform":
            self.body_bytes = baselines.body_bytes(measured)
        add_figures(self.figures, case, measured)
        if case.plan.case == W6_COMPARED:
            self.further["w6_per_s"] = round(measured.per_s, 1)
        self.keep(measured)
        return measured

    async def _single_baselines(self, server: service.Service) -> None:
        """Beside the singles of W1, with the same requests."""
        for connections in (256, 1_024) if self.wants("echo") else ():
            plan = self.planner.singles("W1", f"echo_{connections}", "", connections).plan
            tell = self.tell(plan.case, plan.transfers)
            self.keep(await baselines.echo(plan, server.key, self.asked.scratch, self.body_bytes, tell))
            self.figures[f"echo_{connections}_per_s"] = round(self.lines[-1].per_s, 1)
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
