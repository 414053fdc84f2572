"""One request, sent until it is answered: the only file of the client that knows HTTP.

Guarded here: a write is repeated with the very bytes of its first attempt, so the ledger sees one command
however often the wire fails. Redirects are not followed and a key is never sent in the clear to another
machine.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from pyledger.client.errors import LedgerError, Unavailable, read_problem
from pyledger.client.retry import RETRIED_STATUSES, Retry, may_have_taken, retry_after_s

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its body, whether the command had been decided before, and the name of a batch that has one."""

    body: bytes
    replayed: bool
    attempts: int
    name: str | None


@dataclass(slots=True)
class _Attempt:
    """What one attempt came to, when it was not an answer."""

    error: LedgerError
    unknown: bool
    wait_s: float | None


def path(*parts: object) -> str:
    """A path under /v1 from parts that may hold any character."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def query(parameters: dict[str, Any]) -> str:
    """A query string of what is not None."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return "?" + urlencode(given) if given else ""


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Transport:
    """A pool of connections to one server."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        retry: Retry,
        timeout_s: float,
        connections_max: int,
        tls: ssl.SSLContext | None,
        plain_http_ok: bool,
    ) -> None:
        base = URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError(f"not an http or https URL: {url!r}")
        if key is not None and base.scheme == "http" and not (_is_loopback(base.host) or plain_http_ok):
            raise ValueError("refusing to send a key over plain HTTP to another machine: use https")
        self._base = str(base).rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._retry = retry
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls = tls
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections_max, ssl=self._tls or True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        more: Callable[[], Mapping[str, str]] = dict,
    ) -> Answer:
        """The answer to this request; raises a LedgerError for any other end. `more` gives further headers, those of
        the moment of each attempt."""
        headers = self._headers | {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        give_up = monotonic() + self._retry.deadline_s
        unknown, attempt = False, 0
        while True:
            attempt += 1
            ended = await self._attempt(method, target, body, {**headers, **more()}, attempt)
            if isinstance(ended, Answer):
                return ended
            unknown |= ended.unknown and method != "GET"
            wait_s = ended.wait_s
            if wait_s is None:
                raise ended.error
            if attempt >= self._retry.attempts_max or monotonic() + wait_s > give_up:
                last = ended.error
                raise Unavailable(
                    last.code, last.detail, last.status, attempts=attempt, outcome_unknown=unknown
                ) from last
            await asyncio.sleep(wait_s)

    async def _attempt(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], attempt: int
    ) -> Answer | _Attempt:
        url = URL(self._base + target, encoded=True)
        try:
            # A file-like body is written piece by piece: a batch of megabytes does not hold up the loop.
            data = None if body is None else io.BytesIO(body)
            async with self._open().request(method, url, data=data, headers=headers, allow_redirects=False) as response:
                content, status, heads = await response.read(), response.status, response.headers
        except aiohttp.ClientSSLError as failure:
            # A certificate does not get better by trying again.
            return _Attempt(LedgerError("tls_failed", str(failure), 0), unknown=False, wait_s=None)
        except aiohttp.ClientConnectorError as failure:
            # Not connected, so nothing was sent.
            return self._failed(failure, attempt, unknown=False)
        except (
            aiohttp.ClientConnectionError,
            aiohttp.ClientPayloadError,
            aiohttp.ClientResponseError,
            TimeoutError,
        ) as failure:
            return self._failed(failure, attempt, unknown=True)
        replayed = heads.get("Idempotent-Replayed") == "true"
        if 200 <= status < 300:
            return Answer(content, replayed, attempt, heads.get("Batch-Name"))
        error = read_problem(status, content, replayed=replayed)
        if status not in RETRIED_STATUSES:
            return _Attempt(error, unknown=False, wait_s=None)
        wait_s = self._retry.wait_s(attempt, retry_after_s(heads.get("Retry-After")))
        return _Attempt(error, unknown=may_have_taken(status, error.code), wait_s=wait_s)

    def _failed(self, failure: Exception, attempt: int, *, unknown: bool) -> _Attempt:
        detail = str(failure) or type(failure).__name__
        error = LedgerError("no_answer", f"The server did not answer: {detail}", 0)
        return _Attempt(error, unknown=unknown, wait_s=self._retry.wait_s(attempt, None))
