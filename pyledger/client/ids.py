"""UUIDv7 ids (RFC 9562): unique everywhere, in the order of their making within this process.

Time-ordered ids let the database append to the end of its index, and let the server know without a
look-up that a new id is new. Guarded here: no id is given twice, and each is larger than the one before,
also when the clock stands still or is set back, and also after a fork.
"""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

_TAIL_BITS = 74  # 12 bits of rand_a and 62 of rand_b, used as one counter with a random start
_STEP_BITS = 32  # each further id of a millisecond steps by 1 to 2^32, so that none can be guessed
_LOW_BITS = 62
_VERSION = 7 << 76
_VARIANT = 2 << 62


class _Maker:
    """The last id made, and the lock that keeps two threads from making the same next one."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.lock = threading.Lock()
        self.millisecond = 0
        self.tail = 0

    def next(self) -> UUID:
        with self.lock:
            now = time.time_ns() // 1_000_000
            if now > self.millisecond:
                # The top bit starts clear, so that a millisecond has room for 2^41 further ids at least.
                self.millisecond = now
                self.tail = int.from_bytes(os.urandom(10)) >> (80 - _TAIL_BITS + 1)
            else:
                self.tail += 1 + int.from_bytes(os.urandom(_STEP_BITS // 8))
            if self.tail >> _TAIL_BITS:
                self.millisecond += 1
                self.tail = int.from_bytes(os.urandom(10)) >> (80 - _TAIL_BITS + 1)
            high, low = self.tail >> _LOW_BITS, self.tail & ((1 << _LOW_BITS) - 1)
            return UUID(int=self.millisecond << 80 | _VERSION | high << 64 | _VARIANT | low)


_maker = _Maker()


# A child must not go on counting where its parent does, nor wait for a lock that a thread of it held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_maker.start)


def new_id() -> UUID:
    """A new UUIDv7, larger than every id that this process made before."""
    return _maker.next()
