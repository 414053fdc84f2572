"""Sends one request, says what its answer means, and now and then sends it again to compare.

Guarded here: latency counts from the time at which the request was due; an outcome counts only if the ledger
recorded it (accepted, or declined with the time at which that was recorded); and whatever else came back is
an error, with its commands unanswered where they may have been recorded all the same.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

import gevent
import msgspec
from geventhttpclient.response import HTTPConnectionClosed

from loadtests import nouns
from loadtests.session import Session
from pyledger.client import new_id

if TYPE_CHECKING:
    # Importing Locust patches the standard library, which only a generator process wants.
    from locust.contrib.fasthttp import FastHttpSession

CREATED, OK, DECLINED, FAILED = 201, 200, 422, 500
REPLAYED_HEADER: Final = "idempotent-replayed"
RECONNECT: Final = "connection lost, sent again"
BROKEN: Final = (HTTPConnectionClosed, ConnectionResetError, BrokenPipeError)
"""What a connection says that the server closed while nothing was under way on it, as far as it knew."""
AT_ONCE: Final = 0.25
"""Of the retries, those that are sent beside the first request instead of after its answer."""


class Reply(msgspec.Struct):
    """What a problem or a result says of itself, as far as it matters here."""

    status: str | int = ""
    code: str | int = ""
    """A problem's code; of a transfer, the number that its maker gave it."""
    refusal: str = ""
    recorded_at: str = ""


class Replies(msgspec.Struct):
    """The answer to a batch."""

    results: list[Reply]


class Sent(msgspec.Struct):
    """An answer as it came."""

    status: int
    body: bytes
    replayed: bool
    done_s: float
    resent: bool = False
    """The connection broke before this answer; the sending before may have been recorded."""


class Outcome(msgspec.Struct):
    """What became of a single command."""

    accepted: bool
    id: str
    done_s: float


_reply: Final = msgspec.json.Decoder(Reply)
_replies: Final = msgspec.json.Decoder(Replies)


