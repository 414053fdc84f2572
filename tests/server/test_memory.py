"""What the C library keeps after threads have come and gone."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from pyledger.server.memory import keep_one_arena
if sys.argv[1] == "one":
    keep_one_arena()
at_once = threading.Barrier(4)
def work():
    at_once.wait()
    held = [ctypes.create_string_buffer(50_000) for _ in range(50)]
    at_once.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_stats"), reason="arenas are glibc's")
def test_threads_share_one_arena() -> None:
    arenas = {}
    for how in ("one", "many"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        arenas[how] = done.stderr.count("Arena")
    assert arenas["one"] == 1
    assert arenas["many"] > 1
