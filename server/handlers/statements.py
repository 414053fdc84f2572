"""Statements of an account, as JSON pages or as documents in one piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from pyledger.ledger.statements import (
    HistoryArchived,
    HistoryNotIndexed,
    LedgerTooLarge,
    NotOpenedYet,
    Period,
    StatementTooLong,
    TooManyRows,
)
from pyledger.server.documents import CSV, HTML, as_csv, as_html
from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, ledger_of, read_query, uuid_of
from pyledger.server.replies import JSON, OK, RETRY_AFTER, Answer
from pyledger.server.schemas import StatementQuery, TrialQuery

if TYPE_CHECKING:
    from pyledger.server.service import Request, Service


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
        raise Refused("history_archived") from error
    except TooManyRows as error:
        raise Refused("too_many_rows") from error
    except LedgerTooLarge as error:
        raise Refused("ledger_too_large") from error
    except StatementTooLong as error:
        raise Refused("statement_too_long") from error


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
    with answerable():
        if asked.format == "json":
            limit = service.page_limit(asked.limit)
            found = await service.statements.page(request.tenant, account, period, asked.cursor, limit)
        else:
            found = await service.statements.whole(request.tenant, account, period)
    if found is None:
        raise Refused("account_not_found")
    match asked.format:
        case "csv":
            return OK, CSV, as_csv(found)
        case "html":
            return OK, HTML, as_html(found)
    return OK, JSON, msgspec.json.encode(found)


async def trial_balance(service: Service, request: Request) -> Answer:
    """A ledger's trial balance, by code or account by account."""
    asked = read_query(request.query, TrialQuery)
    number = ledger_of(request.identifier)
    moment_ns = None if asked.as_of is None else instant_of(asked.as_of, "as_of")
    if asked.accounts == "false" and (asked.cursor is not None or asked.limit is not None):
        raise Refused("parameter_invalid", "Only accounts come in pages.", parameter="accounts")
    trial = service.statements.trial
    with answerable("ledger"):
        if asked.accounts == "true":
            limit = service.page_limit(asked.limit)
            found = await trial.page(request.tenant, number, moment_ns, asked.cursor, limit)
        else:
            found = await trial.whole(request.tenant, number, moment_ns)
    if found is None:
        raise Refused("ledger_not_found")
    return OK, JSON, msgspec.json.encode(found)
