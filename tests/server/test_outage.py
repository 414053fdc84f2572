"""PostgreSQL away and back, a stop under load, a second server: what clients see of it."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.server.talk import Answer, Books, Talker, new_id, open_books
from tests.support.clusters import DEFAULT_VERSION, Clusters, Database, make_directory, remove_directory
from tests.support.process import ServerProcess

Start = Callable[..., ServerProcess]


@pytest.fixture
async def own_database() -> AsyncIterator[Database]:
    """A database in a cluster of its own, which the test may stop."""
    clusters = Clusters(make_directory())
    yield await clusters.make_database(DEFAULT_VERSION)
    await clusters.stop()
    remove_directory(clusters.directory)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_postgresql_stopped_and_started_again(start_server: Start, own_database: Database) -> None:
    server = start_server(own_database, answer_timeout_ms=4_000)
    books = await asyncio.to_thread(open_books, server.url)
    before = await asyncio.to_thread(books.moved)
    await own_database.postgres.cluster.stop()
    pending = books.transfer(amount="7")
    refused = await asyncio.to_thread(books.post, "/v1/transfers", pending)
    assert refused.status == 503
    assert refused.code in ("unavailable", "outcome_unknown")
    for path in (f"/v1/accounts/{books.wallet}", f"/v1/transfers/{before['id']}", "/v1/transfers", "/v1/ledgers"):
        answer = await asyncio.to_thread(books.get, path)
        assert (answer.status, answer.code) == (503, "unavailable"), path
        assert int(answer.headers["retry-after"]) >= 1
    assert (await asyncio.to_thread(books.get, "/healthz")).status == 200
    ready = await asyncio.to_thread(books.get, "/readyz")
    assert (ready.status, ready.json["ready"], ready.json["state"]) == (503, False, "reconnecting")
    assert (await asyncio.to_thread(books.get, "/metrics")).status == 200
    await own_database.postgres.cluster.start()
    await until(lambda: books.get("/readyz").status == 200, "the server does not come back by itself")
    again = await asyncio.to_thread(books.post, "/v1/transfers", pending)
    assert again.status == 201
    account = await asyncio.to_thread(books.get, f"/v1/accounts/{books.wallet}")
    assert account.json["balances"]["posted"] == "107"
    assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.slow
async def test_a_stop_while_postgresql_is_away_still_ends(start_server: Start, own_database: Database) -> None:
    server = start_server(own_database, drain_timeout_s=2, answer_timeout_ms=4_000)
    books = await asyncio.to_thread(open_books, server.url)
    await own_database.postgres.cluster.stop()
    assert (await asyncio.to_thread(books.post, "/v1/transfers", books.transfer())).status == 503
    start = time.monotonic()
    await asyncio.to_thread(server.stop)
    assert time.monotonic() - start < 20
    await own_database.postgres.cluster.start()


class Sender(threading.Thread):
    """Sends transfers one after the other until it is refused or cannot connect."""

    def __init__(self, books: Books) -> None:
        super().__init__(daemon=True)
        self.books = books
        self.accepted: list[str] = []
        self.ended: Answer | Exception | None = None

    def run(self) -> None:
        while self.ended is None:
            body = self.books.transfer(amount="1")
            try:
                answer = self.books.post("/v1/transfers", body)
            except (OSError, http.client.HTTPException) as error:
                self.ended = error
                return
            if answer.status == 201:
                self.accepted.append(body["id"])
            else:
                self.ended = answer


async def test_a_stop_under_load_answers_what_it_took(start_server: Start, database: Database) -> None:
    server = start_server(database)
    books = await asyncio.to_thread(open_books, server.url)
    senders = [Sender(books) for _ in range(16)]
    for sender in senders:
        sender.start()
    await asyncio.sleep(1.0)
    assert await asyncio.to_thread(server.stop) == 0
    for sender in senders:
        await asyncio.to_thread(sender.join, 10)
        # Either told that it stops, or not let in any more; never cut off after being let in.
        if isinstance(sender.ended, Answer):
            assert (sender.ended.status, sender.ended.code) == (503, "stopping")
        else:
            assert isinstance(sender.ended, ConnectionRefusedError | ConnectionResetError), sender.ended
    accepted = [each for sender in senders for each in sender.accepted]
    assert len(accepted) > 50
    connection = await asyncpg.connect(database.reader_dsn)
    rows = await connection.fetch("SELECT id::text FROM pyledger.journal WHERE kind = 3 AND status = 0")
    await connection.close()
    assert set(accepted) <= {row["id"] for row in rows}
    assert len(rows) - len(accepted) <= 16
    after = start_server(database)
    balance = await asyncio.to_thread(Talker(after.url).get, f"/v1/accounts/{books.wallet}")
    assert balance.json["balances"]["posted"] == str(len(rows))


async def test_what_was_sent_before_a_stop_is_answered_after_it(start_server: Start, database: Database) -> None:
    server = start_server(database)
    books = await asyncio.to_thread(open_books, server.url)
    with books.connect() as wire:
        wire.sendall(
            b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        )
        await asyncio.sleep(0.3)
        os.kill(server.pid, signal.SIGTERM)
        await until(lambda: b"stopping" in books.send(b"GET /readyz HTTP/1.0\r\n\r\n"), "it does not say that it stops")
        refused = await asyncio.to_thread(books.post, "/v1/transfers", books.transfer())
        assert (refused.status, refused.code) == (503, "stopping")
        assert refused.headers["connection"] == "close"
        wire.sendall(b" " * 498 + b"}")
        assert b'"code":"id_or_key_needed"' in wire.recv(65_536)
    assert await asyncio.to_thread(server.stop) == 0


async def test_a_second_server_waits_visibly_and_takes_over(start_server: Start, database: Database) -> None:
    first = start_server(database)
    books = await asyncio.to_thread(open_books, first.url)
    await asyncio.to_thread(books.moved)
    second = start_server(database, ready=False)
    waiting = Talker(second.url)
    await until(lambda: waiting.get("/readyz").json["state"] == "standby", "it does not wait")
    ready = await asyncio.to_thread(waiting.get, "/readyz")
    assert (ready.status, ready.json["ready"]) == (503, False)
    assert 'pyledger_state{state="standby"} 1.0' in (await asyncio.to_thread(waiting.get, "/metrics")).body.decode()
    assert "standing by" in second.log()
    answer = await asyncio.to_thread(waiting.post, "/v1/transfers", books.transfer())
    assert (answer.status, answer.code) == (503, "unavailable")
    assert (await asyncio.to_thread(waiting.get, f"/v1/accounts/{books.wallet}")).status == 503
    assert await asyncio.to_thread(first.stop) == 0
    await until(lambda: waiting.get("/readyz").status == 200, "it does not take over")
    account = await asyncio.to_thread(waiting.get, f"/v1/accounts/{books.wallet}")
    assert account.json["balances"]["posted"] == "100"


async def test_a_standby_stops_when_told(start_server: Start, database: Database) -> None:
    first = start_server(database)
    second = start_server(database, ready=False)
    await until(lambda: Talker(second.url).get("/readyz").json["state"] == "standby", "it does not wait")
    assert await asyncio.to_thread(second.stop) == 0
    assert first.answers("/readyz")


@pytest.mark.slow
async def test_a_frozen_server_is_replaced_and_ends_as_a_zombie(start_server: Start, database: Database) -> None:
    first = start_server(database, lease_ms=2_000)
    books = await asyncio.to_thread(open_books, first.url)
    second = start_server(database, ready=False, lease_ms=2_000)
    other = Talker(second.url)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        await until(lambda: other.get("/readyz").status == 200, "nobody takes over")
        moved = await asyncio.to_thread(other.post, "/v1/transfers", books.transfer())
        assert moved.status == 201
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.process is not None
    assert await asyncio.to_thread(first.process.wait, 30) == 3
    assert "fenced" in first.log()


@pytest.fixture
def many(start_server: Start, database: Database) -> Iterator[Books]:
    """Books of a server with a small queue."""
    server = start_server(database, queue_rows_max=8_190)
    yield open_books(server.url)
    assert server.stop() == 0, server.log()


def test_a_full_queue_refuses_at_once_and_nothing_is_lost(many: Books) -> None:
    batches = [{"transfers": [many.transfer(amount="1") for _ in range(4_000)]} for _ in range(8)]
    answers: list[Answer | None] = [None] * len(batches)

    def send(number: int) -> None:
        answers[number] = many.post("/v1/transfers/batch", batches[number])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [answer.status for answer in answers if answer]
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    for answer in answers:
        if answer is not None and answer.status == 503:
            assert answer.code == "queue_full"
            assert int(answer.headers["retry-after"]) >= 1
    moved = many.get(f"/v1/accounts/{many.wallet}").json["balances"]["posted"]
    assert moved == str(4_000 * statuses.count(200))


def test_log_files_hold_no_keys_and_no_tracebacks(start_server: Start, database: Database, tmp_path: Path) -> None:
    server = start_server(database, log_level="debug")
    books: Any = open_books(server.url)
    books.get("/v1/accounts", headers={"Authorization": "Bearer pk_secret"})
    books.post("/v1/transfers", raw=b"nonsense")
    books.get(f"/v1/accounts/{new_id()}")
    assert server.stop() == 0
    assert "pk_secret" not in server.log()
    assert "Traceback" not in server.log()
