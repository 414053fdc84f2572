"""The client's feed: each event at least once and in order, whoever is killed; and where a cursor is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from pyledger.client import (
    Account,
    AccountFlags,
    BatchItem,
    Client,
    CursorInUse,
    Declined,
    Feed,
    FileStore,
    Ledger,
    LedgerError,
    Malformed,
    NewAccount,
    NewTransfer,
    Retry,
    Transfer,
    TransferFlags,
    new_id,
)
from tests.support.chance import replayable
from tests.support.clusters import Database
from tests.support.process import ServerProcess, free_port

Start = Callable[..., ServerProcess]
ROOT = Path(__file__).parent.parent
HARM_S = 5.0
PATIENT = Retry(attempts_max=1_000, deadline_s=60.0, wait_max_s=0.2)


class Kept:
    """A cursor in memory, and every one that was saved."""

    def __init__(self, cursor: str | None = None) -> None:
        self.cursor, self.saved = cursor, 0

    async def load(self) -> str | None:
        return self.cursor

    async def save(self, cursor: str) -> None:
        self.cursor, self.saved = cursor, self.saved + 1


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
        yield client


async def opened(client: Client) -> tuple[UUID, UUID]:
    await client.create_ledger(1, "EUR", 2)
    bank = await client.create_account(1)
    wallet = await client.create_account(1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
    return bank.id, wallet.id


async def test_events_are_typed_and_filtered(client: Client) -> None:
    bank, wallet = await opened(client)
    paid = await client.transfer(bank, wallet, 10, ledger=1, code=7)
    held = await client.transfer(wallet, bank, 4, ledger=1, flags=TransferFlags.PENDING)
    posted = await client.post(held.id, 3)
    with pytest.raises(Declined):
        await client.transfer(wallet, bank, 100, ledger=1)
    empty = (await client.create_account(1, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)).id
    with pytest.raises(Declined):
        await client.transfer(empty, bank, None, ledger=1, flags=TransferFlags.BALANCING_DEBIT)
    imported = [NewAccount(ledger=1, flags=AccountFlags.IMPORTED, effective_ns=at) for at in (2, 1)]
    assert (await client.create_accounts(imported)).declined == 1
    page = await Feed(client).page(None)
    kinds = ["ledger", "account", "account", "transfer", "pending", "post", "account", "account"]
    assert [event.kind for event in page.events] == kinds
    assert [type(event.row) for event in page.events[:4]] == [Ledger, Account, Account, Transfer]
    assert [event.row for event in page.events[3:6]] == [paid, held, posted]
    assert (await Feed(client).page(page.events[-1].cursor)).events == []
    assert [event.row.id for event in (await Feed(client, code=7).page(None)).events] == [paid.id]
    of_wallet = (await Feed(client, account=wallet, ledger=1).page(None)).events
    assert [event.row.id for event in of_wallet] == [wallet, paid.id, held.id, posted.id]
    everything = (await Feed(client, declined=True).page(None)).events
    declined = [event for event in everything if event.status == "declined"]
    assert [type(event.row) for event in declined] == [Transfer, Transfer, BatchItem]
    assert [getattr(event.row, "amount", None) for event in declined] == [100, 0, None]
    with pytest.raises(Malformed, match="cursor_invalid"):
        await Feed(client, ledger=1).page(page.next)


async def test_a_cursor_is_saved_only_for_what_is_done(client: Client) -> None:
    bank, wallet = await opened(client)
    for _ in range(10):
        await client.transfer(bank, wallet, 1, ledger=1)
    everything = [event.row.id for event in (await Feed(client).page(None)).events]
    store, feed = Kept(), Feed(client, page_rows=4, wait_s=1)
    seen = []
    async with contextlib.aclosing(feed.events(store)) as events:
        async for event in events:
            seen.append(event.row.id)
            if len(seen) == 7:
                break
    again = []
    async with contextlib.aclosing(feed.events(store)) as events:
        async for event in events:
            again.append(event.row.id)
            if len(again) == len(everything) - 6:
                break
    assert seen + again[1:] == everything
    assert again[0] == seen[-1], "the last one was not done with"
    late = Kept()
    async with contextlib.aclosing(feed.events(late, start="latest")) as events:
        waiting = asyncio.ensure_future(anext(events))
        while not late.saved:
            await asyncio.sleep(0.01)
        moved = await client.transfer(bank, wallet, 1, ledger=1)
        assert (await waiting).row.id == moved.id


async def test_a_file_keeps_a_cursor(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "cursor")
    assert await store.load() is None
    for cursor in ("one", "two"):
        await store.save(cursor)
        store.close()
        store = FileStore(tmp_path / "cursor")
        assert await store.load() == cursor
    assert sorted(os.listdir(tmp_path)) == ["cursor", "cursor.lock"]
    (tmp_path / "cursor").write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        await store.load()
    with pytest.raises(FileNotFoundError):
        await FileStore(tmp_path / "no" / "cursor").save("x")


async def test_two_consumers_do_not_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cursor"
    first, second = FileStore(file), FileStore(file)
    await first.save("one")
    with pytest.raises(CursorInUse, match="cursor is in use: another consumer"):
        await second.load()
    with pytest.raises(CursorInUse):
        await second.save("two")
    code = "import sys, asyncio; from pyledger.client import FileStore; asyncio.run(FileStore(sys.argv[1]).load())"
    other = [sys.executable, "-c", code, str(file)]
    done = await asyncio.to_thread(subprocess.run, other, capture_output=True, text=True)
    assert "CursorInUse" in done.stderr
    first.close()
    assert await second.load() == "one", "a refused use changed nothing"
    del second  # forgotten, not closed
    done = await asyncio.to_thread(subprocess.run, other, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert await first.load() == "one", "whoever has ended keeps nobody out"


async def test_a_save_that_is_given_up_leaves_the_file_whole(tmp_path: Path) -> None:
    store, cursors = FileStore(tmp_path / "cursor"), ["a" * 100, "b" * 100]
    await store.save(cursors[0])
    for _ in range(50):
        saving = asyncio.ensure_future(store.save(cursors[0]))
        await asyncio.sleep(0)
        saving.cancel()
        await store.save(cursors[1])
        assert await store.load() in cursors


async def test_latest_is_one_place_even_if_the_first_event_is_not_done_with(client: Client) -> None:
    bank, wallet = await opened(client)
    pages = Feed(client, wait_s=60).pages("latest")
    async with asyncio.timeout(30), contextlib.aclosing(pages):
        first = await anext(pages)
    assert first.events == []
    moved = await client.transfer(bank, wallet, 1, ledger=1)
    assert [event.row.id for event in (await Feed(client).page(first.next)).events] == [moved.id]


async def test_an_exactly_once_consumer_with_a_cursor_in_its_own_database(client: Client, database: Database) -> None:
    """What README promises to those who keep the cursor where they work: nothing twice, nothing left out."""
    bank, wallet = await opened(client)
    for amount in range(1, 8):
        await client.transfer(bank, wallet, amount, ledger=1)
    mine = await asyncpg.connect(database.owner_dsn)
    await mine.execute(
        "CREATE TABLE public.total (cursor text, amount bigint); INSERT INTO public.total VALUES (NULL, 0)"
    )
    feed = Feed(client, account=wallet, page_rows=3, wait_s=1)
    for attempt in range(6):
        after = await mine.fetchval("SELECT cursor FROM public.total")
        async with contextlib.aclosing(feed.pages(after)) as pages:
            page = await anext(pages)
        with contextlib.suppress(ZeroDivisionError):
            async with mine.transaction():
                for event in page.events:
                    if isinstance(event.row, Transfer):
                        await mine.execute("UPDATE public.total SET amount = amount + $1", event.row.amount)
                await mine.execute("UPDATE public.total SET cursor = $1", page.next)
                assert 1 / (attempt % 2)
    assert await mine.fetchval("SELECT amount FROM public.total") == 28
    await mine.close()


async def keep_posting(url: str, bank: UUID, wallet: UUID, until_s: float) -> int:
    """Single transfers and batches, each sent until it is answered."""
    sent = 0
    async with Client(url, retry=PATIENT) as client:
        while time.monotonic() < until_s:
            batch = [
                NewTransfer(debit_account_id=bank, credit_account_id=wallet, amount=1, ledger=1, code=1, id=new_id())
                for _ in range(1 + sent % 50)
            ]
            await (client.submit(batch[0]) if len(batch) == 1 else client.transfers(batch))
            sent += len(batch)
    return sent


def reader_of(url: str, directory: Path) -> subprocess.Popen[bytes]:
    files = (str(directory / "cursor"), str(directory / "seen"))
    return subprocess.Popen([sys.executable, "-m", "tests.support.feed_reader", url, *files], cwd=ROOT)


def check_seen(text: str, journal: list[str]) -> None:
    """Each run goes on, row by row, from where one before it had been or earlier; and in the end all were there."""
    place = {each: number for number, each in enumerate(journal)}
    furthest, before = -1, None
    for line in text.splitlines():
        if line == "begun":
            before = None
            continue
        here = place[line.split()[1]]
        if before is None:
            assert here <= furthest + 1, f"rows {furthest + 1} to {here} were missed"
        else:
            assert here == before + 1, f"after row {before} came {here}"
        before, furthest = here, max(furthest, here)
    assert furthest == len(journal) - 1, f"{len(journal) - 1 - furthest} rows never came"


async def test_nothing_is_missed_when_server_and_reader_are_killed(
    start_server: Start, database: Database, tmp_path: Path
) -> None:
    dice, port = replayable(), free_port()
    server = start_server(database, port=port, checkpoint_rows=1_000, lease_ms=2_000)
    async with Client(server.url) as client:
        bank, wallet = await opened(client)
    until_s = time.monotonic() + HARM_S
    posting = [asyncio.create_task(keep_posting(server.url, bank, wallet, until_s)) for _ in range(4)]
    (tmp_path / "seen").touch()  # a reader may be killed before it has begun
    reader = await asyncio.to_thread(reader_of, server.url, tmp_path)
    killed = {"server": 0, "reader": 0}
    try:
        while time.monotonic() < until_s or not all(killed.values()):
            await asyncio.sleep(dice.uniform(0.2, 1.5))
            who = dice.choice(("server", "reader", "reader"))
            killed[who] += 1
            if who == "server":
                assert await asyncio.to_thread(server.stop, signal.SIGKILL) == -signal.SIGKILL
                await asyncio.to_thread(server.start)
            else:
                reader.kill()
                await asyncio.to_thread(reader.wait)
                reader = await asyncio.to_thread(reader_of, server.url, tmp_path)
        assert sum(await asyncio.gather(*posting)) > 100
        connection = await asyncpg.connect(database.reader_dsn)
        rows = await connection.fetch("SELECT id, kind, ledger FROM pyledger.journal ORDER BY recorded_ns")
        await connection.close()
        journal = [str(row["ledger"] if row["kind"] == 1 else row["id"]) for row in rows]
        deadline = time.monotonic() + 20
        while journal[-1] not in (tmp_path / "seen").read_text() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
    finally:
        reader.kill()
        await asyncio.to_thread(reader.wait)
    check_seen((tmp_path / "seen").read_text(), journal)


def test_the_judge_sees_what_is_missing_and_what_is_out_of_order() -> None:
    journal = ["a", "b", "c"]
    check_seen("begun\nk a\nk b\nbegun\nk b\nk c\n", journal)
    for bad in ("begun\nk a\nk c\n", "begun\nk a\nbegun\nk c\n", "begun\nk a\nk b\n", "begun\nk b\nk a\nk b\nk c\n"):
        with pytest.raises(AssertionError):
            check_seen(bad, journal)


async def test_a_cursor_of_another_server_is_an_error_and_no_endless_wait(client: Client) -> None:
    with pytest.raises(LedgerError, match="cursor_invalid"):
        await anext(Feed(client).events(Kept("bm90IG91cnM")))
