"""Every byte that an append and its COMMIT have on the wire, as a table of cuts, with the message each lies in.

Guards: the table is measured on the wire of this very run, so that a change of the protocol cannot leave bytes
out; and a prefix of it is spread over all of it, so that a short run is a fair sample of a long one.
"""

from __future__ import annotations

import random
import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from tests.faults.proxy import Armed, Way

UP_MESSAGES: Final = {
    "Q": "Query", "P": "Parse", "B": "Bind", "D": "Describe", "E": "Execute", "S": "Sync", "H": "Flush",
    "d": "CopyData", "c": "CopyDone", "C": "Close",
}  # fmt: skip
DOWN_MESSAGES: Final = {
    "Z": "ReadyForQuery", "C": "CommandComplete", "G": "CopyInResponse", "1": "ParseComplete", "2": "BindComplete",
    "t": "ParameterDescription", "T": "RowDescription", "D": "DataRow", "n": "NoData", "3": "CloseComplete",
}  # fmt: skip


READY_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Place:
    """One byte at which the wire is cut: so many pass, and then none."""

    shape: str
    way: Way
    after_bytes: int
    within: str
    """The message that is cut in two, or whose end is the last that passes."""
    whole: bool
    """Whether all that the server sends has passed by then, so that PostgreSQL commits."""


def messages(data: bytes, names: dict[str, str]) -> list[tuple[int, str]]:
    """Where each message of PostgreSQL's protocol begins, and what it is called."""
    found, at = [], 0
    while at + 5 <= len(data):
        kind = chr(data[at])
        (length,) = struct.unpack_from(">I", data, at + 1)
        name = names.get(kind, kind)
        found.append((at, name))
        at += 1 + length
    return found


def before_the_last(down: bytes) -> int:
    """How many bytes the server waits for before it sends the last of an append: those of the answer to rows that were
    sent ahead. For an append that is one message it waits for nothing, not even for the leave to send rows."""
    begins = [at for at, name in messages(down, DOWN_MESSAGES) if name == "ReadyForQuery"]
    return begins[0] + READY_BYTES if len(begins) > 1 else -1


def places(shape: str, measured: Armed, seed: int) -> list[Place]:
    """Each byte of what passed, both ways, the ends included; in an order that is spread evenly."""
    found, sent = [], len(measured.passed[Way.UP])
    heard = before_the_last(bytes(measured.passed[Way.DOWN]))
    for way, names in ((Way.UP, UP_MESSAGES), (Way.DOWN, DOWN_MESSAGES)):
        data = bytes(measured.passed[way])
        begins = messages(data, names)
        for after in range(len(data) + 1):
            name = begins[max(0, bisect_right(begins, (after - 1, "\uffff")) - 1)][1]
            whole = after == sent if way is Way.UP else after > heard
            found.append(Place(shape, way, after, name, whole))
    random.Random(f"{seed}/{shape}").shuffle(found)
    return found
