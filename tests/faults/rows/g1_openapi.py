"""G1: Schemathesis over /openapi.json with every check: requests that fit the document, and that do not.

Guarded here: the server answers each as its document says, never with a 5xx; and afterwards the books are right.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from tests.faults.audit import findings
from tests.faults.ground import TENANTS, Ground, ground
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.results import ROOT

CONFIG: Final = Path(__file__).parents[1] / "openapi.toml"
PHASES: Final = ("examples,coverage,fuzzing,stateful", "fuzzing,stateful")
"""The first two phases are the same whatever the seed: only the first cycle has them."""
EXAMPLES: Final = (30, 60)
"""Requests for each operation and phase, at most."""
SHOWN_BYTES: Final = 2_000


def missing() -> str | None:
    """Why it cannot run here. On Linux it is locked: where it is not installed, the row breaks."""
    return None if sys.platform == "linux" else "Schemathesis is locked for Linux only"


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """A run of Schemathesis with a seed of its own each cycle, on one server."""
    async with ground(asked.directory, planted=asked.planted) as here:
        await here.start_server(feed_wait_s=1)
        for number in asked.numbers:
            phase = min(number, 1)
            report = asked.directory / f"report-{number}.json"
            seed = asked.chance(number).randrange(2**31)
            said = await asyncio.to_thread(schemathesis, here, report, seed, PHASES[phase], EXAMPLES[phase])
            violations, notes = read(report, said)
            assert here.server.process is not None
            if here.server.process.poll() is not None:
                violations.append(f"the server has ended with {here.server.process.returncode}: {here.said()}")
                await here.start_again(here.server)
            violations += [f"check: {each.place}: {each.wrong}" for each in await findings(here)]
            yield Cycle(number, notes["requests"], violations, notes | {"seed": str(seed)})


def schemathesis(here: Ground, report: Path, seed: int, phases: str, examples: int) -> str:
    """Run it; what it said."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG),
        "run", f"{here.server.url}/openapi.json", "--header", f"Authorization: Bearer {here.keys[TENANTS[0]]}",
        "--checks", "all", "--seed", str(seed), "--phases", phases, "--max-examples", str(examples),
        "--report-json-path", str(report),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def read(report: Path, said: str) -> tuple[list[str], dict[str, Any]]:
    """What was wrong, and how much was asked."""
    assert report.exists(), said[-SHOWN_BYTES:]
    found = json.loads(report.read_text("utf-8"))
    assert found["complete"] and found["operations"]["tested"] == found["operations"]["total"], said[-SHOWN_BYTES:]
    violations = [f"{each['title']}: {', '.join(each['operations'])}" for each in found["failures"] + found["errors"]]
    if violations:
        violations.append(said.partition("= FAILURES =")[2][:SHOWN_BYTES] or said[-SHOWN_BYTES:])
    return violations, {"requests": found["test_cases"]["generated"], "operations_max": found["operations"]["tested"]}


ROW: Final = Row(
    id="G1",
    what="Schemathesis over /openapi.json, all checks",
    unit="requests",
    passes="no 5xx, nothing undocumented",
    submission=4,
    campaign=100,
    run=run,
    needs=missing,
)
