"""When to send a request again, and how long to wait before.

Guarded here: a request is repeated only if the server was not ready for it (408, 429, 502, 503, 504), if it
cannot say what became of it (500), or if it said nothing at all; always with the same bytes and so with the
same id; never for longer than the deadline, or more often than the attempts allow; and never after a decline.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

# The server's own ways to say 503 before it took anything. What else says 503 may be a gateway.
_NOT_TAKEN = frozenset(
    {
        "queue_full",
        "unavailable",
        "stopping",
        "connections_full",
        "bodies_full",
        "ledgers_full",
        "accounts_full",
        "holds_full",
    }
)
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


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
        jitter = random.uniform(0.0, bound)  # noqa: S311 - spreads load, guards nothing
        return jitter if retry_after_s is None else retry_after_s + jitter


def may_have_taken(status: int, code: str) -> bool:
    """True if an attempt that got this answer may have taken effect nevertheless."""
    if status == 503:
        return code not in _NOT_TAKEN
    # A gateway that gave up waiting has passed the request on; a 500 is what nobody foresaw.
    return status in (500, 502, 504)


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
