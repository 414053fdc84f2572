"""Programs in Rust that rows run: built when first asked for, and read by the line of JSON that they print.

Guarded here: what is run is built from this checkout, with the lock file; and a program that dies without its
line is a failure with its last words, never a pass.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.faults.running import ended

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "pyledger-faults"
EXTENSION: Final = "pyledger-py"
BUILD_TIMEOUT_S: Final = 900.0
SAID_CHARACTERS_MAX: Final = 600
# rustup puts them there and not every shell knows.
PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".cargo/bin")])


def needs() -> str | None:
    """Why nothing can be built here."""
    return None if shutil.which("cargo", path=PATH) else "there is no cargo"


@functools.cache
def built(profile: str, *, planted: bool = False) -> Path:
    """The program, built with a profile of Cargo.toml (`dev`, `release` or `campaign`)."""
    target = ROOT / "target" / ("planted" if planted else "faults")
    build(PACKAGE, profile, target, *(["--features", "planted"] if planted else []))
    return target / ("debug" if profile == "dev" else profile) / PACKAGE


@functools.cache
def extension() -> Path:
    """The Python extension with the planted bugs. As in the one that is shipped, a panic ends the process."""
    target = ROOT / "target" / "planted-extension"
    build(EXTENSION, "campaign", target, "--features", "planted", "--config", 'profile.campaign.panic="abort"')
    return target / "campaign" / "lib_rust.so"


def build(package: str, profile: str, target: Path, *more: str) -> None:
    """Build a package in a directory of its own."""
    command = ["cargo", "build", "--quiet", "--locked", "--package", package, "--profile", profile]
    command += ["--target-dir", str(target), *more]
    # Python finds its own library, and a debugger's backtrace is of no use in a line of JSON.
    environment = os.environ | {"PATH": PATH, "PYO3_BUILD_EXTENSION_MODULE": "1", "PYO3_PYTHON": sys.executable}
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_TIMEOUT_S
    )
    assert made.returncode == 0, f"{' '.join(command)}: {made.stderr[-SAID_CHARACTERS_MAX:]}"


async def said(program: Path, *arguments: str) -> dict[str, Any]:
    """What a run says of itself. If it dies silently, `wrong` says how. Whoever waits no more, stops it."""
    running = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"RUST_BACKTRACE": "0"},
        limit=2**26,
    )
    out, err = await ended(running)
    lines = out.splitlines()
    line: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if running.returncode != 0 and not line.get("wrong"):
        words = " ".join(err.decode(errors="replace").split())[-SAID_CHARACTERS_MAX:]
        line["wrong"] = [f"{' '.join(arguments)} ended with {running.returncode}: {words}"]
    return line
