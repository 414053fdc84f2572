"""Runs a command that ends with whoever started it: `python tied.py STARTER COMMAND...`.

Guarded here: when the starter is gone, killed or not, the kernel sends SIGTERM to what it started, and a server of
ours then stops its PostgreSQL, too. Only Linux has that; elsewhere the command just runs. Started by its path and
with nothing imported but what it needs, because starts are timed.
"""

import os
import sys

LAUNCHER = (sys.executable, "-I", "-S", __file__)
SET_PARENT_DEATH_SIGNAL = 1
SIGTERM = 15


def command(*arguments: str) -> list[str]:
    """The same command, tied to this process: to its thread that starts it, to be exact."""
    return [*LAUNCHER, str(os.getpid()), *arguments]


def main(starter: int, arguments: list[str]) -> None:
    """Become the command."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, SIGTERM)
    # One that died before the kernel was asked sends nothing any more.
    if os.getppid() == starter:
        os.execv(arguments[0], arguments)  # noqa: S606 - it is what was asked for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
