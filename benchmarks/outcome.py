"""What one worker of the load generator saw, and the ids that were acknowledged to it.

Guarded here: an id is written down as acknowledged only with the verdict that was answered for it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import judge
from benchmarks.bodies import Traffic

_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL: Final = b"\xff\xff"


@dataclass(slots=True)
class Outcome:
    """What one worker saw. Times are of the machine's monotonic clock, comparable between processes."""

    began: array[float]
    ended: array[float]
    """When the answer was there; 0 where none came."""
    transfers: array[int]
    verdicts: bytearray
    mixed: dict[int, bytes] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    answer_bytes: int = 0


def write_acknowledged(path: Path, traffic: Traffic, outcome: Outcome) -> None:
    """Every acknowledged id and whether it was accepted, as a binary COPY stream of (uuid, boolean)."""
    field_head, verdict = b"\0\2\0\0\0\x10", {judge.ACCEPTED: b"\0\0\0\1\1", judge.DECLINED: b"\0\0\0\1\0"}
    with path.open("wb") as out:
        out.write(_COPY_HEAD)
        for index, ended in enumerate(outcome.ended):
            if not ended or outcome.verdicts[index] == judge.REFUSED:
                continue
            ids, whole = traffic.ids[index], outcome.verdicts[index : index + 1]
            verdicts = outcome.mixed.get(index) or bytes(whole) * (len(ids) // 16)
            out.write(
                b"".join(
                    field_head + ids[16 * each : 16 * each + 16] + verdict[what]
                    for each, what in enumerate(verdicts)
                    if what in verdict
                )
            )
        out.write(_COPY_TAIL)
