"""Transfers: what their bodies say, and their history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyledger._rust import Commands, decode_resolution, decode_transfer, decode_transfers, decode_transfers_binary
from pyledger.ledger import Filter
from pyledger.server.handlers.pages import page
from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, no_query, read_query, uuid_of
from pyledger.server.replies import JSON, OK, Answer
from pyledger.server.schemas import TransferQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


def create(body: bytes, request: Request) -> Commands:
    """One transfer."""
    return decode_transfer(body, request.tenant, request.key)


def create_batch(body: bytes, request: Request) -> Commands:
    """Up to 8,190 transfers."""
    return decode_transfers(body, request.tenant)


def create_records(body: bytes, request: Request) -> Commands:
    """The same as records."""
    return decode_transfers_binary(body, request.tenant)


def post(body: bytes, request: Request) -> Commands:
    """Move what is held."""
    return decode_resolution(body, request.tenant, "post", uuid_of(request.identifier), request.key)


def void(body: bytes, request: Request) -> Commands:
    """Release what is held."""
    return decode_resolution(body, request.tenant, "void", uuid_of(request.identifier), request.key)


def reverse(body: bytes, request: Request) -> Commands:
    """Move back what was moved."""
    return decode_resolution(body, request.tenant, "reverse", uuid_of(request.identifier), request.key)


async def get(service: Service, request: Request) -> Answer:
    """One transfer as it was decided."""
    no_query(request.query)
    found = await service.reads.transfer(request.tenant, uuid_of(request.identifier))
    if found is None:
        raise Refused("transfer_not_found")
    return OK, JSON, found


async def list_page(service: Service, request: Request) -> Answer:
    """Transfers by account, ledger, reference and time."""
    asked = read_query(request.query, TransferQuery)
    wanted = Filter(
        account=None if asked.account_id is None else uuid_of(asked.account_id, "account_id"),
        ledger=asked.ledger,
        reference=asked.reference,
        from_ns=None if asked.since is None else instant_of(asked.since, "since"),
        until_ns=None if asked.until is None else instant_of(asked.until, "until"),
        oldest_first=asked.order == "oldest",
    )
    limit = service.page_limit(asked.limit)
    return page(await service.reads.transfers(request.tenant, wanted, asked.cursor, limit))
