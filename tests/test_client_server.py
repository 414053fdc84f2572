"""The client against a real server: every verb, every kind of error, batches, streams, a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from pyledger.client import (
    AccountFlags,
    Client,
    Conflict,
    Declined,
    Malformed,
    NewAccount,
    NewTransfer,
    NotFound,
    TransferFlags,
    nanoseconds,
    new_id,
)
from tests.support.process import ServerProcess


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
