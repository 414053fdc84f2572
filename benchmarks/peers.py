"""Other ledgers on the same machine: TigerBeetle's own benchmark, given its binary.

Guarded here: the peer runs with its own defaults, on its own data file on the same disk, and its own words
are kept beside the number that we read from them.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from benchmarks.nouns import Measured

_TIMEOUT_S: Final = 1_800
_RATE: Final = re.compile(r"^(?:load accepted|throughput|transfers? rate)\s*=\s*([\d_]+)\s*tx/s", re.MULTILINE)
_LATENCY: Final = re.compile(
    r"^(?:batch|transfer(?:s| batch)?|request)?\s*latency p(\d+)\s*=\s*(\d+)\s*ms", re.MULTILINE
)


def read(text: str) -> tuple[float, dict[str, float]]:
    """Rate and latencies from what `tigerbeetle benchmark` prints. Raises `ValueError`."""
    rate = _RATE.search(text)
    if rate is None:
        raise ValueError(f"no rate in what tigerbeetle printed: {text[-500:]!r}")
    return float(rate[1].replace("_", "")), {name: float(value) for name, value in _LATENCY.findall(text)}


async def tigerbeetle(binary: Path, transfers: int, scratch: Path, *extra: str) -> Measured:
    """W1 as TigerBeetle's benchmark runs it: 10,000 accounts, full batches, one client."""
    process = await asyncio.create_subprocess_exec(
        str(binary),
        "benchmark",
        "--account-count=10000",
        f"--transfer-count={transfers}",
        *extra,
        cwd=scratch,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode("utf-8", "replace")
    per_s, latency_ms = read(text)
    return Measured(
        "tigerbeetle" + "".join(extra),
        "peer",
        "TigerBeetle's own benchmark",
        per_request=8_189,
        accepted=transfers,
        seconds=transfers / per_s,
        per_s=per_s,
        latency_ms=latency_ms,
        notes={"printed": text[-4_000:]},
    )
