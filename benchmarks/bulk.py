"""How fast files go into the books and out: `python -m benchmarks.bulk`; `--keep` keeps it for docs/PERFORMANCE.md.

Guarded here: each time is that of the command line, from its start to its end, over HTTP with a key and fsync; every
row of a file was accepted, once, and is in the export.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

from benchmarks import service as services
from benchmarks.lifetime import Guard, scratch
from benchmarks.processes import machine
from benchmarks.proof import QUERIES
from benchmarks.service import Service

ROWS: Final = 1_000_000
RUNS: Final = 3
FORMS: Final = ("csv", "jsonl", "parquet")
ACCOUNTS: Final = 8_000
IN_FLIGHT: Final = (1, 4)
LEDGER: Final = 1
KEPT: Final = Path(__file__).parent / "results" / "bulk.json"
_HEADER: Final = "id,debit_account_id,credit_account_id,amount,ledger,code,effective_at\n"


def account(place: int) -> str:
    """Its id."""
    return str(UUID(int=(1 << 100) + place))


def lines(form: str, rows: int, chance: random.Random) -> Iterator[str]:
    """Transfers between accounts at random, with ids as clients make them: UUIDv7 of now."""
    ids = [account(place) for place in range(ACCOUNTS)]
    now_ms = int(time.time() * 1000)
    for row in range(rows):
        bits = chance.getrandbits(128)
        debit = bits % ACCOUNTS
        credit = (debit + 1 + (bits >> 24) % (ACCOUNTS - 1)) % ACCOUNTS
        stamp, tail = f"{now_ms - (rows - row) // 1_000:012x}", f"{bits >> 68:015x}"
        own = f"{stamp[:8]}-{stamp[8:]}-7{row & 0xFFF:03x}-8{tail[:3]}-{tail[3:]}"
        amount, at = 1 + (bits >> 48) % 1_000_000, f"2025-10-14T07:31:05.{row % 10**6:06d}Z"
        if form == "jsonl":
            yield (
                f'{{"id":"{own}","debit_account_id":"{ids[debit]}","credit_account_id":"{ids[credit]}",'
                f'"amount":"{amount}","ledger":{LEDGER},"code":1,"effective_at":"{at}"}}\n'
            )
        else:
            yield f"{own},{ids[debit]},{ids[credit]},{amount},{LEDGER},1,{at}\n"


def write(file: Path, form: str, rows: int, seed: int) -> None:
    """A file of transfers."""
    plain = file.with_suffix(".csv") if form == "parquet" else file
    with plain.open("w", encoding="ascii") as out:
        out.write("" if form == "jsonl" else _HEADER)
        out.writelines(lines(form, rows, random.Random(seed)))  # noqa: S311 - traffic, no secret
    if form == "parquet":
        import pyarrow.csv
        import pyarrow.parquet

        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(("id", "effective_at"), pyarrow.string()))
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(plain, convert_options=texts), file)
        plain.unlink()


async def open_books(service: Service) -> None:
    """The ledger and its accounts."""
    caller = service.caller()
    ledger = json.dumps({"id": LEDGER, "asset": "EUR", "exponent": 2}).encode()
    await caller.expect(service.envelope.post("/v1/ledgers", ledger), 201)
    each = [{"id": account(place), "ledger": LEDGER, "code": 1} for place in range(ACCOUNTS)]
    await caller.expect(service.envelope.post("/v1/accounts/batch", json.dumps({"accounts": each}).encode()), 200)
    caller.close()


async def timed(service: Service, rows: int, *arguments: object) -> dict[str, float]:
    """Run a command line: rows a second, and microseconds of CPU a row of whoever had a part in it."""
    before = await service.read()
    settings = {**service.settings, "key": service.key, "url": service.url}
    began = time.monotonic()
    running = subprocess.Popen(  # noqa: ASYNC220 - a fork, of seconds
        services.command(*map(str, arguments)), env=services.environment(settings), stdout=subprocess.DEVNULL
    )
    _pid, status, used = await asyncio.to_thread(os.wait4, running.pid, 0)
    seconds = time.monotonic() - began
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: exit code {running.returncode}")
    after = await service.read()
    return {
        "rows_per_s": round(rows / seconds),
        "client_us": round((used.ru_utime + used.ru_stime) / rows * 1e6, 2),
        "server_us": round(((after.server_cpu_s or 0) - (before.server_cpu_s or 0)) / rows * 1e6, 2),
        "postgres_us": round(((after.postgres_cpu_s or 0) - (before.postgres_cpu_s or 0)) / rows * 1e6, 2),
    }


async def imported(service: Service, directory: Path, rows: int, case: tuple[int, str, int]) -> dict[str, Any]:
    """One run of one format, with so many requests in flight."""
    run, form, in_flight = case
    file = directory / f"in-{in_flight}-{run}.{form}"
    await asyncio.to_thread(write, file, form, rows, run * 100 + in_flight)
    before = await service.database.fetchval(QUERIES["rows_recorded"])
    found = await timed(service, rows, "import", "transfers", file, "--in-flight", in_flight)
    after = await service.database.fetchval(QUERIES["rows_recorded"])
    if after - before != rows:
        raise RuntimeError(f"{after - before:,} rows came of {rows:,}")
    file.unlink()
    return {"what": f"import, {in_flight} in flight", "form": form, **found}


async def exported(service: Service, directory: Path, rows: int, form: str) -> dict[str, Any]:
    """One run of one format, of all that is in the books."""
    file = directory / f"out.{form}"
    found = await timed(service, rows, "export", "transfers", "--to", file)
    file.unlink()
    return {"what": "export", "form": form, **found}


async def measure(asked: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """Every case; exports once there are as many rows as in a file."""
    service, rows = await services.start(directory / "server"), asked.rows
    try:
        await open_books(service)
        cases = [(run, form, some) for run in range(asked.runs) for form in asked.only for some in asked.in_flight]
        found = [await imported(service, directory, rows, cases[0])]
        for _ in range(asked.runs):
            found += [await exported(service, directory, rows, form) for form in asked.only]
        return found + [await imported(service, directory, rows, case) for case in cases[1:]]
    finally:
        await service.close()


def rows_of(found: list[dict[str, Any]]) -> list[list[str]]:
    """A line a case: least, median and most of its runs, and the medians of the CPU."""
    cases: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in found:
        cases.setdefault((each["what"], each["form"]), []).append(each)
    lines = []
    for (what, form), runs in cases.items():
        rates = [each["rows_per_s"] for each in runs]
        cpu = [f"{median(each[name] for each in runs):.1f}" for name in ("client_us", "server_us", "postgres_us")]
        lines.append([what, form, str(len(runs)), *(f"{of(rates):,.0f}" for of in (min, median, max)), *cpu])
    return lines


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--in-flight", nargs="+", type=int, default=IN_FLIGHT)
    parser.add_argument("--keep", action="store_true", help=f"add to what {KEPT.name} has of other formats")
    parser.add_argument("--scratch", type=Path)
    asked, guard = parser.parse_args(), Guard()
    try:
        with scratch(asked.scratch) as directory:
            found = guard.run(measure(asked, directory))
    except asyncio.CancelledError:
        return guard.exit_code
    for line in rows_of(found):
        sys.stdout.write("  ".join(f"{cell:>12}" for cell in line) + "\n")
    if asked.keep:
        kept = json.loads(KEPT.read_text("utf-8"))["runs"] if KEPT.exists() else []
        runs = [each for each in kept if each["form"] not in asked.only] + found
        about = {"rows": asked.rows, "machine": machine(), "runs": sorted(runs, key=lambda each: str(each["form"]))}
        KEPT.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
