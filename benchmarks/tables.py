"""The tables of README.md and docs/PERFORMANCE.md, made of the kept results: `python -m benchmarks.tables` writes them.

Guarded here: no figure of ours is typed into a document; a test holds each table against the files in `results/`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import bulk, feed, history
from benchmarks.nouns import TARGETS
from benchmarks.ratios import RATIOS, kept_runs, margins
from benchmarks.report import number
from benchmarks.seals import pair_rows

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "benchmarks" / "results"
RUNS: Final = "quick-*.json"
"""What is kept of whole runs: `python -m benchmarks --keep quick-1`."""
FULL_RUNS: Final = "full-*.json"
"""What is kept of the full size, whole or in part: `python -m benchmarks --full --only W1 --keep full-w1-1`."""

WHOLE_SHARE: Final = 99.0
"""The percentile of authorizations that slo.toml is strictest about, over the whole run."""

NO_HISTORY: Final = "Nothing is kept yet: `python -m benchmarks.history --full --keep` does."
NONE_KEPT: Final = "No whole run is kept yet: `python -m benchmarks --keep quick-1` keeps one."


def runs(pattern: str = RUNS) -> list[dict[str, Any]]:
    """The kept runs, in order of their names."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob(pattern))]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    every = [list(heads)]
    every += [["---"] * len(every[0]), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in every)


def _spread(values: list[float]) -> list[str]:
    return [number(value) for value in (min(values), median(values), max(values))]


def targets(pattern: str = RUNS) -> str:
    """Every target with what the kept runs reached."""
    kept, rows = runs(pattern), []
    if not kept:
        return NONE_KEPT
    for target in TARGETS:
        found = [target.value(run["figures"] | run["further"]) for run in kept]
        values = [value for value in found if value is not None]
        if values:
            sign = "<=" if target.at_most else ">="
            bound = "" if target.bound is None else f"{sign} {number(target.bound)}"
            rows.append([target.title, bound, *_spread(values)])
    return _caption(kept) + "\n\n" + _table(("", "target", "least", "median", "most"), rows)


def _caption(kept: list[dict[str, Any]]) -> str:
    """Where, when and of which commits the runs are."""
    first = kept[0]
    machine = "{cores} cores ({cpu}), {memory_gb:.0f} GB".format(**first["machine"])
    commits = ", ".join(dict.fromkeys(run["commit"][:12] for run in kept))
    days = ", ".join(dict.fromkeys(run["began_at"][:10] for run in kept))
    runs = "1 run" if len(kept) == 1 else f"{len(kept)} runs"
    return (
        f"{runs} of the {first['size']} size on {days}, commit {commits}: {machine}, load generator\n"
        f"included, PostgreSQL {first['postgresql']['server_version']}, fsync {first['postgresql']['fsync']}."
    )


def cases() -> str:
    """Every case of the kept runs: rates and latencies, the median of the runs."""
    kept = runs()
    if not kept:
        return NONE_KEPT
    lines: dict[str, list[dict[str, Any]]] = {}
    for run in kept:
        for case in run["cases"]:
            lines.setdefault(case["case"], []).append(case)
    rows = []
    for name, some in lines.items():
        first = some[0]
        rates = [each["per_s"] for each in some]
        latency = [
            number(median(found))
            if (found := [each["latency_ms"][p] for each in some if p in each["latency_ms"]])
            else ""
            for p in ("50", "99")
        ]
        rows.append(
            [f"`{name}`", str(first["connections"] or ""), number(first["per_request"]), *_spread(rates), *latency]
        )
    return _table(("case", "connections", "a request", "least/s", "median/s", "most/s", "p50 ms", "p99 ms"), rows)


