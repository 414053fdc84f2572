"""Every route, walked as a client would."""

from __future__ import annotations

import struct
import uuid

import pytest

from pyledger.server.operations import OPERATIONS
from tests.server.talk import BINARY, Books, Talker, new_id


def test_a_ledger_is_opened_and_found(books: Books) -> None:
    opened = books.post("/v1/ledgers", {"id": 7, "asset": "USD", "exponent": 2, "metadata": {"b": 1, "a": "x"}})
    assert opened.status == 201
    assert opened.json["id"] == 7
    assert opened.json["asset"] == "USD"
    assert opened.json["metadata"] == {"a": "x", "b": 1}
    assert books.get("/v1/ledgers/7").json["asset"] == "USD"
    again = books.post("/v1/ledgers", {"id": 7, "asset": "USD", "exponent": 2, "metadata": {"a": "x", "b": 1}})
    assert (again.status, again.body, again.replayed) == (201, opened.body, True)
    other = books.post("/v1/ledgers", {"id": 7, "asset": "USD", "exponent": 3})
    assert (other.status, other.code) == (422, "idempotency_conflict")
    assert 7 in [ledger["id"] for ledger in books.get("/v1/ledgers?limit=1000").json["data"]]


def test_accounts_are_opened_one_or_many_and_found(books: Books) -> None:
    one = {"id": new_id(), "ledger": 1, "code": 2, "reference": "till", "metadata": {"floor": 1}}
    opened = books.post("/v1/accounts", one)
    assert opened.status == 201
    assert opened.json["balances"]["available"] == "0"
    assert opened.json["reference"] == "till"
    found = books.get(f"/v1/accounts/{one['id'].upper()}")
    assert found.status == 200
    assert found.json["id"] == one["id"]
    assert found.json["metadata"] == {"floor": 1}
    many = [{"id": new_id(), "ledger": 1, "code": 3} for _ in range(5)]
    reply = books.post("/v1/accounts/batch", {"accounts": many})
    assert reply.status == 200
    assert (reply.json["accepted"], reply.json["declined"], reply.json["refused"]) == (5, 0, 0)
    assert [result["id"] for result in reply.json["results"]] == [account["id"] for account in many]


def test_money_moves_and_the_reply_shows_both_accounts(books: Books) -> None:
    reply = books.moved(amount="250", reference="order-1", metadata={"z": [1, 2.5, None], "a": "é"})
    assert reply["status"] == "accepted"
    assert reply["kind"] == "transfer"
    assert reply["amount"] == "250"
    assert reply["credit_account"]["available"] == "250"
    assert reply["debit_account"]["debits_posted"] == "250"
    found = books.get(f"/v1/transfers/{reply['id']}")
    assert found.status == 200
    assert found.json == reply
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "250"


def test_a_hold_is_posted_in_part_and_another_voided(books: Books) -> None:
    books.moved(amount="1000")
    shop = books.account()
    hold = books.moved(debit_account_id=books.wallet, credit_account_id=shop, amount="400", flags=["pending"])
    assert hold["kind"] == "pending"
    assert hold["debit_account"]["available"] == "600"
    posted = books.post(f"/v1/transfers/{hold['id']}/post", {"id": new_id(), "amount": "150"})
    assert posted.status == 201
    assert posted.json["amount"] == "150"
    assert posted.json["pending_id"] == hold["id"]
    assert posted.json["debit_account"]["available"] == "850"
    other = books.moved(
        debit_account_id=books.wallet, credit_account_id=shop, amount="50", flags=["pending"], timeout_s=60
    )
    assert other["expires_at"] > other["recorded_at"]
    voided = books.post(f"/v1/transfers/{other['id']}/void", headers={"Idempotency-Key": new_id()})
    assert voided.status == 201
    assert voided.json["kind"] == "void"
    assert voided.json["debit_account"]["available"] == "850"


def test_a_transfer_is_reversed_but_never_for_more_than_it_moved(books: Books) -> None:
    moved = books.moved(amount="90")
    path = f"/v1/transfers/{moved['id']}/reverse"
    part = books.post(path, {"id": new_id(), "amount": 40})
    assert part.status == 201
    assert part.json["amount"] == "40"
    assert part.json["reverses"] == moved["id"]
    rest = books.post(path, {"id": new_id()})
    assert rest.status == 201
    assert rest.json["amount"] == "50"
    more = books.post(path, {"id": new_id(), "amount": "1"})
    assert (more.status, more.code) == (422, "exceeds_reversible_amount")
    assert more.json["recorded_at"]


def test_a_batch_has_a_result_for_each_and_chains_stand_or_fall_together(books: Books) -> None:
    chain = [
        books.transfer(flags=["linked"]),
        books.transfer(amount="5", debit_account_id=books.account("debits_must_not_exceed_credits")),
    ]
    alone = books.transfer(amount="7")
    reply = books.post("/v1/transfers/batch", {"transfers": [*chain, alone, books.transfer(ledger=99)]})
    assert reply.status == 200
    assert [result["status"] for result in reply.json["results"]] == ["declined", "declined", "accepted", "refused"]
    assert [result.get("refusal") for result in reply.json["results"]] == [
        "linked_event_failed",
        "exceeds_credits",
        None,
        "ledger_not_found",
    ]
    assert (reply.json["accepted"], reply.json["declined"], reply.json["refused"]) == (1, 2, 1)


