"""From the socket to a handler and back: match, authenticate, ask, answer, measure.

Guards: every request is answered exactly once, with a row of `OPERATIONS` or with a problem, at once or by `finish`;
no exception passes this file, and none of its text reaches a client.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from time import perf_counter
from typing import TYPE_CHECKING, Final

from pyledger._rust import Malformed
from pyledger.ledger import Archived, BadCursor, Busy, CursorGone, Unavailable, UnknownOutcome
from pyledger.ledger.times import instant
from pyledger.server import access, replies
from pyledger.server.handlers import writes
from pyledger.server.operations import OPERATIONS, Operation
from pyledger.server.problems import PROBLEMS, ClientGone, Refused
from pyledger.server.service import Request, Service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyledger._rust import Reply
    from pyledger.ledger import Writer
    from pyledger.server.rsgi import HTTPProtocol, HTTPScope, Reading

log = logging.getLogger("pyledger.server")

ID: Final = "{id}"
ID_PLACE: Final = 3
"""Where the id stands in a path: /v1/<noun>/{id} and /v1/<noun>/{id}/<verb>."""

Methods = dict[str, Operation]


class Router:
    """The table, turned for lookup by path and method."""

    def __init__(self, operations: Iterable[Operation] = OPERATIONS) -> None:
        self._static: dict[str, Methods] = {}
        self._with_id: dict[str, Methods] = {}
        for operation in operations:
            paths = self._with_id if ID in operation.path else self._static
            methods = paths.setdefault(operation.path, {})
            methods[operation.method] = operation
            if operation.method == "GET":
                # The HTTP library below sends the head of the answer and leaves out its body.
                methods["HEAD"] = operation

    def find(self, path: str) -> tuple[Methods | None, str]:
        """The methods of a path, and the id in it."""
        methods = self._static.get(path)
        if methods is not None:
            return methods, ""
        parts = path.split("/", ID_PLACE + 2)
        if len(parts) <= ID_PLACE or not parts[ID_PLACE]:
            return None, ""
        identifier, parts[ID_PLACE] = parts[ID_PLACE], ID
        return self._with_id.get("/".join(parts)), identifier


class Application:
    """The RSGI application: one call a request.

    A single write does not get as far: nearly all need only a look at the head, the body, and a place in the queue. So
    the head is judged where it arrives, the body is asked for at once, and what goes on in the event loop is one
    function, without a task. Whatever is not quite as it should be goes the way of all requests, which says why.
    """

    def __init__(self, service: Service, requests_max: int) -> None:
        self._service = service
        self._router = Router()
        self._requests_max = requests_max
        self._in_flight = 0
        self._coming: dict[Reading, tuple[Request, Writer]] = {}
        self._context = contextvars.copy_context()
        self._idle: asyncio.Event | None = None

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._in_flight + len(self._coming)

    async def idle(self) -> None:
        """Wait until no request is being answered."""
        self._idle = self._idle or asyncio.Event()
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()

    def begin(self, scope: HTTPScope, proto: HTTPProtocol) -> bool:
        """Begin a single write, in the thread in which its head and then its body arrive: True if that is all it waits
        for. Raises nothing; False has changed nothing."""
        started_s, service = perf_counter(), self._service
        if self.in_flight >= self._requests_max:
            return False
        try:
            service.opened()  # first: whose key it is may be known only now
            methods, identifier = self._router.find(scope.path)
            operation = None if methods is None else methods.get(scope.method)
            if operation is None or operation.handler is not writes.single:
                return False
            headers = scope.headers
            principal = service.authenticator.known(headers)
            if principal is None or operation.scope not in principal.scopes:
                return False
            request = Request(self, started_s, operation, scope, headers, proto, identifier, principal)
            writer = writes.check_head(service, request)
            due_s = service.bodies.clock.due_s()
            reading = service.bodies.ask_single(headers, proto)
        except Exception:
            return False
        if reading is None:
            return False
        self._coming[reading] = request, writer
        # The callback is in time: the body is set by this same thread, and only what is watched is cancelled.
        reading.add_done_callback(self._arrived, self._context)
        service.bodies.clock.watch(reading, due_s)
        return True

    def _arrived(self, reading: Reading) -> None:
        """Go on with a single write now that its body is there, or is not going to be."""
        request, writer = self._coming.pop(reading)
        self._in_flight += 1
        try:
            body = self._service.bodies.clock.taken(reading)
            writes.submit(self._service, request, writer, body)
        except Exception as error:
            self.finish(request, error)
        except BaseException as error:
            self.finish(request, RuntimeError(repr(error)))
            raise

    async def __rsgi__(self, scope: HTTPScope, proto: HTTPProtocol) -> bool:
        """Answer one request; True if `finish` does it later."""
        started_s = perf_counter()
        self._in_flight += 1
        later = False
        operation: Operation | None = None
        try:
            methods, identifier = self._router.find(scope.path)
            operation = None if methods is None else methods.get(scope.method)
            if operation is None or self.in_flight > self._requests_max:
                answer = self._not_served(scope, methods)
            else:
                try:
                    headers, principal = scope.headers, None
                    if operation.scope is not None:
                        authenticator = self._service.authenticator
                        principal = authenticator.known(headers) or await authenticator.find(headers)
                        if operation.scope not in principal.scopes:
                            access.require(principal, operation.scope)
                    request = Request(self, started_s, operation, scope, headers, proto, identifier, principal)
                    answer = await operation.handler(self._service, request)
                    later = answer is replies.LATER
                except Exception as error:
                    answer = _no(operation, error)
            if not later:
                if answer is not replies.STREAMED:
                    proto.response_bytes(*answer)
                self._service.metrics.observe(operation, answer[0], perf_counter() - started_s)
        finally:
            if not later:
                self._left()
        return later

    def finish(self, request: Request, reply: Reply | Exception) -> None:
        """Answer a request that was left open. Raises nothing, for whoever calls has others to answer."""
        operation = request.operation
        try:
            answer = _no(operation, reply) if isinstance(reply, Exception) else replies.single(reply)
        except Exception as error:
            answer = _unexpected(operation, error)
        try:
            request.proto.response_bytes(*answer)
            self._service.metrics.observe(operation, answer[0], perf_counter() - request.started_s)
        except BaseException:
            log.exception("an answer of %s could not be sent", operation.name)
        finally:
            self._left()

    def _left(self) -> None:
        self._in_flight -= 1
        if self._idle is not None and not self.in_flight:
            self._idle.set()

    def _not_served(self, scope: HTTPScope, methods: Methods | None) -> replies.Answer:
        if self.in_flight > self._requests_max:
            return replies.refusal(Refused("connections_full", headers=(replies.RETRY_AFTER, replies.CLOSE)))
        if methods is None:
            return replies.refusal(Refused("not_found"))
        allow = ("allow", ", ".join(sorted({*methods, "OPTIONS"})))
        if scope.method == "OPTIONS":
            return 204, [allow, *replies.COMMON], b""
        return replies.refusal(Refused("method_not_allowed", headers=(allow,)))


def _no(operation: Operation, error: Exception) -> replies.Answer:
    """What an exception means to the client."""
    match error:
        case Refused():
            return replies.refusal(error)
        case Malformed():
            return _malformed(error)
        case Unavailable():
            return _unavailable(error)
        case TimeoutError():
            return replies.refusal(Refused("unavailable", headers=(replies.RETRY_AFTER,)))
        case CursorGone():
            return replies.refusal(Refused("cursor_gone"))
        case Archived():
            return replies.refusal(_archived(error))
        case BadCursor():
            return replies.refusal(Refused("cursor_invalid"))
        case ClientGone():
            return replies.refusal(Refused("body_incomplete", headers=(replies.CLOSE,)))
    return _unexpected(operation, error)


def _archived(error: Archived) -> Refused:
    """Where to find it, or from when on everything is here."""
    said = f"{str(error)[0].upper()}{str(error)[1:]}."
    if error.name is not None:
        return Refused("archived", said, archive=error.name)
    return Refused("history_archived", said, here_since=instant(error.until_ns))


def _malformed(error: Malformed) -> replies.Answer:
    members = {} if error.index is None else {"index": error.index}
    return replies.problem(PROBLEMS[error.code], error.detail, (), members)


def _unavailable(error: Unavailable) -> replies.Answer:
    if isinstance(error, UnknownOutcome):
        code = "outcome_unknown"
    else:
        code = "queue_full" if isinstance(error, Busy) else "unavailable"
    return replies.refusal(Refused(code, headers=(("retry-after", str(error.retry_after_s)),)))


def _unexpected(operation: Operation, error: Exception) -> replies.Answer:
    request_id = str(uuid.uuid4())
    log.error("unexpected error in %s, request %s", operation.name, request_id, exc_info=error)
    return replies.refusal(Refused("internal_error", headers=(("x-request-id", request_id),), request_id=request_id))
