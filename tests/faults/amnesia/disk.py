"""A disk that knows what would survive a power loss: files, names, and what was synced of them.

The model is a journalling file system in its ordinary mode. What was written to a file is certain only after
fsync or fdatasync of that file; until then each page of 4 KiB may be there, be lost, or be torn between two
sectors, whatever the order it was written in. Names (create, rename, remove) and sizes change in one order; any
fsync that has to write the journal makes all names before it certain, and a power loss keeps some first part of
the rest. Guards: what was synced is never lost, and what a loss takes is decided by the seed alone.
"""

from __future__ import annotations

import errno
import random
import stat
import time
from dataclasses import dataclass, field
from typing import Final

PAGE_BYTES: Final = 4_096
SECTOR_BYTES: Final = 512
TORN: Final = 0.1
"""Of the pages that are not lost whole, so many are torn."""
ROOT: Final = 1


@dataclass(slots=True)
class Node:
    """A file or a directory, as it is now and what of it is certain."""

    number: int
    mode: int
    user: int
    group: int
    changed_ns: int
    content: bytearray = field(default_factory=bytearray)
    names: dict[bytes, int] = field(default_factory=dict)
    certain_names: dict[bytes, int] = field(default_factory=dict)
    certain_bytes: int = 0
    """The size that would be there after a loss."""
    before: dict[int, bytes] = field(default_factory=dict)
    """Pages written since the last sync, by number, as they would be after a loss."""

    @property
    def is_directory(self) -> bool:
        """Rather than a file."""
        return stat.S_ISDIR(self.mode)

    def keep_before(self, start: int, end: int) -> None:
        """Remember what the pages of these bytes hold, once for each sync."""
        for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
            if page not in self.before:
                held = self.content[page * PAGE_BYTES : min((page + 1) * PAGE_BYTES, self.certain_bytes)]
                self.before[page] = bytes(held)

    def settle(self) -> None:
        """All of the content is certain now."""
        self.before.clear()
        self.certain_bytes = len(self.content)

    def lose(self, chance: random.Random, kept: float) -> int:
        """Power is lost: go back to what is certain, but for what got through by luck. How many pages were lost."""
        live = len(self.content)
        size = live if chance.random() < kept else self.certain_bytes
        lost = 0
        for page, held in sorted(self.before.items()):
            start, new = page * PAGE_BYTES, 0
            if chance.random() < kept:
                # As a rule all of it got through; else the first sectors are new and the others old.
                torn = chance.randrange(PAGE_BYTES // SECTOR_BYTES) * SECTOR_BYTES
                new = torn if chance.random() < TORN else PAGE_BYTES
            new = min(new, max(0, live - start))  # what was cut off is not zeros, it is still there
            lost += new < PAGE_BYTES
            self.content.extend(bytes(max(0, start + PAGE_BYTES - len(self.content))))
            self.content[start + new : start + PAGE_BYTES] = held.ljust(PAGE_BYTES, b"\0")[new:]
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))
        self.settle()
        return lost


Change = tuple[int, bytes, int | None]
"""A name in a directory, and what it leads to from now on."""


