"""The core's planted bugs in a process of Python: an extension that is built with them takes the shipped one's place.

Guarded here: whoever has the shipped one already does not get the other one beside it.
"""

from __future__ import annotations

import sys
import time
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from typing import Final

import pyledger
from tests.faults import cargo
from tests.faults.planted import core

NAME: Final = "pyledger._rust"


def load(bug: str) -> None:
    """Give this process the core with one bug, for good."""
    assert bug in {each.name for each in core.BUGS}, f"there is no planted bug {bug}"
    assert NAME not in sys.modules, "the shipped one is here already"
    path = str(cargo.extension())
    spec = spec_from_file_location(NAME, path, loader=ExtensionFileLoader(NAME, path))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    pyledger._rust = module  # type: ignore[attr-defined]
    module.plant(bug, time.time_ns())
