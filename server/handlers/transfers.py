"""Transfers: the hot path of the server. One body, one decode, one future, one answer.

Guards: a handler never cancels what it submitted. The future belongs to the writer; a client that hangs up
changes nothing about what is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pyledger._rust import decode_resolution, decode_transfer, decode_transfers, decode_transfers_binary
from pyledger.ledger import Filter
from pyledger.server.handlers.pages import page
from pyledger.server.limits import check_content_type, idempotency_key
from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, no_query, read_query, uuid_of
from pyledger.server.replies import BINARY_TYPE, JSON, JSON_TYPE, OK, Answer, batch, single
from pyledger.server.schemas import TransferQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


async def create(service: Service, request: Request) -> Answer:
    """One transfer."""
    no_query(request.query)
    writer = service.writer
    headers = request.headers
    check_content_type(headers, JSON_TYPE)
    key = idempotency_key(headers)
    body = await service.bodies.read_single(headers, request.proto)
    return single(await service.answers.wait(writer.submit(decode_transfer(body, request.tenant, key))))


async def create_batch(service: Service, request: Request) -> Answer:
    """Up to 8,190 transfers, as JSON or as records."""
    no_query(request.query)
    writer = service.writer
    binary = check_content_type(request.headers, JSON_TYPE, BINARY_TYPE) == BINARY_TYPE
    decode = decode_transfers_binary if binary else decode_transfers
    commands = await service.bodies.decode_batch(request.headers, request.proto, decode, request.tenant)
    return batch(await service.answers.wait(writer.submit(commands)), binary=binary)


async def post(service: Service, request: Request) -> Answer:
    """Move what is held."""
    return await _resolve(service, request, "post")


async def void(service: Service, request: Request) -> Answer:
    """Release what is held."""
    return await _resolve(service, request, "void")


async def reverse(service: Service, request: Request) -> Answer:
    """Move back what was moved."""
    return await _resolve(service, request, "reverse")


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


async def _resolve(service: Service, request: Request, action: Literal["post", "void", "reverse"]) -> Answer:
    no_query(request.query)
    writer = service.writer
    headers = request.headers
    key = idempotency_key(headers)
    body = await service.bodies.read_single(headers, request.proto)
    if body:
        check_content_type(headers, JSON_TYPE)
    target = uuid_of(request.identifier)
    return single(
        await service.answers.wait(writer.submit(decode_resolution(body, request.tenant, action, target, key)))
    )
