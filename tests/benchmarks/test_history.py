"""First pages and runs beside a seal on a real server, of a size whose figures mean nothing."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path

import asyncpg
import pytest

from benchmarks.history import BESIDE, IDLE, QUICK, History, page_rows
from benchmarks.nouns import BATCH_TRANSFERS, ProofFailed
from benchmarks.outcome import Outcome
from benchmarks.seals import Leg, Seals, pair_rows
from benchmarks.service import Service
from tests.benchmarks.support import quiet
from tests.support.clusters import Database
from tests.support.process import ServerProcess

SMOKE = replace(QUICK, name="smoke", rows=20 * BATCH_TRANSFERS, pages=2, accounts=50)


@pytest.fixture
async def service(server: ServerProcess, database: Database) -> AsyncIterator[Service]:
    found = Service(server.url, "", database.admin_dsn)
    await found.connect()
    yield found
    await found.close()


async def test_pages_are_timed_and_what_was_posted_is_proven(service: Service, tmp_path: Path) -> None:
    history = History(SMOKE, service, tmp_path, quiet)
    await history.open_books()
    await history.post(2 * BATCH_TRANSFERS)
    pages = [*await history.beside_posting(8_000.0), *await history.pages(IDLE, lambda: True)]
    assert {(each["state"], each["account"]) for each in pages} == {
        (state, account) for state in (IDLE, BESIDE) for account in ("busy", "another")
    }
    assert all(each["rows"] == 100 for each in pages if each["account"] == "busy")
    assert all(each["requests"] == 2 and each["latency_ms"]["99"] > 0 for each in pages if each["state"] == IDLE)
    assert all(len(line) == 9 for line in page_rows({"pages": pages}))
    await history.once.prove()
    assert history.once.proven == 6 * BATCH_TRANSFERS
    head, tail = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
    (tmp_path / "invented").write_bytes(head + b"\0\2\0\0\0\x10" + bytes(16) + b"\0\0\0\1\1" + tail)
    await history.once.keep([tmp_path / "invented"])
    with pytest.raises(ProofFailed, match="'lost': 1"):
        await history.once.prove()


async def test_sealing_is_held_back_by_its_own_lock(
    service: Service, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.seals._BEGIN_WAIT_S", 0.0)
    watcher, server = [await asyncpg.connect(database.admin_dsn) for _ in range(2)]
    from pyledger.ledger.connections import QUERIES as LEDGER

    seals, history = Seals(watcher), History(SMOKE, service, tmp_path, quiet)
    await history.open_books()
    watching = asyncio.ensure_future(seals.watch())
    checkpoint = "SELECT checkpoint_lsn FROM pg_control_checkpoint()"
    before = await server.fetchval(checkpoint)
    without = await history.leg(seals, 2 * BATCH_TRANSFERS, sealing=False)
    assert before != await server.fetchval(checkpoint), "each run begins after one"
    assert (without.sealing, without.sealed_rows) == (False, 0)
    assert 0 < without.rows <= 2 * BATCH_TRANSFERS
    assert not await server.fetchval(LEDGER["try_sealing"]), "what the server asks"
    await seals.let()
    assert await server.fetchval(LEDGER["try_sealing"])
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await asyncio.gather(watcher.close(), server.close())


def test_a_run_counts_while_its_seal_is_at_work() -> None:
    seals = Seals(None)
    seals.seen += [(0.0, False), (2.0, True), (4.0, True), (5.0, False), (9.0, False)]
    began, ended = array("d", [1.0, 2.5, 3.5, 4.5]), array("d", [2.0, 3.5, 4.5, 6.5])
    outcome = Outcome(began, ended, array("l", [10, 10, 10, 10]), bytearray(4))
    beside = seals.leg([outcome], sealing=True, sealed_rows=7)
    assert (beside.sealing, beside.rows, beside.seconds, beside.per_s) == (True, 20, 2.0, 10.0)
    assert (beside.sealed_rows, beside.whole) == (7, True)
    del seals.seen[3:]
    beside = seals.leg([outcome], sealing=True, sealed_rows=7)
    assert (beside.rows, beside.whole) == (30, False), "the posting ended first"
    with pytest.raises(RuntimeError, match="beside a run without one"):
        seals.leg([outcome], sealing=False, sealed_rows=0)
    seals.seen[:] = [(0.0, False), (7.0, True)]
    without = seals.leg([outcome], sealing=False, sealed_rows=0)
    assert (without.rows, without.sealing) == (40, False)
    with pytest.raises(RuntimeError, match="beside a run without one"):
        seals.leg([outcome], sealing=False, sealed_rows=7)
    with pytest.raises(RuntimeError, match="nothing was sealed"):
        seals.leg([outcome], sealing=True, sealed_rows=0)
    with pytest.raises(RuntimeError, match="missed each other"):
        seals.leg([outcome], sealing=True, sealed_rows=7)


def test_the_median_of_the_pairs_is_that_of_both_orders() -> None:
    def leg(per_s: float, p99: float, *, sealing: bool) -> dict[str, object]:
        return asdict(Leg(sealing, 1, 1.0, per_s, {"99": p99}, 500 * sealing, p99 < 30))

    pairs = [
        [leg(100, 10, sealing=False), leg(90, 20, sealing=True)],
        [leg(80, 30, sealing=True), leg(100, 10, sealing=False)],
        [leg(100, 10, sealing=False), leg(50, 15, sealing=True)],
    ]
    assert [line[3] for line in pair_rows(pairs)] == ["0.90", "0.80", "0.50", "0.80"]
    assert [line[6] for line in pair_rows(pairs)] == ["2.00", "3.00", "1.50", "2.00"]
    assert pair_rows(pairs)[1][0] == "with a seal first"
    assert [line[7:] for line in pair_rows(pairs)] == [["500", "1"], ["500", "more than 1"], ["500", "1"], ["", ""]]
