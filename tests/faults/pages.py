"""Pages of PostgreSQL's files, changed behind its back: bits flipped where something stands, checksums made to fit.

Guarded here: a file is only touched while PostgreSQL is stopped, and only where a page is in use: what lies in the
hole between line pointers and rows is nobody's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

PAGE_BYTES: Final = 8192
HEADER_BYTES: Final = 24
CHECKSUM_AT: Final = 8
_PRIME: Final = 16777619
_LANES: Final = 32
_MASK: Final = 0xFFFF_FFFF
# As in PostgreSQL's src/include/storage/checksum_impl.h: where each of the 32 sums begins.
_BASES: Final = (
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit of one file."""

    page: int
    byte: int
    bit: int


def checksum(page: bytes, number: int) -> int:
    """What PostgreSQL writes into a page as its checksum."""
    words = list(struct.unpack(f"<{PAGE_BYTES // 4}I", page))
    words[CHECKSUM_AT // 4] &= 0xFFFF_0000  # the checksum itself counts as zero
    sums = list(_BASES)
    for start in range(0, len(words), _LANES):
        for lane in range(_LANES):
            sums[lane] = _mixed(sums[lane], words[start + lane])
    result = 0
    for each in sums:
        result ^= _mixed(_mixed(each, 0), 0)
    return (result ^ number) % 65535 + 1


def _mixed(total: int, value: int) -> int:
    mixed = total ^ value
    return (mixed * _PRIME & _MASK) ^ (mixed >> 17)


def used(page: bytes) -> list[range]:
    """The stretches of a page that mean something; none of a page that was never written."""
    lower, upper, special = struct.unpack_from("<HHH", page, 12)
    if not HEADER_BYTES <= lower <= upper <= special <= PAGE_BYTES:
        return []
    # Neither the place in the WAL, nor the checksum, nor the hint below which transaction all is old.
    return [range(10, 20), range(HEADER_BYTES, lower), range(upper, PAGE_BYTES)]


def flip(path: Path, chance: Random, *, fitting: bool) -> Flip | None:
    """Flip a bit somewhere in a file; `fitting` makes the page's checksum right again. None if it has no pages."""
    pages = [number for number in range(path.stat().st_size // PAGE_BYTES) if used(read(path, number))]
    if not pages:
        return None
    number = chance.choice(pages)
    page = bytearray(read(path, number))
    at = chance.choice([place for stretch in used(bytes(page)) for place in stretch])
    flipped = Flip(number, at, chance.randrange(8))
    page[at] ^= 1 << flipped.bit
    if fitting:
        struct.pack_into("<H", page, CHECKSUM_AT, checksum(bytes(page), number))
    with path.open("r+b") as file:
        file.seek(number * PAGE_BYTES)
        file.write(page)
    return flipped


def read(path: Path, number: int) -> bytes:
    """One page."""
    with path.open("rb") as file:
        file.seek(number * PAGE_BYTES)
        return file.read(PAGE_BYTES)
