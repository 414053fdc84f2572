"""What a person sees of a long command: a bar on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress

STEPS: Final = 200
"""In which a bar moves, whatever its units are: half a percent is seen, and no row waits for the one who draws."""


class Bar:
    """A progress bar on stderr, if that is a terminal."""

    def __init__(self, name: str, total: int, *, show: bool) -> None:
        self._progress = _progress() if show and sys.stderr.isatty() else None
        if self._progress:
            self._progress.add_task(name, total=max(total, 1))
        self._step, self._held = max(1, total // STEPS), 0

    def advance(self, amount: int) -> None:
        """So much more was done; drawn a few times a second, whoever says it how often."""
        self._held += amount
        if self._held >= self._step:
            self._move()

    def _move(self) -> None:
        if self._progress and self._held:
            self._progress.advance(self._progress.task_ids[0], self._held)
        self._held = 0

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._move()
        if self._progress:
            self._progress.stop()


def _progress() -> Progress:
    # Only where it is seen: it takes as long as some ten thousand rows.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
