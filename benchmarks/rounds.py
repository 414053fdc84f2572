"""Takes the readings of the gates: everything in short turns, round after round, the best of each.

Guarded here: both sides of a ratio are measured in turns within seconds of each other, and of each reading the
best round counts, so that what else the machine does for a moment falls on no side alone. Every run is proven.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import baselines
from benchmarks.nouns import BATCH_TRANSFERS, Case, Measured
from benchmarks.ratios import Part
from benchmarks.run import Runner
from benchmarks.service import Service
from benchmarks.workloads import Planner

BATCH_ROUND_TRANSFERS: Final = 30 * BATCH_TRANSFERS
SINGLE_ROUND_S: Final = 1.5
ALONE_ROUND_S: Final = 1.0
ALONE_APPENDS: Final = 400

Tell = Callable[[str], None]


def _better(name: str, old: float | None, new: float) -> float:
    """Of a rate the most, of a cost or a latency the least."""
    if old is None:
        return new
    return max(old, new) if name.endswith("_per_s") else min(old, new)


@dataclass(slots=True)
class Rounds:
    """Measures parts, and keeps the best of each reading."""

    service: Service
    appender: baselines.Appender
    runner: Runner
    planner: Planner
    scratch: Path
    tell: Tell
    readings: dict[str, float] = field(default_factory=dict)
    body_bytes: int = baselines.SINGLE_BODY_BYTES
    """Of the ledger's answers to the singles measured last."""

    async def measure(self, parts: set[Part], rounds: int) -> None:
        """Some parts anew: what they gave before is forgotten."""
        steps: dict[Part, Callable[[], Awaitable[dict[str, float]]]] = {
            "append": self._append,
            "batches": self._batches,
            "kinds": self._kinds,
            # The ledger before its baselines, which answer as many bytes as it did.
            "singles_256": lambda: self._singles(256),
            "echo_256": lambda: self._echo(256),
            "sql": self._sql,
            "singles_1024": lambda: self._singles(1_024),
            "echo_1024": lambda: self._echo(1_024),
            "alone": self._alone,
        }
        fresh: dict[str, float] = {}
        for turn in range(rounds):
            for part, step in steps.items():
                if part in parts:
                    self.tell(f"{part}, round {turn + 1} of {rounds}")
                    for name, value in (await step()).items():
                        fresh[name] = _better(name, fresh.get(name), value)
        self.readings |= fresh

    async def _append(self) -> dict[str, float]:
        found, plain = await self.appender.append(BATCH_ROUND_TRANSFERS, BATCH_TRANSFERS, _silent, plain=True)
        return {
            "append_per_s": found.per_s,
            "plain_per_s": plain.per_s,
            "plain_postgres_us": _us(plain.postgres_cpu_s, plain.accepted),
            "copy_bytes": self.appender.copy_bytes_per_row,
        }

    async def _full(self, form: Any, **fields: Any) -> Measured:
        case = self.planner.batches("gates", "gates", "", BATCH_ROUND_TRANSFERS, form, **fields)
        return await self.runner.run(case)

    async def _batches(self) -> dict[str, float]:
        before_s = await self._apply_cpu_s()
        found = await self._full("binary")
        return {
            "w1_apply_us": _us(await self._apply_cpu_s() - before_s, found.accepted),
            "w1_binary_per_s": found.per_s,
            "w1_postgres_us": _us(found.postgres_cpu_s, found.accepted),
            "w1_wal_bytes": found.wal_bytes_per_transfer or 0.0,
            "w1_json_per_s": (await self._full("json")).per_s,
        }

    async def _apply_cpu_s(self) -> float:
        """What the server says that it has spent in the engine."""
        caller = self.service.caller()
        try:
            text = (await caller.expect(self.service.envelope.get("/metrics"), 200)).decode()
        finally:
            caller.close()
        (found,) = re.findall(r"^pyledger_apply_cpu_seconds_total (\S+)$", text, re.MULTILINE)
        return float(found)

    async def _kinds(self) -> dict[str, float]:
        return {
            "hot_per_s": (await self._full("binary", choice="hot_debit", hot_share=1.0)).per_s,
            "two_phase_per_s": (await self._full("binary", pending_share=0.3, timeouts_s=(1, 5))).per_s,
        }

    def _single(self, connections: int, seconds: float) -> Case:
        return self.planner.singles("gates", f"gates_{connections}", "", connections, seconds_max=seconds)

    async def _singles(self, connections: int) -> dict[str, float]:
        found = await self.runner.run(self._single(connections, SINGLE_ROUND_S))
        self.body_bytes = baselines.body_bytes(found)
        return {
            f"single_{connections}_per_s": found.per_s,
            f"single_{connections}_server_us": _us(found.server_cpu_s, found.accepted),
        }

    async def _echo(self, connections: int) -> dict[str, float]:
        plan = self._single(connections, SINGLE_ROUND_S).plan
        found = await baselines.echo(plan, self.service.key, self.scratch, self.body_bytes, _silent)
        return {
            f"echo_{connections}_per_s": found.per_s,
            f"echo_{connections}_server_us": _us(found.server_cpu_s, found.accepted),
        }

    async def _sql(self) -> dict[str, float]:
        plan = self._single(256, SINGLE_ROUND_S).plan
        found = await baselines.lock_and_update(
            self.service, plan, self.scratch, self.body_bytes, _silent, grouped=False
        )
        return {"sql_256_per_s": found.per_s}

    async def _alone(self) -> dict[str, float]:
        _, plain = await self.appender.append(ALONE_APPENDS, 1, _silent, plain=True)
        found = await self.runner.run(self._single(1, ALONE_ROUND_S))
        return {"plain_one_p50_ms": plain.latency_ms["50"], "alone_p50_ms": found.latency_ms["50"]}


@contextlib.asynccontextmanager
async def opened(service: Service, scratch: Path, planner: Planner, tell: Tell) -> AsyncIterator[Rounds]:
    """Rounds on a server that runs."""
    async with baselines.appender(service) as appender:
        yield Rounds(service, appender, Runner(service, scratch, _silent), planner, scratch, tell)


def _us(seconds: float | None, count: int) -> float:
    """CPU microseconds of each."""
    if not seconds:
        raise RuntimeError("the CPU time of the server or of PostgreSQL cannot be seen on this machine")
    return seconds * 1e6 / max(1, count)


def _silent(phase: str, done: int) -> None:
    """Nobody wants to hear how far a short run is."""
