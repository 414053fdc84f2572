"""Bugs that are there on purpose, so that one knows that they would be noticed; none is in what is shipped.

`core.py` lists those of the core (behind a feature of Cargo), `protocol.py` has those of the protocols, which the
simulation lives with, and `server.py` those of the whole server: `python -m tests.faults C2 --planted BUG`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug, and what must notice it."""

    name: str
    what: str
    row: str
    within: int
    """After so many of `unit` at most the row must have seen it."""
    unit: str = "operations"
