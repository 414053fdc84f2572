"""`python -m benchmarks`: run, show the table, write the JSON and the page.

Exit codes: 0 measured (whether targets were reached or not), 1 a proof failed, 2 cannot be run, 3 ended early, 130
and 143 by SIGINT and SIGTERM (what was measured until then is written).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks import page, report
from benchmarks.lifetime import Guard, scratch
from benchmarks.nouns import FULL, QUICK, SMOKE, Measured, ProofFailed
from benchmarks.session import PARTS, QUICK_PARTS, ROOT, Asked, Session

OUT: Final = ROOT / "benchmarks" / "out"
RESULTS: Final = ROOT / "benchmarks" / "results"

EXIT_PROOF_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_UNFINISHED: Final = 3

WIDTH: Final = 200
"""Columns of the tables where nobody looks at a terminal."""


class CannotMean(ValueError):
    """The command line asks for what cannot be; `str()` is one line."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure pyledger, with proof.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about five minutes in all (the default)")
    size.add_argument("--full", action="store_true", help="the sizes that results are kept of; an hour or more")
    size.add_argument("--smoke", action="store_true", help="seconds; shows that it runs, its figures mean nothing")
    parser.add_argument("--only", metavar="PARTS", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--url", default="", help="a running server, instead of one that is started; plain http")
    parser.add_argument("--key", default=os.environ.get("PYLEDGER_KEY", ""), help="key for --url")
    parser.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="PostgreSQL of --url, as a role that may read everything and make temporary tables",
    )
    parser.add_argument(
        "--connections",
        default="",
        metavar="N,N",
        help="also send the full requests of W1 over so many connections, with a queue that holds them all",
    )
    parser.add_argument("--pgledger", default="", metavar="URL", help="run W6 on a PostgreSQL with pgledger in it")
    parser.add_argument("--tigerbeetle", type=Path, metavar="BINARY", help="run its own benchmark beside ours")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="where data directories are made; a real disk, /var/tmp unless told"
    )
    parser.add_argument("--keep", metavar="NAME", help="also write the JSON to benchmarks/results/NAME.json")
    return parser.parse_args(arguments)


def asked_of(options: argparse.Namespace, scratch: Path) -> Asked:
    """What the command line asks for. Raises `CannotMean`."""
    size = FULL if options.full else SMOKE if options.smoke else QUICK
    parts = PARTS if options.full else QUICK_PARTS
    if options.only:
        wanted = [part.strip() for part in options.only.split(",")]
        names = {part.lower(): part for part in PARTS}
        unknown = [part for part in wanted if part.lower() not in names]
        if unknown:
            raise CannotMean(f"--only: {', '.join(unknown)} is none of {', '.join(PARTS)}")
        parts = tuple(names[part.lower()] for part in wanted)
    if options.url and not options.database:
        raise CannotMean("--url needs --database: the proof reads what PostgreSQL stores")
    if options.tigerbeetle and not options.tigerbeetle.is_file():
        raise CannotMean(f"--tigerbeetle: {options.tigerbeetle} is not a file")
    try:
        connections = tuple(int(each) for each in options.connections.split(",") if each.strip())
    except ValueError as error:
        raise CannotMean(f"--connections: {options.connections} is no list of numbers") from error
    if min(connections, default=1) < 1:
        raise CannotMean("--connections: at least one")
    return Asked(
        size,
        parts,
        scratch,
        options.url.rstrip("/"),
        options.key,
        options.database,
        options.tigerbeetle.absolute() if options.tigerbeetle else None,
        options.pgledger,
        connections,
    )


async def run(asked: Asked, console: Console) -> tuple[Session, str]:
    """Run with a bar for what is under way and a line for what is done.

    Returns what was measured, and what ended it too early, if something did. Raises `ProofFailed`."""
    bar = Progress(
        TextColumn("{task.fields[part]:<16}"),
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    current: list[TaskID | str] = []

    def show(part: str, phase: str, so_far: int, total: int) -> None:
        if not current or current[1] != part:
            if current:
                bar.remove_task(current[0])  # type: ignore[arg-type]
            current[:] = [bar.add_task(phase, total=total or None, part=part), part]
        text = f"{phase} {so_far:,}" if so_far else phase
        bar.update(current[0], description=text, completed=so_far, total=total or None)  # type: ignore[arg-type]

    def done(measured: Measured) -> None:
        console.print(
            f"  {measured.case:<20} {report.number(measured.per_s):>12} /s"
            f"   p99 {report.number(measured.latency_ms.get('99')):>9} ms   {measured.title}"
        )

    session = Session(asked, show, done)
    for name, value in session.about["settings"].items():
        console.print(f"  the server is started with PYLEDGER_{name.upper()}={value}")
    try:
        with bar:
            await session.run()
    except ProofFailed:
        raise
    except asyncio.CancelledError:
        return session, "a signal ended it"
    except Exception as error:
        # What was measured before was proven, and may have taken an hour.
        console.print_exception()
        return session, f"{type(error).__name__}: {error}"
    return session, ""


def main() -> int:
    """Run; the exit code."""
    options = parse()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    name, guard = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), Guard()
    try:
        with scratch(options.scratch) as directory:
            session, unfinished = guard.run(run(asked_of(options, directory), console))
    except asyncio.CancelledError:
        return guard.exit_code
    except CannotMean as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return EXIT_REFUSED
    except ProofFailed as failed:
        report.write(
            OUT / f"{name}.json",
            {**report.commit(ROOT), "proof_failed": {"case": failed.case, "failures": failed.failures}},
        )
        console.print(f"[bold red]The proof failed[/] {failed}")
        return EXIT_PROOF_FAILED
    if unfinished:
        session.about["unfinished"] = unfinished
    publish(session, name, options.keep, console)
    return guard.exit_code or (EXIT_UNFINISHED if unfinished else 0)


def publish(session: Session, name: str, keep: str | None, console: Console) -> None:
    """Write the documents, show the tables."""
    found = report.document(session.about, session.figures, session.further, session.lines, session.more)
    for path in (OUT / f"{name}.json", OUT / "latest.json"):
        report.write(path, found)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{keep}.json").write_text(report.compact(found), "utf-8")
    for path in (OUT / f"{name}.html", OUT / "latest.html"):
        path.write_text(page.render(found), "utf-8")
    console.print(report.case_table(session.lines), "", report.target_table(found["targets"]), "")
    for line in report.error_lines(session.lines):
        console.print(f"[yellow]{line}[/]")
    console.print(f"{OUT / name}.json and .html")


if __name__ == "__main__":
    sys.exit(main())
