"""Whatever a client sends wrong: a clear problem, nothing recorded, nothing lost, the server goes on.

One table of requests and the code that each must get. After all of them the books are what they were.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.server.talk import BINARY, Answer, Books, new_id

TRANSFERS = "/v1/transfers"
BATCH = "/v1/transfers/batch"
Ask = Callable[[Books], Answer]


def one(**fields: Any) -> Ask:
    """One transfer with these fields instead."""
    return lambda books: books.post(TRANSFERS, books.transfer(**fields))


def raw(body: bytes | Callable[[Books], bytes], path: str = TRANSFERS, **headers: str) -> Ask:
    """A body as it is."""
    return lambda books: books.post(path, raw=body if isinstance(body, bytes) else body(books), headers=headers)


def text(old: str, new: str) -> Ask:
    """A good transfer's JSON with a piece replaced."""

    def ask(books: Books) -> Answer:
        body = json.dumps(books.transfer(amount=77, reference="REFERENCE", metadata={"key": "value"}))
        assert old in body
        return books.post(TRANSFERS, raw=body.replace(old, new, 1).encode("utf-8", "surrogatepass"))

    return ask


def amount(literal: str) -> Ask:
    """A good transfer with this piece of JSON as its amount."""
    return text('"amount": 77', f'"amount": {literal}')


def batch(*changes: dict[str, Any]) -> Ask:
    """A batch of transfers with these fields instead."""
    return lambda books: books.post(BATCH, {"transfers": [books.transfer(**each) for each in changes]})


def get(path: str) -> Ask:
    return lambda books: books.get(path)


MAX = 2**128 - 1
SOME = "0198f2a4-7c1e-7b53-9d2c-4f6f0a1b2c3d"
DEEP = "[" * 5_000 + "]" * 5_000

