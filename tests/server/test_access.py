"""Who may: keys, scopes and tenants, against a server without --dev."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from pyledger.identity import AccessDenied, KeyMade, create_key, ensure_tenant, list_keys, revoke_key
from pyledger.server.operations import OPERATIONS
from tests.server.talk import Answer, Books, Talker, new_id, open_books
from tests.support.clusters import Database
from tests.support.process import ServerProcess

Start = Callable[..., ServerProcess]
WITH_KEYS = ()
"""Arguments of `pyledger serve`: not --dev."""


@pytest.fixture
async def owner(database: Database) -> Any:
    """A connection as the schema's owner, as `pyledger key` has."""
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def guarded(start_server: Start, database: Database) -> ServerProcess:
    """A server that asks for keys."""
    return start_server(database, arguments=WITH_KEYS, key_refresh_s=1)


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["www-authenticate"].startswith("Bearer ")


async def books_of(guarded: ServerProcess, owner: Any, tenant: str) -> Books:
    made = await create_key(owner, tenant, "all")
    return await asyncio.to_thread(open_books, guarded.url, made.key)


async def test_without_a_key_nothing_is_shown_but_health(guarded: ServerProcess) -> None:
    for operation in OPERATIONS:
        path = operation.path.replace("{id}", "1" if "ledgers" in operation.path else new_id())
        answer = Talker(guarded.url).call(operation.method, path, {} if operation.takes else None)
        if operation.scope is None:
            assert answer.status == 200
        else:
            refused(answer, 401, "key_missing")


async def test_keys_that_are_none(guarded: ServerProcess, owner: Any) -> None:
    made = await create_key(owner, "acme", "till")
    talker = Talker(guarded.url)
    assert (await asyncio.to_thread(Talker(guarded.url, made.key).get, "/v1/ledgers")).status == 200
    for given, code in (
        (f"Bearer {made.key}x", "key_invalid"),
        (f"Bearer {made.key[:-1]}", "key_invalid"),
        (f"Bearer {made.key[:-1]}!", "key_invalid"),
        (f"Bearer {made.key.upper()}", "key_invalid"),
        ("Bearer pk_" + "A" * 43, "key_invalid"),
        ("Bearer ", "key_missing"),
        ("Bearer", "key_missing"),
        ("Basic " + made.key, "key_missing"),
        (made.key, "key_missing"),
        ("Bearer " + "x" * 10_000, "key_invalid"),
    ):
        answer = await asyncio.to_thread(talker.get, "/v1/ledgers", headers={"Authorization": given})
        refused(answer, 401, code)
    lower = await asyncio.to_thread(talker.get, "/v1/ledgers", headers={"Authorization": f"bearer {made.key}"})
    assert lower.status == 200
    for first, second in ((f"{made.key}x", made.key), (made.key, f"{made.key}x"), (made.key, made.key)):
        twice = (f"GET /v1/ledgers HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\nAuthorization: Bearer {first}\r\n"
                 f"Authorization: Bearer {second}\r\n\r\n")  # fmt: skip
        assert b" 401 " in await asyncio.to_thread(talker.send, twice.encode())


async def test_a_key_works_the_moment_it_is_made_and_stops_when_revoked(guarded: ServerProcess, owner: Any) -> None:
    made = await create_key(owner, "acme", "till")
    talker = Talker(guarded.url, made.key)
    assert (await asyncio.to_thread(talker.get, "/v1/ledgers")).status == 200
    assert await revoke_key(owner, made.id)
    assert not await revoke_key(owner, made.id)
    deadline = time.monotonic() + 10
    while (answer := await asyncio.to_thread(talker.get, "/v1/ledgers")).status == 200:
        assert time.monotonic() < deadline, "a revoked key still works"
        await asyncio.sleep(0.1)
    refused(answer, 401, "key_invalid")


