"""What makes trouble for storage: a disk that is full, and a system call that fails or takes its time."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import mounts, tracing
from tests.faults.mounts import MIB, fill, make_room, small_disk
from tests.faults.tracing import tampered, tracer_of

NO_MOUNTS = mounts.missing()
NO_TRACING = tracing.missing()
SYNCER = """
import os, sys, time
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
print("ready", flush=True)
for line in sys.stdin:
    began = time.monotonic()
    try:
        os.fdatasync(file)
        print("synced", time.monotonic() - began, flush=True)
    except OSError as error:
        print("failed", error.errno, flush=True)
"""


@pytest.mark.skipif(NO_MOUNTS is not None, reason=str(NO_MOUNTS))
def test_a_small_disk_is_full_and_has_room_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3) as disk:
        (disk / "kept").write_bytes(b"kept")
        assert 2 * MIB < fill(disk) < 3 * MIB
        with pytest.raises(OSError, match="No space"):
            (disk / "more").write_bytes(bytes(5_000))
        make_room(disk)
        (disk / "more").write_bytes(bytes(5_000))
        assert (disk / "kept").read_bytes() == b"kept"
    assert not (tmp_path / "disk" / "kept").exists()


@pytest.mark.skipif(NO_TRACING is not None, reason=str(NO_TRACING))
async def test_a_sync_fails_once_or_takes_its_time_and_is_let_go(tmp_path: Path) -> None:
    def say() -> tuple[str, float]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("sync\n")
        process.stdin.flush()
        word, value = process.stdout.readline().split()
        return word, float(value)

    command = [sys.executable, "-c", SYNCER, str(tmp_path / "file")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        async with tampered(process.pid, "fdatasync", "error=EIO:when=1"):
            assert await asyncio.to_thread(say) == ("failed", errno.EIO)
            assert (await asyncio.to_thread(say))[0] == "synced"
        async with tampered(process.pid, "fdatasync", "delay_enter=300000"):
            began = time.monotonic()
            word, seconds = await asyncio.to_thread(say)
            assert word == "synced" and seconds >= 0.3 <= time.monotonic() - began
        assert tracer_of(process.pid) == 0
        assert (await asyncio.to_thread(say))[1] < 0.3
        process.stdin.close()
