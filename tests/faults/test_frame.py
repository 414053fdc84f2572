"""The frame: what counts as passed, what does not, what is written down, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.faults import page, registry, results
from tests.faults.__main__ import EXIT_REFUSED, EXIT_UNFINISHED, main
from tests.faults.nouns import Cycle, Result, Row, Run, Verdict, Violated
from tests.faults.running import run_row

WAIT_S = 60.0


def row(run: Callable[[Run], AsyncIterator[Cycle]], **more: object) -> Row:
    given = {"id": "Z1", "what": "nothing", "unit": "things", "passes": "always", "submission": 3, "campaign": 9}
    return Row(run=run, **(given | more))  # type: ignore[arg-type]


async def result_of(one: Row, tmp_path: Path, **asked: int) -> tuple[Result, list[Cycle]]:
    seen: list[Cycle] = []
    found = await run_row(one, Run(seed=7, cycles=3, directory=tmp_path, **asked), lambda cycle, _: seen.append(cycle))  # type: ignore[arg-type]
    return found, seen


async def fine(asked: Run) -> AsyncIterator[Cycle]:
    for number in asked.numbers:
        yield Cycle(number, 2, notes={"drawn": asked.chance(number).randrange(10**9), "most_max": number, "said": "x"})


async def test_all_cycles_without_a_violation_pass_and_are_added_up(tmp_path: Path) -> None:
    found, seen = await result_of(row(fine), tmp_path)
    assert (found.verdict, found.cycles, found.done, found.notes["most_max"]) == (Verdict.PASSED, 3, 6, 2)
    assert found.notes["drawn"] == sum(cycle.notes["drawn"] for cycle in seen)
    assert len(found.commit) >= 7


async def test_a_cycle_is_replayed_by_seed_and_number(tmp_path: Path) -> None:
    _, seen = await result_of(row(fine), tmp_path)
    _, again = await result_of(row(fine), tmp_path, first=2)
    assert again[0] == seen[2]
    assert again[1].number == 3


async def test_a_violation_a_hang_an_error_and_nothing_at_all_do_not_pass(tmp_path: Path) -> None:
    closed = []

    async def wrong(asked: Run) -> AsyncIterator[Cycle]:
        yield Cycle(0, 1, ["lost"])
        yield Cycle(1, 1)

    async def hangs(asked: Run) -> AsyncIterator[Cycle]:
        try:
            await asyncio.sleep(60)
            yield Cycle(0, 1)
        finally:
            closed.append(True)

    async def breaks(asked: Run) -> AsyncIterator[Cycle]:
        yield Cycle(0, 1)
        raise RuntimeError("no PostgreSQL")

    async def nothing(asked: Run) -> AsyncIterator[Cycle]:
        for _ in ():
            yield Cycle(0, 1)

    found, _ = await result_of(row(wrong), tmp_path)
    assert (found.verdict, found.violations) == (Verdict.VIOLATED, ["cycle 0: lost"])
    found, _ = await result_of(row(hangs, cycle_timeout_s=0.05), tmp_path)
    assert found.verdict is Verdict.VIOLATED
    assert "not ended" in found.violations[0]
    assert closed
    found, _ = await result_of(row(breaks), tmp_path)
    assert (found.verdict, found.reason) == (Verdict.BROKEN, "RuntimeError: no PostgreSQL")
    assert (await result_of(row(nothing), tmp_path))[0].verdict is Verdict.BROKEN


async def test_what_takes_long_once_is_no_part_of_the_time_that_cycles_have(tmp_path: Path) -> None:
    def slow() -> None:
        prepared.append(True)
        time.sleep(0.3)

    def fails() -> None:
        raise RuntimeError("there is no compiler")

    prepared: list[bool] = []
    found = await run_row(row(fine, prepare=slow), Run(7, 3, tmp_path), lambda *_: None, seconds_max=0.2)
    assert (found.verdict, found.cycles, prepared) == (Verdict.PASSED, 3, [True])
    assert found.seconds < 0.2
    found, _ = await result_of(row(fine, prepare=fails), tmp_path)
    assert (found.verdict, found.cycles) == (Verdict.BROKEN, 0)


async def test_a_server_that_ended_by_itself_is_a_violation_and_no_breakdown(tmp_path: Path) -> None:
    async def ends(asked: Run) -> AsyncIterator[Cycle]:
        yield Cycle(0, 1)
        raise Violated("the server has ended with 4")

    found, _ = await result_of(row(ends), tmp_path)
    assert (found.verdict, found.violations) == (Verdict.VIOLATED, ["cycle 1: the server has ended with 4"])


async def test_what_the_machine_lacks_is_said_and_never_passes(tmp_path: Path) -> None:
    found, seen = await result_of(row(fine, needs=lambda: "no FUSE"), tmp_path)
    assert (found.verdict, found.reason, seen) == (Verdict.NOT_RUN, "no FUSE", [])


def test_only_evidence_is_kept_and_the_table_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEPT", tmp_path / "kept.jsonl")
    whole = Result("Z1", Verdict.PASSED, 5, cycles=2, done=20, seconds=3.0, date="2026-01-02T", commit="abcdef0123")
    wrong = Result("Z1", Verdict.VIOLATED, 6, cycles=1, done=1, seconds=1.0, violations_count=4, date="2026-01-03T")
    assert results.keep(whole)
    assert results.keep(wrong)
    for changed in ({"changed": True}, {"planted": "a bug"}, {"verdict": Verdict.BROKEN}):
        assert not results.keep(Result(**{"row": "Z1", "verdict": Verdict.PASSED, "seed": 1, **changed}))  # type: ignore[arg-type]
    assert results.keep(Result("Z2", Verdict.NOT_RUN, 1, reason="no FUSE"))
    table = page.figures([row(fine, id="Z2"), row(fine)], results.kept()).splitlines()
    assert table[-2].startswith("| Z2 | nothing | not run: no FUSE |")
    assert table[-1].startswith("| Z1 | nothing | 3 | 21 things | 4 | 1.3 | 2026-01-02 to 2026-01-03 |")
    assert table[-1].endswith("| 5, 6 |")


def test_an_extension_that_is_older_than_its_source_is_no_evidence(tmp_path: Path) -> None:
    extension = tmp_path / "_rust.so"
    extension.touch()
    assert results.is_built(extension)
    os.utime(extension, (1, 1))
    assert not results.is_built(extension)


def test_the_page_is_what_was_kept_and_what_the_code_says() -> None:
    text = page.PAGE.read_text("utf-8")
    assert text == page.with_tables(text), "python -m tests.faults --table writes it"


def test_every_row_says_what_it_is() -> None:
    for name, one in registry.rows().items():
        assert one.id == name
        assert one.what and one.unit and one.passes
        assert 0 < one.submission <= one.campaign
    assert [each.id for each in registry.chosen(["c1", "E"])] == ["C1", "E1", "E3"]


def test_a_row_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Q7"]) == EXIT_REFUSED
    assert "Q7 is none of" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "further"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_an_interruption_that_comes_again_and_again_leaves_nothing_running(
    first: signal.Signals, further: signal.Signals
) -> None:
    seed = random.randrange(2**31)
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.faults", "C1", "--cycles", "50", "--seed", str(seed), "--json"],
        cwd=results.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert program.stdout is not None
    try:
        with program.stdout:
            assert json.loads(program.stdout.readline())["seed"] == seed
            started = started_by(program.pid)
            assert any("postgres" in line for line in started.values())
            os.killpg(program.pid, first)
            told = time.monotonic()
            # To the last moment: also while the interpreter goes.
            while program.poll() is None and time.monotonic() < told + WAIT_S:
                os.killpg(program.pid, further)
                time.sleep(0.001)
            assert program.wait(WAIT_S) == EXIT_UNFINISHED
    finally:
        program.kill()
        program.wait()
    deadline = time.monotonic() + WAIT_S
    while left := [process_id for process_id in started if Path(f"/proc/{process_id}").exists()]:
        assert time.monotonic() < deadline, [started[process_id] for process_id in left]
        time.sleep(0.05)


def started_by(process_id: int) -> dict[int, str]:
    """Children, and theirs, with their command lines; without those that end while they are asked."""
    found: dict[int, str] = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in Path(f"/proc/{process_id}/task").iterdir():
            for child in map(int, (entry / "children").read_text().split()):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found[child] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found |= started_by(child)
    return found