MALFORMED: list[tuple[str, str, Ask]] = [
    # The body as JSON.
    ("empty body", "invalid_json", raw(b"")),
    ("truncated", "invalid_json", raw(lambda books: json.dumps(books.transfer()).encode()[:-5])),
    ("bytes after the end", "invalid_json", raw(lambda books: json.dumps(books.transfer()).encode() + b"{}")),
    ("not JSON", "invalid_json", raw(b"<transfer/>")),
    ("an array", "wrong_type", raw(b"[]")),
    ("null", "wrong_type", raw(b"null")),
    ("invalid UTF-8", "invalid_utf8", raw(b'{"reference":"\xff\xfe"}')),
    ("overlong UTF-8", "invalid_utf8", raw(b'{"reference":"\xc0\xaf"}')),
    ("a lone surrogate", "invalid_json", text("REFERENCE", "\\ud800")),
    ("byte order mark", "invalid_json", raw(lambda books: b"\xef\xbb\xbf" + json.dumps(books.transfer()).encode())),
    ("NaN", "invalid_json", amount("NaN")),
    ("Infinity", "invalid_json", amount("-Infinity")),
    ("a leading zero", "invalid_json", amount("077")),
    ("a plus sign", "invalid_json", amount("+77")),
    ("hexadecimal", "invalid_json", amount("0x77")),
    ("a comment", "invalid_json", amount("77/**/")),
    ("a trailing comma", "invalid_json", text("}}", "},}")),
    ("deep nesting", "unknown_field", raw(b'{"x":' + DEEP.encode() + b"}")),
    ("deep metadata", "invalid_metadata", text('{"key": "value"}', '{"a":' * 9 + "1" + "}" * 9)),
    ("very deep metadata", "invalid_metadata", text('{"key": "value"}', '{"a":' + DEEP + "}")),
    # Fields.
    ("an unknown field", "unknown_field", one(amuont="1")),
    ("a field that clients must not set", "unknown_field", one(recorded_at="2026-01-01T00:00:00Z")),
    ("a duplicate key", "duplicate_field", text('"amount": 77', '"amount": 77, "amount": 78')),
    ("a duplicate key, escaped", "duplicate_field", text('"amount": 77', '"amount": 77, "\\u0061mount": 78')),
    ("an id that is no UUID", "invalid_id", one(id="1234")),
    ("an id that is a number", "wrong_type", one(id=1234)),
    ("an id with braces", "invalid_id", one(id="{" + SOME + "}")),
    ("an id without hyphens", "invalid_id", one(id=SOME.replace("-", ""))),
    ("an id with a newline", "invalid_id", one(id=SOME + "\n")),
    ("the zero id", "id_must_not_be_zero", one(id=str(uuid.UUID(int=0)))),
    ("the largest id", "id_must_not_be_max", one(id=str(uuid.UUID(int=MAX)))),
    ("an id from the future", "id_from_the_future", one(id="01ffffff-ffff-7fff-bfff-ffffffffffff")),
    ("an account that is no UUID", "invalid_id", one(debit_account_id="cash")),
    # Amounts.
    ("a negative amount", "invalid_amount", one(amount="-1")),
    ("a negative number", "invalid_amount", one(amount=-1)),
    ("a fraction", "invalid_amount", one(amount=1.5)),
    ("a fraction in a string", "invalid_amount", one(amount="1.5")),
    ("a whole fraction", "invalid_amount", amount("77.0")),
    ("an exponent", "invalid_amount", amount("1e2")),
    ("an amount of 2^128", "invalid_amount", one(amount=str(2**128))),
    ("a number of 2^128", "invalid_amount", one(amount=2**128)),
    ("a number of 2^53", "invalid_amount", one(amount=2**53)),
    ("the amount that means all", "invalid_amount", one(amount=str(MAX))),
    ("a number of a thousand digits", "invalid_amount", amount("9" * 1_000)),
    ("an amount with spaces", "invalid_amount", one(amount=" 1")),
    ("an amount with other digits", "invalid_amount", one(amount="\u0661")),
    ("an empty amount", "invalid_amount", one(amount="")),
    ("an amount of true", "wrong_type", one(amount=True)),
    ("no amount", "missing_field", one(amount=None)),
    ("an amount of zero", "amount_must_not_be_zero", one(amount=0)),
    # Other numbers and texts.
    ("ledger 0", "ledger_must_not_be_zero", one(ledger=0)),
    ("ledger 2^31", "number_out_of_range", one(ledger=2**31)),
    ("ledger as text", "wrong_type", one(ledger="1")),
    ("code 0", "code_must_not_be_zero", one(code=0)),
    ("code 65536", "number_out_of_range", one(code=65_536)),
    ("a negative timeout", "number_out_of_range", one(timeout_s=-1, flags=["pending"])),
    ("a timeout on a transfer", "timeout_reserved_for_pending", one(timeout_s=5)),
    ("an unknown flag", "invalid_flags", one(flags=["instant"])),
    ("a flag twice", "invalid_flags", one(flags=["pending", "pending"])),
    ("flags that exclude each other", "flags_are_mutually_exclusive", one(flags=["pending", "post_pending"],
                                                                         pending_id=SOME)),
    ("flags as text", "wrong_type", one(flags="pending")),
    ("an empty reference", "invalid_reference", one(reference="")),
    ("a long reference", "invalid_reference", one(reference="é" * 65)),
    ("a reference with NUL", "invalid_reference", one(reference="a\0b")),
    ("metadata that is no object", "wrong_type", one(metadata=[1])),
    ("long metadata", "invalid_metadata", one(metadata={"a": "x" * 1_024})),
    ("metadata past 2^53", "invalid_metadata", one(metadata={"a": 2**53})),
    ("metadata with NUL", "invalid_metadata", one(metadata={"a": "\0"})),
    ("metadata with a key twice", "duplicate_field", text('{"key": "value"}', '{"a":1,"a":2}')),
    ("a time without an offset", "invalid_time", one(effective_at="2026-01-01T00:00:00")),
    ("a day that is not", "invalid_time", one(effective_at="2026-02-30T00:00:00Z")),
    ("ten decimals", "invalid_time", one(effective_at="2026-01-01T00:00:00.1234567890Z")),
    # Accounts and targets.
    ("the same account on both sides", "accounts_must_differ",
     lambda books: books.post(TRANSFERS, books.transfer(credit_account_id=books.cash))),
    ("no debit account", "debit_account_must_not_be_zero", one(debit_account_id=None)),
    ("a target without a flag", "target_must_be_zero", one(pending_id=SOME)),
    ("a post without a target", "target_must_not_be_zero", one(flags=["post_pending"])),
    # Ids and keys.
    ("neither id nor key", "id_or_key_needed", one(id=None)),
    ("id and key", "id_or_key_needed",
     lambda books: books.post(TRANSFERS, books.transfer(), headers={"Idempotency-Key": "k"})),
    ("a key of 256", "invalid_key",
     lambda books: books.post(TRANSFERS, books.transfer(id=None), headers={"Idempotency-Key": "k" * 256})),
    ("a key with a space", "invalid_key",
     lambda books: books.post(TRANSFERS, books.transfer(id=None), headers={"Idempotency-Key": "a b"})),
    # Batches.
    ("a batch of 0", "batch_empty", batch()),
    ("a batch of 8,191", "batch_too_large", batch(*[{} for _ in range(8_191)])),
    ("a batch of another shape", "unknown_field", raw(b'{"accounts":[]}', BATCH)),
    ("a batch without transfers", "missing_field", raw(b"{}", BATCH)),
    ("one bad transfer in a batch", "invalid_amount", batch({}, {}, {"amount": "-1"})),
    ("a batch with a keyless transfer", "missing_field", batch({"id": None})),
    ("records that are cut", "invalid_records", raw(b"\1" * 130, BATCH, **{"Content-Type": BINARY})),
    ("no records", "batch_empty", raw(b"", BATCH, **{"Content-Type": BINARY})),
    ("8,191 records", "batch_too_large", raw(b"\0" * 128 * 8_191, BATCH, **{"Content-Type": BINARY})),
    # Paths and queries.
    ("a path id that is no UUID", "id_invalid", get("/v1/transfers/1234")),
    ("a percent-encoded id", "id_invalid", get("/v1/transfers/%00%ff")),
    ("an id in other digits", "id_invalid", get("/v1/accounts/" + "%D9%A1" * 36)),
    ("a ledger that is no number", "id_invalid", get("/v1/ledgers/EUR")),
    ("a ledger of 2^31", "id_invalid", get(f"/v1/ledgers/{2**31}")),
    ("ledger 0 in the path", "id_invalid", get("/v1/ledgers/0")),
    ("a hold that is no UUID", "id_invalid", lambda books: books.post("/v1/transfers/x/post", {"id": new_id()})),
    ("an unknown parameter", "parameter_unknown", get("/v1/transfers?acount_id=" + SOME)),
    ("a parameter where there are none", "parameter_unknown", get("/healthz?x=1")),
    ("a parameter on a write", "parameter_unknown",
     lambda books: books.post("/v1/transfers?dry_run=1", books.transfer())),
    ("a parameter twice", "parameter_invalid", get("/v1/transfers?limit=1&limit=2")),
    ("a query that is none", "parameter_invalid", get("/v1/transfers?limit")),
    ("a query of bad UTF-8", "parameter_invalid", get("/v1/transfers?reference=%ff")),
    ("a query with NUL", "parameter_invalid", get("/v1/transfers?reference=%00")),
    ("a page of 0", "parameter_invalid", get("/v1/transfers?limit=0")),
    ("a page of 1,001", "parameter_invalid", get("/v1/transfers?limit=1001")),
    ("a page of many", "parameter_invalid", get("/v1/transfers?limit=many")),
    ("a page of null", "parameter_invalid", get("/v1/accounts?limit=null")),
    ("a page of minus one", "parameter_invalid", get("/v1/accounts?limit=-1")),
    ("a page of blanks", "parameter_invalid", get("/v1/accounts?limit=%201")),
    ("a page of other digits", "parameter_invalid", get("/v1/accounts?limit=%D9%A1")),
    ("a ledger of null in a filter", "parameter_invalid", get("/v1/accounts?ledger=null")),
    ("a ledger of 0 in a filter", "parameter_invalid", get("/v1/accounts?ledger=0")),
    ("an account of null in a filter", "parameter_invalid", get("/v1/transfers?account_id=null")),
    ("an empty filter", "parameter_invalid", get("/v1/transfers?reference=")),
    ("an empty cursor", "parameter_invalid", get("/v1/transfers?cursor=")),
    ("a page of half a row", "parameter_invalid", get("/v1/transfers?limit=1.5")),
    ("a cursor from nowhere", "cursor_invalid", get("/v1/transfers?cursor=abcdef")),
    ("a cursor of an account list from nowhere", "cursor_invalid", get("/v1/accounts?cursor=%21%21")),
    ("a cursor of a ledger list from nowhere", "cursor_invalid", get("/v1/ledgers?cursor=-1")),
    ("an account that is no UUID in a filter", "parameter_invalid", get("/v1/transfers?account_id=cash")),
    ("a time that is none", "parameter_invalid", get("/v1/transfers?since=yesterday")),
    ("a time with a bare plus", "parameter_invalid", get("/v1/transfers?since=2026-01-01T00:00:00+00:00")),
    ("an order that is none", "parameter_invalid", get("/v1/transfers?order=random")),
]  # fmt: skip

