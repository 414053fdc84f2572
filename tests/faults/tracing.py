"""strace on a living process: a system call of its fails, or takes its time.

Guards: whoever is traced is let go when the context ends, and nobody is traced twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.faults.rights import TRACING, lacking

ATTACH_TIMEOUT_S: Final = 10.0
LOOK_S: Final = 0.01


def missing() -> str | None:
    """Why nothing can be traced here; None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    return lacking(TRACING, "may not trace others")


@contextlib.asynccontextmanager
async def tampered(process_id: int, call: str, how: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """While inside, a system call of a process is tampered with: `how` is what strace's `inject=` takes."""
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-qq", "-p", str(process_id), "-e", f"trace={call}", "-e", f"inject={call}:{how}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(ATTACH_TIMEOUT_S):
            while tracer.returncode is None and tracer_of(process_id) != tracer.pid:
                await asyncio.sleep(LOOK_S)
        yield tracer
    finally:
        if tracer.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGTERM)
        await tracer.wait()


def tracer_of(process_id: int) -> int:
    """Who traces a process; 0 for nobody."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    return int(status.partition("TracerPid:")[2].split()[0])