async def test_a_key_expires_by_itself(guarded: ServerProcess, owner: Any) -> None:
    made = await create_key(owner, "acme", "till", expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    talker = Talker(guarded.url, made.key)
    assert (await asyncio.to_thread(talker.get, "/v1/ledgers")).status == 200
    await asyncio.sleep(1.6)
    refused(await asyncio.to_thread(talker.get, "/v1/ledgers"), 401, "key_invalid")


async def test_a_scope_is_needed_for_each_operation(guarded: ServerProcess, owner: Any) -> None:
    keys = {scope: await create_key(owner, "acme", str(scope), [str(scope)]) for scope in
            ("ledgers:write", "accounts:write", "transfers:write", "read", "metrics")}  # fmt: skip
    for operation in OPERATIONS:
        if operation.scope is None:
            continue
        path = operation.path.replace("{id}", "1" if "ledgers" in operation.path else new_id())
        for scope, made in keys.items():
            answer = await asyncio.to_thread(Talker(guarded.url, made.key).call, operation.method, path)
            if scope == operation.scope:
                assert answer.status not in (401, 403), (operation.name, scope)
            else:
                refused(answer, 403, "scope_missing")
                assert answer.json["scope"] == operation.scope


async def test_another_tenants_books_do_not_exist(guarded: ServerProcess, owner: Any) -> None:
    ours, theirs = await books_of(guarded, owner, "acme"), await books_of(guarded, owner, "rival")
    await asyncio.to_thread(tenants_do_not_see_each_other, ours, theirs)


def tenants_do_not_see_each_other(ours: Books, theirs: Books) -> None:
    moved = theirs.moved(amount="500", reference="secret")
    hold = theirs.moved(amount="5", flags=["pending"])
    for path, code in (
        (f"/v1/accounts/{theirs.wallet}", "account_not_found"),
        (f"/v1/transfers/{moved['id']}", "transfer_not_found"),
    ):
        answer = ours.get(path)
        assert (answer.status, answer.code) == (404, code)
    for fields in ({"debit_account_id": theirs.wallet}, {"credit_account_id": theirs.wallet}):
        answer = ours.post("/v1/transfers", ours.transfer(**fields))
        assert answer.status == 404
        assert answer.code.endswith("_account_not_found")
    for action, target in (("post", hold), ("void", hold), ("reverse", moved)):
        answer = ours.post(f"/v1/transfers/{target['id']}/{action}", {"id": new_id()})
        assert answer.status == 404, action
    for query in (f"account_id={theirs.wallet}", "reference=secret", "ledger=1", "order=oldest"):
        assert ours.get(f"/v1/transfers?{query}").json["data"] == []
    assert theirs.wallet not in [each["id"] for each in ours.get("/v1/accounts?limit=1000").json["data"]]
    cursor = theirs.get("/v1/accounts?limit=1").json["next"]
    assert ours.get(f"/v1/accounts?limit=1&cursor={cursor}").status in (200, 400)
    assert theirs.wallet not in ours.get(f"/v1/accounts?cursor={cursor}").body.decode()
    # The same id and the same key belong to each tenant by itself.
    again = ours.post("/v1/transfers", ours.transfer(id=moved["id"], amount="1"))
    assert (again.status, again.replayed) == (201, False)
    for books in (ours, theirs):
        keyed = books.post("/v1/transfers", books.transfer(id=None), headers={"Idempotency-Key": "same"})
        assert (keyed.status, keyed.replayed) == (201, False)
    assert theirs.get(f"/v1/accounts/{theirs.wallet}").json["balances"]["posted"] == "600"


async def test_metrics_are_for_this_machine_or_a_key_with_the_scope(
    start_server: Start, database: Database, owner: Any
) -> None:
    server = start_server(database, arguments=WITH_KEYS, behind_tls_proxy=1)
    reader, scraper = await create_key(owner, "acme", "r"), await create_key(owner, "ops", "m", ["metrics"])
    refused(await asyncio.to_thread(Talker(server.url).get, "/metrics"), 401, "key_missing")
    refused(await asyncio.to_thread(Talker(server.url, reader.key).get, "/metrics"), 403, "scope_missing")
    assert (await asyncio.to_thread(Talker(server.url, scraper.key).get, "/metrics")).status == 200


async def test_guessing_keys_does_not_slow_down_who_has_one(guarded: ServerProcess, owner: Any) -> None:
    books = await books_of(guarded, owner, "acme")
    guesser = Talker(guarded.url, "pk_" + "B" * 43)
    with ThreadPoolExecutor(50) as threads:
        guesses = [threads.submit(guesser.get, "/v1/ledgers") for _ in range(200)]
        start = time.monotonic()
        for _ in range(10):
            await asyncio.to_thread(books.moved, amount="1")
        assert time.monotonic() - start < 10  # a look-up for each guess would take 50
        assert {guess.result().status for guess in guesses} == {401}


async def test_what_is_stored_is_a_hash_and_names_are_checked(owner: Any) -> None:
    made: KeyMade = await create_key(owner, "acme", "till", ["read"])
    assert made.key.startswith("pk_")
    assert len(made.key) == 46
    row = await owner.fetchrow("SELECT * FROM pyledger.api_key")
    assert made.key not in str(dict(row))
    assert len(row["hash"]) == 32
    assert [key.id for key in await list_keys(owner)] == [made.id]
    assert await ensure_tenant(owner, "acme") == made.tenant
    for arguments in (("", "x"), ("acme", ""), ("acme", "a\nb"), ("a" * 129, "x"), (" acme", "x")):
        with pytest.raises(AccessDenied):
            await create_key(owner, *arguments)
    for scopes in ([], ["write"], ["read", "admin"]):
        with pytest.raises(AccessDenied):
            await create_key(owner, "acme", "x", scopes)
    with pytest.raises(AccessDenied):
        await create_key(owner, "acme", "x", None, datetime.now(UTC))
    with pytest.raises(AccessDenied):
        await revoke_key(owner, "till")
    assert not await revoke_key(owner, new_id())


def test_a_server_without_keys_answers_under_names_of_this_machine_only(books: Books) -> None:
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        answer = books.call("GET", "/v1/ledgers", headers={"Host": host or " "})
        assert (answer.status, answer.code) == (403, "host_not_local"), host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]", "[::1]:8080"):
        assert books.call("GET", "/v1/ledgers", headers={"Host": host}).status == 200, host


async def test_metrics_passed_on_by_a_proxy_need_a_key(guarded: ServerProcess) -> None:
    ours = Talker(guarded.url)
    assert (await asyncio.to_thread(ours.get, "/metrics")).status == 200
    for name in ("Forwarded", "X-Forwarded-For", "Via"):
        refused(await asyncio.to_thread(ours.get, "/metrics", headers={name: "for=8.8.8.8"}), 401, "key_missing")
