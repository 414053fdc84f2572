"""CPU seconds of processes, read from /proc; None where there is none, as on macOS.

Guarded here: PostgreSQL's account includes backends that have ended meanwhile, and the server's does not
include the PostgreSQL that it started.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def _stat(process_id: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may contain anything: state first, then parent."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def cpu_s(process_id: int) -> float | None:
    """User and system time of one process, all its threads, without its children."""
    fields = _stat(process_id)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_cpu_s() -> float | None:
    """CPU seconds that all processes of this machine have used; None where the kernel does not say."""
    try:
        fields = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    return sum(int(field) for field in (*fields[:3], *fields[5:8])) / _TICKS_PER_S


def children(process_id: int) -> list[int]:
    """Processes that this one started and that have not been waited for."""
    if not Path("/proc/self").is_dir():
        return []
    every = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [each for each in every if (fields := _stat(each)) is not None and int(fields[1]) == process_id]


def tree_cpu_s(*process_ids: int) -> float | None:
    """User and system time of processes, of their children that have ended, and of those that live; each once."""
    if any(_stat(each) is None for each in process_ids):
        return None
    children: dict[int, list[int]] = {}
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            stats[int(entry.name)] = fields
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    ticks, waiting = 0, list(process_ids)
    while waiting:
        each = waiting.pop()
        if (fields := stats.pop(each, None)) is not None:
            ticks += sum(int(field) for field in fields[11:15])
            waiting += children.get(each, ())
    return ticks / _TICKS_PER_S


def resident_bytes(process_id: int) -> int | None:
    """Memory of a process that is in RAM."""
    try:
        pages = Path(f"/proc/{process_id}/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, str | int | float]:
    """What the numbers were measured on."""
    system = os.uname()
    model, memory = "unknown", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{system.sysname} {system.release}",
        "architecture": system.machine,
    }
