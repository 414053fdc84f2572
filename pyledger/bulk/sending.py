"""Requests of an import on their way: several at once, and decided in the order of the file.

Guarded here: each request names the one before it, after which the server takes it or not at all; where the server does
not say that it keeps this order, there is one at a time; and once one has failed, none that was to follow it is sent.
"""

from __future__ import annotations

import asyncio
import uuid

from pyledger._rust import ReadRows
from pyledger.bulk.answers import Answered, of_json, of_records
from pyledger.bulk.nouns import BulkError, Interrupted, TooMuch
from pyledger.client.binary import CONTENT_TYPE
from pyledger.client.errors import AccessDenied, LedgerError, Unavailable
from pyledger.client.transport import JSON, Answer, Transport, path

_Sent = tuple[str, asyncio.Task[Answered]]
"""The name of a request, and what the ledger says of it."""


class Line:
    """Requests that are decided in the order in which they join."""

    def __init__(self, transport: Transport, what: str, in_flight: int) -> None:
        self._transport, self._what, self._in_flight = transport, what, in_flight
        # A name is used once: whoever goes on with this file must not be taken for us.
        self._mark, self._joined = uuid.uuid4().hex, 0
        self._last: _Sent | None = None
        self._kept = False

    @property
    def at_once(self) -> int:
        """How many requests may be on their way: one, until the server has said that it keeps their order."""
        return self._in_flight if self._kept else 1

    def join(self, request: ReadRows) -> asyncio.Task[Answered]:
        """Send one more, if there is anything to send."""
        if not request.rows:
            return asyncio.create_task(_nothing())
        self._joined += 1
        name = f"{self._mark}-{self._joined}"
        task = asyncio.create_task(self._ask(request, name, self._last))
        self._last = (name, task)
        return task

    async def _ask(self, request: ReadRows, name: str, before: _Sent | None) -> Answered:
        try:
            answer = await self._answered(request, name, before)
        except AccessDenied as error:
            raise BulkError(f"the key may not do this: {error.detail}") from error
        except LedgerError as error:
            raise _ended(request, error) from error
        self._kept = answer.name == name
        if request.binary:
            return of_records(answer.body, request.rows)
        wrong, _unknown = of_json(answer.body, request.rows)
        return wrong, request.rows if answer.replayed else 0

    async def _answered(self, request: ReadRows, name: str, before: _Sent | None) -> Answer:
        form = CONTENT_TYPE if request.binary else JSON

        async def send() -> Answer:
            return await self._transport.send(
                "POST", path(self._what, "batch"), request.body, content_type=form, accept=form,
                more=lambda: _place(name, before),
            )  # fmt: skip

        try:
            return await send()
        except LedgerError as error:
            if error.code != "out_of_turn" or before is None:
                raise
            # It was faster than the one before, or the server was started anew: its turn comes with that one's answer.
            await asyncio.wait([before[1]])
            return await send()


async def _nothing() -> Answered:
    return [], 0


def _place(name: str, before: _Sent | None) -> dict[str, str]:
    """The headers of an attempt. Raises what the request before has failed with."""
    if before is None:
        return {"Batch-Name": name}
    after, answer = before
    if answer.done():
        # What was answered needs no name, which another server, or this one after a restart, would not know.
        answer.result()
        return {"Batch-Name": name}
    return {"Batch-Name": name, "Batch-After": after}


def _ended(request: ReadRows, error: LedgerError) -> BulkError:
    lines = f"lines {request.row(0)[0]} to {request.row(request.rows - 1)[0]}"
    ended: type[BulkError] = BulkError
    if error.code in ("batch_too_large", "body_too_large"):
        ended = TooMuch
    elif isinstance(error, Unavailable) and error.outcome_unknown:
        ended = Interrupted
    return ended(f"{lines} were not answered for ({error.code}: {error.detail})")
