"""`python -m tests.faults.checker LOG --database URL --tenant north=1 --tenant south=2`: judge a log.

Exit codes: 0 everything that clients saw can be true, 1 it cannot, with the places, 2 it cannot be judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Final

from tests.faults.checker import history, journal
from tests.faults.checker.judge import judged

SHOWN_MAX: Final = 100


def main(arguments: list[str] | None = None) -> int:
    """Judge; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description="Judge what clients saw.")
    parser.add_argument("log", type=Path, help="the lines that the clients wrote")
    parser.add_argument("--database", required=True, metavar="URL", help="the ledger's, as a role that may read it")
    parser.add_argument("--tenant", action="append", required=True, metavar="NAME=NUMBER", help="who is who")
    options = parser.parse_args(arguments)
    tenants = {name: int(number) for name, _, number in (each.partition("=") for each in options.tenant)}
    judge = judged(history.read(options.log, tenants), asyncio.run(journal.load(options.database)))
    for each in judge.wrong[:SHOWN_MAX]:
        print(f"wrong: {each}")
    print(json.dumps({"wrong": len(judge.wrong), **judge.counts}))
    return 1 if judge.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