NOT_FOUND: list[tuple[str, str, Ask]] = [
    ("an unknown ledger", "ledger_not_found", one(ledger=99)),
    ("an unknown debit account", "debit_account_not_found", one(debit_account_id=SOME)),
    ("an unknown credit account", "credit_account_not_found", one(credit_account_id=SOME)),
    ("an unknown hold", "pending_transfer_not_found",
     lambda books: books.post(f"/v1/transfers/{new_id()}/post", {"id": new_id()})),
    ("an unknown transfer to reverse", "reversed_transfer_not_found",
     lambda books: books.post(f"/v1/transfers/{new_id()}/reverse", {"id": new_id()})),
    ("a ledger", "ledger_not_found", get("/v1/ledgers/99")),
    ("an account", "account_not_found", get(f"/v1/accounts/{SOME}")),
    ("a transfer", "transfer_not_found", get(f"/v1/transfers/{SOME}")),
]  # fmt: skip


def check(books: Books, ask: Ask, status: int, code: str) -> None:
    before = books.get(f"/v1/accounts/{books.wallet}").json
    answer = ask(books)
    assert (answer.status, answer.code) == (status, code), answer
    assert books.get(f"/v1/accounts/{books.wallet}").json == before
    assert books.get(f"/v1/transfers?account_id={books.wallet}").json["data"] == []
    assert books.get("/readyz").status == 200


