"""Imports with several requests in flight, whose rows are decided in the order of the file all the same.

Guarded here: no row is decided before those above it, whatever becomes of wires and servers; and a server that does not
keep the order gets one request at a time.
"""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.faults.proxy import Cut, Proxy, Way
from tests.server.talk import Talker
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment
from tests.test_bulk import BANK, HEADER, LEDGER, SHOP, WALLET, exported, many, number, open_books, rows_in

REQUEST_ROWS = 8_190
REQUESTS = 12
ROWS = REQUESTS * REQUEST_ROWS
CUTS = (Cut(Way.UP, 500_000), Cut(Way.UP, 1_500_000), Cut(Way.DOWN, 1), Cut(Way.UP, 400_000), Cut(Way.DOWN, 700_000))


def spending(path: Path) -> list[str]:
    """Requests that bring money, and after each one that spends all of it; the ids."""
    ways = [(BANK, WALLET), (WALLET, SHOP)]
    ids = [number(place) for place in range(ROWS)]
    lines = [
        ",".join((id, *ways[place // REQUEST_ROWS % 2], "1", str(LEDGER), "1,,,,,,")) for place, id in enumerate(ids)
    ]
    path.write_text("\n".join([HEADER, *lines, ""]), "utf-8")
    return ids


async def importing(file: Path, url: str, *more: str) -> asyncio.subprocess.Process:
    """An import that runs."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyledger.cli", "import", "transfers", str(file), "--url", url, "--json", *more,
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def done(running: asyncio.subprocess.Process) -> dict[str, Any]:
    """What it says at the end."""
    said, complained = await asyncio.wait_for(running.communicate(), 120)
    assert running.returncode == 0, (said, complained)
    return dict(json.loads(said))


def in_order(database: Database, ids: list[str], to: Path) -> None:
    """The journal has the rows of the file, in its order."""
    with exported(database, "transfers", to).open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ids


@pytest.mark.parametrize("cuts", [(), CUTS], ids=["whole wires", "cut wires"])
async def test_rows_are_decided_in_the_order_of_the_file(
    server: ServerProcess, database: Database, tmp_path: Path, cuts: tuple[Cut, ...]
) -> None:
    await asyncio.to_thread(open_books, Talker(server.url))
    ids = spending(tmp_path / "spending.csv")
    async with Proxy(("127.0.0.1", int(server.url.rpartition(":")[2]))) as proxy:
        proxy.arm(*cuts)
        url = f"http://127.0.0.1:{proxy.port}"
        found = await done(await importing(tmp_path / "spending.csv", url, "--in-flight", "8"))
        assert proxy.cuts == len(cuts)
    assert (found["rows"], found["accepted"]) == (ROWS, ROWS)
    await asyncio.to_thread(in_order, database, ids, tmp_path / "out.csv")


async def test_rows_keep_their_order_when_the_server_dies(
    start_server: Callable[..., ServerProcess], database: Database, tmp_path: Path
) -> None:
    """Of several requests under way nobody knows what became; those that were not decided are, in their order."""
    server = await asyncio.to_thread(start_server, database)
    await asyncio.to_thread(open_books, Talker(server.url))
    file, killed = tmp_path / "spending.csv", 0
    ids = spending(file)
    running = await importing(file, server.url)
    while killed < 2:
        before = rows_in(tmp_path / "spending.csv.progress")
        while rows_in(tmp_path / "spending.csv.progress") == before:
            assert running.returncode is None, (await running.communicate(), killed)
            await asyncio.sleep(0.001)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(server.start)
        killed += 1
    found = await done(running)
    assert (found["rows"], found["accepted"]) == (ROWS, ROWS)
    await asyncio.to_thread(in_order, database, ids, tmp_path / "out.csv")


async def test_a_server_that_keeps_no_order_gets_one_request_at_a_time(tmp_path: Path) -> None:
    """It takes what it is sent and says no name: one that is older than that."""
    at_once, most = 0, 0

    async def take(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        body = await request.read()
        await asyncio.sleep(0.02)
        at_once -= 1
        return web.Response(body=struct.pack("<Q152x", 1) * (len(body) // 128))

    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/v1/transfers/batch", take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        many(tmp_path / "many.csv", 5 * REQUEST_ROWS)
        found = await done(await importing(tmp_path / "many.csv", f"http://127.0.0.1:{runner.addresses[0][1]}"))
    finally:
        await runner.cleanup()
    assert (found["accepted"], most) == (5 * REQUEST_ROWS, 1)
