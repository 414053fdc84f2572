"""The verbs of files: import and export, and what they say at the end."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyledger.bulk.nouns import IN_FLIGHT, IN_FLIGHT_MAX
from pyledger.cli.shared import EXIT_DONE, EXIT_FAILED, Failed, Options, print_json, run, settings_of
from pyledger.settings import BadSetting


def add_commands(commands: Any, common: Options) -> None:
    """Both."""
    what = {"choices": ("transfers", "accounts"), "metavar": "transfers|accounts"}
    kind = {"choices": ("csv", "jsonl", "parquet"), "help": "csv, jsonl or parquet; by the file's name if left out"}
    take = commands.add_parser(
        "import", parents=[common.served, common.machine], help="take a file of transfers or accounts, each row once"
    )
    take.add_argument("what", **what)
    take.add_argument("file", type=Path)
    take.add_argument("--format", **kind)
    take.add_argument("--dry-run", action="store_true", help="read every row, send nothing")
    take.add_argument(
        "--imported", action="store_true", help="flag each row imported, as of effective_at or recorded_ns"
    )
    take.add_argument(
        "--ids-from", metavar="NAME", default="", help="derive ids that are missing from NAME and the line"
    )
    take.add_argument(
        "--in-flight", type=int, choices=range(1, IN_FLIGHT_MAX + 1), default=IN_FLIGHT, metavar="N",
        help=f"requests at once, to {IN_FLIGHT_MAX}; rows are decided in their order all the same",
    )  # fmt: skip
    take.add_argument("--progress", type=Path, metavar="FILE", help="how far it is; FILE.progress if left out")
    take.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="what was not taken; FILE.rejected.csv if left out, of a dry run FILE.dry-run.csv",
    )
    take.set_defaults(run=lambda asked: _refusing(_import, asked))

    give = commands.add_parser(
        "export", parents=[common.where], help="write transfers or accounts to a file or to stdout"
    )
    give.add_argument("what", **what)
    give.add_argument("--to", type=Path, metavar="FILE", help="where to; stdout if left out")
    give.add_argument("--format", **kind)
    give.add_argument("--tenant", help="whose, if there are several")
    give.add_argument("--ledger", type=int, help="of this ledger only")
    give.add_argument("--since", metavar="TIME", help="recorded at this time or later, RFC 3339")
    give.add_argument("--until", metavar="TIME", help="recorded before this time")
    give.add_argument("--declined", action="store_true", help="what was declined as well; an import skips it")
    give.set_defaults(run=lambda asked: _refusing(_export, asked))


def _import(asked: Namespace) -> int:
    import uvloop

    from pyledger.bulk.importing import Order, take
    from pyledger.bulk.nouns import Reading

    reading = Reading(asked.what, asked.ids_from, asked.imported)
    order = Order(
        asked.file,
        reading,
        asked.format,
        asked.url,
        asked.key,
        asked.dry_run,
        asked.in_flight,
        asked.progress,
        asked.report,
        not asked.json,
    )
    done = uvloop.run(take(order))
    wrong = done.declined + done.refused + done.malformed
    counts = {
        name: getattr(done, name) for name in ("accepted", "replayed", "declined", "refused", "malformed", "skipped")
    }
    report = order.report_file
    if asked.json:
        print_json({"rows": done.rows, **counts, "report": str(report) if wrong else None})
        return EXIT_FAILED if wrong else EXIT_DONE
    said = [f"{number:,} {name}" for name, number in counts.items() if number or name == "accepted"]
    verb = "would be sent" if asked.dry_run else "answered for"
    print(f"{done.rows:,} rows {verb}: {', '.join(said)}" + (f"; see {report}" if wrong else ""))
    return EXIT_FAILED if wrong else EXIT_DONE


def _export(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger.bulk.exporting import Wish, give
    from pyledger.bulk.reading import form_of

    form = "csv" if asked.to is None and asked.format is None else form_of(asked.to or Path("stdout"), asked.format)
    since_ns = _ns(asked.since) if asked.since else 0
    until_ns = _ns(asked.until) if asked.until else None
    wish = Wish(
        asked.what, form, asked.to, asked.tenant, asked.ledger, since_ns, until_ns, asked.declined, asked.to is not None
    )
    rows = run(give(settings, wish))
    sys.stderr.write(f"{rows:,} {asked.what} written\n")
    return EXIT_DONE


def _refusing(verb: Callable[[Namespace], int], asked: Namespace) -> int:
    """Run it; what cannot be done, or not go on, is a refusal in one line."""
    from pyledger.bulk.nouns import BulkError, Interrupted

    try:
        return verb(asked)
    except BrokenPipeError:
        raise
    except Interrupted as error:
        raise Failed(str(error)) from error
    except (BulkError, OSError) as error:
        raise BadSetting(str(error)) from error


def _ns(text: str) -> int:
    """Nanoseconds of an RFC 3339 time in UTC. Raises `BadSetting`."""
    from pyledger.client.nouns import nanoseconds

    whole = f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", whole):
        raise BadSetting(f"{text!r} is not a time like 2026-11-01 or 2026-11-01T12:00:00Z")
    try:
        return nanoseconds(whole)
    except ValueError as error:
        raise BadSetting(f"{text!r} is not a time: {error}") from error
