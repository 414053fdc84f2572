"""Clients over real HTTP, and the log of what they saw: when each asked, when it was answered, and what.

Guarded here: an answer counts only when all of its bytes have come; whatever was sent and not answered is
unknown, and is asked again with the same bytes until it is answered; every attempt has its own line. Times are
those of the kernel's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.wire import Wire, address_of
from tests.faults.traffic import BINARY_TYPE, Ask, Traffic

ANSWER_WAIT_S: Final = 15.0
"""A server answers within its `answer_timeout_ms`; one that does not is frozen."""
CONNECT_WAIT_S: Final = 2.0
PAUSE_S: Final = 0.03
"""Between two attempts of one client."""
BEHIND_MAX_S: Final = 0.25
"""What the machine could not hold is not made up for later."""
FINISH_TIMEOUT_S: Final = 60.0
TRANSIENT: Final = (408, 429, 500, 503)
"""Answers after which the outcome may still be another: ask again."""


class Connection:
    """One client's connection: one request at a time, made anew when it breaks."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self._url = ""
        self._answer: asyncio.Future[bytes] | None = None

    async def open(self, url: str) -> None:
        """Be connected to this server. Raises `OSError`; nothing was sent then."""
        if self._wire is not None and self._url == url and not self._closing(self._wire):
            return
        self.close()
        host, port = address_of(url)
        # Not `wait_for` here and below: in Python 3.11 it returns a result that comes with a cancellation, and whoever
        # was to be let go asks on for ever.
        async with asyncio.timeout(CONNECT_WAIT_S):
            _, self._wire = await asyncio.get_running_loop().create_connection(
                lambda: Wire(self._answered, self._lost), host, port
            )
        self._url = url

    async def ask(self, request: bytes) -> bytes:
        """Send, and return the whole answer. Raises `ConnectionError` or `TimeoutError`: the outcome is unknown."""
        if self._wire is None or self._closing(self._wire):
            raise ConnectionError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._wire.send(request)
            async with asyncio.timeout(ANSWER_WAIT_S):
                return await self._answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        wire, self._wire = self._wire, None
        if wire is not None:
            with contextlib.suppress(RuntimeError):
                wire.close()

    @staticmethod
    def _closing(wire: Wire) -> bool:
        """Whether the other end has hung up, though nobody has told us yet."""
        return wire.transport is None or wire.transport.is_closing()

    def _answered(self, wire: Wire, data: bytes) -> None:
        if wire is self._wire and self._answer is not None and not self._answer.done():
            self._answer.set_result(data)

    def _lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self._wire = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(ConnectionError("the connection was lost"))


