"""What `pyledger._rust` has for partitions that are over, as a stub of its own. There is no such module.

Units and errors are those of `_rust.pyi`.
"""

from typing import final

from pyledger._rust import Engine

@final
class IdFilter:
    """Ids that a partition may have: it never says no of one that was added, and yes of one in a thousand others."""

    def __new__(cls, ids: int) -> IdFilter:
        """An empty one with room for so many ids."""
    @staticmethod
    def load(stored: bytes) -> IdFilter:
        """What `stored` returned. Raises `Corrupt` if it is anything else."""
    def add(self, copy: bytes) -> int:
        """Add the ids of a COPY OUT stream of tenant and id, and return how many. Raises `Corrupt`, or
        `RuntimeError` once an engine knows it."""
    def stored(self) -> bytes:
        """What is to be stored, with a SHA-256 over it."""
    @staticmethod
    def teach(engine: Engine, filters: list[IdFilter], until_ns: int) -> None:
        """Let an engine know filters of all ids that were recorded before `until_ns`, instead of those before."""
    @property
    def bytes(self) -> int:
        """Bytes in memory."""

@final
class TreeEdge:
    """The tree of RFC 6962 over leaves that come piece by piece."""

    def __new__(cls) -> TreeEdge:
        """Without leaves."""
    def add(self, leaves: bytes) -> None:
        """Add leaves that are hashes already, 32 bytes each, one after the other."""
    def root(self) -> bytes:
        """The root over all of them; the same as `tree_root`."""

def suspects(copy: bytes, filters: list[IdFilter]) -> list[tuple[int, int, str]]:
    """Which ids of a COPY OUT stream of tenant and id some filters may have: number of the filter, tenant, id."""
