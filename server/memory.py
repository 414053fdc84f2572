"""How the C library keeps what was freed: in one place, where every thread finds it again.

Guards: what a server holds after a crowd is what it needed at once, not that once for each thread.
"""

from __future__ import annotations

import ctypes
from typing import Final

_ARENA_MAX: Final = -8
"""The number of the option in glibc's malloc.h."""


def keep_one_arena() -> None:
    """Before the first thread: glibc gives each its own arena, and bodies and replies of megabytes pass through all
    of them. A lock for each large buffer costs nothing beside filling it. Other C libraries are left alone."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_ARENA_MAX, 1)
