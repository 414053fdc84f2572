"""When to send a request again, and how long to wait before.

Guarded here: a request is repeated only if the server said so (429, 502, 503, 504) or said nothing at all,
always with the same bytes and so with the same id; and never for longer than the deadline, or more often
than the attempts allow.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
# A refusal at the door took nothing. A gateway that gave up on its answer may have passed the request on,
# and a 503 can be the ledger's own "outcome unknown".
_TAKEN_NOT = frozenset({429})


@dataclass(frozen=True, slots=True)
class Retry:
    """The bounds of retrying. `attempts_max=1` never retries."""

    attempts_max: int = 10
    deadline_s: float = 60.0
    first_wait_s: float = 0.05
    wait_max_s: float = 5.0

    def wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        """Seconds before the attempt after number `attempt` (from 1): full jitter over an exponential bound,
        and never before the server asked to be tried again."""
        bound: float = min(self.wait_max_s, self.first_wait_s * 2 ** min(attempt - 1, 30))
        jitter = random.uniform(0.0, bound)
        return jitter if retry_after_s is None else retry_after_s + jitter


def may_have_taken(status: int, code: str) -> bool:
    """True if a refused attempt may have taken effect nevertheless."""
    if status in _TAKEN_NOT:
        return False
    return status != 503 or code == "unknown_outcome"


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or an HTTP date."""
    if header is None:
        return None
    try:
        return max(0.0, float(int(header)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None
