"""Runs one row from its first cycle to its sum.

Guarded here: a row passes only if every cycle that was asked for has ended without a violation. A cycle that
hangs is a violation, an exception of the harness is `broken`, a machine that lacks something is `not run`;
and whatever happens the row's generator is closed, so that nothing that it started is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Callable

from tests.faults import results
from tests.faults.nouns import Cycle, Result, Row, Run, Verdict, Violated
from tests.support.clusters import make_directory, remove_directory

Tell = Callable[[Cycle, float], None]


async def ended(program: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """What a program says until it ends, on stdout and stderr. Whoever waits for it no more, kills it."""
    try:
        return await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def run_row(row: Row, asked: Run, tell: Tell, *, seconds_max: float = float("inf")) -> Result:
    """Run a row until its cycles are done, or no new one begins because `seconds_max` have passed."""
    result = Result(row.id, Verdict.PASSED, asked.seed, asked.first, size=asked.size, planted=asked.planted)
    for name, value in results.about().items():
        setattr(result, name, value)
    reason = row.needs()
    if reason is not None:
        result.verdict, result.reason = Verdict.NOT_RUN, reason
        return result
    try:
        if not asked.planted:
            await asyncio.to_thread(row.prepare)
        await _cycles(row, asked, result, tell, time.monotonic() + seconds_max)
    except Exception as error:
        result.verdict, result.reason = Verdict.BROKEN, f"{type(error).__name__}: {error}"
        traceback.print_exc()
    if result.verdict is Verdict.PASSED and not result.cycles:
        result.verdict, result.reason = Verdict.BROKEN, "no cycle was run"
    return result


async def _cycles(row: Row, asked: Run, result: Result, tell: Tell, until: float) -> None:
    async with contextlib.aclosing(row.run(asked)) as cycles:  # type: ignore[type-var]
        began = time.monotonic()
        while time.monotonic() < until:
            try:
                async with asyncio.timeout(row.cycle_timeout_s) as limit:
                    cycle = await anext(cycles)
            except StopAsyncIteration:
                break
            except Violated as violated:
                cycle = Cycle(asked.first + result.cycles, 0, [str(violated)])
                _take(result, cycle, time.monotonic() - began, tell)
                return
            except TimeoutError:
                if not limit.expired():
                    raise
                number = asked.first + result.cycles
                cycle = Cycle(number, 0, [f"it has not ended within {row.cycle_timeout_s:.0f} s"])
                _take(result, cycle, time.monotonic() - began, tell)
                return
            now = time.monotonic()
            _take(result, cycle, now - began if cycle.seconds is None else cycle.seconds, tell)
            began = now


def _take(result: Result, cycle: Cycle, seconds: float, tell: Tell) -> None:
    result.take(cycle, seconds)
    tell(cycle, seconds)


@contextlib.contextmanager
def own_directory():  # type: ignore[no-untyped-def]
    """A directory for a run, removed afterwards."""
    directory = make_directory()
    try:
        yield directory
    finally:
        remove_directory(directory)
