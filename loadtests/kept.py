"""What is kept of the whole suite: `python -m loadtests --keep`; the tables of docs/PERFORMANCE.md are made of it.

Guarded here: each figure stands beside the bound that it was held to and the verdict of its own run, with machine,
commit, settings and prices; no time series. Where the documents look, only the suite as the profiles have it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import ratios
from benchmarks.report import number
from loadtests.cost import MONTHS_PER_YEAR
from loadtests.gates import COST, COST_RATIO
from loadtests.nouns import AUTHORIZE, Profiles, Slo

KEPT: Final = ratios.KEPT.with_name("load.json")
DIGITS: Final = 6
"""Of a figure, after the point."""
PERCENTILES: Final = ("50", "95", "99")
COSTS: Final = (COST, COST_RATIO)

HEADS: Final = ("profile", "s", "offered/s", "p50 ms", "p95 ms", "p99 ms", "bounds", "errors", "in time", "generator",
                "others", "verdict")  # fmt: skip
COST_HEADS: Final = ("", "today", "projected", "ratio", "bound")


def slim(found: dict[str, Any], profiles: Profiles, processes: int) -> dict[str, Any]:
    """Of the report's document, figures and verdicts, with the settings that they depend on."""
    settings = {"processes": processes, **{name: msgspec.to_builtins(getattr(profiles, name))
                                           for name in ("volume", "preload", "machine", "behaviour")}}  # fmt: skip
    about = {name: found[name] for name in ("made_at", "commit", "changed", "machine", "postgresql", "seed")}
    verdicts = [{name: value for name, value in gate.items() if name not in {"line", "chance"}}
                for gate in found["gates"]]  # fmt: skip
    made: dict[str, Any] = _rounded({
        **about, "settings": settings, "slo": found["slo"], "prices": found["prices"], "kept": found["kept"],
        "cost_ratio": found["cost_ratio"], "gates": verdicts, "runs": [_slim_run(run) for run in found["runs"]],
    })  # fmt: skip
    return made


def _slim_run(run: dict[str, Any]) -> dict[str, Any]:
    """One run without what only plots and pages need."""
    plan, seen = run["plan"], run["seen"]
    cost = run["cost"]
    return {
        **{name: plan[name] for name in ("profile", "shape", "volume", "requests_per_s", "transactions_per_s",
                                         "offered_share", "accounts", "rows", "preload_share")},
        "seconds": sum(stretch["seconds"] for stretch in plan["stretches"]),
        **{name: seen[name] for name in ("requests", "transactions", "totals", "errors", "error_share",
                                         "declined_share", "achieved_share", "generator_late_ms", "generator_busiest",
                                         "generator_waited", "generator_gave_out", "commit_ms")},
        "authorization_ms": seen["latency_ms"].get(AUTHORIZE, {}), "knee": run["knee"], "proof": run["proof"],
        "cores": run["cores"], "usage": run["usage"],
        "cost": cost and {name: cost[name] for name in ("running_usd", "storage_usd", "text")},
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    """The same with few digits."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def keep(found: dict[str, Any], path: Path = KEPT) -> None:
    """Write it, a run and a verdict a line."""
    lines = []
    for name, value in found.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def caption(found: dict[str, Any]) -> str:
    """Where, when and of which commit the runs are, and the bounds that are those of every run."""
    machine, postgres, rates = found["machine"], found["postgresql"], found["slo"]["rates"]
    return (
        f"One run of the suite, {found['made_at'][:10]}, commit {found['commit'][:12]}: {machine['cores']} cores"
        f" ({machine['cpu']}), {machine['memory_gb']:.0f} GB, load\ngenerator included, PostgreSQL"
        f" {postgres['server_version']}, fsync {postgres['fsync']}. Bounds of every profile but a ramp: errors at most"
        f" {rates['error_max']:.2%} of\nthe requests, at least {rates['achieved_min']:.2%} answered in time."
    )


def rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """A line a run: what was offered, what authorizations took, and the verdict."""
    slo = msgspec.convert(found["slo"], Slo)
    for run in found["runs"]:
        took, bound = run["authorization_ms"], slo.bound_for(run["requests_per_s"])
        limits = [f"{limit:g}" for limit in bound.percentiles().values()] if bound is not None else []
        held = run["shape"] != "ramp"  # Of a ramp, which ends where the server does, only the knee says something.
        wrong = sum(run["errors"].values()) + run["totals"]["never_sent"] + run["totals"]["given_up"]
        others = run["cores"]["others"]
        yield [
            run["profile"], f"{run['seconds']:.0f}", f"{run['requests_per_s']:,.0f}",
            *(number(took.get(share)) if held else "" for share in PERCENTILES),
            f"<= {' / '.join(limits)}" if held and limits else "",
            f"{wrong:,} of {run['requests']:,}", f"{run['achieved_share']:.2%}", f"{run['generator_busiest']:.0%}",
            "" if others is None else f"{others:.2f}", _verdict(found, run),
        ]  # fmt: skip


def _verdict(found: dict[str, Any], run: dict[str, Any]) -> str:
    """What of a run was not kept, or not judged and why; the cost has a table of its own."""
    mine = [gate for gate in found["gates"] if gate["run"] == run["profile"] and gate["name"] not in COSTS]
    failed = [gate["name"] for gate in mine if gate["kept"] is False]
    unjudged = [f"{gate['name']} ({gate['why']})" for gate in mine if gate["kept"] is None]
    said = [f"FAILED: {', '.join(failed)}"] if failed else []
    said += [f"not judged: {', '.join(unjudged)}"] if unjudged else []
    said = said or ["kept"]
    if run["knee"] is not None:
        said.append(f"knee at {run['knee']['requests_per_s']:,.0f}/s, p99 {run['knee']['p99_ms']:.1f} ms")
    return "; ".join(said)


def cost_rows(found: dict[str, Any]) -> Iterator[list[str]]:
    """What a million transactions cost at both scales, in USD."""
    runs = {run["volume"]: run for run in found["runs"] if run["volume"] and run["cost"]}
    if not {"today", "projected"} <= runs.keys():
        yield ["not judged: a scale was not run, or its CPU could not be seen", *[""] * (len(COST_HEADS) - 1)]
        return
    today, projected = runs["today"], runs["projected"]
    volume, slo = found["settings"]["volume"], found["slo"]["cost"]
    years = found["prices"]["storage"]["retention_months"] / MONTHS_PER_YEAR
    days = [volume["today_per_day"], volume["projected_per_day"]]
    yield ["transactions a day", *(number(each) for each in days), f"{days[1] / days[0]:g}", ""]
    for title, name in (("transactions/s offered", "transactions_per_s"), ("of the peak", "offered_share")):
        pair = [run[name] for run in (today, projected)]
        yield [title, *(f"{each:.0%}" if name == "offered_share" else number(each) for each in pair), "", ""]
    bound = f"<= {slo['usd_per_million_max']:.2f}, ratio <= {slo['ratio_max']:.2f}"
    failed = [gate for gate in found["gates"] if gate["name"] in COSTS and gate["kept"] is False]
    without = [run["cost"]["running_usd"] for run in (today, projected)]
    stored = [run["cost"]["storage_usd"] for run in (today, projected)]
    yield _usd("USD a million, without storage", without, bound + (": FAILED" if failed else ": kept"))
    yield _usd(f"their storage over {years:g} years", stored)
    yield _usd("both", [sum(pair) for pair in zip(without, stored, strict=True)])


def _usd(title: str, pair: list[float], bound: str = "") -> list[str]:
    return [title, *(f"{each:.4f}" for each in pair), f"{pair[1] / pair[0]:.3f}", bound]
