"""`python -m loadtests`: the suite against a server of its own, or one that a URL names; see `make load`.

Guarded here: the exit code is the verdict. 0: every judged bound was kept; 1: some was not, each in a line of
its own; 2: the suite could not be run; 130 and 143: SIGINT and SIGTERM ended it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import randrange
from typing import Final

import asyncpg
from msgspec.structs import replace
from rich.console import Console
from rich.status import Status

from benchmarks import service
from benchmarks.lifetime import Guard, scratch
from benchmarks.ratios import is_busy
from loadtests import allowed, config, gates, kept, report, rules
from loadtests.books import SetUpFailed
from loadtests.nouns import Plan, Preload, Prices, Profiles, Slo, Suite
from loadtests.run import Asked, Run, RunFailed, Runner

OUT: Final = Path(__file__).with_name("out")
KEPT, BROKEN, NOT_RUN = 0, 1, 2


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__.splitlines()[0])
    parser.add_argument("--gate", action="store_true", help="60 seconds of load in all, on small books")
    parser.add_argument(
        "--keep",
        action="store_true",
        help=f"write {kept.KEPT.name}, for the documents; --gate: add to {allowed.KEPT.name}",
    )
    parser.add_argument("--only", metavar="PROFILES", help="profiles of profiles.toml, with commas between")
    parser.add_argument("--duration", type=float, default=0.0, metavar="S", help="of each run, instead of its own")
    parser.add_argument("--rate", type=float, default=0.0, metavar="N", help="requests a second, for all runs")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="of the load generator")
    parser.add_argument("--seed", default="", help="of schedule and choices; printed, and another one each time")
    parser.add_argument("--url", default="", help="a server that runs already")
    parser.add_argument("--key", default=os.environ.get("PYLEDGER_KEY", ""), help="its API key")
    parser.add_argument("--database", default="", metavar="URL", help="its PostgreSQL, to prove and to price in full")
    parser.add_argument(
        "--launcher", default=" ".join(service.LAUNCHER), metavar="MODULE", help="starts the server instead of it"
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="for the server's data: a real disk")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="what --keep writes and --gate reads instead")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="for the report")
    return parser.parse_args()


def plans(asked: argparse.Namespace, profiles: Profiles) -> list[Plan]:
    """The runs that are asked for, in order. Raises `BadConfig`."""
    suite = profiles.suite
    names = asked.only.split(",") if asked.only else suite.gate if asked.gate else suite.load
    for name in names:
        if name not in profiles.profile:
            raise config.BadConfig(f"no profile {name!r}; there are: {', '.join(profiles.profile)}")
    if asked.keep and not asked.gate and asked.kept is None and not is_whole(asked, names, suite):
        raise config.BadConfig("--keep is of all profiles as they are, on a server of its own; --kept FILE of any run")
    asked.kept = asked.kept or (allowed.KEPT if asked.gate else kept.KEPT)
    if asked.gate:
        asked.duration = asked.duration or suite.gate_duration_s
        profiles = replace(
            profiles, preload=Preload(accounts_max=suite.gate_accounts_max, rows_max=suite.gate_rows_max)
        )
    asked.cores = 0 if asked.url else os.cpu_count() or 0
    return [
        rules.plan(name, profiles, duration_s=asked.duration, requests_per_s=asked.rate, cores=asked.cores)
        for name in names
    ]


def is_whole(asked: argparse.Namespace, names: list[str], suite: Suite) -> bool:
    """Whether this is at least what `make load` runs, as the profiles have it: what the documents are made of."""
    return set(suite.load) <= set(names) and not (asked.duration or asked.rate or asked.url)


async def run_all(asked: argparse.Namespace, wanted: list[Plan], scratch: Path, slo: Slo, prices: Prices,
                  console: Console) -> tuple[list[Run], dict[str, str]]:  # fmt: skip
    """Every run, on one server; and PostgreSQL's settings. Raises `RunFailed` and `SetUpFailed`."""
    margins = None if not asked.gate else allowed.none if asked.keep else partial(allowed.bounds, path=asked.kept)
    how = Asked(scratch / "runs", asked.duration, asked.rate, asked.processes, asked.seed, margins, asked.cores)
    runs: list[Run] = []
    with console.status("server: start") as status:
        server = await serve(asked, scratch)
        try:
            runner = Runner(server, how, slo, prices)
            for plan in wanted:
                status.update(f"{plan.profile}: start")
                runner.tell = partial(show, status, plan.profile)
                runs.append(await runner.run(plan))
                tell_of(runs[-1], console)
                if asked.gate and not asked.keep and runs[-1].chances:
                    console.print(f"{plan.profile}: once more, the first try is not judged", highlight=False)
                    runs[-1] = await runner.run(plan)
                    if is_busy(others_cores := runs[-1].cores.others or 0.0):
                        runs[-1].gates = gates.on_a_busy_machine(runs[-1].gates, others_cores)
                    tell_of(runs[-1], console)
            return runs, await server.configuration() if server.database is not None else {}
        finally:
            await server.close()


def tell_of(run: Run, console: Console) -> None:
    """A run in a few lines."""
    for line in report.run_lines(run):
        console.print(line, highlight=False, soft_wrap=True)


async def serve(asked: argparse.Namespace, scratch: Path) -> service.Service:
    """The server that a URL names, or one of our own."""
    if not asked.url:
        return await service.start(scratch / "server", premake_wal=True, launcher=tuple(asked.launcher.split()))
    named = service.Service(asked.url.rstrip("/"), asked.key, asked.database)
    if asked.database:
        # Only a superuser may ask where PostgreSQL's data lies, and so find its processes; without, its CPU
        # cannot be seen and cost is not judged.
        with suppress(asyncpg.InsufficientPrivilegeError):
            await named.connect()
    return named


def show(status: Status, profile: str, phase: str, done: int, of: int) -> None:
    """Progress, in one line."""
    status.update(f"{profile}: {phase}" + (f" {done:,} of {of:,}" if of else ""))


def main() -> int:
    """Run and judge; the exit code."""
    asked, console = options(), Console(width=None if sys.stdout.isatty() else 160)
    asked.seed = asked.seed or str(randrange(1 << 32))
    guard = Guard()
    try:
        slo, prices, profiles = config.slo(), config.prices(), config.profiles()
        wanted = plans(asked, profiles)
        with scratch(asked.scratch) as directory:
            runs, settings = guard.run(run_all(asked, wanted, directory, slo, prices, console))
    except (config.BadConfig, RunFailed, SetUpFailed, RuntimeError, OSError, asyncpg.PostgresError,
            asyncpg.InterfaceError) as error:  # fmt: skip
        sys.stderr.write(f"loadtests: {error}\n")
        return NOT_RUN
    except asyncio.CancelledError:
        return guard.exit_code
    found = report.document(runs, slo, prices, settings, seed=asked.seed, gate=asked.gate)
    paths = report.write(asked.out, found)
    if asked.keep and asked.gate:
        allowed.keep(runs, found["cost_ratio"], asked.kept)
    elif asked.keep:
        kept.keep(kept.slim(found, profiles, asked.processes), asked.kept)
    for line in report.closing_lines(found):
        console.print(line, highlight=False, soft_wrap=True)
    console.print("report: " + " ".join(str(path) for path in paths), highlight=False, soft_wrap=True)
    return BROKEN if any(gate["kept"] is False for gate in found["gates"]) else KEPT


if __name__ == "__main__":
    sys.exit(main())
