"""The result as one HTML page with plots, without anything from elsewhere: inline SVG and inline CSS.

Guarded here: everything that comes from the run is escaped; the page needs no script and no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks.plots import Series, lines

VERDICTS: Final = {
    True: "<span class=good>reached</span>",
    False: "<span class=bad>missed</span>",
    None: "",
}
NOT_OURS: Final = frozenset({"baseline", "peer"})
"""Workloads of cases that are not of the ledger and have no proof."""
STYLE: Final = Path(__file__).with_name("page.css").read_text("utf-8")


def render(found: dict[str, Any]) -> str:
    """The whole page."""
    about = found.get("machine", {})
    where = f"{about.get('cores', '?')} cores, {about.get('cpu', '?')}, {about.get('memory_gb', '?')} GB"
    changed = " with changes" if found.get("changed") else ""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>pyledger benchmarks</title><style>{STYLE}</style><h1>pyledger benchmarks</h1>",
        f"<p>{escape(found['size'])} size, {escape(found['began_at'])}, commit {escape(found['commit'][:12])}{changed};"
        f" {escape(where)}; PostgreSQL {escape(found.get('postgresql', {}).get('server_version', '?'))},"
        f" fsync {escape(found.get('postgresql', {}).get('fsync', '?'))}</p>",
        f"<p class=bad>Ended early: {escape(found['unfinished'])}</p>" if "unfinished" in found else "",
        "<h2>Targets</h2>",
        _targets(found["targets"]),
        "<h2>Cases</h2>",
        "<p>Committed transfers a second; latency of a request in ms; CPU seconds; bytes a transfer."
        f" {_proven(found['cases'])}</p>",
        "<div class=cases>",
        _cases(found["cases"]),
        "</div><h2>Plots</h2><div class=plots>",
        *_plots(found["cases"]),
        "</div>",
    ]
    for name in ("engine", "start", "growth"):
        if name in found:
            parts += [f"<h2>{name.capitalize()}</h2>", _pairs(found[name])]
    parts += ["<h2>PostgreSQL</h2>", _pairs(found.get("postgresql", {})), "</html>"]
    return "\n".join(parts) + "\n"


def _proven(cases: list[dict[str, Any]]) -> str:
    """What can be said of the proofs: a run that ended early may have pieces that were to be proven at its end."""
    ours = [case for case in cases if case["workload"] not in NOT_OURS]
    unproven = [case["case"] for case in ours if not case["proof"] and "proven_with" not in case["notes"]]
    about = "debits equal credits, balances equal rows, each acknowledged id is stored once."
    if not unproven:
        return f"Every case of the ledger was proven: {about}"
    names = escape(", ".join(unproven))
    return (
        f"{len(ours) - len(unproven)} of {len(ours)} cases of the ledger were proven: {about}"
        f" <span class=bad>Not proven, for the run ended before that: {names}.</span>"
    )


def _number(value: Any) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, int | float):
        return escape(str(value))
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _targets(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("target", "measured", "bound", ""),
        (
            (
                escape(row["title"]),
                _number(row["value"]),
                "" if row["bound"] is None else ("≤ " if row["at_most"] else "≥ ") + _number(row["bound"]),
                VERDICTS[row["reached"]],
            )
            for row in rows
        ),
    )


def _cases(cases: list[dict[str, Any]]) -> str:
    heads = (
        "case",
        "what",
        "connections",
        "a request",
        "transfers/s",
        "p50",
        "p95",
        "p99",
        "max",
        "declined",
        "errors",
        "server s",
        "PostgreSQL s",
        "generator s",
        "generator share",
        "WAL B",
        "disk B",
    )
    return _table(
        heads,
        (
            (
                escape(each["case"]),
                escape(each["title"]),
                _number(each["connections"] or ""),
                _number(each["per_request"]),
                f"<b>{_number(each['per_s'])}</b>",
                *(_number(each["latency_ms"].get(name)) for name in ("50", "95", "99", "100")),
                _number(each["declined"] or ""),
                _number(sum(each["errors"].values()) or ""),
                _number(each["server_cpu_s"]),
                _number(each["postgres_cpu_s"]),
                _number(round(each["generator_cpu_s"], 2) or ""),
                f"{each['generator_share']:.0%}" if each["generator_share"] else "",
                _number(each["wal_bytes_per_transfer"]),
                _number(each["disk_bytes_per_transfer"]),
            )
            for each in cases
        ),
    )


def _pairs(values: dict[str, Any]) -> str:
    return _table(("", ""), ((escape(name.replace("_", " ")), _number(value)) for name, value in values.items()))


def _plots(cases: list[dict[str, Any]]) -> Iterable[str]:
    """One pair of plots a workload: rate over time, latency by percentile; and W5 by connections."""
    for workload in dict.fromkeys(each["workload"] for each in cases):
        some = [each for each in cases if each["workload"] == workload]
        over_time = [Series(each["case"], [tuple(point) for point in each["timeline"]]) for each in some]
        if any(len(series.points) > 1 for series in over_time):
            yield lines(f"{workload}: transfers/s over time", "seconds", over_time, from_zero=True)
        latency = [Series(each["case"], _latency_points(each["latency_ms"])) for each in some if each["latency_ms"]]
        if latency:
            yield lines(
                f"{workload}: latency of a request, ms, by percentile",
                "percentile",
                latency,
                log_y=True,
                x_names=("50", "75", "90", "95", "99", "99.9", "max"),
            )
        closed = [each for each in some if workload == "W5" and not each["offered_per_s"]]
        if len(closed) > 1:
            yield lines(
                "W5: transfers/s by connections",
                "connections",
                [Series("closed loop", [(float(each["connections"]), each["per_s"]) for each in closed])],
                log_x=True,
                from_zero=True,
            )
    grown = [each for each in cases if each["case"].startswith("growth_load_")]
    if len(grown) > 1:
        yield lines(
            "Growth: transfers/s by rows stored, millions",
            "million rows",
            [
                Series(
                    "load",
                    [((place + 1) * grown[0]["accepted"] / 1e6, each["per_s"]) for place, each in enumerate(grown)],
                )
            ],
            from_zero=True,
        )


def _latency_points(latency: dict[str, float]) -> list[tuple[float, float]]:
    names = ("50", "75", "90", "95", "99", "99.9", "100")
    return [(float(place), max(latency[name], 0.001)) for place, name in enumerate(names) if name in latency]
