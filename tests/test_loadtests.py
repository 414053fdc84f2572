"""What the load tests decide without a server: figures, bounds, prices, and who had the cores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from loadtests import allowed, config, cost, effort, gates, measure, nouns, page, recorder, report, rules, run, seen

PROFILES = config.profiles()
SLO = config.slo()
PRICES = config.prices()
STEADY = rules.plan("steady", PROFILES, duration_s=20.0)
ALONE = measure.Cores(generator=0.1, server=0.2, postgres=0.3, others=0.0, of=2)


@pytest.mark.parametrize("milliseconds", [0.05, 0.9, 1.0, 14.9, 250.0, 60_000.0])
def test_a_latency_is_kept_to_about_a_hundredth(milliseconds: float) -> None:
    assert recorder.bucket_ms(recorder.bucket(milliseconds / 1_000.0)) == pytest.approx(milliseconds, rel=0.012)


def recorded(latencies_s: list[float], **more: Any) -> dict[str, Any]:
    """A process's document with twenty authorizations a second."""
    made = recorder.Recorder(None, "test")
    for place, latency_s in enumerate(latencies_s):
        due_s = place / 20.0
        made.answered(nouns.AUTHORIZE, due_s, due_s, due_s + latency_s)
        made.acknowledge(bytes(16), True, due_s)
    return json.loads(json.dumps(made.document())) | {"effort": [[0.0, 1.0, 0.0], [20.0, 3.0, 0.5]]} | more


def test_figures_leave_the_warm_up_out() -> None:
    slow, fast = [1.0] * 40, [0.010] * 160
    found = seen.Seen(STEADY, [recorded(slow + fast)])
    assert seen.percentile(found.judged_authorizations, 99.0) == pytest.approx(10.0, rel=0.02)
    assert found.timeline()[0]["authorize_p99_ms"] == pytest.approx(1_000.0, rel=0.02)
    assert found.requests == 200


def test_processes_are_added_up() -> None:
    one = recorded([0.010] * 100)
    found = seen.Seen(STEADY, [one, one])
    assert (found.requests, found.recorded, found.processes) == (200, 200, 2)


def judged(documents: list[dict[str, Any]], **books: Any) -> dict[str, gates.Gate]:
    proof = gates.Books(**({"ids": [], "balances": [], "acknowledged": 1} | books))
    found = gates.judge(STEADY, seen.Seen(STEADY, documents), proof, 10.0, SLO)
    return {gate.name: gate for gate in found}


GOOD = [0.004] * 400
BROKEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("authorization p99 at 500 requests/s", {"latencies": [0.004] * 390 + [0.030] * 10}, {}),
    ("authorization p95 at 500 requests/s", {"latencies": [0.004] * 370 + [0.012] * 30}, {}),
    ("authorization p50 at 500 requests/s", {"latencies": [0.004] * 150 + [0.008] * 250}, {}),
    ("errors, share of requests", {"errors": {"authorize: 503 queue_full": 1}}, {}),
    ("errors, share of requests", {"never_sent": 1}, {}),
    ("answered within the run, share of what was due", {"latencies": [0.004] * 390 + [9.0] * 10}, {}),
    ("declined, share of commands", {"declined": 100}, {}),
    ("wrong retries, of 0", {"wrong_retries": 1}, {}),
    ("durability", {}, {"ids": ["1 ids are acknowledged but not stored"]}),
    ("trial balance", {}, {"balances": ["debits posted 2 are not credits posted 1"]}),
]


def test_a_good_run_keeps_every_bound() -> None:
    assert [gate.line() for gate in judged([recorded(GOOD)]).values() if gate.kept is not True] == []


@pytest.mark.parametrize(("name", "run", "books"), BROKEN)
def test_each_bound_can_be_broken_and_says_so_in_one_line(
    name: str, run: dict[str, Any], books: dict[str, Any]
) -> None:
    latencies = run.get("latencies", GOOD)
    found = judged([recorded(latencies, **{key: run[key] for key in run if key != "latencies"})], **books)
    line = found[name].line()
    assert line.startswith(f"FAILED: steady: {name}: ")
    assert "\n" not in line


TWO_IN_A_HUNDRED = [0.004] * 49 + [0.030]
"""Slow, in each second alike."""
P99 = "authorization p99 at 500 requests/s"


def beside(latencies: list[float], commit_ms: float = 1.0) -> seen.Seen:
    """A run with commits of next to nothing beside it."""
    found = seen.Seen(STEADY, [recorded(latencies)])
    found.commits = [(place / 20.0, commit_ms) for place in range(400)]
    return found


def verdicts(of: seen.Seen, allowed: nouns.Allowed | None) -> dict[str, bool | None]:
    return {gate.name: gate.kept for gate in gates.latency(STEADY, of, SLO, allowed)}


