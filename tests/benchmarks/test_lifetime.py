"""What a run started ends with it: real runs with real servers, and real signals, at any moment of theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from benchmarks import lifetime
from benchmarks.lifetime import PREFIX
from benchmarks.processes import children
from tests.support.process import ServerProcess, environment

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90.0
END_TIMEOUT_S = 60.0

BENCHMARKS = ("benchmarks", "--smoke", "--only", "W1")
GATES = ("benchmarks.gates", "--only", "single_256_to_echo")
LOAD = ("loadtests", "--only", "today", "--rate", "60", "--duration", "60")

Process = tuple[int, str]
"""Its id and when it began: ids are used again."""


def descendants(process_id: int) -> list[int]:
    found = children(process_id)
    return found + [each for child in found for each in descendants(child)]


def identity(process_id: int) -> Process | None:
    """None for one that has ended, whether or not somebody has asked how."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (process_id, fields[19])


def words(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


class Started:
    """A run in a process of its own, and everything that it started."""

    def __init__(self, directory: Path, log: IO[bytes], module: str, *arguments: str) -> None:
        self.scratch = directory / "scratch"
        self.log = Path(log.name)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--scratch", str(self.scratch)],
            env=environment(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def wait_for(self, *parts: str) -> set[Process]:
        """Until a descendant of each kind is there; all of them, as they are then."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            found = descendants(self.process.pid)
            said = [words(each) for each in found]
            if all(any(part in each for each in said) for part in parts):
                return {made for each in found if (made := identity(each)) is not None}
            time.sleep(0.05)
        raise AssertionError(f"no {parts} in time:\n{self.log.read_text('utf-8', 'replace')}")

    def signal(self, *numbers: int) -> int:
        """Send the first signal, and the others again and again until it has ended; the exit code."""
        deadline = time.monotonic() + END_TIMEOUT_S
        self.process.send_signal(numbers[0])
        while numbers[1:] and self.process.poll() is None and time.monotonic() < deadline:
            for number in numbers[1:]:
                self.process.send_signal(number)
            time.sleep(0.001)
        return self.process.wait(END_TIMEOUT_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start a run; what is still there at the end of the test is killed."""
    started: list[Started] = []

    def start(module: str, *arguments: str) -> Started:
        with (tmp_path / "log").open("wb") as log:
            started.append(Started(tmp_path, log, module, *arguments))
        return started[-1]

    # PostgreSQL does not run as root, and its user must get to its data.
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o711)
    yield start
    for each in started:
        if each.process.poll() is None:
            left = descendants(each.process.pid)
            for process_id in (each.process.pid, *left):
                os.kill(process_id, signal.SIGKILL)
            each.process.wait()


def none_left(processes: set[Process]) -> bool:
    """Whether all end, in their time."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while any(identity(made[0]) == made for made in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "parts", "numbers"),
    [
        (BENCHMARKS, ("serve", "postgres"), (signal.SIGTERM,)),
        (BENCHMARKS, ("serve", "spawn_main"), (signal.SIGINT, signal.SIGINT)),
        (GATES, ("benchmarks.echo",), (signal.SIGTERM, signal.SIGTERM)),
        (LOAD, ("serve", "postgres"), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)),
    ],
    ids=["benchmarks, SIGTERM", "benchmarks, SIGINT twice", "gates, SIGTERM twice", "load, both"],
)
def test_a_run_that_is_told_to_end_leaves_nothing(
    run: Callable[..., Started], asked: tuple[str, ...], parts: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    made = run(*asked)
    processes = made.wait_for(*parts)
    assert len(processes) >= 2
    code = made.signal(*numbers)
    # The kernel may give the second to another thread, which is then the sooner of the two.
    assert code in {128 + number for number in numbers}, made.log.read_text("utf-8", "replace")
    assert none_left(processes)
    assert list(made.scratch.iterdir()) == []


def test_what_breaks_while_a_run_is_being_ended_is_not_the_run_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncpg does, whose query was cancelled in the middle and whose connection was closed at once."""
    # The suite's own PostgreSQL is a child of this process, too, and is to go on.
    monkeypatch.setattr(lifetime, "children", lambda _: ())

    async def breaks() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(END_TIMEOUT_S)
        finally:
            raise ConnectionError("closed in the middle")

    async def breaks_by_itself() -> None:
        raise ConnectionError("closed")

    before = {number: signal.getsignal(number) for number in lifetime.SIGNALS}
    try:
        guard = lifetime.Guard()
        with pytest.raises(asyncio.CancelledError):
            guard.run(breaks())
        assert guard.exit_code == 128 + signal.SIGTERM
        guard = lifetime.Guard()
        with pytest.raises(ConnectionError):
            guard.run(breaks_by_itself())
        assert not guard.exit_code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [BENCHMARKS, LOAD], ids=["benchmarks", "load"])
def test_the_servers_of_a_run_that_is_killed_end_by_themselves(
    run: Callable[..., Started], asked: tuple[str, ...]
) -> None:
    made = run(*asked)
    processes = made.wait_for("serve", "postgres")
    assert made.signal(signal.SIGKILL) == -signal.SIGKILL
    assert none_left(processes)
    (left,) = made.scratch.iterdir()
    assert left.name.startswith(PREFIX)
    with lifetime.scratch(made.scratch) as mine:
        assert list(made.scratch.iterdir()) == [mine], "the next run did not remove what a killed one left"
        with lifetime.scratch(made.scratch) as other:
            assert set(made.scratch.iterdir()) == {mine, other}, "a run removed what another one uses"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_locust_ends_with_the_suite_and_a_server_that_was_named_does_not(
    run: Callable[..., Started], server: ServerProcess, number: int
) -> None:
    made = run(*LOAD, "--url", server.url)
    processes = made.wait_for("locustfile.py")
    assert made.signal(number) == (-number if number == signal.SIGKILL else 128 + number)
    assert none_left(processes)
    assert server.answers("/readyz")
