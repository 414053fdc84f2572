"""Statements of an account, as JSON pages or as documents in one piece.

Guards: a document is whole and adds up before its first byte is sent. It keeps its place until its reader has taken it,
for what is not taken stays in memory; whoever does not take a byte for long is cut off by the kernel, see host.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from granian._granian import RSGIProtocolClosed, RSGIProtocolError

from pyledger.ledger.statements import (
    HistoryArchived,
    HistoryNotIndexed,
    HistoryTooSlow,
    LedgerTooLarge,
    NotOpenedYet,
    Period,
    StatementTooLong,
    TooManyRows,
)
from pyledger.ledger.times import instant
from pyledger.server.documents import FORMS, Document, made
from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, ledger_of, read_query, uuid_of
from pyledger.server.replies import CLOSE, JSON, OK, RETRY_AFTER, STREAMED, Answer
from pyledger.server.schemas import StatementQuery, TrialQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service

DOCUMENT_S_MAX: Final = 60.0
"""A document that took so long is given up: eleven looks of half a second, and others' in between."""
TAKEN_S_MAX: Final = 600.0
"""Whoever takes a document so slowly does not keep its place from others."""
LOOK_AGAIN_S: Final = 0.5
"""How often it is looked whether the server stops while a reader takes its document."""


def here_since(moment_ns: int | None) -> dict[str, Any]:
    """From when on nothing is archived, where that is known."""
    return {} if moment_ns is None else {"here_since": instant(moment_ns)}


@contextlib.contextmanager
def answerable(noun: str = "account") -> Iterator[None]:
    """What history cannot answer, as problems."""
    try:
        yield
    except NotOpenedYet as error:
        code = "account_not_found" if noun == "account" else "ledger_not_found"
        raise Refused(code, f"The {noun} was opened after this moment.") from error
    except HistoryNotIndexed as error:
        raise Refused("history_not_indexed", headers=(RETRY_AFTER,)) from error
    except HistoryArchived as error:
        raise Refused("history_archived", **here_since(error.here_since_ns)) from error
    except HistoryTooSlow as error:
        raise Refused("history_too_slow", headers=(RETRY_AFTER,)) from error
    except TooManyRows as error:
        raise Refused("too_many_rows") from error
    except LedgerTooLarge as error:
        raise Refused("ledger_too_large") from error
    except StatementTooLong as error:
        raise Refused("statement_too_long") from error


@contextlib.asynccontextmanager
async def in_time(timeout_s: float) -> AsyncIterator[None]:
    """A question of the past, that may take so long."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise Refused("history_too_slow", headers=(RETRY_AFTER,)) from error


async def get(service: Service, request: Request) -> Answer:
    """A statement, in the form that is asked for."""
    asked = read_query(request.query, StatementQuery)
    account = uuid_of(request.identifier)
    period = Period(
        None if asked.since is None else instant_of(asked.since, "since"),
        None if asked.until is None else instant_of(asked.until, "until"),
        asked.holds == "true",
        asked.by,
    )
    if period.holds and period.by == "effective":
        raise Refused("parameter_invalid", "A hold has no effective date.", parameter="holds")
    if asked.format != "json" and (asked.cursor is not None or asked.limit is not None):
        raise Refused("parameter_invalid", "Only JSON comes in pages.", parameter="format")
    if asked.format != "json":
        return await _document(service, request, account, period, FORMS[asked.format])
    limit = service.page_limit(asked.limit)
    with service.past.place(request.tenant):
        async with in_time(service.answers.timeout_s), service.statements.pace.making:
            with answerable():
                found = await service.statements.page(request.tenant, account, period, asked.cursor, limit)
            if found is None:
                raise Refused("account_not_found")
            return OK, JSON, await service.statements.pace.piece(partial(msgspec.json.encode, found))


async def _document(service: Service, request: Request, account: str, period: Period, form: type[Document]) -> Answer:
    with service.documents.place(request.tenant):
        async with in_time(DOCUMENT_S_MAX):
            with answerable():
                pages = service.statements.pages(request.tenant, account, period)
                body = await made(form, pages, service.statements.pace)
        if body is None:
            raise Refused("account_not_found")
        gone = asyncio.ensure_future(request.proto.client_disconnect())
        try:
            with contextlib.suppress(RSGIProtocolClosed, RSGIProtocolError):
                await request.proto.response_stream(OK, [*form.headers, CLOSE]).send_bytes(body)
            del body
            # Not in one piece, though it is: only at the end of a stream is it told when Granian closes the connection.
            until_s = time.monotonic() + TAKEN_S_MAX
            while not gone.done() and not service.stopping and time.monotonic() < until_s:
                await asyncio.wait({gone}, timeout=LOOK_AGAIN_S)
        finally:
            gone.cancel()
    return STREAMED


async def trial_balance(service: Service, request: Request) -> Answer:
    """A ledger's trial balance, by code or account by account."""
    asked = read_query(request.query, TrialQuery)
    number = ledger_of(request.identifier)
    moment_ns = None if asked.as_of is None else instant_of(asked.as_of, "as_of")
    if asked.accounts == "false" and (asked.cursor is not None or asked.limit is not None):
        raise Refused("parameter_invalid", "Only accounts come in pages.", parameter="accounts")
    trial = service.statements.trial
    async with in_time(service.answers.timeout_s):
        with answerable("ledger"):
            if asked.accounts == "true":
                limit = service.page_limit(asked.limit)
                with service.past.place(request.tenant):
                    async with service.statements.pace.making:
                        found = await trial.page(request.tenant, number, moment_ns, asked.cursor, limit)
            else:
                with service.trials.place(request.tenant):
                    found = await trial.whole(request.tenant, number, moment_ns)
    if found is None:
        raise Refused("ledger_not_found")
    return OK, JSON, msgspec.json.encode(found)