class Disk:
    """All files by number. Methods raise `OSError` as a file system does."""

    def __init__(self) -> None:
        self.nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, 0, 0, time.time_ns())}
        self.lies = False
        """Whether syncs do nothing and say that they did: a disk with a volatile cache."""
        self.syncs = 0
        self._journal: list[tuple[Change, ...]] = []
        """Steps that are not certain yet, in order; each happens whole or not at all."""
        self._next = ROOT + 1

    def node(self, number: int) -> Node:
        """By number. Numbers are never used again."""
        return self.nodes[number]

    def find(self, directory: int, name: bytes) -> Node:
        """What a name leads to."""
        number = self.nodes[directory].names.get(name)
        if number is None:
            raise OSError(errno.ENOENT, "no such file")
        return self.nodes[number]

    def create(self, directory: int, name: bytes, mode: int, user: int, group: int) -> Node:
        """A new file or directory under a name that is free."""
        if name in self.nodes[directory].names:
            raise OSError(errno.EEXIST, "there is one")
        made = Node(self._next, mode, user, group, time.time_ns())
        self._next += 1
        self.nodes[made.number] = made
        self._change((directory, name, made.number))
        return made

    def remove(self, directory: int, name: bytes, *, of_directory: bool) -> None:
        """Take a name away. What it led to stays for whoever has it open."""
        self._check_removable(directory, name, of_directory=of_directory)
        self._change((directory, name, None))

    def _check_removable(self, directory: int, name: bytes, *, of_directory: bool) -> None:
        found = self.find(directory, name)
        if found.is_directory is not of_directory:
            raise OSError(errno.ENOTDIR if of_directory else errno.EISDIR, "the other kind")
        if found.names:
            raise OSError(errno.ENOTEMPTY, "not empty")

    def rename(self, directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
        """In one step, over whatever has the new name."""
        moved, replaced = self.find(directory, name), self.nodes[to_directory].names.get(to_name)
        if replaced == moved.number:
            return
        if replaced is not None:
            self._check_removable(to_directory, to_name, of_directory=moved.is_directory)
        self._change((to_directory, to_name, moved.number), (directory, name, None))

    def _change(self, *changes: Change) -> None:
        for directory, name, number in changes:
            _put(self.nodes[directory].names, name, number)
            self.nodes[directory].changed_ns = time.time_ns()
        self._journal.append(changes)

    def write(self, number: int, offset: int, data: memoryview) -> None:
        """Write bytes; not certain yet."""
        node, end = self.nodes[number], offset + len(data)
        node.keep_before(offset, end)
        if len(node.content) < offset:
            node.content.extend(bytes(offset - len(node.content)))
        node.content[offset:end] = data
        node.changed_ns = time.time_ns()

    def resize(self, number: int, size: int) -> None:
        """Cut off, or extend with zeros; not certain yet."""
        node = self.nodes[number]
        if size < len(node.content):
            node.keep_before(size, len(node.content))
            del node.content[size:]
        else:
            node.content.extend(bytes(size - len(node.content)))
        node.changed_ns = time.time_ns()

    def sync(self, number: int, *, data_only: bool = False) -> None:
        """fsync or fdatasync of a file or a directory."""
        self.syncs += 1
        if self.lies:
            return
        node = self.nodes[number]
        if not data_only or node.is_directory or len(node.content) != node.certain_bytes:
            self._write_journal(len(self._journal))
        node.settle()

    def settle(self) -> None:
        """All that there is, is certain."""
        self._write_journal(len(self._journal))
        for node in self.nodes.values():
            node.settle()

    def _write_journal(self, count: int) -> None:
        for changes in self._journal[:count]:
            for directory, name, number in changes:
                _put(self.nodes[directory].certain_names, name, number)
        del self._journal[:count]

    def lose(self, seed: int, kept: float) -> dict[str, int]:
        """The power is lost. `kept`: how likely something uncertain is there all the same, 0 to 1.

        Returns how many names and pages were lost."""
        chance = random.Random(seed)
        self._write_journal(sum(chance.random() < kept for _ in self._journal))
        names = len(self._journal)
        self._journal.clear()
        pages = sum(node.lose(chance, kept) for _, node in sorted(self.nodes.items()))
        for node in self.nodes.values():
            node.names = dict(node.certain_names)
        self._forget_unreachable()
        return {"names_lost": names, "pages_lost": pages}

    def _forget_unreachable(self) -> None:
        reached, to_do = {ROOT}, [ROOT]
        while to_do:
            below = set(self.nodes[to_do.pop()].names.values()) - reached
            reached |= below
            to_do += below
        self.nodes = {number: node for number, node in self.nodes.items() if number in reached}

    @property
    def uncertain_pages(self) -> int:
        """Pages that a loss could take."""
        return sum(len(node.before) for node in self.nodes.values())


def _put(names: dict[bytes, int], name: bytes, number: int | None) -> None:
    if number is None:
        names.pop(name, None)
    else:
        names[name] = number
