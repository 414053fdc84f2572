"""The Merkle tree of RFC 6962 over a shard's batches: leaf number i is the hash of batch i + 1. Pure.

The invariant: a proof needs the hashes of a few complete subtrees, some forty of them at a billion batches. Of each
256 batches the hash of their subtree is stored, of each 256 of those again, and so on; what is smaller is computed
from the batches themselves. So the work for a proof grows with the logarithm of the history, never with the history.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pyledger._rust import tree_root

HEIGHT: Final = 8
"""Levels of the binary tree between two levels that are stored."""
FANOUT: Final = 1 << HEIGHT
"""Nodes of one stored level under one node of the next."""

Hash = bytes
"""A SHA-256."""
Range = tuple[int, int]
"""Leaves from the first number up to the second, which is not included."""
Span = tuple[int, int, int]
"""Nodes of a stored level, 0 for the leaves: level, first number, and the number after the last."""
Nodes = dict[tuple[int, int], Hash]
"""Hashes by stored level and number."""


def leaf_hash(data: bytes) -> Hash:
    """The hash of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: Hash, right: Hash) -> Hash:
    """The hash of a node over its two children."""
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below a size of at least two: where RFC 6962 splits a tree."""
    return 1 << (size - 1).bit_length() - 1


def inclusion(index: int, size: int) -> list[Range]:
    """The subtrees whose hashes are the audit path of a leaf, from the leaf up."""
    assert 0 <= index < size
    path: list[Range] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def consistency(first: int, second: int) -> list[Range]:
    """The subtrees whose hashes prove that the tree of `first` leaves is the beginning of that of `second`."""
    assert 0 < first <= second
    path: list[Range] = []
    low, high = 0, second
    while high != first:
        middle = low + _split(high - low)
        if first <= middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return [(low, high), *path[::-1]] if low else path[::-1]


def _complete(low: int, high: int) -> list[tuple[int, int]]:
    """The complete subtrees that a subtree is made of, from the left: height and number."""
    found = []
    while low < high:
        height = (high - low).bit_length() - 1
        found.append((height, low >> height))
        low += 1 << height
    return found


def spans(ranges: Iterable[Range]) -> list[Span]:
    """Which stored nodes the hashes of some subtrees follow from; at most `FANOUT` of them a span."""
    wanted: dict[tuple[int, int], Range] = {}
    for low, high in ranges:
        for height, number in _complete(low, high):
            level, rest = divmod(height, HEIGHT)
            first, after = number << rest, (number + 1) << rest
            group = (level, first >> HEIGHT)
            known = wanted.get(group, (first, after))
            wanted[group] = min(known[0], first), max(known[1], after)
    return [(level, first, after) for (level, _), (first, after) in wanted.items()]


def edge(nodes: Nodes, low: int, high: int) -> list[tuple[int, Hash]]:
    """Height and hash of each complete subtree that a subtree is made of, from the left, of nodes that `spans` named.

    Raises `KeyError` if one is missing."""
    found = []
    for height, number in _complete(low, high):
        level, rest = divmod(height, HEIGHT)
        under = range(number << rest, (number + 1) << rest)
        found.append((height, tree_root(b"".join(nodes[level, each] for each in under))))
    return found


def subtree_hash(nodes: Nodes, low: int, high: int) -> Hash:
    """The hash of a subtree, of nodes that `spans` named. Raises `KeyError` if one is missing."""
    return _fold(edge(nodes, low, high))


def _fold(parts: Sequence[tuple[int, Hash]]) -> Hash:
    """The hash of what complete subtrees make up, from the left."""
    found = parts[-1][1]
    for _, left in reversed(parts[:-1]):
        found = node_hash(left, found)
    return found


def included(leaf: Hash, index: int, size: int, path: Sequence[Hash]) -> Hash | None:
    """The root that an audit path leads to; None if it is too long or too short for that leaf of such a tree."""
    if not 0 <= index < size:
        return None
    found, at = leaf, 0
    while size > 1:
        if index % 2 or index + 1 < size:
            if at == len(path):
                return None
            found = node_hash(path[at], found) if index % 2 else node_hash(found, path[at])
            at += 1
        index, size = index // 2, (size + 1) // 2
    return found if at == len(path) else None


def consistent(first: int, second: int, first_root: Hash, second_root: Hash, path: Sequence[Hash]) -> bool:
    """Whether a path proves that the tree of `first` leaves is the beginning of the tree of `second`."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    # Number of the last leaf of either tree; the first tree's trailing complete subtree is where both begin.
    old, new = first - 1, second - 1
    while old % 2:
        old, new = old // 2, new // 2
    left = list(path)
    if old:
        if not left:
            return False
        old_hash = new_hash = left.pop(0)
    else:
        old_hash = new_hash = first_root
    while new:
        if old % 2 or old < new:
            if not left:
                return False
            other = left.pop(0)
            if old % 2:
                old_hash, new_hash = node_hash(other, old_hash), node_hash(other, new_hash)
            else:
                new_hash = node_hash(new_hash, other)
        old, new = old // 2, new // 2
    return not left and (old_hash, new_hash) == (first_root, second_root)


class Growing:
    """A tree to which one leaf after the other is added; it keeps the complete subtrees at its right edge only."""

    def __init__(
        self, on_node: Callable[[int, int, Hash], None] | None = None, edge: Iterable[tuple[int, Hash]] = ()
    ) -> None:
        """`on_node` hears of each stored node above the leaves that gets complete: level, number, hash.

        It goes on where a tree ended whose complete subtrees are given as `edge()` does."""
        self._edge = list(edge)
        self.size = sum(1 << height for height, _ in self._edge)
        self._on_node = on_node

    def add(self, leaf: Hash) -> None:
        """Add one leaf."""
        height, found = 0, leaf
        while self._edge and self._edge[-1][0] == height:
            found = node_hash(self._edge.pop()[1], found)
            height += 1
            if height % HEIGHT == 0 and self._on_node is not None:
                self._on_node(height // HEIGHT, self.size >> height, found)
        self._edge.append((height, found))
        self.size += 1

    def root(self) -> Hash:
        """The root over all leaves; there must be one."""
        return _fold(self._edge)
