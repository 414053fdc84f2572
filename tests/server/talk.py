"""Talking to a server: whole requests, and bytes on a socket where a client library would not do."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

JSON = "application/json"
BINARY = "application/vnd.pyledger.transfers"
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["type"] == "urn:pyledger:problem:" + problem["code"]
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return str(problem["code"])

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


@dataclass(frozen=True)
class Talker:
    """One server, and who we are there."""

    url: str
    key: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """One request on a connection of its own. `body` is sent as JSON, `raw` as it is."""
        given = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            given["Content-Type"] = JSON
        given |= headers or {}
        connection = http.client.HTTPConnection(self.netloc, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, raw, {name: value for name, value in given.items() if value})
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, found, reply.read())

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("POST", path, body, **more)

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def connect(self, timeout_s: float = TIMEOUT_S) -> socket.socket:
        return socket.create_connection(self.address, timeout=timeout_s)

    def send(self, *parts: bytes | float, timeout_s: float = TIMEOUT_S, half_close: bool = False) -> bytes:
        """Send bytes as they are, pause for each number, and read until the other end closes or is silent."""
        with self.connect(timeout_s) as wire:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    if isinstance(part, bytes):
                        wire.sendall(part)
                    else:
                        time.sleep(part)
                if half_close:
                    wire.shutdown(socket.SHUT_WR)
            return read_all(wire)


def read_all(wire: socket.socket) -> bytes:
    """Everything until the end, or until it falls silent."""
    found = b""
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while piece := wire.recv(65_536):
            found += piece
    return found


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Books(Talker):
    """A server with ledger 1, and accounts to move money between."""

    cash: str = ""
    wallet: str = ""
    """Must not be overdrawn."""

    def transfer(self, **fields: Any) -> dict[str, Any]:
        """A transfer of 100 from cash to the wallet, with these fields instead."""
        whole = {
            "id": new_id(),
            "debit_account_id": self.cash,
            "credit_account_id": self.wallet,
            "amount": "100",
            "ledger": 1,
            "code": 1,
        }
        return {name: value for name, value in (whole | fields).items() if value is not None}

    def account(self, *flags: str, ledger: int = 1) -> str:
        """Open an account."""
        answer = self.post("/v1/accounts", {"id": new_id(), "ledger": ledger, "code": 1, "flags": list(flags)})
        assert answer.status == 201, answer
        return str(answer.json["id"])

    def moved(self, **fields: Any) -> dict[str, Any]:
        """Make a transfer that is accepted; its reply."""
        answer = self.post("/v1/transfers", self.transfer(**fields))
        assert answer.status == 201, answer
        return dict(answer.json)


def open_books(url: str, key: str | None = None) -> Books:
    """Open ledger 1 and two accounts."""
    talker = Books(url, key)
    opened = talker.post("/v1/ledgers", {"id": 1, "asset": "EUR", "exponent": 2})
    assert opened.status == 201, opened
    return Books(url, key, talker.account(), talker.account("debits_must_not_exceed_credits"))