def test_a_gate_allows_what_the_kept_runs_showed() -> None:
    slow = beside(TWO_IN_A_HUNDRED * 8)
    assert slow.in_commits(99.0) == pytest.approx(30.0, rel=0.03)
    assert verdicts(slow, {("steady", 99.0): 40.0})[f"{P99}, in commits"] is True
    assert verdicts(slow, {("steady", 99.0): 20.0})[f"{P99}, in commits"] is False
    for unknown in ({}, {("busy", 99.0): 40.0}):
        assert verdicts(slow, unknown)[f"{P99}, in commits"] is None
    assert verdicts(slow, {})[P99] is None, "shown, not judged"
    without = seen.Seen(STEADY, [recorded(GOOD)])
    assert verdicts(without, {("steady", 99.0): 40.0})[f"{P99}, in commits"] is None


def test_a_moment_away_or_a_slow_disk_is_not_the_servers_and_getting_slower_is() -> None:
    a_moment = beside([0.004] * 300 + [0.200] * 20 + [0.004] * 80)
    slow_disk = beside([4.0 * each for each in GOOD], commit_ms=4.0)
    slower = beside(TWO_IN_A_HUNDRED * 8)
    for of, kept in ((a_moment, True), (slow_disk, True), (slower, False)):
        assert verdicts(of, None)[P99] is False, "by the milliseconds of the whole run all are broken"
        assert verdicts(of, {("steady", 99.0): 6.0})[f"{P99}, in commits"] is kept


def test_bounds_follow_from_ten_kept_runs(tmp_path: Path) -> None:
    path = tmp_path / "gates-load.json"
    made = run.Run(STEADY, beside(GOOD), [], [], None, None, None, {}, ALONE)
    for _ in range(9):
        allowed.keep([made], None, path)
    assert allowed.bounds(0.0, path) == {}
    allowed.keep([made], None, path)
    bounds = allowed.bounds(0.0, path)
    assert set(bounds) == {("steady", share) for share in (50.0, 95.0, 99.0)}
    assert bounds["steady", 50.0] == pytest.approx(4.0 * 1.05, rel=0.03)


def samples(*shares: float) -> list[effort.Sample]:
    """One a second, of a process that kept its core so busy, and stood in line for a tenth of the time."""
    return [(float(second), 5.0 + sum(shares[:second]), second / 10.0) for second in range(len(shares) + 1)]


def test_the_busiest_seconds_of_the_generator_count() -> None:
    found = effort.Effort([samples(*[0.1] * 20), samples(*[0.2] * 10, *[0.9] * 5, *[0.2] * 5), []])
    assert found.busiest == pytest.approx(0.9)
    assert found.gave_out
    assert found.cores(0.0, 20.0) == pytest.approx(0.1 + (15 * 0.2 + 5 * 0.9) / 20)
    assert found.cores(2.5, 3.5) == pytest.approx(0.3)
    assert found.waited(0.0, 20.0) == pytest.approx(0.1)
    assert not effort.Effort([samples(*[0.2] * 10, 0.99, *[0.2] * 9)]).gave_out, "of one second it is nothing"
    assert effort.Effort([]).busiest == 0.0
    assert effort.sample(1.0)[1] > 0.0


def test_what_the_generator_was_late_by_is_not_the_servers() -> None:
    slow = [0.004] * 370 + [0.012] * 30
    given_out = judged([recorded(slow, effort=samples(*[0.95] * 20))], ids=["1 ids are not stored"])
    p95 = given_out["authorization p95 at 500 requests/s"]
    assert p95.kept is None
    assert "95% of a core" in p95.line()
    assert given_out["authorization p50 at 500 requests/s"].kept is True
    assert given_out["durability"].kept is False
    with_time = judged([recorded(slow, effort=samples(*[0.6] * 20))])
    assert with_time["authorization p95 at 500 requests/s"].kept is False, "it had time to spare"


def test_on_a_busy_machine_latency_is_not_judged_and_durability_is() -> None:
    found = list(judged([recorded([0.004] * 370 + [0.012] * 30)], ids=["1 ids are not stored"]).values())
    verdicts = {gate.name: gate for gate in gates.on_a_busy_machine(found, 1.3)}
    assert verdicts["authorization p95 at 500 requests/s"].kept is None
    assert "1.3 cores were busy" in verdicts["authorization p95 at 500 requests/s"].line()
    assert verdicts["durability"].kept is False
    assert verdicts["authorization p50 at 500 requests/s"].kept is True


def test_only_what_may_be_chance_is_measured_again() -> None:
    def chances(**books: Any) -> list[str]:
        found = list(judged([recorded([0.004] * 370 + [0.012] * 30)], **books).values())
        made = run.Run(STEADY, seen.Seen(STEADY, []), found, [], None, None, None, {}, ALONE)
        return [gate.name for gate in made.chances]

    assert chances() == ["authorization p95 at 500 requests/s"]
    assert chances(ids=["1 ids are acknowledged but not stored"]) == []


def test_what_was_not_measured_is_not_kept() -> None:
    assert gates.at_most("run", "queue", None, 1.0).kept is None
    assert {gate.kept for gate in gates.judge_cost(None, None, SLO)} == {None}
    few = gates.latency(STEADY, seen.Seen(STEADY, [recorded([9.0] * 100)]), SLO, {})
    assert [(gate.kept, "too few" in gate.why) for gate in few] == [(None, True)]
    fast = msgspec.structs.replace(STEADY, requests_per_s=1e6)
    assert [gate.kept for gate in gates.latency(fast, seen.Seen(fast, [recorded(GOOD)]), SLO, {})] == [None]


