"""The client by itself, and against a server that misbehaves on purpose."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from aiohttp import web

from pyledger.client import (
    Client,
    Conflict,
    Declined,
    Malformed,
    NewTransfer,
    NotFound,
    Retry,
    Unavailable,
    nanoseconds,
    new_id,
    rfc3339,
)
from pyledger.client import binary as binary_form

FAST = Retry(attempts_max=4, deadline_s=5.0, first_wait_s=0.001, wait_max_s=0.01)
ANY = UUID(int=1)


# By itself


def test_ids_are_version_7_and_only_grow() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert before <= ids[0].int >> 80 <= ids[-1].int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_only_grow_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr("pyledger.client.ids.time.time_ns", lambda: 1_000_000)
    assert new_id() > first


def test_threads_never_share_an_id() -> None:
    made: list[list[UUID]] = [[] for _ in range(8)]

    def make(into: list[UUID]) -> None:
        into.extend(new_id() for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(each,)) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for ids in made for each in ids}) == 16_000


def test_a_fork_goes_its_own_way() -> None:
    new_id()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    theirs = UUID(bytes=os.read(read, 16))
    os.close(read)
    os.close(write)
    # The tails are drawn anew: a copied counter would be at most 2^32 apart.
    assert abs((theirs.int & (1 << 62) - 1) - (new_id().int & (1 << 62) - 1)) > 2**32


@pytest.mark.parametrize("amount", [1.0, True, "5", None])
def test_an_amount_is_an_int_and_nothing_else(amount: object) -> None:
    transfer = NewTransfer(debit_account_id=ANY, credit_account_id=ANY, amount=amount, ledger=1)  # type: ignore[arg-type]
    if amount is None:
        assert "amount" not in transfer.to_json()
        return
    with pytest.raises(TypeError):
        transfer.to_json()
    with pytest.raises(TypeError):
        binary_form.encode([transfer])


def test_an_amount_fits() -> None:
    for amount in (-1, 2**128 - 1):
        with pytest.raises(ValueError, match="2\\^128"):
            NewTransfer(amount=amount).to_json()


def test_the_binary_form_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(ValueError, match="no room"):
        binary_form.encode([NewTransfer(amount=1, reference="order-1")])


def test_times_keep_their_nanoseconds() -> None:
    for at in (0, 1, 1_790_812_800_123_456_789):
        assert nanoseconds(rfc3339(at)) == at
    assert nanoseconds("2026-03-01T12:00:00Z") == 1_772_366_400 * 10**9


@pytest.mark.parametrize("url", ["ftp://here", "here:8080", ""])
def test_a_url_is_http(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Client(url)


def test_a_key_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="plain HTTP"):
        Client("http://ledger.example", "pk_secret")
    Client("http://127.0.0.1:1", "pk_secret")
    Client("http://ledger.example", "pk_secret", plain_http_ok=True)


def test_waits_grow_jittered_and_never_come_before_the_server_said() -> None:
    retry = Retry(first_wait_s=0.1, wait_max_s=1.0)
    for attempt in range(1, 60):
        assert 0 <= retry.wait_s(attempt, None) <= min(1.0, 0.1 * 2 ** (attempt - 1))
        assert 2.0 <= retry.wait_s(attempt, 2.0) <= 3.0
    assert len({retry.wait_s(9, None) for _ in range(20)}) > 1


# Against a server that misbehaves


@dataclass
class Odd:
    """A server whose answers a test chooses: (status, headers, body), or "drop" for none at all."""

    answers: list[tuple[int, dict[str, str], object] | str]
    url: str = ""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, str(request.rel_url), dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        status, headers, body = answer
        return web.json_response(body, status=status, headers=headers)


@asynccontextmanager
async def odd_server(*answers: tuple[int, dict[str, str], object] | str) -> AsyncIterator[Odd]:
    odd = Odd(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", odd.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    odd.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield odd
    finally:
        await runner.cleanup()


def problem(code: str) -> dict[str, str]:
    return {"type": f"urn:pyledger:problem:{code}", "title": code, "code": code, "detail": "No."}


LEDGER = {"id": 1, "asset": "EUR", "exponent": 2, "created_at": "2026-03-01T12:00:00.000000001Z"}


@pytest.mark.parametrize("first", ["drop", (503, {}, problem("queue_full")), (429, {}, problem("slow_down")),
                                   (502, {}, {}), (504, {}, {}), (500, {}, problem("internal_error"))])  # fmt: skip
async def test_it_retries_with_the_very_same_bytes(first: tuple[int, dict[str, str], object] | str) -> None:
    async with odd_server(first, first, (201, {"Idempotent-Replayed": "true"}, LEDGER)) as odd:
        async with Client(odd.url, retry=FAST) as client:
            assert (await client.create_ledger(1, "EUR")).created_at == LEDGER["created_at"]
        assert len(odd.asked) == 3
        assert len({body for _method, _path, _headers, body in odd.asked}) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "exceeds_credits", Declined),
        (422, "idempotency_conflict", Conflict),
        (404, "ledger_not_found", NotFound),
        (400, "unknown_field", Malformed),
        (413, "body_too_large", Malformed),
    ],
)
async def test_it_never_retries_a_no(status: int, code: str, kind: type[Exception]) -> None:
    async with odd_server((status, {}, problem(code))) as odd:
        async with Client(odd.url, retry=FAST) as client:
            with pytest.raises(kind) as caught:
                await client.transfer(ANY, ANY, 1, ledger=1)
        assert caught.value.code == code  # type: ignore[attr-defined]
        assert len(odd.asked) == 1


async def test_it_gives_up_and_says_whether_the_outcome_is_known() -> None:
    for answer, unknown in [
        ((503, {}, problem("queue_full")), False),
        ((503, {}, problem("outcome_unknown")), True),
        ((503, {}, "a gateway's page"), True),
        ("drop", True),
    ]:
        async with odd_server(answer) as odd:  # type: ignore[arg-type]
            async with Client(odd.url, retry=FAST) as client:
                with pytest.raises(Unavailable) as caught:
                    await client.transfer(ANY, ANY, 1, ledger=1)
            assert caught.value.outcome_unknown is unknown
            assert caught.value.attempts == len(odd.asked) == FAST.attempts_max


async def test_one_unknown_attempt_is_not_forgotten() -> None:
    async with odd_server("drop", (503, {}, problem("queue_full"))) as odd:
        async with Client(odd.url, retry=FAST) as client:
            with pytest.raises(Unavailable) as caught:
                await client.transfer(ANY, ANY, 1, ledger=1)
        assert caught.value.outcome_unknown


async def test_it_honours_retry_after_within_the_deadline() -> None:
    wait_first = (503, {"Retry-After": "1"}, problem("queue_full"))
    async with odd_server(wait_first, (200, {}, LEDGER)) as odd, Client(odd.url, retry=FAST) as client:
        begun = time.monotonic()
        await client.ledger(1)
        assert time.monotonic() - begun >= 1.0
    async with odd_server((503, {"Retry-After": "3600"}, problem("queue_full"))) as odd:
        async with Client(odd.url, retry=FAST) as client:
            with pytest.raises(Unavailable):
                await client.ledger(1)
        assert len(odd.asked) == 1


async def test_nobody_there() -> None:
    async with Client("http://127.0.0.1:1", retry=Retry(attempts_max=2, first_wait_s=0.001)) as client:
        with pytest.raises(Unavailable) as caught:
            await client.transfer(ANY, ANY, 1, ledger=1)
    assert not caught.value.outcome_unknown, "nothing was sent"


async def test_the_key_goes_nowhere_else() -> None:
    async with odd_server((200, {}, LEDGER)) as other:
        async with odd_server((307, {"Location": other.url}, {})) as odd:
            async with Client(odd.url, "pk_secret", retry=FAST) as client:
                with pytest.raises(Exception, match="unreadable_answer"):
                    await client.ledger(1)
            assert odd.asked[0][2]["Authorization"] == "Bearer pk_secret"
        assert not other.asked


async def test_a_list_follows_its_cursor_and_takes_empty_pages() -> None:
    pages = [{"data": [LEDGER], "next": "a+b"}, {"data": [], "next": "c"}, {"data": [LEDGER], "next": None}]
    async with odd_server(*[(200, {}, page) for page in pages]) as odd:
        async with Client(odd.url, retry=FAST) as client:
            assert len([each async for each in client.ledgers(page_rows=1)]) == 2
        assert [path for _method, path, _headers, _body in odd.asked][1:] == [
            "/v1/ledgers?limit=1&cursor=a%2Bb",
            "/v1/ledgers?limit=1&cursor=c",
        ]
