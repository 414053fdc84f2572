"""What the load tests plan before anything is sent: schedules, rates, books, and how much of a peak is offered."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from loadtests import config, nouns, rules
from loadtests.pacing import Arrivals
from loadtests.session import Zipf

PROFILES = config.profiles()


def schedule(stretches: list[nouns.Stretch], share: float = 1.0, seed: int = 7) -> list[float]:
    arrivals = Arrivals(stretches, share, Random(seed))
    return list(iter(arrivals.next, None))


def test_the_same_seed_gives_the_same_schedule() -> None:
    shape = [nouns.Stretch(10.0, 50.0)]
    assert schedule(shape) == schedule(shape)
    assert schedule(shape) != schedule(shape, seed=8)


def test_arrivals_follow_the_shape() -> None:
    due = schedule([nouns.Stretch(100.0, 20.0), nouns.Stretch(50.0, 0.0), nouns.Stretch(100.0, 200.0)], 0.5)
    assert due == sorted(due)
    assert sum(each < 100.0 for each in due) == pytest.approx(1_000, rel=0.15)
    assert not [each for each in due if 100.0 <= each < 150.0]
    assert sum(each >= 150.0 for each in due) == pytest.approx(10_000, rel=0.05)
    gaps = [later - sooner for sooner, later in pairwise(due) if sooner >= 150.0]
    mean = sum(gaps) / len(gaps)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1), "not Poisson"


def test_what_is_never_sent_can_be_counted() -> None:
    arrivals = Arrivals([nouns.Stretch(100.0, 30.0)], 1.0, Random(1))
    sent = [arrivals.next() for _ in range(500)]
    assert None not in sent
    assert len(sent) + arrivals.remaining() == len(schedule([nouns.Stretch(100.0, 30.0)], seed=1))
    assert Arrivals([nouns.Stretch(1.0, 5.0)], 0.0, Random(1)).next() is None


@pytest.mark.parametrize("name", sorted(PROFILES.profile))
def test_the_users_together_offer_what_the_profile_says(name: str) -> None:
    plan = rules.plan(name, PROFILES)
    each, behaviour = rules.arrivals(plan.mix, plan.behaviour), plan.behaviour
    transactions = (
        each["card"] * rules.card_transactions(behaviour) + each["wallet"] + each["bulk"] * behaviour.batch_rows
    )
    assert transactions == pytest.approx(1.0)
    profile = PROFILES.profile[name]
    if profile.requests_per_s and profile.shape == "steady":
        assert plan.requests_per_s == pytest.approx(profile.requests_per_s)
    assert plan.seconds == pytest.approx(profile.duration_s)


def test_a_scale_follows_from_its_volume() -> None:
    today, projected = rules.plan("today", PROFILES), rules.plan("projected", PROFILES)
    ratio = PROFILES.volume.projected_per_day / PROFILES.volume.today_per_day
    assert projected.transactions_per_s == pytest.approx(today.transactions_per_s * ratio)
    assert projected.rows == pytest.approx(today.rows * ratio, rel=0.01)
    assert projected.accounts == pytest.approx(today.accounts * ratio, rel=0.01)
    assert projected.rows <= PROFILES.preload.rows_max
    assert today.preload_share == projected.preload_share < 1.0


def test_zipf_prefers_the_first() -> None:
    zipf, random = Zipf(1_000, 1.0), Random(3)
    drawn = Counter(zipf.draw(random) for _ in range(20_000))
    assert set(drawn) <= set(range(1_000))
    assert drawn[0] == pytest.approx(2 * drawn[1], rel=0.25)


def test_a_peak_is_offered_as_far_as_shared_cores_go() -> None:
    whole, two = rules.plan("projected", PROFILES), rules.plan("projected", PROFILES, cores=2)
    most = 2 * PROFILES.machine.requests_per_s_a_core_max
    assert whole.offered_share == 1.0
    assert two.requests_per_s == pytest.approx(most)
    assert two.offered_share == pytest.approx(most / whole.requests_per_s)
    assert two.offered_share < 1.0
    assert (two.accounts, two.rows) == (whole.accounts, whole.rows), "the books are those of the whole"
    for name in ("today", "busy"):
        assert rules.plan(name, PROFILES, cores=2) == rules.plan(name, PROFILES)
