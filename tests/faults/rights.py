"""Which of root's rights this process has: a container may lack some, and a row that needs one is then not run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

TRACING: Final = 1 << 19
"""CAP_SYS_PTRACE."""
MOUNTING: Final = 1 << 21
"""CAP_SYS_ADMIN."""


def lacking(right: int, words: str) -> str | None:
    """Why something cannot be done here: `words` say what; None if the right is there."""
    if sys.platform != "linux":
        return "this is done on Linux only"
    found = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    if found is None or not int(found[1], 16) & right:
        return f"this process {words}: it is not root, or the container does not let it"
    return None
