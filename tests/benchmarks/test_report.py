"""What is reported, and what the command line refuses."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command_line
from benchmarks import page, report
from benchmarks.nouns import SMOKE, Measured
from benchmarks.session import Asked, Session
from benchmarks.summary import percentiles
from tests.benchmarks.support import quiet


def a_result() -> dict[str, Any]:
    line = Measured("<case>", "W1", "a & b", "json", 4, 50, 10, 500, seconds=2.0, per_s=250.0,
                    latency_ms=percentiles([0.001, 0.002, 0.5]), timeline=[(1.0, 200.0), (2.0, 300.0)])  # fmt: skip
    about = {"size": "quick", "began_at": "now", "commit": "unknown", "changed": False, "machine": {"cpu": "<b>"}}
    figures, further = {"w1_binary_per_s": 500_000.0, "append_ceiling_per_s": 600_000.0}, {"growth_rate_ratio": 0.5}
    return report.document(about, figures, further, [line], {})


def test_the_report_names_figures_and_targets() -> None:
    found = a_result()
    assert found["figures"] == {"w1_binary_per_s": 500_000.0, "append_ceiling_per_s": 600_000.0}
    reached = {row["title"]: row["reached"] for row in found["targets"]}
    assert reached == {"W1, binary form, transfers/s": True, "W1, binary form / raw append ceiling": True,
                       "grown books / small books, rate": False}  # fmt: skip
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found))
    for wrong in (({"some_other_name": 1.0}, {}), ({}, {"w1_binary_per_s": 1.0})):
        with pytest.raises(AssertionError):
            report.document({}, *wrong, [], {})


def test_the_page_stands_alone() -> None:
    text = page.render(a_result())
    assert "&lt;case&gt;" in text
    assert "<case>" not in text
    assert "a &amp; b" in text
    assert text.count("<svg") == 2
    for word in ("http:", "https:", "<script", "@import", "url("):
        assert word not in text


def test_the_page_says_which_cases_were_not_proven() -> None:
    piece, whole, echo = Measured("piece", "growth"), Measured("whole", "growth"), Measured("echo", "baseline")
    found = a_result()

    def said() -> str:
        made = report.document({name: found[name] for name in ("size", "began_at", "commit")}, {}, {},
                               [piece, whole, echo], {})  # fmt: skip
        return page.render(made)

    assert "0 of 2 cases of the ledger were proven" in said()
    assert "Not proven, for the run ended before that: piece, whole." in said()
    whole.proof, piece.notes = {"stored": 1}, {"proven_with": "whole"}
    assert "Every case of the ledger was proven: " in said()
    assert "Not proven" not in said()


def test_the_command_line_refuses_what_cannot_be_meant(tmp_path: Path) -> None:
    def asked(*arguments: str) -> Asked:
        options: argparse.Namespace = command_line.parse(list(arguments))
        return command_line.asked_of(options, tmp_path)

    assert asked("--only", "w1,ECHO").parts == ("W1", "echo")
    assert "growth" not in asked().parts
    assert "growth" in asked("--full").parts
    assert asked("--connections", "64,256").connections == (64, 256)
    for wrong, message in ((("--connections", "64,x"), "no list of numbers"), (("--connections", "0"), "at least one"),
                           (("--only", "W8"), "W8 is none of"), (("--url", "http://h"), "needs --database"),
                           (("--tigerbeetle", "/nowhere"), "is not a file")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            asked(*wrong)


def test_a_session_says_where_it_was_measured(tmp_path: Path) -> None:
    session = Session(Asked(SMOKE, (), tmp_path), quiet, quiet)
    asyncio.run(session.run())
    assert session.about["machine"]["cores"] >= 1
    assert len(session.about["commit"]) in {40, len("unknown")}
