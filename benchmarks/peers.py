"""Other ledgers on the same machine: TigerBeetle's own benchmark, given its binary; pgledger, given its URL.

Guarded here: a peer runs with its own defaults, on its own data on the same disk. TigerBeetle's own words are
kept beside the number that we read from them; pgledger's books are added up afterwards like ours.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from benchmarks.nouns import Measured, ProofFailed
from benchmarks.proof import QUERIES
from benchmarks.summary import percentiles

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


PGLEDGER_WORKERS: Final = 20


async def pgledger(url: str, accounts: int, seconds: float) -> Measured:
    """W6 on pgledger: 20 workers, one transfer a transaction, between few accounts. Raises `ProofFailed`.

    Straight into PostgreSQL, as it is meant to be used: nothing in front of it that could be slow."""
    random = Random(accounts)  # noqa: S311 - traffic, no secret
    workers = [await asyncpg.connect(url) for _ in range(PGLEDGER_WORKERS)]
    try:
        before = await workers[0].fetchval(QUERIES["pgledger_transfers"])
        ids = [await workers[0].fetchval(QUERIES["pgledger_account"], f"benchmark {each}") for each in range(accounts)]
        latencies: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*(_move(each, ids, random, began + seconds, latencies) for each in workers))
        took_s = time.perf_counter() - began
        stored = await workers[0].fetchval(QUERIES["pgledger_transfers"]) - before
        total = await workers[0].fetchval(QUERIES["pgledger_sum"], ids)
    finally:
        for each in workers:
            await each.close()
    if stored != len(latencies) or total != 0:
        raise ProofFailed("pgledger", [f"{stored} stored of {len(latencies)} answered, balances add up to {total}"])
    return Measured(
        f"pgledger_{accounts}",
        "peer",
        f"pgledger, {accounts} accounts, one a transaction",
        connections=PGLEDGER_WORKERS,
        requests=len(latencies),
        accepted=len(latencies),
        seconds=took_s,
        per_s=len(latencies) / took_s,
        latency_ms=percentiles(latencies),
    )


async def _move(connection: Any, ids: list[str], random: Random, until: float, latencies: list[float]) -> None:
    statement = await connection.prepare(QUERIES["pgledger_move"])
    while (began := time.perf_counter()) < until:
        debit, credit = random.sample(ids, 2)
        await statement.fetch(debit, credit, random.randint(1, 10_000))
        latencies.append(time.perf_counter() - began)