def test_the_binary_form_does_what_json_does(books: Books) -> None:
    record = struct.Struct("<16s16s16s16s16sQIIHH28x")
    ids = [uuid.uuid4() for _ in range(3)]
    cash, wallet = uuid.UUID(books.cash), uuid.UUID(books.wallet)

    def little(value: int) -> bytes:
        return value.to_bytes(16, "little")

    body = b"".join(
        record.pack(little(each.int), little(cash.int), little(wallet.int), little(10), little(0), 0, 0, 1, 1, 0)
        for each in ids
    )
    reply = books.post("/v1/transfers/batch", raw=body, headers={"Content-Type": BINARY})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/vnd.pyledger.results"
    assert len(reply.body) == 3 * 160
    recorded_ns, refusal, bits = struct.unpack_from("<QHH", reply.body, 320)
    assert recorded_ns
    assert refusal == 0
    assert bits == 0
    assert int.from_bytes(reply.body[336:352], "little") == 10
    assert books.get(f"/v1/transfers/{ids[2]}").json["credit_account"]["posted"] == "30"
    same = books.post("/v1/transfers", books.transfer(id=str(ids[0]), amount=10))
    assert same.status == 201
    assert same.replayed
    again = books.post("/v1/transfers/batch", raw=body, headers={"Content-Type": BINARY})
    assert again.replayed
    assert struct.unpack_from("<QHH", again.body)[2] & 1


def test_lists_have_pages_and_filters(books: Books) -> None:
    made = [books.moved(amount=str(n + 1), reference=f"page-{books.wallet}-{n % 2}") for n in range(7)]
    ids = [each["id"] for each in made]

    def walk(query: str) -> list[str]:
        found: list[str] = []
        cursor = ""
        for _ in range(20):
            page = books.get(f"/v1/transfers?{query}{cursor}").json
            found += [each["id"] for each in page["data"]]
            if page["next"] is None:
                return found
            cursor = "&cursor=" + page["next"]
        raise AssertionError("the list does not end")

    assert walk(f"account_id={books.wallet}&limit=3") == ids[::-1]
    assert walk(f"account_id={books.wallet}&limit=2&order=oldest") == ids
    assert walk(f"reference=page-{books.wallet}-1") == ids[1::2][::-1]
    since, until = made[2]["recorded_at"], made[5]["recorded_at"]
    assert walk(f"account_id={books.wallet}&since={since}&until={until}") == ids[2:5][::-1]
    assert walk(f"account_id={books.wallet}&ledger=2") == []
    accounts = books.get("/v1/accounts?limit=2&ledger=1").json
    assert len(accounts["data"]) == 2
    assert accounts["next"]
    following = books.get(f"/v1/accounts?limit=2&ledger=1&cursor={accounts['next']}").json
    assert accounts["data"][0]["id"] != following["data"][0]["id"]


def test_upkeep_routes_are_open_and_say_what_they_promise(books: Books) -> None:
    books.moved()
    assert books.get("/healthz").json == {"status": "alive", "state": "serving"}
    ready = books.get("/readyz").json
    assert ready["ready"] is True
    assert ready["epoch"] >= 1
    assert ready["head_seq"] >= 1
    assert ready["last_commit_age_s"] < 60
    metrics = books.get("/metrics").body.decode()
    for name in (
        "pyledger_batch_commands_bucket",
        "pyledger_queue_rows",
        "pyledger_apply_seconds_bucket",
        "pyledger_commit_seconds_bucket",
        "pyledger_authorization_seconds_bucket",
        "pyledger_head_seq",
        "pyledger_epoch",
        "pyledger_fences_total",
        "pyledger_recoveries_total",
        'pyledger_http_requests_total{operation="createTransfer",status="201"}',
        'pyledger_state{state="serving"} 1.0',
    ):
        assert name in metrics, name
    books.post("/v1/transfers", books.transfer(debit_account_id=books.wallet, credit_account_id=books.cash))
    assert 'pyledger_declines_total{code="exceeds_credits"}' in books.get("/metrics").body.decode()


def test_methods_and_paths_that_are_not_there(books: Books) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/",
        "/v2/transfers",
        "/v1/transfers/",
        "/v1/transfers/x/y",
        "/v1/transfers//post",
        f"/v1/transfers/{new_id()}/post/",
        "/healthz/",
        "//healthz",
        "/V1/transfers",
        "/v1/accounts/a/post",
    ):
        answer = books.get(path)
        assert (answer.status, answer.code) == (404, "not_found"), path
    for method in ("PUT", "DELETE", "PATCH", "BREW", "TRACE"):
        answer = books.call(method, "/v1/transfers")
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert books.get("/v1/transfers/batch").headers["allow"] == "OPTIONS, POST"
    options = books.call("OPTIONS", f"/v1/transfers/{new_id()}/post")
    assert (options.status, options.headers["allow"], options.body) == (204, "OPTIONS, POST", b"")


def test_head_is_get_without_the_body(books: Books) -> None:
    for path in ("/healthz", "/v1/transfers", f"/v1/accounts/{books.wallet}", f"/v1/accounts/{new_id()}"):
        whole, head = books.get(path), books.call("HEAD", path)
        assert head.status == whole.status
        assert head.body == b""
        assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_answer_has_the_headers_of_all_answers(books: Books, operation) -> None:
    path = operation.path.replace("{id}", "1" if "ledgers" in operation.path else new_id())
    answer = books.call(operation.method, path)
    assert answer.status < 500
    assert answer.headers["server"] == "pyledger"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_no_key_is_needed_only_because_the_server_says_so(books: Books) -> None:
    assert Talker(books.url).get("/v1/accounts").status == 200
