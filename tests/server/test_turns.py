"""Batches that follow each other: decided in their order, however they arrive, or refused.

Guarded here: no batch is decided before the one that it follows; and none waits for ever, for a stranger's, or for what
is not on its way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pyledger.server import turns as turns_module
from pyledger.server.problems import Refused
from pyledger.server.turns import Turns
from tests.server.talk import Answer, Books, new_id, open_books, read_all
from tests.support.clusters import Database
from tests.support.process import ServerProcess

WAITING_S = 0.3
"""Until a batch that may not go on has shown that it does not."""
FOLLOWERS = 12
GAP_S = 0.1
"""Until a batch that was sent is known to be on its way."""


@pytest.fixture
def patient(start_server: Callable[..., ServerProcess], database: Database) -> Books:
    """Of a server that waits for a body as long as by default."""
    return open_books(start_server(database).url)


def send(books: Books, row: dict[str, object], **headers: str) -> Answer:
    """A batch of one row."""
    said = {f"Batch-{name.title()}": value for name, value in headers.items()}
    return books.post("/v1/transfers/batch", {"transfers": [row]}, headers=said)


@contextmanager
def on_its_way(books: Books, row: dict[str, object], name: str) -> Iterator[Future[bytes]]:
    """A batch of which half was sent, and the rest at the end; its answer."""
    body, answer = json.dumps({"transfers": [row]}).encode(), Future[bytes]()
    head = f"POST /v1/transfers/batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nBatch-Name: {name}\r\n"
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with books.connect() as wire:
        wire.sendall((head + more).encode() + body[:20])
        time.sleep(WAITING_S)
        yield answer
        wire.sendall(body[20:])
        answer.set_result(read_all(wire))


def test_batches_that_arrive_before_their_turn_are_decided_in_their_order(patient: Books) -> None:
    """Each spends what the one before it has brought."""
    into, mark = patient.transfer(), new_id()
    out = {"debit_account_id": patient.wallet, "credit_account_id": patient.cash}
    rows = [patient.transfer(**({} if place % 2 else out)) for place in range(FOLLOWERS)]
    with ThreadPoolExecutor(FOLLOWERS) as pool, on_its_way(patient, into, f"{mark}-0") as first:
        answers = []
        for place, row in enumerate(rows):
            answers.append(pool.submit(send, patient, row, name=f"{mark}-{place + 1}", after=f"{mark}-{place}"))
            time.sleep(GAP_S)
        assert not any(answer.done() for answer in answers)
    assert b"\r\nbatch-name: %b-0\r\n" % mark.encode() in first.result()
    found = [answer.result() for answer in answers]
    assert [answer.headers["batch-name"] for answer in found] == [f"{mark}-{place + 1}" for place in range(FOLLOWERS)]
    results = [answer.json["results"][0] for answer in found]
    assert [each["status"] for each in results] == ["accepted"] * FOLLOWERS
    recorded = [each["recorded_at"] for each in results]
    assert recorded == sorted(recorded)
    # What was taken holds nobody up, and a batch without a name is told none.
    again = send(patient, rows[0], after=f"{mark}-0")
    assert (again.status, again.replayed, "batch-name" in again.headers) == (200, True, False)


def test_a_batch_that_was_refused_is_not_followed(patient: Books) -> None:
    """The one that follows it is refused as well, and so is the one after that; nothing of them is recorded."""
    mark, rows = new_id(), [patient.transfer(), patient.transfer()]
    with ThreadPoolExecutor(2) as pool, on_its_way(patient, patient.transfer(amount="much"), mark) as first:
        follower = pool.submit(send, patient, rows[0], name=f"{mark}-1", after=mark)
        time.sleep(GAP_S)
        last = pool.submit(send, patient, rows[1], after=f"{mark}-1")
    assert b"invalid_amount" in first.result()
    for answer in (follower.result(), last.result()):
        assert (answer.status, answer.code) == (409, "out_of_turn")
    assert [patient.get(f"/v1/transfers/{row['id']}").status for row in rows] == [404, 404]
    # Sent once more, it is followed.
    assert send(patient, rows[0], name=mark).json["accepted"] == 1
    assert send(patient, rows[1], after=mark).json["accepted"] == 1


def test_nobody_waits_for_what_is_not_on_its_way(books: Books) -> None:
    began_s = time.monotonic()
    for headers in ({"after": new_id()}, {"name": "itself", "after": "itself"}):
        answer = send(books, books.transfer(), **headers)
        assert (answer.status, answer.code) == (409, "out_of_turn")
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize("header", ["Batch-Name", "Batch-After"])
@pytest.mark.parametrize("value", ["", "a b", "x" * 65, "\xfc", "a\r\n{header}: a"])
def test_what_is_no_name_is_told(books: Books, header: str, value: str) -> None:
    body, value = b'{"transfers":[]}', value.format(header=header)
    head = f"POST /v1/transfers/batch HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}: {value}\r\n"
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = books.send(head.encode("latin-1") + more.encode() + body)
    assert b" 400 " in answer
    assert b"header_invalid" in answer


async def test_names_are_of_a_tenant_and_of_late() -> None:
    turns = Turns(names_max=2)
    for name in ("a", "b", "a", "c"):
        with turns.coming(1, name) as taken:
            taken()
    await turns.come(1, "a", None)
    for tenant, name in ((1, "b"), (2, "a")):
        with pytest.raises(Refused, match="out_of_turn"):
            await turns.come(tenant, name, None)


async def test_a_ring_does_not_wait_for_ever() -> None:
    turns = Turns(wait_s=0.05)
    with turns.coming(1, "a"), turns.coming(1, "b"):
        found = await asyncio.gather(turns.come(1, "b", "a"), turns.come(1, "a", "b"), return_exceptions=True)
    assert [type(each) for each in found] == [Refused, Refused]


async def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "FOLLOWERS_MAX", 2)
    turns = Turns()
    with turns.coming(1, "a") as taken:
        waiting = [asyncio.ensure_future(turns.come(1, "a", None)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="out_of_turn"):
            await turns.come(1, "a", None)
        taken()
        await asyncio.gather(*waiting)
        await turns.come(1, "a", None)


async def test_a_batch_that_was_sent_twice_is_over_when_both_are() -> None:
    """Its sender did not wait for the first one."""
    turns = Turns()
    with turns.coming(1, "a") as taken:
        with turns.coming(1, "a"):
            follower = asyncio.ensure_future(turns.come(1, "a", None))
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert not follower.done()
        taken()
    await follower
    assert not turns._coming, "who has gone is forgotten"
