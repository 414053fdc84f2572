"""Documents that nobody takes, more of them at once than there is room for, and what takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import asyncpg

from tests.server.events import HEAD
from tests.server.talk import Books, open_books
from tests.server.test_feed import until
from tests.support.clusters import Database
from tests.support.process import ServerProcess

Start = Callable[..., ServerProcess]
TEXTS = {"reference": "r" * 60, "metadata": {"t": "x" * 900}}


def fill(books: Books, rows: int) -> None:
    """So many transfers with the longest texts."""
    for _ in range(0, rows, 1_000):
        batch = [books.transfer(**TEXTS) for _ in range(1_000)]
        assert books.post("/v1/transfers/batch", {"transfers": batch}).json["accepted"] == 1_000


def documents(books: Books) -> int:
    lines = books.get("/metrics").body.decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("pyledger_documents ")).split()[1]))


def test_documents_that_nobody_takes_are_bounded_and_cut_off(start_server: Start, database: Database) -> None:
    books = open_books(start_server(database, send_timeout_ms=2_000).url)
    fill(books, 8_000)
    path = f"/v1/accounts/{books.wallet}/statement"
    stalled = []
    for _ in range(3):
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wire.connect(books.address)
        wire.sendall(HEAD.format(path=f"{path}?format=csv", more="").encode())
        stalled.append(wire)
    until(lambda: documents(books) == 3)
    for form in ("csv", "html"):
        refused = books.get(f"{path}?format={form}")
        assert (refused.status, refused.code) == (503, "too_many_at_once")
        assert int(refused.headers["retry-after"]) >= 1
    assert books.get(f"{path}?limit=10").status == 200
    assert books.get("/v1/ledgers/1/trial-balance").status == 200
    books.moved()
    # What takes nothing for so long is cut off, and its place is free again.
    until(lambda: documents(books) == 0, 15)
    assert books.get(f"{path}?format=csv").status == 200
    for wire in stalled:
        with contextlib.suppress(OSError):
            wire.close()


def test_so_many_at_once_and_no_more(start_server: Start, database: Database) -> None:
    books = open_books(start_server(database).url)
    fill(books, 2_000)
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, documents(books))

    watching = threading.Thread(target=watch)
    watching.start()
    path = f"/v1/accounts/{books.wallet}/statement?format=csv"
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: books.get(path), range(24)))
    ended.set()
    watching.join()
    assert {answer.status for answer in answers} == {200, 503}
    assert most <= 3
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    until(lambda: documents(books) == 0)


async def test_what_takes_too_long_is_a_clear_no(start_server: Start, database: Database) -> None:
    books = await asyncio.to_thread(lambda: open_books(start_server(database, answer_timeout_ms=1_000).url))
    moment = quote((await asyncio.to_thread(books.moved))["recorded_at"])
    await asyncio.to_thread(books.moved)
    wallet = f"/v1/accounts/{books.wallet}"
    questions = (
        f"{wallet}?as_of={moment}",
        f"{wallet}?as_of={moment}&by=effective",
        f"{wallet}/statement",
        f"/v1/ledgers/1/trial-balance?as_of={moment}",
        f"/v1/ledgers/1/trial-balance?as_of={moment}&accounts=true",
    )
    admin = await asyncpg.connect(database.admin_dsn)
    async with admin.transaction():
        await admin.execute("LOCK TABLE pyledger.journal IN ACCESS EXCLUSIVE MODE")
        for question in questions:
            refused = await asyncio.to_thread(books.get, question)
            assert (refused.status, refused.code) == (503, "history_too_slow"), question
            assert int(refused.headers["retry-after"]) >= 1
        refused = await asyncio.to_thread(books.get, wallet)
        assert (refused.status, refused.code) == (503, "unavailable")
    await admin.close()
    for question in questions:
        assert (await asyncio.to_thread(books.get, question)).status == 200, question
