"""What operators and their machines look at: health, readiness, metrics, the API's own description."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from pyledger.identity import Scope
from pyledger.server import access
from pyledger.server.page import DOCS, DOCS_HEADERS
from pyledger.server.queries import no_query
from pyledger.server.replies import JSON, OK, TEXT_METRICS, Answer

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service

LOOPBACK: Final = ("127.", "[::1]", "[::ffff:127.")
NOT_READY: Final = 503


async def healthz(service: Service, request: Request) -> Answer:
    """Alive: the process answers."""
    no_query(request.query)
    return OK, JSON, msgspec.json.encode({"status": "alive", "state": service.state})


async def readyz(service: Service, request: Request) -> Answer:
    """Ready: this process owns the head and PostgreSQL answers it."""
    no_query(request.query)
    state = service.state
    body: dict[str, object] = {"state": state, "shard": service.shard}
    if service.ledger is not None:
        stats = service.ledger.stats
        age_s = time.monotonic() - stats.last_commit_monotonic if stats.last_commit_monotonic else None
        body |= {
            "epoch": stats.epoch,
            "head_seq": stats.head_seq,
            "queue_rows": stats.queue_rows,
            "last_commit_age_s": None if age_s is None else round(age_s, 3),
        }
    ready = state == "serving"
    return (OK if ready else NOT_READY), JSON, msgspec.json.encode({"ready": ready, **body})


async def metrics(service: Service, request: Request) -> Answer:
    """Prometheus metrics. Open to this machine, else by a key with the scope `metrics`."""
    no_query(request.query)
    here = request.scope.client.startswith(LOOPBACK) and not access.is_forwarded(request.headers)
    if not (service.metrics_open_on_loopback and here):
        principal = service.authenticator.known(request.headers)
        if principal is None:
            principal = await service.authenticator.find(request.headers)
        access.require(principal, Scope.METRICS)
    return OK, TEXT_METRICS, service.metrics.render()


async def openapi(service: Service, request: Request) -> Answer:
    """The OpenAPI document."""
    no_query(request.query)
    return OK, JSON, service.openapi


async def docs(service: Service, request: Request) -> Answer:
    """A page that shows the OpenAPI document. It loads nothing from anywhere else."""
    del service
    no_query(request.query)
    return OK, DOCS_HEADERS, DOCS
