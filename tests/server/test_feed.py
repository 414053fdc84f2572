"""The feed over HTTP: pages, long-poll and events on real sockets, readers that stall, keys that end, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from pyledger.identity import create_key, revoke_key
from pyledger.server.handlers.feed import STREAM_BYTES_MAX
from tests.server.conftest import LIMITS
from tests.server.events import HEAD, Events
from tests.server.talk import Books, Talker, open_books
from tests.support.clusters import Database
from tests.support.process import ServerProcess

Start = Callable[..., ServerProcess]


def later(seconds: float, what: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(seconds, what)
    thread.start()
    return thread


def readers(talker: Talker) -> int:
    lines = talker.get("/metrics").body.decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("pyledger_feed_readers ")).split()[1]))


def until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pages_lead_from_one_to_the_next(books: Books) -> None:
    path = f"/v1/feed?account_id={books.wallet}"
    moved = [books.moved()["id"] for _ in range(5)]
    first = books.get(path + "&limit=3").json
    second = books.get(path + f"&after={first['next']}").json
    assert [row["id"] for row in first["data"] + second["data"]] == [books.wallet, *moved]
    again = books.get(path + f"&after={first['data'][1]['cursor']}").json
    assert [row["id"] for row in again["data"]] == moved[1:]
    nothing = books.get(path + f"&after={second['next']}").json
    assert nothing == {"data": [], "next": second["next"]}
    declined = books.post("/v1/transfers", books.transfer(debit_account_id=books.wallet, credit_account_id=books.cash,
                                                          amount="501"))  # fmt: skip
    assert declined.status == 422
    assert books.get(path + f"&after={second['next']}").json["data"] == []
    with_declines = books.get(path + "&status=all").json["data"]
    assert with_declines[-1]["refusal"] == "exceeds_credits"


def test_a_long_poll_waits_for_a_row_and_no_longer_than_told(books: Books) -> None:
    path = f"/v1/feed?after=latest&account_id={books.wallet}&wait_s="
    began = time.monotonic()
    # Longer than a head may take to arrive: a connection that waits is not idle.
    empty = books.get(path + "3").json
    assert LIMITS["header_timeout_ms"] / 1_000 < 2.9 < time.monotonic() - began < 10
    assert empty["data"] == []
    began = time.monotonic()
    posting = later(2.0, books.moved)
    rows = books.get(path + "20").json["data"]
    assert 1.9 < time.monotonic() - began < 10
    assert [row["kind"] for row in rows] == ["transfer"]
    posting.join()
    assert books.get(path + "0").json["data"] == []


def test_what_is_wrong_is_told(books: Books) -> None:
    for query, code in (
        ("after=x", "cursor_invalid"),
        ("after=", "parameter_invalid"),
        ("wait_s=61", "parameter_invalid"),
        ("wait_s=-1", "parameter_invalid"),
        ("limit=0", "parameter_invalid"),
        ("limit=1001", "parameter_invalid"),
        ("code=0", "parameter_invalid"),
        ("ledger=x", "parameter_invalid"),
        ("status=declined", "parameter_invalid"),
        ("account_id=1", "parameter_invalid"),
        ("cursor=x", "parameter_unknown"),
    ):
        answer = books.get("/v1/feed?" + query)
        assert (answer.status, answer.code) == (400, code), query
        with Events(books, "/v1/feed?" + query) as stream:
            assert (stream.status, stream.headers["content-type"]) == (400, "application/problem+json")
    mine = books.get("/v1/feed?limit=1").json["next"]
    assert books.get(f"/v1/feed?after={mine}&ledger=1").code == "cursor_invalid"
    with Events(books, "/v1/feed", "Last-Event-ID: x") as stream:
        assert stream.status == 400
    head = books.call("HEAD", "/v1/feed", headers={"Accept": "text/event-stream"})
    assert (head.status, head.body) == (200, b"")
    assert books.post("/v1/feed").code == "method_not_allowed"


def test_events_come_as_they_are_committed_and_go_on_after_the_last_one(books: Books) -> None:
    path = f"/v1/feed?account_id={books.wallet}"
    with Events(books, path) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        moved = [books.moved()["id"] for _ in range(3)]
        rows = stream.rows(4)
    assert [row["id"] for row in rows] == [books.wallet, *moved]
    assert rows[1:] == books.get(path + f"&after={rows[0]['cursor']}").json["data"]
    moved.append(books.moved()["id"])
    # A browser repeats the first URL, with the header.
    with Events(books, path + "&after=latest", f"Last-Event-ID: {rows[2]['cursor']}") as resumed:
        assert [row["id"] for row in resumed.rows(2)] == moved[2:]
    until(lambda: readers(books) == 0)


def test_who_goes_away_leaves_nothing_behind(books: Books) -> None:
    until(lambda: readers(books) == 0)
    polling = [books.connect() for _ in range(5)]
    for wire in polling:
        wire.sendall(b"GET /v1/feed?after=latest&ledger=9&wait_s=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    streams = [Events(books, "/v1/feed?after=latest&ledger=9") for _ in range(5)]
    until(lambda: readers(books) == 10)
    for wire in polling:
        wire.close()
    for stream in streams:
        stream.__exit__()
    until(lambda: readers(books) == 0)


def fill(books: Books, rows: int) -> None:
    """So many rows more, with as much text as they may have."""
    for _ in range(0, rows, 500):
        batch = [books.transfer(amount="1", metadata={"text": "x" * 1_000}) for _ in range(500)]
        assert books.post("/v1/transfers/batch", {"transfers": batch}).json["accepted"] == 500


def rate(books: Books, seconds: float) -> float:
    """Single transfers a second, one after the other."""
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        books.moved(amount="1")
        count += 1
    return count / (time.monotonic() - began)


def test_readers_that_do_not_read_are_bounded_and_cut_off(start_server: Start, database: Database) -> None:
    server = start_server(database, feed_readers_max=4, send_timeout_ms=2_000)
    books = open_books(server.url)
    fill(books, 5_000)
    alone = rate(books, 1.0)
    stalled = []
    for _ in range(3):
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wire.connect(books.address)
        wire.sendall(HEAD.format(path="/v1/feed?limit=1000", more="").encode())
        stalled.append(wire)
    until(lambda: readers(books) == 3)
    refused = books.get("/v1/feed?limit=1")
    assert (refused.status, refused.code) == (503, "feed_full")
    assert int(refused.headers["retry-after"]) >= 1
    # Who waited for them would not come to anything. How little it costs is measured, see docs/ARCHITECTURE.md.
    beside = max(rate(books, 0.5) for _ in range(3))
    assert beside > alone / 5, "a reader that does not read is none of the writer's business"
    # What takes nothing for so long is cut off, and its place is free again.
    until(lambda: readers(books) == 0, 15)
    assert len(books.get("/v1/feed?limit=1").json["data"]) == 1
    for wire in stalled:
        sent = 0
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            wire.settimeout(2)
            while piece := wire.recv(1_000_000):
                sent += len(piece)
        assert sent < 3 * STREAM_BYTES_MAX
        wire.close()


def test_a_stream_ends_after_its_bytes_and_goes_on_where_it_was(start_server: Start, database: Database) -> None:
    books = open_books(start_server(database).url)
    fill(books, 3_000)
    whole: list[str] = []
    cursor, streams, size = "", 0, 0
    while len(whole) < 3_003:
        with Events(books, "/v1/feed?limit=100", *([f"Last-Event-ID: {cursor}"] if cursor else [])) as stream:
            for where, row in stream:
                cursor = where
                if row is not None:
                    whole.append(row["id"])
                    size += len(json.dumps(row))
                if len(whole) == 3_003:
                    break
            else:
                assert stream.ended, "a clean end"
        streams += 1
    assert streams == 1 + size // STREAM_BYTES_MAX > 2
    listed, after = [], ""
    while page := books.get(f"/v1/feed?limit=1000{after}").json["data"]:
        listed += [row["id"] for row in page]
        after = f"&after={page[-1]['cursor']}"
    assert whole == listed


def test_a_stop_ends_everybody_at_once_and_cleanly(start_server: Start, database: Database) -> None:
    server = start_server(database)
    books = open_books(server.url)
    polls: list[Any] = []
    waiting = [
        threading.Thread(target=lambda: polls.append(books.get("/v1/feed?after=latest&wait_s=30"))) for _ in range(5)
    ]
    for thread in waiting:
        thread.start()
    streams = [Events(books, "/v1/feed?after=latest") for _ in range(5)]
    until(lambda: readers(books) == 10)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 15, "nobody waits for the 30 s that were asked for"
    for thread in waiting:
        thread.join(5)
    assert [(poll.status, poll.json["data"]) for poll in polls] == [(200, [])] * 5
    for stream in streams:
        with stream:
            assert [row for _, row in stream] == [None]
            assert stream.ended, "a clean end, not a connection that broke"
    assert "Traceback" not in server.log()


async def test_tenants_and_keys_that_end(start_server: Start, database: Database) -> None:
    server = start_server(database, arguments=(), key_refresh_s=1, feed_readers_max=4)
    owner = await asyncpg.connect(database.owner_dsn)
    keys = [await create_key(owner, tenant, "all") for tenant in ("one", "two")]
    one, two = [await asyncio.to_thread(open_books, server.url, key.key) for key in keys]

    def full() -> None:
        with contextlib.ExitStack() as streams:
            for _ in range(3):
                streams.enter_context(Events(one, "/v1/feed?after=latest"))
            assert one.get("/v1/feed").code == "feed_full"
            assert two.get("/v1/feed").status == 200, "a tenant leaves room for others"
        until(lambda: readers(one) == 0)

    def both() -> None:
        mine = one.moved()["id"]
        two.moved()
        page = one.get("/v1/feed").json
        assert [row["id"] for row in page["data"]] == [1, one.cash, one.wallet, mine]
        assert two.get(f"/v1/feed?after={page['next']}").code == "cursor_invalid"
        assert two.get(f"/v1/feed?after={page['data'][0]['cursor']}").code == "cursor_invalid"
        assert two.get(f"/v1/feed?account_id={one.wallet}&status=all").json["data"] == []
        assert Talker(one.url).get("/v1/feed").code == "key_missing"

    await asyncio.to_thread(full)
    await asyncio.to_thread(both)
    stream = await asyncio.to_thread(Events, one, "/v1/feed?after=latest")
    polled = asyncio.create_task(asyncio.to_thread(one.get, "/v1/feed?after=latest&wait_s=20"))
    await asyncio.sleep(0.3)
    await revoke_key(owner, keys[0].id)
    await owner.close()
    async with asyncio.timeout(15):
        while not polled.done():  # what is posted wakes it, and the key may be known for a while still
            await asyncio.sleep(0.5)
            await asyncio.to_thread(two.moved)
    answer = await polled
    assert (answer.status, answer.code) == (401, "key_invalid")
    with stream:
        assert [row for _, row in await asyncio.to_thread(list, stream)] == [None]
    assert server.stop() == 0
    assert "Traceback" not in server.log()
