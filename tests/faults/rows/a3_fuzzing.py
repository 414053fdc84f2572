"""A3: coverage-guided fuzzing of the core (rust_ext/fuzz): any bytes may come, none may make it panic.

One target a cycle, a process on each core. libFuzzer is compiled in and guided by the flags below, which a stable
compiler takes too. What was found to be interesting is kept under target/fuzz, so that campaigns go on where the
one before ended; a crash is kept beside it and its bytes are in the violation.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.faults import cargo
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.running import ended

TARGETS: Final = ("json", "binary", "apply", "undo", "checkpoint", "chain")
SECONDS: Final = {"submission": 4, "campaign": 600}
"""Of each of two processes. A check-in goes over what earlier runs have found, and a little further."""
PROCESSES: Final = 2
CYCLE_TIMEOUT_S: Final = 1_500.0
CRASH_BYTES_SHOWN_MAX: Final = 400
CRATE: Final = cargo.ROOT / "rust_ext/fuzz"
KEPT: Final = cargo.ROOT / "target/fuzz"
CORPUS: Final = KEPT / "corpus"
FLAGS: Final = (
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
)


def needs() -> str | None:
    """libFuzzer is C++."""
    return cargo.needs() or (None if shutil.which("c++") or shutil.which("g++") else "there is no C++ compiler")


@functools.cache
def programs() -> Path:
    """The directory of the targets, built. Named targets keep the flags away from build scripts."""
    environment = os.environ | {"PATH": cargo.PATH, "RUSTFLAGS": " ".join(FLAGS)}
    said = subprocess.run(["rustc", "-vV"], env=environment, capture_output=True, text=True, check=True).stdout
    host = re.search(r"^host: (\S+)$", said, re.MULTILINE)
    assert host is not None
    _cargo(environment, "build", "--bins", "--target", host[1], "--target-dir", str(KEPT))
    # First inputs for the formats that nobody guesses, from a program that is not instrumented.
    plain = environment | {"RUSTFLAGS": ""}
    _cargo(plain, "run", "--example", "seeds", "--target-dir", str(KEPT / "plain"), "--", str(CORPUS))
    return KEPT / host[1] / "release"


def _cargo(environment: dict[str, str], verb: str, *arguments: str) -> None:
    made = subprocess.run(
        ["cargo", verb, "--quiet", "--locked", "--release", *arguments],
        cwd=CRATE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=cargo.BUILD_TIMEOUT_S,
    )
    assert made.returncode == 0, made.stderr[-cargo.SAID_CHARACTERS_MAX :]


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """Target after target."""
    directory = await asyncio.to_thread(programs)
    for number in asked.numbers:
        target = TARGETS[number % len(TARGETS)]
        seeds = [asked.chance(number).randrange(1, 2**31) + process for process in range(PROCESSES)]
        runs = [fuzz(directory / target, seed, SECONDS[asked.size], asked.directory) for seed in seeds]
        said = await asyncio.gather(*runs)
        done = sum(executions for executions, _ in said)
        yield Cycle(number, done, [line for _, lines in said for line in lines], {f"{target}_executions": done})


async def fuzz(program: Path, seed: int, seconds: int, crashes: Path) -> tuple[int, list[str]]:
    """One process; how many inputs it ran, and what became of the one that crashed it."""
    corpus = CORPUS / program.name
    corpus.mkdir(parents=True, exist_ok=True)
    prefix = crashes / f"{program.name}-{seed}-"
    options = [f"-seed={seed}", f"-max_total_time={seconds}", f"-artifact_prefix={prefix}", "-print_final_stats=1"]
    running = await asyncio.create_subprocess_exec(
        program, *options, str(corpus), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, limit=2**26
    )
    _out, err = await ended(running)
    text = err.decode(errors="replace")
    counted = re.findall(r"number_of_executed_units:\s*(\d+)", text) or re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    executions = int(counted[-1]) if counted else 0
    if running.returncode == 0:
        return executions, [] if executions else [f"{program.name}: nothing was run"]
    return executions, [f"{program.name}, seed {seed}: {panic_of(text)} {kept(prefix)}"]


def panic_of(text: str) -> str:
    """What the core said when it panicked, in one line."""
    found = re.search(r"panicked at .*?(?=\nnote:|\n==|\Z)", text, re.DOTALL)
    return " ".join((found[0] if found else text[-cargo.SAID_CHARACTERS_MAX :]).split())[: cargo.SAID_CHARACTERS_MAX]


def kept(prefix: Path) -> str:
    """The bytes that did it, copied to where they stay."""
    said = []
    for path in sorted(prefix.parent.glob(f"{prefix.name}*")):
        place = KEPT / "crashes" / path.name
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, place)
        said.append(f"{place.relative_to(cargo.ROOT)}: {path.read_bytes()[:CRASH_BYTES_SHOWN_MAX].hex()}")
    return "; ".join(said)


ROW: Final = Row(
    id="A3",
    what="coverage-guided fuzzing: decoders, apply, undo, checkpoint, chain",
    unit="executions",
    passes="0 panics",
    submission=len(TARGETS),
    campaign=10 * len(TARGETS),
    run=run,
    needs=needs,
    prepare=programs,
    cycle_timeout_s=CYCLE_TIMEOUT_S,
)