def growth() -> str:
    """The same traffic on small books and on large ones, in the order of the run, and while the large ones grow."""
    rows = []
    for run in runs(FULL_RUNS):
        for case in (case for case in run["cases"] if case["workload"] == "growth"):
            latency, accepted = case["latency_ms"], case["accepted"]
            cpu = [f"{1e6 * case[whose] / accepted:.1f}" for whose in ("server_cpu_s", "postgres_cpu_s")]
            wal = number(case["wal_bytes_per_transfer"])
            rate = [number(case["per_s"]), number(latency["50"]), number(latency["99"])]
            rows.append([f"`{case['case']}`", number(accepted), *rate, *cpu, wal])
    if not rows:
        return "None is kept yet: `python -m benchmarks --full --only growth --keep full-growth-1` keeps one."
    return _table(("", "transfers", "a second", "p50 ms", "p99 ms", "server", "PostgreSQL", "WAL"), rows)


def others() -> str:
    """What was measured of others before the first line of this project."""
    found = json.loads((RESULTS / "others.json").read_text("utf-8"))
    return f"{found['about']}\n\n" + _table(("", "transfers a second"), found["rows"])


def profile() -> str:
    """Where the time of the cores went, by process and by whose code."""
    found = json.loads((RESULTS / "profile.json").read_text("utf-8"))
    return f"{found['about']}\n\n" + _table(found["heads"], found["rows"])


def gates() -> str:
    """Every gate with the spread of its runs and the bound that follows."""
    found, rows = margins(kept_runs()), []
    if not found:
        return "No ten runs are kept yet, so nothing is judged."
    for ratio in RATIOS:
        margin = found[ratio.name]
        values = [f"{value:.3f}" for value in (margin.least, margin.median, margin.most, margin.bound)]
        rows.append([ratio.title, str(margin.runs), *values[:3], ("<= " if ratio.at_most else ">= ") + values[3]])
    return _table(("ratio", "runs", "least", "median", "most", "bound"), rows)


def files() -> str:
    """How fast files go in and out: rates of the kept runs, and whose CPU a row took."""
    if not bulk.KEPT.exists():
        return "Nothing is kept yet: `python -m benchmarks.bulk --keep` does."
    heads = ("", "format", "runs", "least/s", "median/s", "most/s", "client", "server", "PostgreSQL")
    return _table(heads, bulk.rows_of(json.loads(bulk.KEPT.read_text("utf-8"))["runs"]))


def first_pages() -> str:
    """What the first page of an account's history took, over so many rows."""
    if not history.KEPT.exists():
        return NO_HISTORY
    found = json.loads(history.KEPT.read_text("utf-8"))
    machine = "{cores} cores ({cpu}), {memory_gb:.0f} GB".format(**found["machine"])
    about = (
        f"{found['rows']:,} rows at the end, {found['rows_indexed']:,} of them in {found['partitions_sealed']} sealed"
        f" partitions, the newest without indexes;\nhalf of the rate is {found['steady_per_s']:,} rows/s. {machine},"
        f" commit {found['commit'][:12]}, {found['began_at'][:10]}; PostgreSQL\n"
        f"{found['postgresql']['server_version']}, fsync {found['postgresql']['fsync']};"
        f" {', '.join(f'PYLEDGER_{name.upper()}={value}' for name, value in found['settings'].items())}."
    )
    heads = ("", "account", "beside", "requests", "rows", "p50 ms", "p95 ms", "p99 ms", "most ms")
    return f"{about}\n\n" + _table(heads, history.page_rows(found))


def sealing() -> str:
    """Posting with and without a seal beside it."""
    if not history.KEPT.exists():
        return NO_HISTORY
    heads = ("", "rows/s without", "with", "ratio", "p99 ms without", "with", "ratio", "rows sealed", "in s")
    return _table(heads, pair_rows(json.loads(history.KEPT.read_text("utf-8"))["pairs"]))


