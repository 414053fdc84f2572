"""Ledgers: what a body says, and looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyledger._rust import Commands, decode_ledger
from pyledger.server.handlers.pages import page
from pyledger.server.problems import Refused
from pyledger.server.queries import ledger_of, no_query, read_query
from pyledger.server.replies import JSON, OK, Answer
from pyledger.server.schemas import LedgerQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


def create(body: bytes, request: Request) -> Commands:
    """Open a ledger. Its number is its id, so the request is idempotent by itself."""
    return decode_ledger(body, request.tenant)


async def get(service: Service, request: Request) -> Answer:
    """One ledger."""
    no_query(request.query)
    found = await service.reads.ledger(request.tenant, ledger_of(request.identifier))
    if found is None:
        raise Refused("ledger_not_found")
    return OK, JSON, found


async def list_page(service: Service, request: Request) -> Answer:
    """Ledgers in the order of their numbers."""
    asked = read_query(request.query, LedgerQuery)
    limit = service.page_limit(asked.limit)
    return page(await service.reads.ledgers(request.tenant, asked.cursor, limit))
