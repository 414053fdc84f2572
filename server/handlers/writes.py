"""The hot path of the server, the same for every write: one body, one decode, one answer.

Guards: what differs between writes stands in the table. Nothing here cancels what was submitted: it belongs
to the writer, and a client that hangs up changes nothing about what is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyledger.server import replies
from pyledger.server.limits import check_content_type, idempotency_key
from pyledger.server.queries import no_query
from pyledger.server.replies import BINARY_TYPE, JSON_TYPE, Answer
from pyledger.server.turns import AFTER, NAME, named

if TYPE_CHECKING:
    from pyledger.ledger import Writer
    from pyledger.server.service import Request, Service


async def single(service: Service, request: Request) -> Answer:
    """One command: what was recorded, or the problem that the ledger made of it."""
    writer = check_head(service, request)
    return submit(service, request, writer, await service.bodies.read_single(request.headers, request.proto))


def check_head(service: Service, request: Request) -> Writer:
    """Whose write it is, so far as that can be said before its body was asked for. Raises `Refused`."""
    no_query(request.query)
    writer, operation = service.writer, request.operation
    if not operation.body_optional:
        check_content_type(request.headers, operation.decodes)
    if operation.key_header:
        request.key = idempotency_key(request.headers)
    return writer


def submit(service: Service, request: Request, writer: Writer, body: bytes) -> Answer:
    """Decode a single write and leave it open. Raises `Refused`, `Malformed`, or like `Writer.submit`."""
    operation = request.operation
    service.bodies.check_depth(body)
    if body and operation.body_optional:
        check_content_type(request.headers, operation.decodes)
    commands = operation.decodes[JSON_TYPE](body, request)
    return service.answers.later(request, writer, commands)


async def batch(service: Service, request: Request) -> Answer:
    """Many commands: a result for each. A batch that follows another one is read once that one was taken."""
    no_query(request.query)
    writer = service.writer
    headers = request.headers
    form = check_content_type(headers, request.operation.decodes)
    decode = request.operation.decodes[form]
    name, follows = named(headers, NAME), named(headers, AFTER)
    with service.turns.coming(request.tenant, name) as taken:
        if follows is not None:
            await service.turns.come(request.tenant, follows, name)
        commands = await service.bodies.decode_batch(headers, request.proto, lambda body: decode(body, request), form)
        reply = writer.submit(commands)
        taken()
    return replies.batch(await service.answers.wait(reply), binary=form == BINARY_TYPE, name=name)
