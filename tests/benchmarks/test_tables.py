"""The documents' tables are those of the kept results, and the kept results say where they are from."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import report, tables
from benchmarks.nouns import FIGURES, FURTHER


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_is_what_the_kept_results_say(name: str) -> None:
    path, make = tables.TABLES[name]
    said, wanted = tables.between(path.read_text("utf-8"), name)[0].strip("\n"), make()
    assert said == wanted, f"run `python -m benchmarks.tables`; the table should be:\n{wanted}"


def test_the_readme_types_no_figure_of_its_own() -> None:
    text = (tables.ROOT / "README.md").read_text("utf-8")
    for name in tables.TABLES:
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", "", text, flags=re.S)
    assert not re.findall(r"[\d,]+ (?:k/s|/s|transfers a second|requests a second)", text)


def test_a_kept_run_says_machine_commit_and_settings() -> None:
    for run in tables.runs():
        assert {"cpu", "cores", "memory_gb"} <= run["machine"].keys()
        assert re.fullmatch(r"[0-9a-f]{40}", run["commit"])
        assert run["changed"] is False, "it was measured on files that no commit has"
        assert run["postgresql"]["fsync"] == "on"
        assert {"settings", "size", "began_at", "parts"} <= run.keys()
        assert set(run["figures"]) == set(FIGURES), "absent where a part was not run"
        assert set(run["further"]) <= set(FURTHER)
        assert all(case["proof"] for case in run["cases"] if case["workload"] not in {"baseline", "peer"})


def test_what_is_kept_is_compact_and_whole() -> None:
    found = {"size": "quick", "cases": [{"case": "a", "timeline": [[1, 2]], "notes": {}, "per_s": 1.0}], "targets": []}
    text = report.compact(found)
    assert json.loads(text) == {"size": "quick", "cases": [{"case": "a", "per_s": 1.0}], "targets": []}
    assert text.count("\n") < 10
