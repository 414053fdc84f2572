"""Once: the first outcome, accepted or declined, is what every retry gets, word for word."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.talk import Answer, Books, new_id


def same(first: Answer, again: Answer) -> None:
    """A replay: status and body to the byte, and a header that says so."""
    assert (again.status, again.body) == (first.status, first.body)
    assert not first.replayed
    assert again.replayed
    assert again.headers["content-type"] == first.headers["content-type"]


def test_an_accepted_transfer_is_replayed(books: Books) -> None:
    body = books.transfer(metadata={"b": 1, "a": 2})
    first = books.post("/v1/transfers", body)
    books.moved(amount="5")
    same(first, books.post("/v1/transfers", body))
    same(first, books.post("/v1/transfers", body | {"metadata": {"a": 2, "b": 1}, "amount": 100}))
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "105"


def test_a_declined_transfer_stays_declined(books: Books) -> None:
    body = books.transfer(debit_account_id=books.wallet, credit_account_id=books.cash)
    first = books.post("/v1/transfers", body)
    assert (first.status, first.code) == (422, "exceeds_credits")
    assert first.json["recorded_at"]
    assert first.json["id"] == body["id"]
    books.moved(amount="1000")
    same(first, books.post("/v1/transfers", body))
    found = books.get(f"/v1/transfers/{body['id']}").json
    assert (found["status"], found["refusal"]) == ("declined", "exceeds_credits")


def test_another_body_under_the_same_id_conflicts(books: Books) -> None:
    body = books.transfer()
    first = books.post("/v1/transfers", body)
    for change in ({"amount": "101"}, {"code": 2}, {"reference": "r"}, {"metadata": {}}, {"flags": ["pending"]}):
        answer = books.post("/v1/transfers", body | change)
        assert (answer.status, answer.code) == (422, "idempotency_conflict"), change
        assert "recorded_at" not in answer.json
        assert not answer.replayed
    same(first, books.post("/v1/transfers", body))


def test_a_key_works_like_an_id(books: Books) -> None:
    body = books.transfer(id=None)
    key = {"Idempotency-Key": f"order {new_id()}".replace(" ", "-")}
    first = books.post("/v1/transfers", body, headers=key)
    assert first.status == 201
    same(first, books.post("/v1/transfers", body, headers=key))
    conflict = books.post("/v1/transfers", body | {"amount": "1"}, headers=key)
    assert (conflict.status, conflict.code) == (422, "idempotency_conflict")
    # The same key on another route is another command.
    account = books.post("/v1/accounts", {"ledger": 1, "code": 1}, headers=key)
    assert account.status == 201
    assert account.json["id"] != first.json["id"]
    reversal = books.post(f"/v1/transfers/{first.json['id']}/reverse", headers=key)
    assert reversal.status == 201
    assert not reversal.replayed
    same(reversal, books.post(f"/v1/transfers/{first.json['id']}/reverse", {}, headers=key))


def test_two_keys_are_refused(books: Books) -> None:
    answer = books.send(
        b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert b" 400 " in answer
    assert b"header_invalid" in answer
    answer = books.send(
        b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Idempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert b" 400 " in answer
    assert b"header_invalid" in answer


def test_a_refusal_that_was_not_recorded_leaves_the_id_free(books: Books) -> None:
    body = books.transfer(credit_account_id=new_id())
    assert books.post("/v1/transfers", body).status == 404
    assert books.post("/v1/transfers", body | {"credit_account_id": books.wallet}).status == 201


def test_an_id_is_used_up_by_any_kind_of_command(books: Books) -> None:
    answer = books.post("/v1/transfers", books.transfer(id=books.wallet))
    assert (answer.status, answer.code) == (422, "idempotency_conflict")
    assert books.get(f"/v1/transfers/{books.wallet}").status == 404


def test_a_batch_sent_again_is_answered_again(books: Books) -> None:
    decline = books.transfer(debit_account_id=books.wallet, credit_account_id=books.cash, amount="9999")
    body = {"transfers": [books.transfer(), decline, books.transfer(flags=["linked"]), books.transfer()]}
    first = books.post("/v1/transfers/batch", body)
    assert first.json["accepted"] == 3
    assert first.json["declined"] == 1
    same(first, books.post("/v1/transfers/batch", body))
    more = books.post("/v1/transfers/batch", {"transfers": [*body["transfers"], books.transfer()]})
    assert not more.replayed
    assert more.json["results"][:4] == first.json["results"]


@pytest.mark.parametrize("how", ["id", "key"])
def test_those_who_ask_at_once_get_the_same_answer(books: Books, how: str) -> None:
    body = books.transfer()
    headers = {}
    if how == "key":
        headers = {"Idempotency-Key": body.pop("id")}
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: books.post("/v1/transfers", body, headers=headers), range(48)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert sum(not answer.replayed for answer in answers) == 1
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "100"
    assert len(books.get(f"/v1/transfers?account_id={books.wallet}").json["data"]) == 1


def test_a_client_that_hangs_up_changes_nothing_about_what_is_recorded(books: Books) -> None:
    bodies = [books.transfer(amount="1") for _ in range(50)]
    for body in bodies:
        raw = json.dumps(body).encode()
        head = (
            f"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(raw)}\r\n\r\n"
        )
        with books.connect() as wire:
            wire.sendall(head.encode() + raw)
    answers = [books.post("/v1/transfers", body) for body in bodies]
    assert {answer.status for answer in answers} == {201}
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "50"
