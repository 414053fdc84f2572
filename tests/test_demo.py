"""The demo against a real server: twice on one database, over books that others use, and with nobody there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from pyledger import demo
from pyledger.client import Client
from tests.support.process import ServerProcess, environment


def run_demo(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyledger.cli", "demo", "--url", url, *arguments],
        env=environment() | {"COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_day_can_be_repeated(server: ServerProcess) -> None:
    for _ in range(2):
        done = run_demo(server.url)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        for word in ("Ada tops up 100.00", "authorized", "captures 45.50 of 60.00", "voided", "refunded", "declined",
                     "paid out 77.24", "Trial balance, ledger 978, EUR", "Debits equal credits."):  # fmt: skip
            assert word in done.stdout
        assert "WRONG" not in done.stdout


def test_a_program_can_read_it(server: ServerProcess) -> None:
    done = run_demo(server.url, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    day = json.loads(done.stdout)
    assert (day["balanced"], day["wrong"]) == (True, [])
    assert day["debits"] == day["credits"] == str(sum(int(each["debits"]) for each in day["trial_balance"]))
    assert [each["step"] for each in day["steps"]] == list(range(1, len(day["steps"]) + 1))


async def test_it_leaves_a_ledger_alone_that_is_somebody_elses(server: ServerProcess) -> None:
    async with Client(server.url) as client:
        await client.create_ledger(demo.FIRST_LEDGER, "JPY", 0)
    done = run_demo(server.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledger"] == demo.FIRST_LEDGER + 1


def test_nobody_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_demo("http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no answer from http://127.0.0.1:9" in done.stderr


async def test_anything_off_makes_it_fail(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected: dict[str, Any] = demo.CLOSING_CENTS | {"Fees": 27}
    monkeypatch.setattr(demo, "CLOSING_CENTS", expected)
    assert await demo.run(server.url, None) == 1
    assert "WRONG: Fees is at 0.26, not 0.27" in capsys.readouterr().out


@pytest.mark.parametrize(("amount", "shown"), [(0, "0.00"), (5, "0.05"), (-1_234_567, "-12,345.67")])
def test_cents(amount: int, shown: str) -> None:
    assert demo.cents(amount) == shown
    assert os.linesep == "\n"
