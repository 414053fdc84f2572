"""Rows E1, F1, F2 and G3 can fail: what they measure is judged, and each kind of wrong is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.ground import Ground, ground
from tests.faults.nouns import Run
from tests.faults.rows import e1_start, f1_soak, f2_overload, g3_hostile
from tests.faults.running import own_directory
from tests.faults.watching import Look

MIB = 1 << 20


def looks(*resident_mib: int, holds: int = 0, queue: int = 0) -> list[Look]:
    """One look for each, the holds growing by as many each time."""
    return [Look(float(at), size * MIB, queue, 10, at * holds) for at, size in enumerate(resident_mib)]


def test_a_start_sees_that_it_and_its_replay_are_slow() -> None:
    found = {"start_s": 4.0, "start_clean_s": 2.5, "rows_past_the_checkpoint": 1_000_000}
    assert e1_start.judged(1_000_000, found, 2.0)[0] == []
    assert len(e1_start.judged(1_000_000, found, 1.0)[0]) == 1
    assert len(e1_start.judged(1_000_000, found | {"start_s": 10.1}, 2.0)[0]) == 2


def test_a_soak_sees_memory_that_grows_and_lets_what_is_held_have_its_own() -> None:
    assert f1_soak.memory(looks(100, 130, 150, 151, 152, 151, 152, 152, 152)) == []
    grows = looks(100, 100, 100, 110, 120, 130, 140, 150, 160)
    assert f1_soak.memory(grows)
    assert f1_soak.memory(looks(100, 100, 100, 110, 120, 130, 140, 150, 160, holds=100_000)) == []


def test_a_soak_sees_answers_that_get_slower() -> None:
    assert f1_soak.patience([90, 80, 20, 21, 400, 20, 22, 21, 23]) == []
    assert f1_soak.patience([20, 20, 20, 20, 20, 20, 60, 60, 60])


def test_an_overload_sees_that_little_goes_through_and_that_nothing_was_refused() -> None:
    assert f2_overload.through({"accepted": 90.0, "refused": 200.0}, 100) == []
    assert f2_overload.through({"accepted": 70.0, "refused": 200.0}, 100)
    assert f2_overload.through({"accepted": 300.0, "refused": 0.0}, 100)


def test_an_overload_sees_a_queue_and_a_server_without_bounds() -> None:
    assert f2_overload.bounded(looks(100, 200, queue=f2_overload.QUEUE_ROWS_MAX)) == []
    assert f2_overload.bounded(looks(100, 200, queue=f2_overload.QUEUE_ROWS_MAX + 1))
    assert f2_overload.bounded(looks(100, 400))


@pytest.fixture
async def place() -> AsyncIterator[Ground]:
    with own_directory() as directory:
        async with ground(directory) as made:
            yield made


async def test_an_overload_sees_a_row_too_many_and_a_refusal_without_a_class(
    place: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f2_overload, "PEAK_S", 4.0)
    # On a machine that does other things too its pace is nobody's promise; what is recorded is.
    monkeypatch.setattr(f2_overload, "OFFERED_MIN", 0.0)
    honest, _pace = await f2_overload.overload(place, 0, 4.0)
    assert honest.violations == []
    assert honest.notes["refused_per_s_max"] > 0
    async with place.connected() as connection:
        stored = await connection.fetchval("SELECT count(*) FROM pyledger.journal WHERE kind = 3")
    assert await f2_overload.stored(place, stored) == []
    assert await f2_overload.stored(place, stored - f2_overload.BATCH)
    await place.open_books()
    monkeypatch.setattr(f2_overload, "REFUSAL", "sold_out")
    lied, _pace = await f2_overload.overload(place, 1, 4.0)
    assert [each for each in lied.violations if each.startswith("refused as")]


async def test_an_attack_that_lets_honest_clients_wait_is_seen_in_each_of_its_tries(
    place: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Run(seed=1, cycles=1, directory=place.directory)
    await place.start_server()
    books = g3_hostile.Books(place)
    await books.open()
    number = g3_hostile.ALL_KINDS.index("smuggled") - asked.seed
    monkeypatch.setattr(g3_hostile, "WORSE_MAX", float("inf"))
    patient = await g3_hostile.one(books, number, asked)
    assert (patient.violations, patient.notes["tries"]) == ([], 1)
    monkeypatch.setattr(g3_hostile, "WORSE_MAX", 0.0)
    impatient = await g3_hostile.one(books, number, asked)
    assert [each.partition(" was ")[0] for each in impatient.violations] == [
        "smuggled: the honest p99 with the attack and without it"
    ]
    assert impatient.notes["tries"] == g3_hostile.TRIES