@pytest.mark.parametrize(("code", "ask"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_what_is_malformed(books: Books, code: str, ask: Ask) -> None:
    check(books, ask, 400, code)


@pytest.mark.parametrize(("code", "ask"), [row[1:] for row in NOT_FOUND], ids=[row[0] for row in NOT_FOUND])
def test_what_does_not_exist(books: Books, code: str, ask: Ask) -> None:
    check(books, ask, 404, code)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; "
                                          "charset=latin-1", BINARY, "application/jsonx"])  # fmt: skip
def test_what_is_not_json(books: Books, content_type: str) -> None:
    body = json.dumps(books.transfer()).encode()
    check(books, raw(body, **{"Content-Type": content_type}), 415, "content_type_unsupported")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=UTF-8",
                                          'application/json;charset="utf-8"'])  # fmt: skip
def test_what_is_json(books: Books, content_type: str) -> None:
    answer = books.post(TRANSFERS, books.transfer(), headers={"Content-Type": content_type})
    assert answer.status == 201


def test_the_malformed_member_of_a_batch_is_named(books: Books) -> None:
    assert batch({}, {}, {"amount": "-1"})(books).json["index"] == 2


def test_an_open_chain_is_refused_as_a_whole(books: Books) -> None:
    answer = batch({}, {"flags": ["linked"]}, {"flags": ["linked"]})(books)
    assert answer.status == 200
    assert [each.get("refusal") for each in answer.json["results"]] == [
        None, "linked_chain_refused", "linked_chain_open"]  # fmt: skip
    single = one(flags=["linked"])(books)
    assert (single.status, single.code) == (400, "linked_chain_open")


def test_duplicate_ids_in_one_batch(books: Books) -> None:
    same, other = new_id(), new_id()
    answer = batch({"id": same}, {"id": same}, {"id": other}, {"id": other, "amount": "5"})(books)
    results = answer.json["results"]
    assert results[0] == results[1]
    assert results[0]["status"] == "accepted"
    assert results[2]["status"] == "accepted"
    assert (results[3]["status"], results[3]["refusal"]) == ("refused", "idempotency_conflict")
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "200"


def test_a_hold_posted_twice_for_more_and_after_its_time(books: Books) -> None:
    hold = books.moved(flags=["pending"], amount="10")
    path = f"/v1/transfers/{hold['id']}"
    more = books.post(path + "/post", {"id": new_id(), "amount": "11"})
    assert (more.status, more.code) == (422, "exceeds_pending_amount")
    assert books.post(path + "/post", {"id": new_id()}).status == 201
    assert books.post(path + "/post", {"id": new_id()}).code == "pending_transfer_already_posted"
    assert books.post(path + "/void", {"id": new_id()}).code == "pending_transfer_already_posted"
    short = books.moved(flags=["pending"], amount="10", timeout_s=1)
    late = None
    for _ in range(60):
        late = books.get(f"/v1/accounts/{books.wallet}").json["balances"]["credits_pending"]
        if late == "0":
            break
        time.sleep(0.1)
    assert late == "0"
    voided = books.post(f"/v1/transfers/{short['id']}/void", {"id": new_id()})
    assert (voided.status, voided.code) == (422, "pending_transfer_expired")


def test_large_exact_amounts_survive(books: Books) -> None:
    moved = books.moved(amount=str(2**127 + 1))
    assert moved["amount"] == str(2**127 + 1)
    assert books.get(f"/v1/transfers/{moved['id']}").json["amount"] == str(2**127 + 1)
    over = books.post(TRANSFERS, books.transfer(amount=str(2**127)))
    assert (over.status, over.code) == (422, "overflows_debits_posted")
