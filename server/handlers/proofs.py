"""Proofs: that a transfer was recorded, what was signed, and that it only ever grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyledger.server.handlers.pages import page
from pyledger.server.problems import Refused
from pyledger.server.queries import no_query, read_query, size_of, uuid_of
from pyledger.server.replies import JSON, OK, Answer
from pyledger.server.schemas import CheckpointQuery, ConsistencyQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


async def transfer(service: Service, request: Request) -> Answer:
    """The proof of one transfer."""
    no_query(request.query)
    found = await service.proofs.transfer(request.tenant, uuid_of(request.identifier))
    if found is None:
        raise Refused("transfer_not_found")
    return OK, JSON, found


async def list_page(service: Service, request: Request) -> Answer:
    """Signed checkpoints, the newest first."""
    asked = read_query(request.query, CheckpointQuery)
    limit = service.page_limit(asked.limit)
    return page(await service.proofs.checkpoints(request.tenant, asked.cursor, limit))


async def consistency(service: Service, request: Request) -> Answer:
    """That one checkpoint goes on where another one ended."""
    asked = read_query(request.query, ConsistencyQuery)
    found = await service.proofs.consistency(asked.first, size_of(request.identifier))
    if found is None:
        raise Refused("checkpoint_not_found")
    return OK, JSON, found
