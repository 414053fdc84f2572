"""The result as one JSON document and one table in the terminal.

Guarded here: `figures` holds the agreed names and no other, each only if it was measured in this run; and
the document says on which machine, commit and settings.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.nouns import FIGURES, FURTHER, TARGETS, Case, Measured

GENERATOR_SHARE_MAX = 0.9
"""Above it a generator process has no time left, and the server may have been faster than the figure."""


def add_figures(figures: dict[str, float], case: Case, measured: Measured) -> None:
    """Put a case's figures among the others; where several cases fill one, the worst counts."""
    if case.figure:
        figures[case.figure] = min(figures.get(case.figure, measured.per_s), round(measured.per_s, 1))
    if case.latency_figure:
        figures[case.latency_figure] = measured.latency_ms["99"]
        figures["authorization_offered_per_s"] = round(measured.offered_per_s, 1)


def commit(root: Path, *besides: str) -> dict[str, Any]:
    """Which version of the code this is; "unknown" outside of a checkout. Changes of the files `besides` are none."""

    def git(*arguments: str) -> str:
        try:
            command = ["git", *arguments]
            return subprocess.run(
                command, cwd=root, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "changed": bool(git("status", "--porcelain", "--untracked-files=no", "--", *(f":!{path}" for path in besides))),
    }


def document(
    about: dict[str, Any],
    figures: dict[str, float],
    further: dict[str, float],
    lines: Iterable[Measured],
    parts: dict[str, Any],
) -> dict[str, Any]:
    """Everything that was measured, as JSON can hold it."""
    unknown = (set(figures) - set(FIGURES)) | (set(further) - set(FURTHER))
    assert not unknown, f"figures without an agreed name: {unknown}"
    return {
        **about,
        "figures": {name: figures[name] for name in FIGURES if name in figures},
        "further": {name: further[name] for name in FURTHER if name in further},
        "targets": targets(figures | further),
        "cases": [dataclasses.asdict(each) for each in lines],
        **parts,
    }


def targets(figures: dict[str, float]) -> list[dict[str, Any]]:
    """Each target that this run can speak about, with what was measured."""
    rows = []
    for target in TARGETS:
        value = target.value(figures)
        if value is not None:
            rows.append(
                {
                    "title": target.title,
                    "value": round(value, 4),
                    "bound": target.bound,
                    "at_most": target.at_most,
                    "reached": target.reached(value),
                }
            )
    return rows


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the document; readable, and the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, sort_keys=False) + "\n", "utf-8")


def compact(found: dict[str, Any]) -> str:
    """The document as it is kept: without what only plots need, and a case a line."""
    slim = [
        {name: value for name, value in case.items() if name not in {"timeline", "notes"}} for case in found["cases"]
    ]
    lines = []
    for name, value in found.items():
        text = json.dumps(value)
        if name in {"cases", "targets"}:
            every = slim if name == "cases" else value
            text = "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in every) + "\n ]"
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def number(value: float | None) -> str:
    """For people: thousands separated, few digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def case_table(lines: Iterable[Measured]) -> Table:
    """One row a case."""
    table = Table(
        title="Committed transfers a second, and latency of a request in ms",
        title_justify="left",
        caption="generator: share of one core that the busiest generator process used",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("case", no_wrap=True)
    for name in (
        "conn",
        "each",
        "transfers/s",
        "p50",
        "p95",
        "p99",
        "declined",
        "errors",
        "server s",
        "pg s",
        "gen.",
        "WAL B",
        "disk B",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for each in lines:
        latency = each.latency_ms
        share = f"{each.generator_share:.0%}" if each.generator_share else ""
        table.add_row(
            each.case,
            str(each.connections or ""),
            str(each.per_request),
            number(each.per_s),
            *(number(latency.get(name)) for name in ("50", "95", "99")),
            str(each.declined or ""),
            str(sum(each.errors.values()) + each.refused or ""),
            number(each.server_cpu_s),
            number(each.postgres_cpu_s),
            f"[red]{share}[/]" if each.generator_share > GENERATOR_SHARE_MAX else share,
            number(each.wal_bytes_per_transfer),
            number(each.disk_bytes_per_transfer),
        )
    return table


def target_table(rows: Iterable[dict[str, Any]]) -> Table:
    """One row a target of which both sides were measured."""
    table = Table(
        title="Targets (on the reference machine)", title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    table.add_column("target")
    for name in ("measured", "bound"):
        table.add_column(name, justify="right")
    table.add_column("")
    verdicts = {True: "[green]reached[/]", False: "[yellow]missed[/]", None: ""}
    for row in rows:
        bound = "" if row["bound"] is None else ("<= " if row["at_most"] else ">= ") + number(row["bound"])
        table.add_row(row["title"], number(row["value"]), bound, verdicts[row["reached"]])
    return table


def error_lines(lines: Iterable[Measured]) -> list[str]:
    """What went wrong, by case and name."""
    return [f"{each.case}: {times} x {error}" for each in lines for error, times in sorted(each.errors.items())]
