"""`make gates`: did anything that this project is proud of get slower?

Starts a server of its own, takes the readings of `rounds.py`, and holds their ratios against the margins that
follow from `results/gates.json`. A ratio that fell is measured again, at most `TRIES_MAX` times in all, said openly,
and judged by the last try alone: what got slower falls each time, what the machine did for a moment does not.
Exit codes: 0 all kept, 1 some fell (each in a line that says by how much), 2 could not be measured, 130 and 143
ended by SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.console import Console
from rich.status import Status

from benchmarks import rounds, service
from benchmarks.lifetime import Guard, scratch
from benchmarks.nouns import QUICK, ProofFailed
from benchmarks.processes import machine_cpu_s, tree_cpu_s
from benchmarks.ratios import KEPT, RATIOS, RUNS_MIN, Margin, Ratio, Verdict, add_run, is_busy, kept_runs, margins
from benchmarks.workloads import Planner

ALL_KEPT, FELL, NOT_MEASURED = 0, 1, 2
ROUNDS: Final = 1
"""Of each reading; each further try of a ratio that fell is another one."""
TRIES_MAX: Final = 3
WIDTH: Final = 200


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__.splitlines()[0])
    names = [ratio.name for ratio in RATIOS]
    parser.add_argument("--only", metavar="NAMES", default="", help=f"some of {','.join(names)}")
    parser.add_argument("--keep", action="store_true", help="add this run to the kept ones, judge nothing")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="FILE", help="the kept runs")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for the server's data: a real disk")
    parser.add_argument(
        "--launcher", default=" ".join(service.LAUNCHER), metavar="MODULE", help="starts the server instead of it"
    )
    found = parser.parse_args(arguments)
    wanted = [name for name in found.only.split(",") if name]
    if unknown := set(wanted) - set(names):
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(names)}")
    found.ratios = [ratio for ratio in RATIOS if not wanted or ratio.name in wanted]
    return found


class Busy:
    """How many cores are busy with neither this process, its children, nor the server's PostgreSQL."""

    def __init__(self, server: service.Service) -> None:
        self._ids = [os.getpid(), *([server.postgres_id] if server.postgres_id is not None else [])]
        self._began = self._now()

    def _now(self) -> tuple[float, float, float]:
        machine_s, ours_s = machine_cpu_s(), tree_cpu_s(*self._ids)
        if machine_s is None or ours_s is None:
            raise RuntimeError("the CPU time of this machine's processes cannot be seen")
        return time.monotonic(), machine_s, ours_s

    def cores(self) -> float:
        """Since it was made."""
        wall, machine_s, ours_s = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return round(max(0.0, machine_s - ours_s) / wall, 2)


@dataclass(slots=True)
class Found:
    """One run of the gates."""

    readings: dict[str, float]
    ratios: dict[str, float]
    others_cores: float
    verdicts: list[Verdict]


async def measure(asked: argparse.Namespace, scratch: Path, kept: list[dict[str, Any]], status: Status) -> Found:
    """The readings, the ratios, and the verdicts on those that have a margin."""
    status.update("server: start")
    server = await service.start(scratch / "server", premake_wal=False, launcher=tuple(asked.launcher.split()))
    try:
        planner, busy = Planner(QUICK, int(time.time()) % 1_000_000_000 + 1_000_000_000), Busy(server)
        async with rounds.opened(server, scratch, planner, status.update) as found:
            await found.measure({part for ratio in asked.ratios for part in ratio.parts}, ROUNDS)
            verdicts = judge(asked.ratios, found.readings, margins(kept, busy.cores()))
            for _ in range(TRIES_MAX - 1):
                fallen = [verdict for verdict in verdicts if not verdict.kept]
                if not fallen:
                    break
                await found.measure({part for verdict in fallen for part in verdict.ratio.parts}, ROUNDS)
                again = judge([each.ratio for each in fallen], found.readings, margins(kept, busy.cores()))
                tried = {new.ratio: old.followed_by(new) for new, old in zip(again, fallen, strict=True)}
                verdicts = [tried.get(verdict.ratio, verdict) for verdict in verdicts]
            ratios = {ratio.name: ratio.value(found.readings) for ratio in asked.ratios}
            return Found(found.readings, ratios, busy.cores(), verdicts)
    finally:
        await server.close()


def judge(ratios: list[Ratio], readings: dict[str, float], bounds: dict[str, Margin]) -> list[Verdict]:
    """Every ratio that has a margin."""
    return [Verdict(ratio, ratio.value(readings), bounds[ratio.name]) for ratio in ratios if ratio.name in bounds]


def main() -> int:
    """Measure and judge; the exit code."""
    asked, console = options(), Console(width=None if sys.stdout.isatty() else WIDTH)
    kept = [] if asked.keep else kept_runs(asked.kept)
    if not asked.keep and (missing := [ratio.name for ratio in asked.ratios if ratio.name not in margins(kept)]):
        sys.stderr.write(f"gates: {asked.kept.name} has fewer than {RUNS_MIN} runs with {', '.join(missing)}\n")
        return NOT_MEASURED
    began, guard = time.monotonic(), Guard()
    try:
        with console.status("") as status, scratch(asked.scratch) as directory:
            found = guard.run(measure(asked, directory, kept, status))
    except asyncio.CancelledError:
        return guard.exit_code
    except (ProofFailed, RuntimeError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"gates: {type(error).__name__}: {error}\n")
        return NOT_MEASURED
    for name, value in found.readings.items():
        console.print(f"  {name:<22} {value:>14,.2f}", highlight=False)
    if is_busy(found.others_cores):
        console.print(f"{found.others_cores} cores were busy with something else: held against all kept runs")
    if asked.keep:
        rounded = {name: round(value, 4) for name, value in found.ratios.items()}
        add_run(asked.kept, {"others_cores": found.others_cores, "ratios": rounded})
    return show(found.verdicts, time.monotonic() - began, console)


def show(verdicts: list[Verdict], seconds: float, console: Console) -> int:
    """Every verdict in a line, those that fell last; the exit code."""
    for verdict in sorted(verdicts, key=lambda each: not each.kept):
        colour = "green" if verdict.kept else "red"
        console.print(f"[{colour}]{verdict.line()}[/]", highlight=False, soft_wrap=True)
    fell = sum(not verdict.kept for verdict in verdicts)
    text = f"{fell} of {len(verdicts)} gates fell" if fell else f"all {len(verdicts)} gates were kept"
    console.print(f"{text}, in {seconds:.0f} s", highlight=False)
    return FELL if fell else ALL_KEPT


if __name__ == "__main__":
    sys.exit(main())
