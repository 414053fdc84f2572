"""The OpenAPI document and its page say what the server does, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pyledger import _rust
from pyledger.server import openapi, schemas
from pyledger.server.operations import OPERATIONS, Operation
from pyledger.server.page import DOCS
from pyledger.server.problems import PROBLEMS
from tests.server.talk import Books, new_id

SOME, OTHER, THIRD = (f"0198f2a4-7c1e-7b53-9d2c-4f6f0a1b2c3{n}" for n in range(3))

# A value for every field of every request that its decoder takes, the others of the same request being there.
FIELDS: dict[str, Any] = {
    "id": SOME, "ledger": 1, "code": 1, "flags": [], "allowance": "5", "reference": "r", "metadata": {"a": 1},
    "effective_at": "2026-01-01T00:00:00Z", "debit_account_id": OTHER, "credit_account_id": THIRD, "amount": "1",
    "timeout_s": 1, "pending_id": OTHER, "reverses": OTHER, "group": True,
}  # fmt: skip
REQUESTS: list[tuple[type[msgspec.Struct], Any, dict[str, Any]]] = [
    (schemas.NewLedger, lambda body: _rust.decode_ledger(body, 1),
     {"id": 1, "asset": "EUR", "exponent": 2, "metadata": {"a": 1}}),
    (schemas.NewAccount, lambda body: _rust.decode_account(body, 1, None), FIELDS),
    (schemas.NewTransfer, lambda body: _rust.decode_transfer(body, 1, None), FIELDS),
    (schemas.PostOrVoid, lambda body: _rust.decode_resolution(body, 1, "post", OTHER, None), FIELDS),
    (schemas.PostOrVoid, lambda body: _rust.decode_resolution(body, 1, "void", OTHER, None), FIELDS),
    (schemas.Reversal, lambda body: _rust.decode_resolution(body, 1, "reverse", OTHER, None), FIELDS),
]  # fmt: skip
EVERYTHING = {*FIELDS, "asset", "exponent"}


def code_of(decode: Any, body: dict[str, Any]) -> str | None:
    """The code with which the decoder refuses a body; None if it takes it."""
    try:
        decode(json.dumps(body).encode())
    except _rust.Malformed as error:
        return error.code
    return None


@pytest.mark.parametrize(("struct", "decode", "values"), REQUESTS, ids=lambda each: getattr(each, "__name__", None))
def test_the_structs_are_what_the_decoder_takes(struct: type, decode: Any, values: dict[str, Any]) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    whole = {name: values[name] for name in fields}
    for name in EVERYTHING:
        code = code_of(decode, whole | {name: values.get(name, "EUR")})
        assert (code == "unknown_field") == (name not in fields), (name, code)
    least = {name: value for name, value in whole.items() if name in ("debit_account_id", "credit_account_id", "amount",
             "ledger", "code", "id") or fields[name].required}  # fmt: skip
    assert code_of(decode, least) is None
    for name, field in fields.items():
        if field.required:
            missing = {other: value for other, value in least.items() if other != name}
            # Left out, a number is 0, which the engine refuses: see the next test.
            assert code_of(decode, missing) == ("missing_field" if name not in ("ledger", "code") else None), name
        elif name != "id":
            # What the document calls nullable is: null means the same as leaving it out.
            without = {other: value for other, value in least.items() if other != name}
            assert code_of(decode, least | {name: None}) == code_of(decode, without), name


@pytest.mark.parametrize(("kind", "decode", "names"), [
    (schemas.NewAccount, _rust.decode_account, ["linked", "debits_must_not_exceed_credits",
                                                "credits_must_not_exceed_debits", "imported", "closed"]),
    (schemas.NewTransfer, _rust.decode_transfer, ["linked", "pending", "post_pending", "void_pending",
     "balancing_debit", "balancing_credit", "closing_debit", "closing_credit", "imported", "reverse", "group"]),
])  # fmt: skip
def test_the_flags_are_what_the_decoder_takes(kind: type, decode: Any, names: list[str]) -> None:
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]["flags"]["anyOf"]
    documented = next(each for each in schema if each.get("type") == "array")["items"]["enum"]
    body = {"id": SOME, "debit_account_id": OTHER, "credit_account_id": THIRD, "amount": "1", "ledger": 1, "code": 1}
    if kind is schemas.NewAccount:
        body = {"id": SOME, "ledger": 1, "code": 1}
    taken = [name for name in names if code_of(lambda raw: decode(raw, 1, None), body | {"flags": [name]}) is None]
    assert sorted(documented) == sorted(taken)


def test_the_bounds_are_those_of_the_core() -> None:
    limits = _rust.LIMITS
    transfers = msgspec.json.schema(schemas.NewTransfers)["$defs"]["NewTransfers"]["properties"]["transfers"]
    assert transfers["maxItems"] == limits["batch_rows_max"]
    assert transfers["minItems"] == 1
    new = msgspec.json.schema(schemas.NewTransfer)["$defs"]["NewTransfer"]["properties"]
    assert flat(new["ledger"])["maximum"] == limits["ledger_max"]
    assert flat(new["timeout_s"])["maximum"] == limits["timeout_s_max"]
    assert flat(new["reference"])["maxLength"] == limits["reference_bytes_max"]


def test_an_account_without_ledger_or_code_is_refused(books: Books) -> None:
    for name, code in (("ledger", "ledger_must_not_be_zero"), ("code", "code_must_not_be_zero")):
        body = {"id": new_id(), "ledger": 1, "code": 1}
        del body[name]
        answer = books.post("/v1/accounts", body)
        assert (answer.status, answer.code) == (400, code)


def flat(schema: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in schema["anyOf"] if each.get("type") != "null")


def closed(kind: type[msgspec.Struct], body: Any) -> None:
    """The reply has the fields of the struct, of their types, and no others."""
    msgspec.convert(body, kind)
    known = {field.name for field in msgspec.structs.fields(kind)}
    assert set(body) <= known, (kind, set(body) - known)


def test_the_structs_are_what_replies_contain(books: Books) -> None:
    number = 1_000 + int(new_id()[:6], 16)
    ledger = books.post("/v1/ledgers", {"id": number, "asset": "EUR", "exponent": 2, "metadata": {"a": 1}}).json
    closed(schemas.Ledger, ledger)
    assert books.get(f"/v1/ledgers/{number}").json | {"kind": "ledger", "status": "accepted"} == ledger
    full = {"id": new_id(), "ledger": 1, "code": 1, "reference": "r", "metadata": {"a": 1}, "allowance": "10",
            "flags": ["debits_must_not_exceed_credits"]}  # fmt: skip
    closed(schemas.Account, books.post("/v1/accounts", full).json)
    closed(schemas.Account, books.get(f"/v1/accounts/{full['id']}").json)
    plain = books.moved(reference="r", metadata={"a": 1}, effective_at="2026-01-01T00:00:00.5Z")
    hold = books.moved(flags=["pending"], timeout_s=100)
    post = books.post(f"/v1/transfers/{hold['id']}/post", {"id": new_id()}).json
    reversal = books.post(f"/v1/transfers/{plain['id']}/reverse", {"id": new_id(), "amount": "1"}).json
    for each in (plain, hold, post, reversal):
        closed(schemas.Transfer, each)
        for side in ("debit_account", "credit_account"):
            closed(schemas.AccountAfter, each[side])
        assert books.get(f"/v1/transfers/{each['id']}").json == each
    decline = books.post("/v1/transfers", books.transfer(debit_account_id=full["id"], amount="999"))
    closed(schemas.ProblemDetails, decline.json)
    closed(schemas.Transfer, books.get(f"/v1/transfers/{decline.json['id']}").json)
    for path, kind, item in (
        ("/v1/ledgers", schemas.LedgerPage, schemas.Ledger),
        ("/v1/accounts", schemas.AccountPage, schemas.Account),
        ("/v1/transfers", schemas.TransferPage, schemas.Transfer),
    ):
        page = books.get(path).json
        closed(kind, page)
        for each in page["data"]:
            closed(item, each)
    closed(schemas.Health, books.get("/healthz").json)
    closed(schemas.Readiness, books.get("/readyz").json)


def test_the_structs_are_what_batch_results_contain(books: Books) -> None:
    chain = [books.transfer(flags=["linked"], debit_account_id=books.wallet, credit_account_id=books.cash,
                            amount="999"), books.transfer()]  # fmt: skip
    moved = books.post("/v1/transfers/batch", {"transfers": [books.transfer(), *chain, books.transfer(ledger=99)]}).json
    closed(schemas.TransferResults, moved)
    for result, kind in zip(
        moved["results"], [schemas.Transfer, schemas.Transfer, schemas.Transfer, schemas.RefusedResult], strict=True
    ):
        closed(kind, result)
    accounts = [
        {"id": new_id(), "ledger": 1, "code": 1},
        {"id": new_id(), "ledger": 1, "code": 1, "flags": ["linked"]},
        {"id": new_id(), "ledger": 99, "code": 1},
        {"id": books.cash, "ledger": 1, "code": 9},
        imported(new_id(), "2020-01-01T00:00:01Z"),
        imported(new_id(), "2020-01-01T00:00:00Z") | {"reference": "r", "metadata": {"a": 1}},
    ]
    opened = books.post("/v1/accounts/batch", {"accounts": accounts}).json
    closed(schemas.AccountResults, opened)
    closed(schemas.Account, opened["results"][0])
    for result in opened["results"][1:4]:
        closed(schemas.RefusedResult, result)
    closed(schemas.Account, opened["results"][4])
    closed(schemas.DeclinedAccount, opened["results"][5])


def imported(id: str, effective_at: str) -> dict[str, Any]:
    return {"id": id, "ledger": 1, "code": 1, "flags": ["imported"], "effective_at": effective_at}


def test_the_document_is_valid_openapi(books: Books) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = books.get("/openapi.json").json
    validator.validate(document)
    assert document["openapi"] == "3.1.0"
    assert json.loads(openapi.encode(document["info"]["version"])) == document


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_states_what_it_must(operation: Operation) -> None:
    document = openapi.build("0")["paths"][operation.path][operation.method.lower()]
    assert document["operationId"] == operation.name
    assert document["security"] == ([{"key": []}] if operation.scope else [])
    if operation.method != "GET":
        assert operation.scope
        assert document["x-scopes"] == [operation.scope]
        for words in ("**Access.**", "**Idempotency.**", "**Journal.**", "**Limit.**"):
            assert words in document["description"]
        for name in ("x-idempotency", "x-journal", "x-body-limit"):
            assert document[name]
        assert {"400", "401", "403", "404", "408", "413", "415", "422", "503"} - set(document["responses"]) <= {
            "404",
            "422",
        }


def test_references_lead_somewhere_and_names_are_used_once() -> None:
    text = json.dumps(openapi.build("0"))
    document = json.loads(text)
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
        assert name in document["components"]["schemas"]
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_every_problem_is_listed_once_with_a_status_and_words() -> None:
    codes = [code for _, code, _, _ in _rust.REFUSALS] + [code for code, _ in _rust.MALFORMED]
    assert set(codes) <= set(PROBLEMS)
    for code, problem in PROBLEMS.items():
        assert re.fullmatch("[a-z0-9_]+", code)
        assert 400 <= problem.status <= 503
        assert problem.detail.endswith(".")
        assert problem.title
    listed = openapi.build("0")["x-problems"]
    assert [each["code"] for each in listed] == list(PROBLEMS)


def test_every_problem_that_the_server_raises_is_known() -> None:
    source = Path(openapi.__file__).parent
    raised = {
        code
        for path in source.rglob("*.py")
        for code in re.findall(r'Refused\(\s*"([a-z_]+)"', path.read_text("utf-8"))
    }
    assert raised
    assert raised <= set(PROBLEMS)


def test_the_page_reaches_nothing_else(books: Books) -> None:
    answer = books.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    text = DOCS.decode()
    assert not re.findall(r"https?://", text)
    assert not re.findall(r"\b(?:src|href)=\"(?!/openapi\.json|#)", text)
    assert "innerHTML" not in text
    assert " style=" not in text
