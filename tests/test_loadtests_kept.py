"""What is kept of the whole suite of load tests: figures with their bounds and verdicts, and the table made of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import tables
from loadtests import config, cost, gates, kept, nouns, report, rules, run, seen
from tests.support.process import environment
from tests.test_loadtests import ALONE, GOOD, PRICES, PROFILES, SLO, USAGE, recorded

ROOT = Path(__file__).resolve().parent.parent
POSTGRES = {"server_version": "18.4", "fsync": "on"}
SLOW = [0.004] * 350 + [0.250] * 50


def finished(name: str, latencies_s: list[float], usage: cost.Usage | None = None, **more: Any) -> run.Run:
    """A run of a profile, judged."""
    plan = rules.plan(name, PROFILES, duration_s=20.0)
    found = seen.Seen(plan, [recorded(latencies_s, **more)])
    verdicts = gates.judge(plan, found, gates.Books([], [], 1), 10.0, SLO)
    price = None if usage is None else cost.price(usage, PRICES)
    knee = {"requests_per_s": 2_250.0, "p99_ms": 20.0} if plan.past_the_knee else None
    return run.Run(plan, found, verdicts, [(1.0, 2.0)], usage, price, knee, {"acknowledged": 400}, ALONE)


def slim(*runs: run.Run) -> dict[str, Any]:
    found = report.document(list(runs), SLO, PRICES, POSTGRES, seed="7", gate=False)
    return kept.slim(found, PROFILES, 1)


def whole(projected: cost.Usage = USAGE) -> dict[str, Any]:
    return slim(finished("today", GOOD, USAGE), finished("steady", SLOW), finished("busy", GOOD, errors={"500": 3}),
                finished("ramp", SLOW), finished("projected", GOOD, projected))  # fmt: skip


def test_what_is_kept_is_figures_and_verdicts_a_line_each(tmp_path: Path) -> None:
    path = tmp_path / "results" / "load.json"
    made = whole()
    kept.keep(made, path)
    text = path.read_text("utf-8")
    assert json.loads(text) == made
    assert {"made_at", "commit", "changed", "machine", "postgresql", "settings", "slo", "prices"} <= made.keys()
    assert made["settings"]["volume"]["projected_per_day"] == PROFILES.volume.projected_per_day
    assert not re.search(r'"(timeline|commits|queue|stretches)"', text), "no time series"
    assert len(text) < 40_000
    assert text.count('{"profile": ') == len(made["runs"])


def test_each_profile_stands_beside_its_bounds_with_its_verdict() -> None:
    rows = {row[0]: dict(zip(kept.HEADS, row, strict=True)) for row in kept.rows(whole())}
    assert rows["steady"]["bounds"] == "<= 6 / 10 / 15"
    assert rows["busy"]["bounds"] == "<= 8 / 15 / 25"
    assert float(rows["steady"]["p99 ms"]) == pytest.approx(250.0, rel=0.02)
    assert (rows["today"]["verdict"], rows["today"]["in time"]) == ("kept", "100.00%")
    broken = ", ".join(f"authorization p{share} at 500 requests/s" for share in (95, 99))
    assert rows["steady"]["verdict"].startswith(f"FAILED: {broken}")
    assert rows["busy"]["errors"].startswith("3 of ")
    assert rows["busy"]["verdict"].startswith("FAILED: errors, share of requests")
    assert (rows["ramp"]["bounds"], rows["ramp"]["p99 ms"]) == ("", "")
    assert rows["ramp"]["verdict"] == "kept; knee at 2,250/s, p99 20.0 ms"


def test_what_was_not_judged_is_not_said_to_be_kept() -> None:
    few = dict(zip(kept.HEADS, next(kept.rows(slim(finished("steady", GOOD[:100])))), strict=True))
    assert "not judged: authorization p99 (only" in few["verdict"]


def test_cost_stands_at_both_scales_with_its_storage() -> None:
    price, dear = cost.price(USAGE, PRICES), msgspec.structs.replace(USAGE, server_cpu_ms=0.9)
    rows = {row[0]: row[1:] for row in kept.cost_rows(whole())}
    assert rows["transactions a day"][:3] == ["2,000,000", "200,000,000", "100"]
    running = f"{price.running_usd:.4f}"
    assert rows["USD a million, without storage"] == [running, running, "1.000", "<= 0.10, ratio <= 1.10: kept"]
    assert rows["their storage over 7 years"][0] == f"{price.storage_usd:.4f}"
    assert rows["both"][0] == f"{price.running_usd + price.storage_usd:.4f}"
    grown = {row[0]: row[1:] for row in kept.cost_rows(whole(dear))}
    assert grown["USD a million, without storage"][-1].endswith(": FAILED")
    ((said, *empty),) = kept.cost_rows(slim(finished("today", GOOD, USAGE)))
    assert said.startswith("not judged: ")
    assert not any(empty)


def test_the_documents_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT", tmp_path / "load.json")
    assert tables.load() == "Nothing is kept yet: `python -m loadtests --keep` does."
    kept.keep(whole(), kept.KEPT)
    text = tables.load()
    assert "PostgreSQL 18.4, fsync on" in text
    assert all(f"\n| {name} |" in text for name in ("today", "steady", "busy", "ramp", "projected", "both"))
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {
        len(kept.HEADS) + 1,
        len(kept.COST_HEADS) + 1,
    }


@pytest.mark.parametrize(
    "part", [("--only", "steady"), ("--duration", "5"), ("--rate", "50"), ("--url", "http://127.0.0.1:1")]
)
def test_a_part_of_the_suite_is_not_kept_for_the_documents(part: tuple[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", "--keep", *part, "--out", str(tmp_path)], env=environment(), cwd=ROOT,
        capture_output=True, text=True, timeout=60.0, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert "--kept FILE" in done.stderr


@pytest.mark.skipif(not kept.KEPT.exists(), reason="nothing is kept yet")
def test_what_is_kept_is_the_whole_suite_and_says_where_it_is_from() -> None:
    found = json.loads(kept.KEPT.read_text("utf-8"))
    assert {"cpu", "cores", "memory_gb"} <= found["machine"].keys()
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
    assert found["changed"] is False, "it was measured on files that no commit has"
    assert found["postgresql"]["fsync"] == "on"
    profiles = config.profiles()
    assert set(profiles.suite.load) <= {each["profile"] for each in found["runs"]}
    assert all(each["seconds"] == profiles.profile[each["profile"]].duration_s for each in found["runs"])
    assert all(each["proof"] for each in found["runs"])
    assert msgspec.convert(found["slo"], nouns.Slo) == config.slo(), "it was held to other bounds"
