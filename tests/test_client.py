"""The client: by itself, against a server that misbehaves on purpose, and against a real one."""

from __future__ import annotations

import asyncio
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
    AccountFlags,
    Client,
    Conflict,
    Declined,
    Malformed,
    NewAccount,
    NewTransfer,
    NotFound,
    Retry,
    TransferFlags,
    Unavailable,
    nanoseconds,
    new_id,
    rfc3339,
)
from pyledger.client import binary as binary_form
from tests.support.process import ServerProcess

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


# Against a real server


@dataclass
class Shop:
    """A ledger and its accounts on a real server."""

    client: Client
    bank: UUID
    wallet: UUID
    till: UUID


@pytest.fixture
async def shop(server: ServerProcess) -> AsyncIterator[Shop]:
    async with Client(server.url) as client:
        await client.create_ledger(1, "EUR", 2, metadata={"of": "the shop"})
        bank = await client.create_account(1, code=10)
        wallet = await client.create_account(1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS, reference="ada")
        till = await client.create_account(1, code=20)
        await client.transfer(bank.id, wallet.id, 10_000, ledger=1)
        yield Shop(client, bank.id, wallet.id, till.id)


async def test_money_moves(shop: Shop) -> None:
    client = shop.client
    paid = await client.transfer(
        shop.wallet, shop.till, 2_500, ledger=1, reference="order-1", metadata={"items": [1, 2.5, "drei"]},
        effective_ns=1_700_000_000_000_000_001,
    )  # fmt: skip
    assert (paid.kind, paid.status, paid.amount, paid.replayed) == ("transfer", "accepted", 2_500, False)
    assert paid.debit_account is not None
    assert paid.credit_account is not None
    assert (paid.debit_account.id, paid.debit_account.available) == (shop.wallet, 7_500)
    assert paid.effective_at == "2023-11-14T22:13:20.000000001Z"
    assert await client.get(paid.id) == paid
    wallet = await client.account(shop.wallet)
    assert (wallet.balances.posted, wallet.reference, wallet.allowance) == (7_500, "ada", None)
    assert (await client.ledger(1)).metadata == {"of": "the shop"}


async def test_holds_are_posted_voided_and_reversed(shop: Shop) -> None:
    client = shop.client
    held = await client.transfer(shop.wallet, shop.till, 4_000, ledger=1, flags=TransferFlags.PENDING, timeout_s=3_600)
    assert held.debit_account is not None
    assert (held.debit_account.available, held.debit_account.posted) == (6_000, 10_000)
    assert held.expires_at is not None
    assert nanoseconds(held.expires_at) == nanoseconds(held.recorded_at) + 3_600 * 10**9
    posted = await client.post(held.id, 3_000, reference="captured")
    assert (posted.kind, posted.amount, posted.pending_id) == ("post", 3_000, held.id)
    back = await client.reverse(posted.id, 1_000)
    assert (back.kind, back.amount, back.reverses) == ("reverse", 1_000, posted.id)
    other = await client.transfer(shop.wallet, shop.till, 1, ledger=1, flags=TransferFlags.PENDING)
    assert (await client.void(other.id)).kind == "void"
    assert (await client.account(shop.wallet)).balances.available == 8_000
    with pytest.raises(Declined, match="pending_transfer_already_posted"):
        await client.void(held.id)


async def test_every_error_has_its_type(shop: Shop) -> None:
    client = shop.client
    once = new_id()
    with pytest.raises(Declined) as declined:
        await client.transfer(shop.wallet, shop.till, 10_001, ledger=1, id=once)
    assert (declined.value.code, declined.value.replayed) == ("exceeds_credits", False)
    assert declined.value.recorded_at is not None
    with pytest.raises(Declined) as again:
        await client.transfer(shop.wallet, shop.till, 10_001, ledger=1, id=once)
    assert (again.value.recorded_at, again.value.replayed) == (declined.value.recorded_at, True)
    with pytest.raises(Conflict):
        await client.transfer(shop.wallet, shop.till, 1, ledger=1, id=once)
    with pytest.raises(Conflict) as other:
        await client.create_ledger(1, "USD", 2)
    assert (other.value.code, other.value.command_id) == ("idempotency_conflict", 1)
    with pytest.raises(NotFound, match="ledger_not_found"):
        await client.transfer(shop.wallet, shop.till, 1, ledger=2)
    with pytest.raises(NotFound, match="transfer_not_found"):
        await client.get(new_id())
    with pytest.raises(NotFound, match="account_not_found"):
        await client.account(new_id())
    with pytest.raises(Malformed, match="accounts_must_differ"):
        await client.transfer(shop.till, shop.till, 1, ledger=1)
    with pytest.raises(ValueError, match="batch"):
        await client.transfers([])


def pay(shop: Shop, amount: int, **more: object) -> NewTransfer:
    return NewTransfer(debit_account_id=shop.bank, credit_account_id=shop.till, amount=amount, ledger=1, code=1,
                       **more)  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("as_binary", [False, True])
