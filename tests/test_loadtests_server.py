"""The load tests against a real server: the suite with its proof and prices, Locust by itself, and their failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from loadtests import config, readback, rules
from loadtests.books import Caller, SetUpFailed, open_books, uuid_text
from pyledger.client import new_id
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment, free_port

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 180.0
COST = "cost of a million transactions without storage"
KEPT_ANYWHERE = {"durability", "trial balance", "errors, share of requests", "queue, rows"}
"""Bounds that hold on a machine that is busy with something else, too."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment() | {"NO_COLOR": "1"}, cwd=ROOT, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def silent(phase: str, done: int, of: int) -> None:
    """Nobody listens."""


def gates_of(found: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(gate["run"], gate["name"]): gate["kept"] for gate in found["gates"]}


@pytest.mark.slow
def test_the_suite_proves_prices_and_reports(server: ServerProcess, database: Database, tmp_path: Path) -> None:
    done = python(
        "-m", "loadtests", "--url", server.url, "--database", database.admin_dsn, "--gate", "--only", "today,projected",
        "--rate", "60", "--duration", "5", "--out", str(tmp_path), "--seed", "7",
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = json.loads((tmp_path / "latest.json").read_text("utf-8"))
    kept = gates_of(found)
    for run in ("today", "projected"):
        for name in KEPT_ANYWHERE:
            assert kept[run, name] is True, done.stdout
        assert kept[run, COST] is not None, done.stdout
    assert found["cost_ratio"] > 0.0
    for run in found["runs"]:
        assert run["proof"]["acknowledged"] == run["seen"]["transactions"] > 100
        assert run["usage"]["wal_bytes"] > run["usage"]["heap_bytes"] > 100
    assert "FAILED" in done.stdout or done.returncode == 0
    assert "<svg" in (tmp_path / "latest.html").read_text("utf-8")


@pytest.mark.slow
def test_without_a_database_everything_is_read_back_over_http(server: ServerProcess, tmp_path: Path) -> None:
    done = python("-m", "loadtests", "--url", server.url, "--only", "today", "--rate", "40", "--duration", "4",
                  "--out", str(tmp_path))  # fmt: skip
    found = json.loads((tmp_path / "latest.json").read_text("utf-8"))
    kept = gates_of(found)
    assert kept["today", "durability"] is kept["today", "trial balance"] is True, done.stdout
    assert kept["today", COST] is None
    assert "not judged: today: cost" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_locust_by_itself(server: ServerProcess, tmp_path: Path, processes: int) -> None:
    more = ["--processes", str(processes)] if processes > 1 else []
    done = python(
        "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--host", server.url, "--load", "steady",
        "--rate", "60", "--duration", "4", "--out", str(tmp_path), "--only-summary", *more,
    )  # fmt: skip
    documents = [json.loads(path.read_text("utf-8")) for path in tmp_path.glob("*.json")]
    assert len(documents) == processes, done.stdout + done.stderr
    assert sum(document["accepted"] for document in documents) > 100
    for document in documents:
        assert (document["errors"], document["wrong_retries"], document["never_sent"]) == ({}, 0, 0)
    assert "authorize /v1/transfers" in done.stdout + done.stderr


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    done = python("-m", "loadtests", "--url", f"http://127.0.0.1:{free_port()}", "--only", "today", "--out",
                  str(tmp_path))  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no answer" in done.stderr


def test_a_profile_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    done = python("-m", "loadtests", "--only", "yesterday", "--out", str(tmp_path))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "yesterday" in done.stderr


def test_an_id_that_is_not_stored_is_found(server: ServerProcess) -> None:
    caller = Caller(server.url, "")
    books = open_books(caller, rules.plan("today", config.profiles()), silent)
    stored, lost = new_id(), uuid4()
    transfer = {"id": str(stored), "debit_account_id": uuid_text(books.bank), "ledger": books.ledger, "code": 1,
                "credit_account_id": uuid_text(books.customer(0)), "amount": "5"}  # fmt: skip
    caller.call("POST", "/v1/transfers", json.dumps(transfer).encode())
    assert readback.read_back(server.url, "", [(stored.bytes, True)], silent) == []
    (wrong,) = readback.read_back(server.url, "", [(stored.bytes, True), (lost.bytes, True)], silent)
    assert str(lost) in wrong
    (wrong,) = readback.read_back(server.url, "", [(stored.bytes, False)], silent)
    assert "acknowledged otherwise" in wrong
    assert readback.trial_balance(server.url, "", books) == []
    with pytest.raises(SetUpFailed, match="id_invalid"):
        caller.call("GET", "/v1/transfers/nothing")
    caller.close()
