"""The simulator can fail: each way to get the commit protocol wrong is caught within a stated number of histories."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.planted.protocol import PLANTS, WITHIN, Plant
from tests.faults.rows.b1_protocol import history
from tests.faults.simulation.server import Server

SEED: Final = 1


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(plant: Plant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kind = plant(patch)
        caught = next((number for number in range(WITHIN) if _goes_wrong(number, kind)), None)
    assert caught is not None
    print("caught by history", caught)


def _goes_wrong(number: int, kind: type[Server]) -> bool:
    try:
        return bool(history(SEED, number, kind))
    except (AssertionError, RuntimeError):  # it contradicts itself even before it is judged
        return True


def test_the_protocols_are_right() -> None:
    assert [found for number in range(1_000) for found in history(SEED, number)] == []