class Asking:
    """One source's requests."""

    def __init__(self, client: FastHttpSession, session: Session, random: Random) -> None:
        self._client = client
        self._session = session
        self._recorder = session.recorder
        self._random = random
        self._write_headers = session.headers | {"Content-Type": "application/json"}

    def write(self, name: str, path: str, due_s: float, fields: dict[str, Any], label: str = "") -> Outcome:
        """Send one command under a new id; its outcome."""
        id = new_id()
        body = msgspec.json.encode({"id": str(id), **fields})
        self._recorder.begun += 1
        label = "/v1/transfers" + (f"/{label}" if label else "")
        sent, again = self._first(name, path, label, body, due_s)
        accepted, why = self._single(sent)
        if why:
            self._lost(sent, 1)
        else:
            self._recorder.acknowledge(id.bytes, accepted, due_s)
            if accepted:
                self._recorder.recent.append(str(id))
            again = again or self._retry(path, label, body, sent)
            if again is not None:
                self._compare(sent, again)
                if again.status in {CREATED, DECLINED}:
                    self._recorder.acknowledged_again(id.bytes, again.status == CREATED)
        return Outcome(accepted, str(id), sent.done_s)

    def batch(self, due_s: float, transfers: list[dict[str, Any]]) -> None:
        """Send transfers in one request."""
        ids = [new_id() for _ in transfers]
        for id, transfer in zip(ids, transfers, strict=True):
            transfer["id"] = str(id)
        self._recorder.begun += len(ids)
        path, body = "/v1/transfers/batch", msgspec.json.encode({"transfers": transfers})
        sent, again = self._first(nouns.BATCH, path, path, body, due_s)
        if sent.status != OK:
            self._lost(sent, len(ids))
            return
        for id, result in zip(ids, _replies.decode(sent.body).results, strict=True):
            if result.status == "refused":
                self._recorder.refused += 1
                self._recorder.failed(due_s, f"refused in a batch: {result.refusal}")
                continue
            if result.status == "declined":
                self._recorder.declines[result.refusal] += 1
            self._recorder.acknowledge(id.bytes, result.status == "accepted", due_s)
        again = again or self._retry(path, path, body, sent)
        if again is not None:
            self._compare(sent, again)

    def read(self, name: str, path: str, label: str, due_s: float) -> None:
        """Send a read; what is asked for must be there."""
        self._send("GET", name, path, label, None, due_s)

    def _first(self, name: str, path: str, label: str, body: bytes, due_s: float) -> tuple[Sent, Sent | None]:
        """Send a write; now and then twice at once, as an impatient caller does. The first one's answer first."""
        if self._random.random() >= self._session.plan.behaviour.retry * AT_ONCE:
            return self._send("POST", name, path, label, body, due_s), None
        now_s = self._session.now_s()
        twin = gevent.spawn(self._send, "POST", nouns.RETRY, path, label, body, now_s)
        one = self._send("POST", name, path, label, body, due_s)
        other: Sent = twin.get()
        return (other, one) if one.replayed and not other.replayed else (one, other)

    def _retry(self, path: str, label: str, body: bytes, sent: Sent) -> Sent | None:
        """Now and then, send what was answered once more."""
        if self._random.random() >= self._session.plan.behaviour.retry * (1.0 - AT_ONCE):
            return None
        return self._send("POST", nouns.RETRY, path, label, body, sent.done_s)

    def _compare(self, first: Sent, again: Sent) -> None:
        """A retry gets the first answer's status and body, and says that it is one."""
        if again.status == 0 or again.status >= FAILED:
            return  # No answer to compare; it is counted as an error.
        self._recorder.retries += 1
        same = first.status == again.status and first.body == again.body
        # A first answer may itself be a replay: of the sending whose connection broke.
        if same and again.replayed and (first.resent or not first.replayed):
            return
        self._recorder.wrong_retries += 1
        self._recorder.failed(again.done_s, f"a retry got another answer: {first.status}, then {again.status}")

    def _single(self, sent: Sent) -> tuple[bool, str]:
        """Whether a single write was accepted; and why it is none of the outcomes that are recorded."""
        if sent.status == CREATED:
            return True, ""
        if sent.status == DECLINED:
            reply = _reply.decode(sent.body)
            if reply.recorded_at:
                self._recorder.declines[str(reply.code)] += 1
                return False, ""
        return False, _why(sent)

    def _lost(self, sent: Sent, commands: int) -> None:
        """No outcome. A server that answered below 500 recorded nothing; after any other, nobody knows."""
        if 400 <= sent.status < FAILED:
            self._recorder.refused += commands

    def _send(self, method: str, name: str, path: str, label: str, body: bytes | None, due_s: float) -> Sent:
        """One request. A connection that broke is made anew, once, as the client of the ledger does.

        Every write can be sent again: its id is in it. The latency of the second counts from the same time.
        """
        sent = self._try(method, name, path, label, body, due_s, last=False)
        if sent is None:
            sent = cast("Sent", self._try(method, name, path, label, body, due_s, last=True))
            sent.resent = True
        return sent

    def _try(
        self, method: str, name: str, path: str, label: str, body: bytes | None, due_s: float, *, last: bool
    ) -> Sent | None:
        """Send once, timed from when it was due, told to Locust and to the recorder; None if it broke."""
        headers = self._write_headers if body is not None else self._session.headers
        sent_s = self._session.now_s()
        with self._client.request(
            method, path, name=f"{name} {label}", data=cast("Any", body), headers=headers, catch_response=True
        ) as response:
            done_s = self._session.now_s()
            response.request_meta["response_time"] = (done_s - due_s) * 1_000.0
            if not last and not response.status_code and isinstance(response.error, BROKEN):
                self._recorder.reconnects += 1
                response.request_meta["name"] = RECONNECT
                response.success()
                return None
            replayed = bool(response.headers and response.headers.get(REPLAYED_HEADER) == "true")
            sent = Sent(response.status_code, bytes(response.content or b""), replayed, done_s)
            self._recorder.answered(name, due_s, sent_s, done_s)
            recorded = sent.status == DECLINED and b'"recorded_at"' in sent.body
            if sent.status in {OK, CREATED} or recorded:
                response.success()
            else:
                why = _why(sent) if sent.status else f"no answer: {type(response.error).__name__}"
                self._recorder.failed(due_s, f"{name}: {why}")
                response.failure(why)
        return sent


def _why(sent: Sent) -> str:
    """An answer that is no outcome, in words."""
    try:
        return f"{sent.status} {_reply.decode(sent.body).code}".strip()
    except msgspec.DecodeError:
        return str(sent.status)
