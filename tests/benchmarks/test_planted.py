"""The gates notice slow-downs that are planted from outside the product, each by the ratio that it moves.

Held against a run of this very moment on this very machine, so that the tests say whether a ratio moves by more
than it should, whatever the kept runs are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gates, ratios
from benchmarks.ratios import RATIOS, RUNS_MIN
from tests.benchmarks.planted import PLANTED

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 300.0

NOTICED_BY = {
    "sleep_in_commit": "alone_to_plain",
    "double_the_engine": "apply_cpu_to_plain",
    "statement_per_row": "single_cpu_to_echo",
    "index_the_journal": "wal_to_copy",
    "work_per_request": "single_cpu_to_echo",
}
SPREAD = {"alone_to_plain": 0.5}
"""Of the runs around the one of this moment: half the latency of a commit comes and goes with what else is busy."""
SPREAD_ELSE = 0.08
LOCUST_SPREAD = 0.25
LOCUST_S = 17.0


def test_every_ratio_is_of_known_readings_and_every_slow_down_has_one() -> None:
    assert {ratio.top for ratio in RATIOS} | {ratio.bottom for ratio in RATIOS} <= set(ratios.PARTS_OF)
    assert set(NOTICED_BY) == set(PLANTED)
    assert set(NOTICED_BY.values()) <= {ratio.name for ratio in RATIOS}


def run_gates(*arguments: str, module: str = "benchmarks.gates") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten runs around one of this moment."""
    path = tmp_path_factory.mktemp("gates") / "gates.json"
    done = run_gates("--keep", "--kept", str(path), "--only", ",".join(sorted(set(NOTICED_BY.values()))))
    assert done.returncode == gates.ALL_KEPT, done.stdout + done.stderr
    (now,) = ratios.kept_runs(path)
    path.unlink()
    for place in range(RUNS_MIN):
        share = 2.0 * place / (RUNS_MIN - 1) - 1.0
        around = {name: value * (1.0 + share * SPREAD.get(name, SPREAD_ELSE)) for name, value in now["ratios"].items()}
        ratios.add_run(path, {"others_cores": 0.0, "ratios": around})
    return path


@pytest.mark.speed
@pytest.mark.parametrize("planted", NOTICED_BY)
def test_a_planted_slow_down_turns_the_gate_red(planted: str, kept: Path) -> None:
    name = NOTICED_BY[planted]
    done = run_gates("--kept", str(kept), "--only", name, "--launcher", f"tests.benchmarks.planted {planted}")
    assert done.returncode == gates.FELL, done.stdout + done.stderr
    (title,) = [ratio.title for ratio in RATIOS if ratio.name == name]
    assert f"FAILED: {title}: " in done.stdout
    assert f"(try {gates.TRIES_MAX}; before: " in done.stdout, "it was measured again before it was believed"
    assert json.loads(kept.read_text("utf-8"))["runs"], "a judged run is not kept"


@pytest.mark.speed
def test_a_slower_commit_turns_the_locust_gate_red(tmp_path: Path) -> None:
    """5 ms more in each commit are that much more in each authorization, in its median most plainly."""
    kept = tmp_path / "gates-load.json"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        more = ("--gate", "--duration", str(LOCUST_S), "--kept", str(kept), "--out", str(tmp_path / "out"))
        return run_gates(*more, *arguments, module="loadtests")

    done = run("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    (now,) = ratios.kept_runs(kept)
    kept.unlink()
    for place in range(RUNS_MIN):
        share = 1.0 + LOCUST_SPREAD * (2.0 * place / (RUNS_MIN - 1) - 1.0)
        steady = {
            name: value * share if name.startswith("p") else value for name, value in now["profiles"]["steady"].items()
        }
        ratios.add_run(kept, {"profiles": {"steady": steady}, "cost_ratio": None})
    done = run("--launcher", "tests.benchmarks.planted sleep_in_commit")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED: steady: authorization p50 at 500 requests/s, in commits: " in done.stdout
    assert "once more" in done.stdout
