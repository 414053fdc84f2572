"""The file system as tests hold it: mounted on a directory, and the power is in their hands.

Guards: from the return of `power_off` on not a byte reaches the disk; when the context ends nothing is mounted
and no process is left, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, Final, Self

from tests.faults.amnesia.fuse import unmount
from tests.faults.rights import MOUNTING, lacking

ANSWER_TIMEOUT_S: Final = 60.0
BUSY_TIMEOUT_S: Final = 30.0
"""Until whoever was killed has let go of the mount."""
POLL_S: Final = 0.02
PROJECT: Final = Path(__file__).resolve().parents[3]


def missing() -> str | None:
    """Why there can be no such file system here; None if there can."""
    if reason := lacking(MOUNTING, "may not mount"):
        return reason
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return None


class Amnesia:
    """`async with Amnesia(directory) as disk:` mounts it there, empty and writable for all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __aenter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.amnesia", str(self.path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=PROJECT,
        )  # fmt: skip
        try:
            await self.power_on()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def _end(self) -> None:
        with contextlib.suppress(OSError):
            unmount(str(self.path), lazily=True)
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), ANSWER_TIMEOUT_S)
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _do(self, name: str, **arguments: Any) -> dict[str, int]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_TIMEOUT_S)
        if not line:
            raise OSError(errno.EIO, "the file system's process has ended")
        return dict(json.loads(line))

    async def power_on(self) -> None:
        """Mount it; what is there is what survived."""
        await self._do("mount")
        # The kernel has asked for nothing yet; from now on it has.
        await asyncio.to_thread(os.stat, self.path)

    async def power_off(self) -> None:
        """From now on whoever asks for anything gets an error. Then kill what uses it, and `lose`."""
        await self._do("die")

    async def lose(self, seed: int, kept: float = 0.0) -> dict[str, int]:
        """Once nobody uses it any more: unmount, and forget what was not synced, but for a share kept by luck."""
        async with asyncio.timeout(BUSY_TIMEOUT_S):
            while True:
                try:
                    await asyncio.to_thread(unmount, str(self.path))
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                await asyncio.sleep(POLL_S)
        return await self._do("lose", seed=seed, kept=kept)

    async def settle(self) -> None:
        """All that is there now is certain: how a test begins."""
        await self._do("settle")

    async def lie(self) -> None:
        """From now on no sync does anything, and all say that they did: a disk with a volatile cache."""
        await self._do("lie")

    async def count(self) -> dict[str, int]:
        """How much has happened: requests, syncs, pages that a loss could take."""
        return await self._do("count")
