"""What a run starts ends with it, and what it writes for itself goes with it.

Guarded here: the first SIGINT or SIGTERM cancels the run, and no further one disturbs its cleaning up, whose waits
are all bounded. A run that is killed cleans up nothing: its servers end by themselves (see `tied.py`), and its
directory is removed by the next run.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.processes import children

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
SIGNALLED: Final = 128
"""Added to the signal's number, it is the exit code, as shells have it."""
PREFIX: Final = "pyledger-run-"
BASE: Final = Path("/var/tmp")  # noqa: S108
"""On a real disk, which /tmp often is not."""

T = TypeVar("T")


def at_first_signal(tell: Callable[[int], object]) -> None:
    """Have the first SIGINT or SIGTERM call `tell` with its number; no further one does anything, to the very end.

    The loop's own handlers would not do: with the loop they go, and the next signal kills what is about to exit.
    """

    def first(number: int, _frame: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        tell(number)

    for each in SIGNALS:
        signal.signal(each, first)


class Guard:
    """Runs a coroutine until it ends, or until it is told to."""

    def __init__(self) -> None:
        self.exit_code = 0
        """Of a run that was told to end; else 0."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """As `asyncio.run`. Raises `CancelledError` if a signal ended it, unless `main` takes that for itself: what
        else breaks while a run is being ended, in the middle of a query for one, says nothing about the run."""
        try:
            return asyncio.run(self._guarded(main))
        except Exception as error:
            if self.exit_code:
                raise asyncio.CancelledError from error
            raise

    async def _guarded(self, main: Coroutine[Any, Any, T]) -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

        def end(number: int) -> None:
            self.exit_code = SIGNALLED + number
            sys.stderr.write("ending: what was started is being stopped\n")
            task.cancel()

        at_first_signal(lambda number: loop.call_soon_threadsafe(end, number))
        try:
            return await task
        finally:
            # Threads that wait for a program of theirs would keep this process for as long.
            for child in children(os.getpid()) if self.exit_code else ():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)


@contextmanager
def scratch(base: Path | None) -> Iterator[Path]:
    """A directory that is there as long as the run is; those of runs that were killed are removed first."""
    base = base or (BASE if BASE.is_dir() else Path(tempfile.gettempdir()))
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{PREFIX}*"):
        if left.stat().st_uid == os.getuid():
            _remove_unless_in_use(left)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    # PostgreSQL does not run as root, and its user must get to its data.
    directory.chmod(0o711)
    held = os.open(directory, os.O_RDONLY)
    try:
        # Whoever can lock it knows that this run is gone, however it ended.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def _remove_unless_in_use(directory: Path) -> None:
    try:
        held = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(held)