async def test_a_batch_has_a_result_for_each(shop: Shop, as_binary: bool) -> None:
    batch = [
        pay(shop, 5),
        NewTransfer(debit_account_id=shop.wallet, credit_account_id=shop.till, amount=10**9, ledger=1, code=1),
        NewTransfer(debit_account_id=new_id(), credit_account_id=shop.till, amount=1, ledger=1, code=1),
    ]
    first = await shop.client.transfers(batch, as_binary=as_binary)
    assert [each.status for each in first.results] == ["accepted", "declined", "refused"]
    assert [each.id for each in first.results] == [each.id for each in batch]
    assert [each.refusal for each in first.results] == [None, "exceeds_credits", "debit_account_not_found"]
    assert (first.accepted, first.declined, first.refused) == (1, 1, 1)
    assert (first.results[0].amount, first.results[2].recorded_at) == (5, None)
    counters = first.results[0].credit_after if as_binary else first.results[0].credit_account
    assert counters is not None
    assert counters.credits_posted == 5
    assert await shop.client.transfers(batch, as_binary=as_binary) == first
    assert await shop.client.transfers(batch, as_binary=not as_binary) != first, "the other form shows other fields"
    assert (await shop.client.account(shop.till)).balances.posted == 5


async def test_accounts_come_in_batches_and_lists(shop: Shop) -> None:
    new = [NewAccount(ledger=1, reference=f"a-{each}") for each in range(7)] + [NewAccount(ledger=9)]
    reply = await shop.client.create_accounts(new)
    assert (reply.accepted, reply.refused, reply.results[-1].refusal) == (7, 1, "ledger_not_found")
    listed = [each.id async for each in shop.client.accounts(ledger=1, page_rows=4)]
    assert listed == [shop.bank, shop.wallet, shop.till, *(each.id for each in new[:7])]
    assert [each.id async for each in shop.client.ledgers()] == [1]


async def test_history_by_account_reference_and_time(shop: Shop) -> None:
    client = shop.client
    made = [
        await client.transfer(shop.bank, shop.till, each, ledger=1, reference=f"r-{each % 2}") for each in (1, 2, 3)
    ]
    of_till = [each async for each in client.history(account=shop.till, page_rows=2)]
    assert of_till == made[::-1]
    assert [each async for each in client.history(account=shop.till, oldest_first=True)] == made
    assert [each.amount async for each in client.history(reference="r-1")] == [3, 1]
    since = nanoseconds(made[1].recorded_at)
    assert [each.amount async for each in client.history(ledger=1, since_ns=since)] == [3, 2]
    assert [each.amount async for each in client.history(ledger=1, until_ns=since)] == [1, 10_000]


@pytest.mark.parametrize("as_binary", [False, True])
async def test_batches_stream_in_order_and_bounded(shop: Shop, as_binary: bool) -> None:
    sent: list[list[NewTransfer]] = []
    taken = 0

    async def source() -> AsyncIterator[list[NewTransfer]]:
        for _ in range(12):
            sent.append([pay(shop, 1) for _ in range(50)])
            yield sent[-1]

    async for reply in shop.client.stream(source(), in_flight_max=3, as_binary=as_binary):
        assert [each.id for each in reply.results] == [each.id for each in sent[taken]]
        assert reply.accepted == 50
        taken += 1
        assert len(sent) - taken <= 3
    assert taken == 12
    assert (await shop.client.account(shop.till)).balances.posted == 600


async def test_a_stream_that_is_left_early_leaves_nothing_running(shop: Shop) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[list[NewTransfer]]:
        try:
            while True:
                yield [pay(shop, 1)]
        finally:
            ended.set()

    source, before = endless(), asyncio.all_tasks()
    stream = shop.client.stream(source, in_flight_max=2)
    assert (await anext(stream)).accepted == 1
    await stream.aclose()
    await source.aclose()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert {each for each in asyncio.all_tasks() if not each.done()} <= before


async def test_a_linked_group_is_resolved_by_one_command(shop: Shop) -> None:
    hold = TransferFlags.PENDING
    pair = [pay(shop, 5, flags=hold | TransferFlags.LINKED), pay(shop, 7, flags=hold)]
    assert (await shop.client.transfers(pair)).accepted == 2
    await shop.client.post(pair[1].id, group=True)
    assert (await shop.client.account(shop.till)).balances.posted == 12


async def test_a_restart_in_between_is_not_noticed(shop: Shop, server: ServerProcess) -> None:
    """A server that goes away and comes back on the same port: the client goes on, and nothing counts twice."""
    server.stop()

    async def back() -> None:
        await asyncio.sleep(1.0)
        await asyncio.to_thread(server.start)

    returning = asyncio.create_task(back())
    reply = await shop.client.transfers([pay(shop, 1) for _ in range(10)])
    await returning
    assert reply.accepted == 10
    assert (await shop.client.account(shop.till)).balances.posted == 10
