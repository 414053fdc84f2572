"""What a person sees of a long command: a bar on a terminal, a line at the end."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar on stderr, if that is a terminal; and how long it took."""

    def __init__(self, name: str, total: int, *, show: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        quiet = not show or not sys.stderr.isatty()
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)
        self._task = self._progress.add_task(name, total=max(total, 1))
        self._quiet, self._held = quiet, 0
        self.began_s = time.monotonic()

    def advance(self, amount: int) -> None:
        """So much more was done; drawn a few times a second, whoever says it how often."""
        self._held += amount
        if not self._quiet and self._held >= 1_000_000:
            self._progress.advance(self._task, self._held)
            self._held = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return max(time.monotonic() - self.began_s, 1e-9)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
