"""Runs beside readers of the feed on a real server, of a size whose figures mean nothing; and what readers must see."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.feed import FOLLOWING, HEADS, KEPT, NONE, ORDER, SLOW, Leg, Posting, feed_rows
from benchmarks.followers import READERS, OutOfOrder, Reader, Seen, times
from benchmarks.nouns import BATCH_TRANSFERS, ProofFailed
from benchmarks.service import Service
from pyledger.ledger import Reader as Question
from pyledger.ledger.blocks import Place
from tests.benchmarks.support import quiet
from tests.support.clusters import Database
from tests.support.process import ServerProcess


@pytest.fixture
async def service(server: ServerProcess, database: Database) -> AsyncIterator[Service]:
    found = Service(server.url, "", database.admin_dsn, process=server.process)
    await found.connect()
    yield found
    await found.database.close()


def page(*places: Place) -> bytes:
    """As the server makes it, but for what a reader does not look at."""
    rows = [b'{"cursor":"%b","id":"%b"}' % (Question(1).cursor(each).encode(), b"0" * 600) for each in places]
    return b'{"data":[%b],"next":"here"}' % b",".join(rows)


async def test_each_kind_of_readers_is_given_every_row(service: Service, tmp_path: Path) -> None:
    posting, rows = Posting(service, tmp_path, quiet), 3 * BATCH_TRANSFERS
    await posting.open_books()
    legs = [await posting.leg(readers, rows, slow_s=0.05) for readers in ORDER]
    assert [leg.rows for leg in legs] == [rows] * 3
    assert all(leg.per_s > 0 and leg.latency_ms["99"] > 0 for leg in legs)
    assert all(0 <= leg.behind_rows <= rows and leg.caught_up_s >= 0 for leg in legs)
    assert [leg.received_per_s for leg in legs if leg.readers == NONE] == [0.0]
    assert posting.once.proven == 3 * rows
    lines = feed_rows([[asdict(leg) for leg in legs]])
    assert [len(line) for line in lines] == [len(HEADS)] * 4


async def test_a_reader_with_other_rows_fails_the_proof(service: Service, tmp_path: Path) -> None:
    posting, mark_ns = Posting(service, tmp_path, quiet), await service.mark_ns()
    await posting.open_books()
    plan = posting._plan(BATCH_TRANSFERS)
    seen = Seen(array("d", [1.0]), array("q", [plan.transfers]), "another")
    with pytest.raises(ProofFailed, match=r"readers \[0\]"):
        await posting._prove(plan, [seen], mark_ns)


def test_a_reader_takes_the_times_of_all_rows_in_order() -> None:
    places = [Place(7, 2**62 + 5), Place(7, 2**62 + 6), Place(2**40, 2**63 - 1)]
    found = times(page(*places))
    assert found.tobytes() == b"".join(each.ns.to_bytes(8) for each in places)
    assert not times(page())
    reader = Reader("http://localhost:1", "")
    reader.take(page(*places[:2]))
    reader.take(page())
    reader.take(page(places[2]))
    assert (reader.rows, list(reader.seen.rows), reader._after) == (3, [2, 2, 3], "here")
    for wrong in ([places[2]], places[::-1], [places[0]]):
        with pytest.raises(OutOfOrder):
            reader.take(page(*wrong))
    with pytest.raises(OutOfOrder):
        Reader("http://localhost:1", "").take(page(places[0], places[0]))


def test_rows_by_a_moment_are_those_of_the_pages_before_it() -> None:
    seen = Seen(array("d", [1.0, 2.0, 2.5]), array("q", [5, 5, 9]))
    assert [seen.by(at_s) for at_s in (0.5, 1.0, 2.4, 3.0)] == [0, 5, 5, 9]


def test_a_pair_is_of_its_round_and_says_its_order() -> None:
    def leg(readers: str, per_s: float) -> dict[str, Any]:
        return asdict(Leg(readers, 1, 1.0, per_s, {"99": 10.0}, 2.0, 0.1))

    rounds = [
        [leg(FOLLOWING, 90), leg(NONE, 100), leg(SLOW, 100)],
        [leg(SLOW, 50), leg(NONE, 200), leg(FOLLOWING, 160)],
        [leg(FOLLOWING, 30), leg(NONE, 100), leg(SLOW, 70)],
    ]
    lines = feed_rows(rounds)
    assert [line[4] for line in lines] == ["0.90", "0.80", "0.30", "0.80", "1.00", "0.25", "0.70", "0.70"]
    assert [line[1] for line in lines] == ["with", "without", "with", "", "without", "with", "without", ""]
    assert lines[0][0] == f"{READERS} that follow"


def test_a_kept_run_says_machine_and_commit() -> None:
    if not KEPT.exists():
        pytest.skip("none is kept yet")
    found = json.loads(KEPT.read_text("utf-8"))
    assert {"cpu", "cores", "memory_gb"} <= found["machine"].keys()
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
    assert found["changed"] is False, "it was measured on files that no commit has"
    assert found["postgresql"]["fsync"] == "on"
    assert found["proven"] >= sum(leg["rows"] for legs in found["rounds"] for leg in legs)
