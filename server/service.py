"""What a handler works with: the opened ledger and the bounds, and one request.

Guards: handlers get at the ledger through `writer` and `reads` only, so a server that does not own the
shard yet, or not any more, refuses in this one place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from pyledger.server.problems import Refused
from pyledger.server.replies import CLOSE, RETRY_AFTER
from pyledger.server.turns import Turns

if TYPE_CHECKING:
    from pyledger._rust import Commands, Reply
    from pyledger.identity import Principal
    from pyledger.ledger import Ledger, Proofs, Reads, Statements, Writer
    from pyledger.server.access import Authenticator
    from pyledger.server.answers import Answers
    from pyledger.server.limits import Bodies
    from pyledger.server.metrics import Metrics
    from pyledger.server.operations import Operation
    from pyledger.server.rsgi import HeaderMap, HTTPProtocol, HTTPScope

PAGE_ROWS_DEFAULT: Final = 100
"""Rows of a page when the client does not say."""

DOCUMENTS_MAX: Final = 4
"""Documents at once, until they were taken: each some 11 MB at most, and twice that as it is made."""
PAST_MAX: Final = 32
"""Other questions about the past at once, of which a few are answered and the rest wait: what a tenant asks keeps
another one waiting for seconds at most."""
TRIALS_MAX: Final = 4
"""Whole trial balances that are added up at once: each some 10 MB of 10,000 accounts."""

STARTING: Final = "starting"
STOPPING: Final = "stopping"


class Places:
    """How much of one kind may go on at once; beyond it there is a problem."""

    def __init__(self, places_max: int, problem: str) -> None:
        self.places_max, self._problem = places_max, problem
        self.taken = 0
        self._of_tenant: dict[int, int] = {}

    @contextlib.contextmanager
    def place(self, tenant: int) -> Iterator[None]:
        """One more. A tenant leaves a quarter of the places to others. Raises `Refused`."""
        own = self._of_tenant.get(tenant, 0)
        if self.taken >= self.places_max or own >= max(1, self.places_max * 3 // 4):
            raise Refused(self._problem, headers=(RETRY_AFTER,))
        self.taken += 1
        self._of_tenant[tenant] = own + 1
        try:
            yield
        finally:
            self.taken -= 1
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]


class FeedBounds(Places):
    """How many may follow the feed at once, and how long one request may wait."""

    def __init__(self, readers_max: int, wait_s: int) -> None:
        super().__init__(readers_max, "feed_full")
        self.wait_s = wait_s


class Service:
    """One server process: what all requests share."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        bodies: Bodies,
        answers: Answers,
        metrics: Metrics,
        page_rows_max: int,
        feed: FeedBounds,
    ) -> None:
        self.authenticator = authenticator
        self.bodies = bodies
        self.answers = answers
        self.metrics = metrics
        self.page_rows_max = page_rows_max
        self.feed = feed
        self.turns = Turns()
        self.documents = Places(DOCUMENTS_MAX, "too_many_at_once")
        self.past = Places(PAST_MAX, "too_many_at_once")
        self.trials = Places(TRIALS_MAX, "too_many_at_once")
        self.openapi = b""
        self.shard = 0
        self.metrics_open_on_loopback = True
        self.ledger: Ledger | None = None
        self.stopping = False

    @property
    def writer(self) -> Writer:
        """The writer. Raises `Refused` before there is one and once the server is stopping."""
        return self.opened().writer

    @property
    def reads(self) -> Reads:
        """The reads. Raises `Refused` like `writer`."""
        return self.opened().reads

    @property
    def proofs(self) -> Proofs:
        """The proofs. Raises `Refused` like `writer`."""
        return self.opened().proofs

    @property
    def statements(self) -> Statements:
        """The statements. Raises `Refused` like `writer`."""
        return self.opened().statements

    @property
    def state(self) -> str:
        """What `/readyz` shows."""
        if self.stopping:
            return STOPPING
        return STARTING if self.ledger is None else str(self.ledger.state.value)

    def page_limit(self, asked: int | None) -> int:
        """Rows of a page: what was asked, or the default. Raises `Refused` above the bound."""
        if asked is None:
            return min(PAGE_ROWS_DEFAULT, self.page_rows_max)
        if not 1 <= asked <= self.page_rows_max:
            detail = f"A page has 1 to {self.page_rows_max} rows."
            raise Refused("parameter_invalid", detail, parameter="limit")
        return asked

    def opened(self) -> Ledger:
        """The ledger. Raises `Refused` like `writer`."""
        if self.stopping:
            raise Refused("stopping", headers=(RETRY_AFTER, CLOSE))
        if self.ledger is None:
            raise Refused("unavailable", "The server is starting.", (RETRY_AFTER,))
        return self.ledger


class Answering(Protocol):
    """Who answers a request that its handler left open."""

    def finish(self, request: Request, reply: Reply | Exception) -> None:
        """Raises nothing."""


class Request:
    """One request, as far as its handler needs to know it."""

    __slots__ = ("answering", "headers", "identifier", "key", "operation", "principal", "proto", "scope", "started_s")

    def __init__(
        self,
        answering: Answering,
        started_s: float,
        operation: Operation,
        scope: HTTPScope,
        headers: HeaderMap,
        proto: HTTPProtocol,
        identifier: str,
        principal: Principal | None,
    ) -> None:
        self.answering = answering
        self.started_s = started_s
        self.operation = operation
        self.scope = scope
        self.headers = headers
        self.proto = proto
        self.identifier = identifier
        self.principal = principal
        self.key: str | None = None

    def finish(self, reply: Reply | Exception) -> None:
        """Answer it, now that its handler is long gone. Raises nothing."""
        self.answering.finish(self, reply)

    @property
    def query(self) -> str:
        """The query string, as it was sent."""
        return self.scope.query_string

    @property
    def tenant(self) -> int:
        """Whose books. Only operations with a scope may ask."""
        if self.principal is None:
            raise AssertionError("an operation without a scope has no tenant")
        return self.principal.tenant


Decode = Callable[[bytes, Request], "Commands"]
"""What a body asks for. Raises `Malformed`, or `Refused` for what is wrong with the path."""
