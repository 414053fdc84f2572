"""Imports whose wire, server or PostgreSQL goes away in the middle, and imports that are killed themselves.

Guarded here: whatever nobody knows the outcome of is sent again, and nothing is there twice, or missing, or missing in
the report.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.pair import socket_of
from tests.faults.proxy import Cut, Proxy, Way
from tests.server.talk import Talker
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment
from tests.test_bulk import WALLET, balances, imported, many, open_books, reported, rows_in, with_bad_rows


def test_killed_and_run_again_nothing_is_twice_and_nothing_is_missing(server: ServerProcess, tmp_path: Path) -> None:
    talker, file, rows = Talker(server.url), tmp_path / "many.csv", 160_000
    open_books(talker)
    bad = with_bad_rows(file, rows, 997)
    progress = file.with_name("many.csv.progress")
    for killed in range(3):
        command = [sys.executable, "-m", "pyledger.cli", "import", "transfers", str(file), "--url", server.url]
        command += ["--in-flight", str(1 + 3 * killed)]
        running = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        before = rows_in(progress)
        while rows_in(progress) == before:
            assert running.poll() is None, "it was done before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert 0 < rows_in(progress) < rows, killed
    done = imported("transfers", file, server.url)
    assert (done["rows"], done["accepted"], done["malformed"]) == (rows, rows - len(bad), len(bad))
    assert balances(talker)[WALLET]["posted"] == str(rows - len(bad))
    assert reported(tmp_path / "many.csv.rejected.csv") == bad
    # Without its cursor it sends everything again, and the ids make that harmless.
    progress.unlink()
    again = imported("transfers", file, server.url)
    assert (again["accepted"], again["replayed"]) == (rows - len(bad), rows - len(bad))
    assert balances(talker)[WALLET]["posted"] == str(rows - len(bad))
    assert reported(tmp_path / "many.csv.rejected.csv") == bad


def test_a_server_that_dies_and_comes_back_costs_nothing(
    start_server: Callable[..., ServerProcess], database: Database, tmp_path: Path
) -> None:
    """What became of the request under way nobody knows; it is sent again, and its ids decide."""
    server = start_server(database)
    talker, file, rows = Talker(server.url), tmp_path / "many.csv", 120_000
    open_books(talker)
    many(file, rows)
    progress = tmp_path / "many.csv.progress"
    command = [sys.executable, "-m", "pyledger.cli", "import", "transfers", str(file), "--url", server.url, "--json"]
    importing = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not rows_in(progress):
        assert importing.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    server.stop(signal.SIGKILL)
    assert importing.poll() is None, "it was done before the server was killed"
    server.start()
    said, complained = importing.communicate(timeout=120)
    done = json.loads(said or b"{}")
    assert (done.get("rows"), done.get("accepted")) == (rows, rows), complained
    assert balances(Talker(server.url))[WALLET]["posted"] == str(rows)


async def running(*arguments: object) -> dict[str, int]:
    """Import, while something is done to the wires; what it said."""
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyledger.cli", "import", "transfers", *map(str, arguments), "--json",
        env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complained = await done.communicate()
    assert done.returncode == 0, complained
    return dict(json.loads(said))


async def test_a_wire_that_breaks_costs_nothing(server: ServerProcess, tmp_path: Path) -> None:
    """In the middle of a request, and of an answer: of that nobody knows what became of the request."""
    talker, file, rows = Talker(server.url), tmp_path / "many.csv", 50_000
    open_books(talker)
    many(file, rows)
    cuts = (Cut(Way.UP, 500_000), Cut(Way.DOWN, 700_000), Cut(Way.DOWN, 1), Cut(Way.UP, 2_000_000), Cut(Way.DOWN, 9))
    async with Proxy(("127.0.0.1", int(server.url.rpartition(":")[2]))) as proxy:
        proxy.arm(*cuts)
        done = await running(file, "--url", f"http://127.0.0.1:{proxy.port}")
        assert proxy.cuts == len(cuts)
    assert (done["rows"], done["accepted"]) == (rows, rows)
    assert done["replayed"] >= 8_190
    assert balances(talker)[WALLET]["posted"] == str(rows)


async def test_a_server_that_cannot_say_what_became_of_it_is_asked_again(
    start_server: Callable[..., ServerProcess], database: Database, tmp_path: Path
) -> None:
    """PostgreSQL does not answer for so long that the server says outcome_unknown."""
    async with Proxy(socket_of(database.postgres.cluster)) as proxy:
        url = f"postgresql://test_server@127.0.0.1:{proxy.port}/{database.name}?sslmode=disable"
        server = await asyncio.to_thread(start_server, database, database_url=url, answer_timeout_ms=500)
        talker, file, rows = Talker(server.url), tmp_path / "many.csv", 100_000
        await asyncio.to_thread(open_books, talker)
        many(file, rows)
        importing = asyncio.ensure_future(running(file, "--url", server.url))
        while not rows_in(tmp_path / "many.csv.progress"):
            await asyncio.sleep(0.001)
        proxy.freeze()
        await asyncio.sleep(1.5)
        proxy.thaw()
        done = await importing
        assert (done["rows"], done["accepted"], done["replayed"] > 0) == (rows, rows, True)
        unknown = (await asyncio.to_thread(talker.get, "/metrics")).body.decode()
        assert 'status="503"' in unknown
        assert (await asyncio.to_thread(balances, talker))[WALLET]["posted"] == str(rows)