USAGE = cost.Usage(
    transactions=1_000, server_cpu_ms=0.6, postgres_cpu_ms=0.3, idle_cpu_ms=0.1, io_operations=2.0, wal_bytes=1_000.0,
    heap_bytes=250.0, index_bytes=50.0,
)  # fmt: skip


def test_the_sum_can_be_done_by_hand() -> None:
    price = cost.price(USAGE, PRICES)
    cpu, io = price.running
    assert cpu.usd == pytest.approx(0.9e-3 * 1e6 / 3_600 / 0.5 * 0.0408)
    assert io.usd == pytest.approx(2.0 * 0.019)
    database, archive, wal = price.storage
    assert database.usd == pytest.approx(0.3 * 13 * 2 * 0.08)
    assert archive.usd == pytest.approx(0.25 * (84 - 13) * 0.004)
    assert wal.usd == pytest.approx(1.0 * 14 / (365.25 / 12) * 0.023)
    text = "\n".join(price.text())
    for number in ("0.6000 ms server", "0.3000 ms PostgreSQL", "250 B row", f"{price.running_usd:.4f} USD"):
        assert number in text


def test_a_cost_that_grows_with_the_scale_is_refused() -> None:
    cheap, dear = cost.price(USAGE, PRICES), cost.price(msgspec.structs.replace(USAGE, server_cpu_ms=0.9), PRICES)
    assert {gate.kept for gate in gates.judge_cost(cheap, cheap, SLO)} == {True}
    grown = {gate.name: gate.kept for gate in gates.judge_cost(cheap, dear, SLO)}
    assert grown["cost against today's"] is False


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[volume]\ntoday_per_dya = 1\n", "today_per_dya"),
        ("not toml", "profiles.toml"),
        (config.PROFILES.read_text("utf-8").replace("card = 0.60", "card = 0.70"), "do not add up to 1"),
        (config.PROFILES.read_text("utf-8").replace('mix = "till"', 'mix = "tell"'), "'tell'"),
        (config.PROFILES.read_text("utf-8").replace('gate = ["steady"', 'gate = ["yesterday"'), "'yesterday'"),
        (config.PROFILES.read_text("utf-8").replace('volume = "today"', ""), "takes one of"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "profiles.toml").write_text(text, "utf-8")
    with pytest.raises(config.BadConfig) as refused:
        config.profiles(tmp_path / "profiles.toml")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_acknowledged_ids_are_written_once_with_their_outcome(tmp_path: Path) -> None:
    made = recorder.Recorder(tmp_path, "local")
    one, two = UUID(int=1).bytes, UUID(int=2).bytes
    made.acknowledge(one, True, 0.0)
    made.acknowledged_again(one, True)
    made.acknowledge(two, False, 0.0)
    made.close()
    assert seen.acknowledged(tmp_path) == [(one, True), (two, False)]
    copy = seen.write_copy(tmp_path).read_bytes()
    assert copy.startswith(b"PGCOPY\n\xff\r\n\x00")
    assert copy.endswith(b"\xff\xff")
    assert copy.count(one) == 1


def test_the_page_stands_alone_and_escapes() -> None:
    found_seen = seen.Seen(STEADY, [recorded(GOOD, errors={"<script>": 1})])
    gate = gates.Gate("steady", "<b>", "1", "2", False, "<script>")
    price = cost.price(USAGE, PRICES)
    finished = run.Run(STEADY, found_seen, [gate], [(1.0, 2.0)], USAGE, price, None, {}, ALONE)
    found = report.document([finished], SLO, PRICES, {}, seed="1", gate=False)
    html = page.render(json.loads(json.dumps(found)))
    assert "<script" not in html
    assert "src=" not in html and "href=" not in html
    assert html.count("<svg") >= 4
    assert "FAILED" in html


def test_who_had_the_cores_is_said() -> None:
    def said(plan: nouns.Plan, cores: measure.Cores, *shares: float) -> str:
        watched = seen.Seen(plan, [recorded(GOOD, effort=samples(*shares))])
        return "\n".join(report.run_lines(run.Run(plan, watched, [], [], None, None, None, {}, cores)))

    quiet = said(STEADY, ALONE, *[0.3] * 20)
    assert "generator 0.10, server 0.20, PostgreSQL 0.30, others 0.00 of 2" in quiet
    assert "gave out" not in quiet and "were busy" not in quiet and "of the peak" not in quiet
    assert "generator itself gave out" in said(STEADY, ALONE, *[0.9] * 20)
    full = measure.Cores(generator=0.5, server=0.4, postgres=1.0, others=None, of=2)
    assert "all 2 cores were busy" in said(STEADY, full, *[0.5] * 20)
    capped = rules.plan("projected", PROFILES, cores=2)
    assert f"{capped.offered_share:.0%} of the peak" in said(capped, ALONE, *[0.5] * 20)
