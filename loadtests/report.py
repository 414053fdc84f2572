"""The result as one JSON document, and as lines in the terminal.

Guarded here: the document has everything that the HTML page shows, and says on which machine, commit, settings
and prices it was measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.processes import machine
from benchmarks.ratios import is_busy
from benchmarks.report import commit
from loadtests import page
from loadtests.cost import Cost
from loadtests.gates import Gate, judge_cost
from loadtests.nouns import AUTHORIZE, Prices, Slo
from loadtests.run import Run
from loadtests.run import document as run_document
from loadtests.seen import summary

ROOT: Final = Path(__file__).parent.parent


def cost_of(runs: Iterable[Run], volume: str) -> Cost | None:
    """The cost at a scale, if it was measured."""
    return next((run.cost for run in runs if run.plan.volume == volume), None)


def document(runs: list[Run], slo: Slo, prices: Prices, settings: dict[str, str], *, seed: str,
             gate: bool) -> dict[str, Any]:  # fmt: skip
    """Everything about the suite."""
    gates: list[Gate] = [gate for run in runs for gate in run.gates]
    today, projected = cost_of(runs, "today"), cost_of(runs, "projected")
    if any(run.plan.volume for run in runs):
        gates += judge_cost(today, projected, slo)
    ratio = projected.running_usd / today.running_usd if today is not None and projected is not None else None
    return {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **commit(ROOT), "machine": machine(),
        "postgresql": settings, "seed": seed, "gate": gate, "kept": all(gate.kept is not False for gate in gates),
        "gates": [{**msgspec.to_builtins(gate), "line": gate.line()} for gate in gates],
        "cost_ratio": ratio, "runs": [run_document(run) for run in runs],
        "slo": msgspec.to_builtins(slo), "prices": msgspec.to_builtins(prices),
    }  # fmt: skip


def run_lines(run: Run) -> Iterator[str]:
    """What a run came to, in a few lines."""
    plan, seen = run.plan, run.seen
    seconds = plan.seconds
    yield (f"[bold]{plan.profile}[/]: {plan.requests_per_s:,.0f} requests/s and {plan.transactions_per_s:,.0f}"
           f" transactions/s offered at most; {seen.requests:,} requests, {seen.recorded:,} transactions in"
           f" {seconds:.0f} s; books of {plan.accounts:,} customers and {plan.rows:,} rows"
           f" ({plan.preload_share:.2%} of what the volume asks for)")  # fmt: skip
    late, card = summary(seen.late), summary(seen.judged_authorizations)
    service = summary(seen.service[AUTHORIZE]) if AUTHORIZE in seen.service else {}
    yield (f"  authorization ms: p50 {card.get('50')}, p95 {card.get('95')}, p99 {card.get('99')}, most"
           f" {card.get('100')}; from sending alone p99 {service.get('99')}; the generator was late by p99"
           f" {late.get('99')}")  # fmt: skip
    if seen.commits:
        beside = summary(seen.commit_counts())
        typical = [f"{seen.in_commits(share) or 0.0:.1f}" for share in (50.0, 95.0, 99.0)]
        yield (f"  commits of next to nothing beside it: p50 {beside['50']}, p95 {beside['95']}, p99 {beside['99']} ms;"
               f" typical authorizations took {', '.join(typical)} times as long (p50, p95, p99)")  # fmt: skip
    yield from _effort_lines(run)
    if seen.totals["reconnects"]:
        yield f"  {seen.totals['reconnects']} connections broke and were made anew"
    if plan.past_the_knee and run.knee is None:
        yield "  knee: below the first stair"
    if run.knee is not None:
        yield f"  knee: {run.knee['requests_per_s']:,.0f} requests/s with p99 {run.knee['p99_ms']} ms"
    if run.cost is not None and plan.volume:
        for line in run.cost.text():
            yield f"  {line}"
    for gate in run.gates:
        if gate.kept is False:
            yield f"  [red]{gate.line()}[/]"


def _effort_lines(run: Run) -> Iterator[str]:
    """Who had the cores, and whether the generator or the machine was what gave out."""
    plan, effort, cores = run.plan, run.seen.effort, run.cores
    if plan.offered_share < 1.0:
        yield (f"  {plan.offered_share:.0%} of the peak that the volume asks for: what {cores.of} cores can offer and"
               f" serve at once, by requests_per_s_a_core_max in profiles.toml")  # fmt: skip
    parts = {"generator": cores.generator, "server": cores.server, "PostgreSQL": cores.postgres, "others": cores.others}
    shown = ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value is not None)
    yield (f"  cores busy: {shown} of {cores.of}; the generator took at most {effort.busiest:.0%} of a core and stood"
           f" in line for one {effort.waited(0.0, plan.seconds):.0%} of the time")  # fmt: skip
    if effort.gave_out:
        yield "  [yellow]the generator itself gave out: its own lateness is in the latencies (--processes adds more)[/]"
    elif cores.all_busy:
        yield f"  [yellow]all {cores.of} cores were busy: whoever waits for one is late, the generator as well[/]"
    if cores.others is not None and is_busy(cores.others):
        yield f"  [yellow]{cores.others:.1f} cores were busy with something else: provisional figures[/]"


def closing_lines(found: dict[str, Any]) -> Iterator[str]:
    """The verdict: every bound in a line, those that were not kept last."""
    order = {True: 0, None: 1, False: 2}
    colours = {True: "green", None: "yellow", False: "red"}
    for gate in sorted(found["gates"], key=lambda each: order[each["kept"]]):
        yield f"[{colours[gate['kept']]}]{gate['line']}[/]"
    failed = sum(gate["kept"] is False for gate in found["gates"])
    yield "[bold green]all bounds were kept[/]" if not failed else f"[bold red]{failed} bounds were not kept[/]"


def write(directory: Path, found: dict[str, Any]) -> tuple[Path, Path]:
    """Write JSON and page, by time and as the latest; the paths of the latest."""
    directory.mkdir(parents=True, exist_ok=True)
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    text, html = json.dumps(found, indent=1) + "\n", page.render(found)
    for stem in (name, "latest"):
        (directory / f"{stem}.json").write_text(text, "utf-8")
        (directory / f"{stem}.html").write_text(html, "utf-8")
    return directory / "latest.html", directory / "latest.json"
