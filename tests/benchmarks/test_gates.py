"""The gates: margins follow from kept runs, and a ratio that fell is said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ratios
from benchmarks.ratios import RATIOS, RUNS_MIN, Margin, Ratio, Verdict

RATE = Ratio("r", "ours / theirs", "w1_binary_per_s", "append_per_s")
COST = Ratio("c", "cost / theirs", "w1_postgres_us", "echo_256_server_us", at_most=True)


def test_a_bound_is_as_far_beyond_the_worst_as_that_is_from_the_median() -> None:
    values = [0.70, 0.60, 0.72, 0.71, 0.69, 0.70, 0.74, 0.70, 0.70, 0.70]
    margin = Margin.of(values, at_most=False)
    assert (margin.least, margin.median, margin.most, margin.runs) == (0.60, 0.70, 0.74, 10)
    assert margin.bound == pytest.approx(0.50)
    assert Margin.of(values, at_most=True).bound == pytest.approx(0.78)
    assert Margin.of([1.0] * 10, at_most=True).bound == pytest.approx(1.0 + ratios.ROOM_SHARE_MIN)


def test_a_ratio_that_fell_says_which_and_by_how_much() -> None:
    margin = Margin(0.60, 0.70, 0.74, 0.50, 10)
    fell = Verdict(RATE, 0.40, margin).followed_by(Verdict(RATE, 0.41, margin)).followed_by(Verdict(RATE, 0.42, margin))
    assert not fell.kept
    line = fell.line()
    assert line.startswith("FAILED: ours / theirs: 0.420, bound >= 0.500; 40% below the median of 10 runs")
    assert "(try 3; before: 0.400, 0.410)" in line
    assert "\n" not in line
    assert Verdict(RATE, 0.51, margin).line().startswith("kept: ")
    assert not Verdict(COST, 0.51, margin).kept
    assert Verdict(COST, 0.42, margin).kept


def test_too_few_runs_judge_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gates.json"
    assert ratios.margins(ratios.kept_runs(path)) == {}
    found = {"others_cores": 0.1, "ratios": {ratio.name: 1.0 for ratio in RATIOS}}
    for _ in range(RUNS_MIN - 1):
        ratios.add_run(path, found)
    assert ratios.margins(ratios.kept_runs(path)) == {}
    ratios.add_run(path, found)
    assert set(ratios.margins(ratios.kept_runs(path))) == {ratio.name for ratio in RATIOS}
    assert {"at", "commit", "machine", "ratios"} <= json.loads(path.read_text("utf-8"))["runs"][0].keys()


def test_a_quiet_run_is_held_against_quiet_runs_and_a_busy_one_against_all() -> None:
    def run(others_cores: float, value: float) -> dict[str, object]:
        return {"others_cores": others_cores, "ratios": {ratio.name: value for ratio in RATIOS}}

    runs = [run(0.1, 0.5) for _ in range(RUNS_MIN)] + [run(1.4, 0.3)]
    name = next(ratio.name for ratio in RATIOS if not ratio.at_most)
    assert ratios.margins(runs)[name].least == 0.5
    assert ratios.margins(runs, 1.0)[name].least == 0.3
    assert ratios.margins(runs[1:])[name].least == 0.3, "nine quiet ones are too few"
