"""`python -m tests.faults C1 C2 --cycles 300 --seed 7`: run rows, show a table, write a line for each cycle.

Exit codes: 0 no violation (rows that could not run here are named and counted), 1 a violation or a broken
row, 2 cannot be run, 3 ended early (what was found until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.lifetime import at_first_signal
from tests.faults import registry, results
from tests.faults.nouns import SHOWN_MAX, SIZES, Cycle, Result, Row, Run, Verdict
from tests.faults.running import own_directory, run_row

EXIT_WRONG: Final = 1
EXIT_REFUSED: Final = 2
EXIT_UNFINISHED: Final = 3
SEED_MAX: Final = 2**31
WIDTH: Final = 160
"""Columns of the table where nobody looks at a terminal."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Do harm, and see that nothing is lost."
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="ids such as C1, a letter for all of it, or all")
    parser.add_argument("--size", choices=SIZES, default="submission", help="how many cycles, unless --cycles says")
    parser.add_argument("--cycles", type=int, metavar="N", help="so many of each row")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no cycle of a row later than this")
    parser.add_argument("--seed", type=int, metavar="S", help="replays what a run with this seed did")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first cycle, to replay one")
    parser.add_argument("--planted", default="", metavar="BUG", help="with this planted bug in the server")
    parser.add_argument("--keep", action="store_true", help="add the results to docs/reliability.jsonl")
    parser.add_argument("--json", action="store_true", help="the lines also to stdout, and nothing else there")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--table", action="store_true", help="make the tables of docs/RELIABILITY.md, of what is kept")
    return parser.parse_args(arguments)


class Lines:
    """The lines of a run, to a file and, if wanted, to stdout."""

    def __init__(self, path: Path, also: IO[str] | None) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path, self._also = path, also

    def add(self, line: dict[str, Any]) -> None:
        """Write one, at once: whoever is killed later has lost nothing."""
        text = json.dumps(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        if self._also:
            self._also.write(text + "\n")
            self._also.flush()


@contextmanager
def bar(console: Console, row: Row, cycles: int) -> Iterator[Any]:
    """A bar for one row; calling it adds a cycle."""
    columns = (
        TextColumn("{task.description:<40.40}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[said]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as shown:
        task, counted = shown.add_task(f"{row.id} {row.what}", total=cycles, said=""), [0, 0]

        def add(cycle: Cycle) -> None:
            counted[0] += cycle.done
            counted[1] += len(cycle.violations)
            shown.update(task, advance=1, said=f"{counted[0]:,} {row.unit}, {counted[1]} violations")

        yield add


async def run(
    rows: list[Row], options: argparse.Namespace, lines: Lines, console: Console, found: list[Result]
) -> None:
    """Run the rows one after the other. A signal ends it, but only after each row has cleaned up."""
    running = asyncio.current_task()
    assert running is not None
    loop = asyncio.get_running_loop()
    at_first_signal(lambda _number: loop.call_soon_threadsafe(running.cancel))
    seconds_max = options.minutes * 60 if options.minutes else float("inf")
    for row in rows:
        cycles = options.cycles or row.cycles(options.size)
        with bar(console, row, cycles) as add, own_directory() as directory:
            asked = Run(options.seed, cycles, directory, options.first, options.size, options.planted)

            def tell(cycle: Cycle, seconds: float, row: Row = row, add: Any = add) -> None:
                lines.add(results.cycle_line(row, options.seed, cycle, seconds))
                add(cycle)

            result = await run_row(row, asked, tell, seconds_max=seconds_max)
        lines.add(results.result_line(result))
        say(console, row, result)
        if options.keep and not results.keep(result):
            console.print(f"  {row.id} is not kept: changed (or not built since), planted or broken", style="yellow")
        found.append(result)


def say(console: Console, row: Row, result: Result) -> None:
    """One row's outcome, and its first violations."""
    colour = {Verdict.PASSED: "green", Verdict.NOT_RUN: "yellow"}.get(result.verdict, "bold red")
    words = f"{result.cycles:,} cycles, {result.done:,} {row.unit}, {result.seconds:.0f} s"
    console.print(f"{row.id:<4} [{colour}]{result.verdict.value:<8}[/] {words}  {row.what}", highlight=False)
    if result.reason:
        console.print(f"     {result.verdict.value}: {result.reason}", style=colour, markup=False, highlight=False)
    for each in result.violations[:SHOWN_MAX]:
        console.print(f"     {each}", style="red", markup=False, highlight=False)
    if len(result.violations) > SHOWN_MAX:
        console.print(f"     and {len(result.violations) - SHOWN_MAX} more, see the file", style="red")


def summary(rows: list[Row], found: list[Result], options: argparse.Namespace) -> Table:
    """The table at the end; with how many cycles there should have been, where time was up before them."""
    table = Table(title="Faults", title_justify="left")
    for name in ("row", "verdict", "cycles", "done", "violations", "s", "s a cycle"):
        table.add_column(name, justify="left" if name in ("row", "verdict") else "right")
    for row, result in zip(rows, found, strict=False):
        each = f"{result.seconds / result.cycles:.2f}" if result.cycles else ""
        asked = options.cycles or row.cycles(options.size)
        cycles = f"{result.cycles:,}" + (f" of {asked:,}" if result.cycles < asked else "")
        table.add_row(
            f"{row.id} {row.what}", result.verdict.value, cycles, f"{result.done:,} {row.unit}",
            str(result.violations_count), f"{result.seconds:.0f}", each,
        )  # fmt: skip
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    options = parse(arguments)
    terminal = (sys.stderr if options.json else sys.stdout).isatty()
    console = Console(stderr=options.json, width=None if terminal else WIDTH)
    if options.table:
        # Not for a row's own processes, which import this too and may want another core than the shipped one.
        from tests.faults import page

        page.write()
        return 0
    if options.list or not options.rows:
        for row in registry.rows().values():
            here = row.needs()
            console.print(f"{row.id:<4} {row.what}" + (f"  (not here: {here})" if here else ""), highlight=False)
        return 0
    try:
        rows = registry.chosen(options.rows)
    except registry.Unknown as error:
        sys.stderr.write(f"faults: {error}\n")
        return EXIT_REFUSED
    if options.seed is None:
        options.seed = random.randrange(SEED_MAX)
    return run_all(rows, options, console)


def run_all(rows: list[Row], options: argparse.Namespace, console: Console) -> int:
    """Run the rows, show what they came to; the exit code."""
    when = results.about()["date"].replace("-", "").replace(":", "")
    lines = Lines(results.OUT / f"{when}-{'-'.join(options.rows)}.jsonl", sys.stdout if options.json else None)
    console.print(f"seed {options.seed}, lines in {lines.path.relative_to(results.ROOT)}", highlight=False)
    found: list[Result] = []
    unfinished = False
    try:
        uvloop.run(run(rows, options, lines, console, found))
    except asyncio.CancelledError:
        unfinished = True
    console.print(summary(rows, found, options))
    counted = {verdict: sum(result.verdict is verdict for result in found) for verdict in Verdict}
    console.print(f"seed {options.seed}: " + ", ".join(f"{n} {verdict.value}" for verdict, n in counted.items()))
    if unfinished:
        console.print("[bold red]ended early[/]")
        return EXIT_UNFINISHED
    return EXIT_WRONG if counted[Verdict.VIOLATED] or counted[Verdict.BROKEN] else 0


if __name__ == "__main__":
    sys.exit(main())
