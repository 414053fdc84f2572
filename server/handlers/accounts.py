"""Accounts: what their bodies say, and balances."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyledger._rust import Commands, decode_account, decode_accounts
from pyledger.server.handlers.pages import page
from pyledger.server.handlers.statements import answerable, in_time
from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, read_query, uuid_of
from pyledger.server.replies import JSON, OK, Answer
from pyledger.server.schemas import AccountMoment, AccountQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


def create(body: bytes, request: Request) -> Commands:
    """Open one account."""
    return decode_account(body, request.tenant, request.key)


def create_batch(body: bytes, request: Request) -> Commands:
    """Open up to 8,190 accounts."""
    return decode_accounts(body, request.tenant)


async def get(service: Service, request: Request) -> Answer:
    """One account with its balances now, or as of a moment."""
    asked = read_query(request.query, AccountMoment)
    account = uuid_of(request.identifier)
    if asked.as_of is None and asked.by == "effective":
        raise Refused("parameter_invalid", "By effective date there is a balance as of a moment.", parameter="by")
    if asked.as_of is None:
        async with asyncio.timeout(service.answers.timeout_s):
            found = await service.reads.account(request.tenant, account)
    else:
        moment_ns = instant_of(asked.as_of, "as_of")
        with service.past.place(request.tenant), answerable():
            async with in_time(service.answers.timeout_s):
                found = await service.statements.account(request.tenant, account, moment_ns, asked.by)
    if found is None:
        raise Refused("account_not_found")
    return OK, JSON, found


async def list_page(service: Service, request: Request) -> Answer:
    """Accounts in the order in which they were opened."""
    asked = read_query(request.query, AccountQuery)
    limit = service.page_limit(asked.limit)
    return page(await service.reads.accounts(request.tenant, asked.ledger, asked.cursor, limit))
