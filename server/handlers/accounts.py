"""Accounts: open one or many, look at balances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyledger._rust import decode_account, decode_accounts
from pyledger.server.handlers.pages import page
from pyledger.server.limits import check_content_type, idempotency_key
from pyledger.server.problems import Refused
from pyledger.server.queries import no_query, read_query, uuid_of
from pyledger.server.replies import JSON, JSON_TYPE, OK, Answer, batch, single
from pyledger.server.schemas import AccountQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


async def create(service: Service, request: Request) -> Answer:
    """Open one account."""
    no_query(request.query)
    writer = service.writer
    headers = request.headers
    check_content_type(headers, JSON_TYPE)
    key = idempotency_key(headers)
    body = await service.bodies.read_single(headers, request.proto)
    return single(await service.answers.wait(writer.submit(decode_account(body, request.tenant, key))))


async def create_batch(service: Service, request: Request) -> Answer:
    """Open up to 8,190 accounts."""
    no_query(request.query)
    writer = service.writer
    check_content_type(request.headers, JSON_TYPE)
    commands = await service.bodies.decode_batch(request.headers, request.proto, decode_accounts, request.tenant)
    return batch(await service.answers.wait(writer.submit(commands)), binary=False)


async def get(service: Service, request: Request) -> Answer:
    """One account with its balances now."""
    no_query(request.query)
    found = await service.reads.account(request.tenant, uuid_of(request.identifier))
    if found is None:
        raise Refused("account_not_found")
    return OK, JSON, found


async def list_page(service: Service, request: Request) -> Answer:
    """Accounts in the order in which they were opened."""
    asked = read_query(request.query, AccountQuery)
    limit = service.page_limit(asked.limit)
    return page(await service.reads.accounts(request.tenant, asked.ledger, asked.cursor, limit))