class Log:
    """The lines that a checker reads, and what a cycle wants to know at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self.counts: Counter[str] = Counter()
        self.told: dict[tuple[str, str], tuple[bool, str]] = {}
        """Tenant and id of what was acknowledged by itself: accepted or not, and when it was recorded."""
        self.wrong: list[str] = []
        """What is wrong whatever the journal says."""
        self.unknown_ns: list[int] = []
        """When each was sent whose outcome was not told."""
        self.took_ns: list[int] | None = None
        """How long each answer took, for who puts a list here and empties it."""

    def add(self, ask: Ask, began_ns: int, ended_ns: int | None, answer: bytes, url: str) -> int:
        """One attempt; the status, 0 for none."""
        line: dict[str, Any] = {
            "tenant": ask.tenant, "method": ask.method, "path": ask.path, "began_ns": began_ns, "ended_ns": ended_ns,
        }  # fmt: skip
        binary = ask.content_type == BINARY_TYPE
        if ask.writes:
            line["binary" if binary else "body"] = base64.b64encode(ask.body).decode() if binary else ask.body.decode()
        status = 0
        if ended_ns is not None:
            head, _, body = answer.partition(b"\r\n\r\n")
            status = int(answer[9:12])
            line["status"] = status
            line["replayed"] = b"\r\nidempotent-replayed: true" in head.lower()
            as_records = binary and status == 200
            line["binary_reply" if as_records else "reply"] = (
                base64.b64encode(body).decode() if as_records else body.decode()
            )
            self._note(ask, status, body, url)
            if self.took_ns is not None:
                self.took_ns.append(ended_ns - began_ns)
        if ended_ns is None or (status == 503 and b'"outcome_unknown"' in answer):
            self.counts["unknown"] += 1
            self.unknown_ns.append(began_ns)
        self._file.write(json.dumps(line) + "\n")
        return status

    def _note(self, ask: Ask, status: int, body: bytes, url: str) -> None:
        self.counts["answered"] += 1
        self.counts[f"status_{status}"] += 1
        if status >= 500 and status != 503:
            self.wrong.append(f"{url} answered {status} to {ask.method} {ask.path}: {body[:200]!r}")
        if status in (200, 201, 422):
            self.counts["operations"] += ask.weight
        if status in (201, 422) and ask.weight == 1 and ask.ids:
            said = json.loads(body)
            at = said.get("recorded_at", said.get("created_at"))
            if at is not None:
                key, outcome = (ask.tenant, ask.ids[0]), (status == 201, at)
                if self.told.setdefault(key, outcome) != outcome:
                    self.wrong.append(f"{ask.ids[0]} was told {self.told[key]} and then {outcome}")

    def flush(self) -> None:
        """Everything so far can be read."""
        self._file.flush()

    def close(self) -> None:
        """No more."""
        self._file.close()


class Load:
    """Some clients that ask without end, at a pace, until told to stop; then they learn what is unknown."""

    def __init__(
        self,
        traffic: Traffic,
        log: Log,
        keys: dict[str, str],
        urls: Callable[[], list[str]],
        *,
        connections: int = 24,
        per_s: float = 5_000.0,
    ) -> None:
        self.traffic, self.log = traffic, log
        self._keys, self._urls = keys, urls
        self._connections, self.per_s = connections, per_s
        self._due_s = 0.0
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []
        self._twins: asyncio.Queue[Ask] = asyncio.Queue()

    async def open(self) -> None:
        """Send what the traffic begins with."""
        connection = Connection()
        for ask in self.traffic.opening():
            await self._until_answered(connection, ask)
        connection.close()

    def start(self) -> None:
        """Begin; whoever starts it must `finish` or `abandon` it."""
        self._stopping = False
        self._due_s = time.monotonic()
        self._clients = [asyncio.create_task(self._client(number)) for number in range(self._connections)]

    async def finish(self) -> list[str]:
        """Ask nothing new; wait until the outcome of all that was asked is known. What it could not learn."""
        self._stopping = True
        _, waiting = await asyncio.wait(self._clients, timeout=FINISH_TIMEOUT_S)
        await self.abandon()
        for client in self._clients:
            if not client.cancelled() and client.exception() is not None:
                raise client.exception() or AssertionError
        self.log.flush()
        return [f"{len(waiting)} clients do not learn an outcome in {FINISH_TIMEOUT_S:.0f} s"] if waiting else []

    async def abandon(self) -> None:
        """Let go of everything."""
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def look(self) -> None:
        """Read what the traffic ends with."""
        connection = Connection()
        for ask in self.traffic.closing():
            await self._until_answered(connection, ask)
        connection.close()

    async def _client(self, number: int) -> None:
        connection = Connection()
        try:
            while not self._stopping:
                # One of the clients sends what another one sends at the same moment.
                if number == 0:
                    await self._pace(0)
                    ask = None
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PAUSE_S):
                            ask = await self._twins.get()
                    if ask is not None:
                        await self._until_answered(connection, ask)
                    continue
                first, *twins = self.traffic.next()
                first.attempts = number  # so that some begin with each of several servers
                await self._pace(first.weight)
                for twin in twins:
                    self._twins.put_nowait(twin)
                await self._until_answered(connection, first)
        finally:
            connection.close()

    async def _pace(self, weight: int) -> None:
        now = time.monotonic()
        due, self._due_s = self._due_s, max(self._due_s, now - BEHIND_MAX_S) + weight / self.per_s
        if due > now:
            await asyncio.sleep(due - now)

    async def _until_answered(self, connection: Connection, ask: Ask) -> None:
        """Until its outcome is known; a read is asked once."""
        while True:
            status = await self._attempt(connection, ask)
            if (status and status not in TRANSIENT) or not ask.writes:
                return
            await asyncio.sleep(PAUSE_S)

    async def _attempt(self, connection: Connection, ask: Ask) -> int:
        urls = self._urls()
        url = urls[ask.attempts % len(urls)]
        try:
            await connection.open(url)
        except (OSError, TimeoutError):
            ask.attempts += 1
            self.log.counts["not_connected"] += 1
            return 0
        began_ns = time.monotonic_ns()
        try:
            answer = await connection.ask(self._request(ask, url))
        except (ConnectionError, TimeoutError):
            ask.attempts += 1
            return self.log.add(ask, began_ns, None, b"", url)
        status = self.log.add(ask, began_ns, time.monotonic_ns(), answer, url)
        if status in TRANSIENT:
            ask.attempts += 1
        return status

    def _request(self, ask: Ask, url: str) -> bytes:
        head = (
            f"{ask.method} {ask.path} HTTP/1.1\r\nhost: {url[7:]}\r\nauthorization: Bearer {self._keys[ask.tenant]}\r\n"
        )
        if ask.writes:
            head += f"content-type: {ask.content_type}\r\ncontent-length: {len(ask.body)}\r\n"
        return head.encode() + b"\r\n" + ask.body
