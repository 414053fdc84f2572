"""Which PostgreSQL processes live on a data directory, and how they are stopped.

Guards: what is signalled is proven to be PostgreSQL on this very directory, because process ids are
used again; `postmaster.pid` is read and never removed, since it is what keeps two postmasters apart.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

from pyledger.embedded.nouns import ORPHANS_TIMEOUT_S, POLL_S, STOP_TIMEOUT_S, EmbeddedError


def postmaster_id(cluster_dir: Path) -> int | None:
    """The live postmaster of a directory, or None."""
    process_id = _named_postmaster(cluster_dir)
    return process_id if process_id is not None and _works_on(process_id, cluster_dir) else None


def _named_postmaster(cluster_dir: Path) -> int | None:
    try:
        return abs(int(read_postmaster_file(cluster_dir)[0]))
    except (IndexError, ValueError):
        return None


def postmaster_is_ready(cluster_dir: Path, process_id: int) -> bool:
    """Whether this very postmaster says that it takes connections."""
    lines = read_postmaster_file(cluster_dir)
    return len(lines) >= 8 and lines[0].strip() == str(process_id) and lines[7].strip() == "ready"


def read_postmaster_file(cluster_dir: Path) -> list[str]:
    """Its lines; none if it is not there (yet, or any more)."""
    try:
        return (cluster_dir / "postmaster.pid").read_text("utf-8", "replace").splitlines()
    except (FileNotFoundError, PermissionError):
        return []


def processes_on(cluster_dir: Path) -> list[int]:
    """Every process that works in the directory. Empty where the kernel has no /proc to ask."""
    if not os.path.isdir("/proc/self"):
        return []
    processes = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    return [process_id for process_id in processes if _works_on(process_id, cluster_dir)]


def _works_on(process_id: int, cluster_dir: Path) -> bool:
    real = os.path.realpath(cluster_dir)
    if os.path.isdir("/proc/self"):
        # Every process of PostgreSQL has its data directory as its working directory.
        try:
            return os.readlink(f"/proc/{process_id}/cwd") == real and not _is_zombie(process_id)
        except OSError:
            return False
    said = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(process_id)], capture_output=True, text=True, check=False
    )
    return "postgres" in said.stdout and real in said.stdout


def _is_zombie(process_id: int) -> bool:
    """Dead, but its parent has not asked how it ended. PostgreSQL takes such a postmaster for a live one."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return "(postgres)" in status and status.rpartition(")")[2].split()[0] == "Z"


async def stop_orphans(cluster_dir: Path) -> bool:
    """Stop a PostgreSQL whose starter is gone and wait for all its processes; True if there was any."""
    process_id = postmaster_id(cluster_dir)
    if process_id is not None:
        await _end(process_id, cluster_dir)
    left = _left_over(cluster_dir)
    deadline = time.monotonic() + ORPHANS_TIMEOUT_S
    there_were_any = process_id is not None or bool(left)
    while left:
        if time.monotonic() > deadline:
            if all(map(_is_zombie, left)):
                raise EmbeddedError(f"process 1 does not reap the dead PostgreSQL {left}; a container needs an init")
            raise EmbeddedError(f"processes {left} of an earlier PostgreSQL still work on {cluster_dir}")
        await asyncio.sleep(POLL_S)
        left = _left_over(cluster_dir)
    return there_were_any


def _left_over(cluster_dir: Path) -> list[int]:
    left = processes_on(cluster_dir)
    named = _named_postmaster(cluster_dir)
    return [*left, named] if named is not None and _is_zombie(named) else left


async def _end(process_id: int, cluster_dir: Path) -> None:
    """A fast shutdown of a process that is not our child; a hard one if it takes too long."""
    for number, timeout_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, ORPHANS_TIMEOUT_S)):
        try:
            os.kill(process_id, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise EmbeddedError(f"process {process_id} of another user works on {cluster_dir}") from None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not _works_on(process_id, cluster_dir):
                return
            await asyncio.sleep(POLL_S)
    raise EmbeddedError(f"process {process_id} on {cluster_dir} cannot be stopped")


async def stop_child(process: subprocess.Popen[bytes]) -> None:
    """A fast shutdown of our own child; a hard one, which costs the next start a recovery, if need be."""
    for number, timeout_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, ORPHANS_TIMEOUT_S)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        if await wait_for_child(process, timeout_s):
            return
    process.kill()
    await wait_for_child(process, ORPHANS_TIMEOUT_S)


async def wait_for_child(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether the child has ended within the time."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True
