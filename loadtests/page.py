"""The result as one HTML page with plots, without anything from elsewhere: inline SVG and inline CSS.

Guarded here: everything that comes from the run is escaped; the page needs no script and no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any, Final

from benchmarks.page import STYLE
from benchmarks.plots import Series, lines
from loadtests.bars import Bar, bars

VERDICTS: Final = {True: ("good", "kept"), False: ("bad", "FAILED"), None: ("", "not judged")}
LATENCY_NAMES: Final = ("50", "95", "99", "99.9", "100")


def render(found: dict[str, Any]) -> str:
    """The whole page."""
    about = found["machine"]
    where = f"{about.get('cores', '?')} cores, {about.get('cpu', '?')}, {about.get('memory_gb', '?')} GB"
    changed = " with changes" if found.get("changed") else ""
    postgres = found["postgresql"]
    verdict = "all bounds were kept" if found["kept"] else "some bounds were not kept"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>pyledger load test</title><style>{STYLE}</style><h1>pyledger load test: {verdict}</h1>",
        f"<p>{escape(found['made_at'])}, commit {escape(found['commit'][:12])}{changed}; {escape(where)}; PostgreSQL"
        f" {escape(postgres.get('server_version', '?'))}, fsync {escape(postgres.get('fsync', '?'))};"
        f" seed {escape(found['seed'])}. The load generator ran on the same machine unless a URL was given.</p>",
        "<h2>Bounds</h2>", _gates(found["gates"]),
        "<h2>Runs</h2>", _runs(found["runs"]),
        "<h2>Who had the machine</h2>", _cores(found["runs"]),
        "<h2>Latency by request</h2>",
        "<p>Milliseconds from when a request was due. In brackets: from when it was sent, what a closed loop"
        " would have said.</p>", _latencies(found["runs"]),
        "<h2>Plots</h2><div class=plots>", *_plots(found["runs"]), "</div>",
        "<h2>Cost</h2>", _cost(found), "</html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _number(value: Any, digits: int = 2) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, int | float):
        return escape(str(value))
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.{digits}f}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], words: Iterable[int] = ()) -> str:
    """`words`: columns of text besides the first; the others hold numbers."""
    classes = dict.fromkeys(words, " class=text")
    top = "".join(f"<th{classes.get(place, '')}>{escape(head)}</th>" for place, head in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{classes.get(place, '')}>{cell}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _gates(gates: list[dict[str, Any]]) -> str:
    def row(gate: dict[str, Any]) -> Iterable[str]:
        style, word = VERDICTS[gate["kept"]]
        yield escape(gate["run"])
        yield escape(gate["name"])
        yield escape(gate["measured"])
        yield escape(gate["bound"])
        yield f"<span class={style or 'soft'}>{word}</span>"
        yield escape(gate["why"])

    return _table(("run", "bound", "measured", "must be", "", "why"), (row(gate) for gate in gates), (1, 4, 5))


def _runs(runs: list[dict[str, Any]]) -> str:
    heads = ("run", "requests/s offered", "transactions/s offered", "requests", "transactions", "accepted", "declined",
             "retries", "errors", "customers", "rows before", "of the volume's books", "of its peak",
             "knee, requests/s")  # fmt: skip

    def row(run: dict[str, Any]) -> Iterable[str]:
        plan, seen = run["plan"], run["seen"]
        yield escape(plan["profile"])
        for value in (plan["requests_per_s"], plan["transactions_per_s"], seen["requests"], seen["transactions"],
                      seen["totals"]["accepted"], seen["totals"]["declined"], seen["totals"]["retries"],
                      sum(seen["errors"].values()), plan["accounts"], plan["rows"]):  # fmt: skip
            yield _number(value)
        yield f"{plan['preload_share']:.3%}"
        yield f"{plan['offered_share']:.0%}"
        yield _number((run["knee"] or {}).get("requests_per_s"))

    return _table(heads, (row(run) for run in runs))


def _cores(runs: list[dict[str, Any]]) -> str:
    """Who had the machine."""
    heads = ("run", "generator, cores", "server", "PostgreSQL", "others", "of", "generator at most, of a core",
             "it stood in line for one", "it was late, p99 ms", "commit beside it, p50 ms", "p99 ms")  # fmt: skip

    def row(run: dict[str, Any]) -> Iterable[str]:
        seen, beside = run["seen"], run["seen"]["commit_ms"]
        yield escape(run["plan"]["profile"])
        for who in ("generator", "server", "postgres", "others", "of"):
            yield _number(run["cores"][who])
        yield f"{seen['generator_busiest']:.0%}"
        yield f"{seen['generator_waited']:.0%}"
        for value in (seen["generator_late_ms"].get("99"), beside.get("50"), beside.get("99")):
            yield _number(value)

    return _table(heads, (row(run) for run in runs))


def _latencies(runs: list[dict[str, Any]]) -> str:
    heads = ("request", "run", "p50", "p95", "p99", "p99.9", "most")
    rows = []
    for run in runs:
        seen = run["seen"]
        for name, latency in sorted(seen["latency_ms"].items()):
            service = seen["service_ms"].get(name, {})
            cells = [
                f"{_number(latency.get(share))} ({_number(service.get(share))})" if latency.get(share) else ""
                for share in LATENCY_NAMES
            ]
            rows.append((escape(name), escape(run["plan"]["profile"]), *cells))
    return _table(heads, rows, (1,))


def _plots(runs: list[dict[str, Any]]) -> Iterable[str]:
    """Latency and throughput over time for each run, then cost by scale."""
    for run in runs:
        name, timeline = run["plan"]["profile"], run["seen"]["timeline"]
        latency = [
            Series(f"p{share}", [(row["second"], row[f"authorize_p{share}_ms"]) for row in timeline
                                 if row[f"authorize_p{share}_ms"] is not None])
            for share in (50, 95, 99)
        ]  # fmt: skip
        if any(len(series.points) > 1 for series in latency):
            yield lines(f"{name}: authorization, ms", "second of the run", latency, log_y=True)
        rates = [
            Series(what, [(row["second"], float(row[what])) for row in timeline])
            for what in ("requests", "transactions", "errors")
        ]
        if timeline:
            yield lines(f"{name}: a second", "second of the run", rates, from_zero=True)
    queues = [Series(run["plan"]["profile"], [tuple(point) for point in run["queue"]]) for run in runs if run["queue"]]
    if queues:
        yield lines("rows that wait for a batch", "second of the run", queues, from_zero=True)
    priced = [run for run in runs if run["cost"] is not None]
    for what, title in (("running", "cost of a million transactions without storage, USD"),
                        ("storage", "storage of a million transactions over the retention, USD")):  # fmt: skip
        if priced:
            yield bars(title, [
                Bar(f"{run['plan']['profile']}, {run['plan']['transactions_per_s']:,.0f}/s",
                    [(line["name"], line["usd"]) for line in run["cost"][what]])
                for run in priced
            ])  # fmt: skip


def _cost(found: dict[str, Any]) -> str:
    """The formula with its numbers, for each run that could be priced."""
    parts = []
    if found["cost_ratio"] is not None:
        parts.append(f"<p>A transaction at the projected scale costs {found['cost_ratio']:.3f} times today's.</p>")
    for run in found["runs"]:
        if run["cost"] is None:
            continue
        text = "\n".join(run["cost"]["text"])
        idle = run["usage"]["idle_cpu_ms"]
        parts.append(
            f"<h3>{escape(run['plan']['profile'])}: {run['usage']['transactions']:,} transactions</h3>"
            f"<pre class=wide>{escape(text)}</pre><p>Of the CPU time, {idle:.4f} ms a transaction goes by in a server"
            f" that nobody asks anything.</p>"
        )
    return "\n".join(parts) or "<p>No run could be priced: the CPU of server and PostgreSQL cannot be seen.</p>"