def following() -> str:
    """Posting with and without readers of the feed beside it."""
    if not feed.KEPT.exists():
        return "Nothing is kept yet: `python -m benchmarks.feed --keep` does."
    found = json.loads(feed.KEPT.read_text("utf-8"))
    machine = "{cores} cores ({cpu}), {memory_gb:.0f} GB".format(**found["machine"])
    about = (
        f"{found['rows']:,} rows a run, in full requests; {found['readers']} readers of pages of {found['page_rows']:,}"
        f" rows at most, slow ones rest {found['slow_s']} s after each.\n{machine}, commit {found['commit'][:12]},"
        f" {found['began_at'][:10]}; PostgreSQL {found['postgresql']['server_version']}, fsync"
        f" {found['postgresql']['fsync']}."
    )
    return f"{about}\n\n" + _table(feed.HEADS, feed.feed_rows(found["rounds"]))


def load_gates() -> str:
    """What authorizations of the Locust run of the gates were seen to take, and what they are therefore allowed."""
    from loadtests import allowed

    rows = []
    if not allowed.margins():
        return "No ten runs are kept yet, so latency is only shown."
    for (profile, share), margin in sorted(allowed.margins().items()):
        name, every = f"p{share:g}_ms", [run["profiles"][profile] for run in kept_runs(allowed.KEPT)]
        whole = [seen["whole_p99_ms"] for seen in every] if share == WHOLE_SHARE else []
        for what, ms in (("typical", [seen[name] for seen in every]), ("whole run", whole)):
            if ms:
                spread = [f"{value:.1f}" for value in (min(ms), median(ms), max(ms))]
                rows.append([profile, f"p{share:g} ms, {what}", str(len(ms)), *spread, ""])
        values = [f"{value:.1f}" for value in (margin.least, margin.median, margin.most)]
        rows.append([profile, f"p{share:g}, in commits", str(margin.runs), *values, f"<= {margin.bound:.1f}"])
    return _table(("profile", "authorization", "runs", "least", "median", "most", "bound"), rows)


def load() -> str:
    """What the whole suite of load tests came to, and what a transaction costs at both scales."""
    from loadtests import kept

    if not kept.KEPT.exists():
        return "Nothing is kept yet: `python -m loadtests --keep` does."
    found = json.loads(kept.KEPT.read_text("utf-8"))
    runs, costs = _table(kept.HEADS, kept.rows(found)), _table(kept.COST_HEADS, kept.cost_rows(found))
    return f"{kept.caption(found)}\n\n{runs}\n\n{costs}"


TABLES: Final[dict[str, tuple[Path, Callable[[], str]]]] = {
    "targets": (ROOT / "README.md", targets),
    "full": (ROOT / "README.md", lambda: targets(FULL_RUNS)),
    "others": (ROOT / "README.md", others),
    "cases": (ROOT / "docs" / "PERFORMANCE.md", cases),
    "growth": (ROOT / "docs" / "PERFORMANCE.md", growth),
    "profile": (ROOT / "docs" / "PERFORMANCE.md", profile),
    "files": (ROOT / "docs" / "PERFORMANCE.md", files),
    "first pages": (ROOT / "docs" / "PERFORMANCE.md", first_pages),
    "sealing": (ROOT / "docs" / "PERFORMANCE.md", sealing),
    "feed": (ROOT / "docs" / "PERFORMANCE.md", following),
    "gates": (ROOT / "docs" / "PERFORMANCE.md", gates),
    "load": (ROOT / "docs" / "PERFORMANCE.md", load),
    "load gates": (ROOT / "docs" / "PERFORMANCE.md", load_gates),
}


def between(text: str, name: str) -> re.Match[str]:
    """Where a table stands in its document."""
    found = re.search(rf"(?<=<!-- {name} -->\n).*?(?=\n?<!-- /{name} -->)", text, re.S)
    assert found, f"no place for the table {name!r}"
    return found


def main() -> int:
    """Write every table into its document."""
    for name, (path, make) in TABLES.items():
        text = path.read_text("utf-8")
        place = between(text, name)
        path.write_text(text[: place.start()] + make() + "\n" + text[place.end() :].lstrip("\n"), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
