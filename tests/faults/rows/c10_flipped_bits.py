"""C10: bits flipped in the journal, the checkpoint, indexes and proofs: found by `pyledger check`, never served.

Once, clients fill a database, whose server signs, and the server is killed; each cycle flips one bit in a copy of it.
Sometimes of one value, by SQL with the triggers off; sometimes of a file of a stopped PostgreSQL, with its checksum
made to fit so that PostgreSQL does not notice, or left as it is so that it does. What the flip changed is found out by
reading: each table from end to end, and what the server looks up, through the indexes. If anything reads otherwise than
before, `pyledger check` must say so; and a server started on it must refuse, or serve what it served before, but for a
list that PostgreSQL itself does not read, which is 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from pyledger.ledger.proofs import SigningKey
from tests.faults import damage, pages, values
from tests.faults.ground import Ground, ground
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.running import ended
from tests.faults.siege import Siege
from tests.support.clusters import Database, run_as_admin
from tests.support.process import environment

FILL_S: Final = 2.0
FILL_BATCHES: Final = 600
"""Two subtrees of 256, and some."""
EXPIRED_S: Final = 4.5
"""Then no hold has a time left: what a server shows does not depend on when it is asked."""
CHECK_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 15.0
LOOK_S: Final = 0.02
UNREADABLE: Final = "DataCorruptedError"
"""Where PostgreSQL refuses a page, a list whose texts stand behind it is 503: it is not served, so nothing wrong is."""
REFUSED: Final = (2, 4)
"""Exit codes of a server that says why it does not serve."""

Flipper = Callable[[Ground, Random, int], Awaitable[str | None]]
"""Flips one bit in the current copy, given how often its kind came before; what was done."""


def value_of(*tables: str) -> Flipper:
    """A value of these tables, column by column."""
    columns = [(table, column) for table in tables for column in values.PROVEN[table]]

    async def flip_value(place: Ground, chance: Random, turn: int) -> str | None:
        # Every column has its turn, in an order that mixes the tables.
        table, column = columns[turn * 7 % len(columns)]
        async with place.connected() as connection:
            return await values.flip_value(connection, table, column, chance)

    return flip_value


def page_of(kind: str, pattern: str, *, fitting: bool = True) -> Flipper:
    """A bit of a page of a relation whose name fits: `r` for tables, `i` for indexes."""

    async def flip_page(place: Ground, chance: Random, turn: int) -> str | None:
        del turn
        async with place.connected() as connection:
            found = await connection.fetch(damage.RELATIONS, kind, pattern)
        relation = chance.choice(found)
        path = place.cluster.directory / relation["path"]
        await place.cluster.stop()
        try:
            done = await asyncio.to_thread(pages.flip, path, chance, fitting=fitting)
        finally:
            await place.cluster.start()
        return None if done is None else f"{relation['name']}: {done}, checksum {'fits' if fitting else 'does not fit'}"

    return flip_page


KINDS: Final[dict[str, Flipper]] = {
    "journal_value": value_of("journal"),
    "journal_page": page_of("r", "^journal_"),
    "index_page": page_of("i", "^(journal|batch)_"),
    "checkpoint_value": value_of("account", "hold", "ledger", "checkpoint"),
    "checkpoint_page": page_of("r", "^(account|hold|ledger)$"),
    "noticed_page": page_of(
        "r", "^(journal_|batch_|account$|hold$|ledger$|subtree$|signed_checkpoint$)", fitting=False
    ),
    "batch_value": value_of("batch", "head"),
    "batch_page": page_of("r", "^batch_"),
    "checkpoint_index": page_of("i", "^(account|hold|ledger)_"),
    "noticed_index": page_of("i", "^(journal|batch|account|hold|ledger|subtree|signed_checkpoint)_", fitting=False),
    "proof_value": value_of("subtree", "signed_checkpoint"),
    # Not of subtrees: where a bit of a page hides the last one, it is not there yet, and nothing is wrong.
    "proof_page": page_of("r", "^signed_checkpoint$"),
    "proof_index": page_of("i", "^(subtree|signed_checkpoint)_"),
}
SAYS: Final = {"proof_value": "wrong: proofs: "}
"""What is said of some kinds, more than that something is wrong."""


@dataclass
class Books:
    """The database that is copied, and all that can be seen of it."""

    place: Ground
    source: Database
    keys: damage.Keys
    truth: damage.Reading
    served: dict[str, str]
    outside: Path

    async def copy(self, number: int) -> None:
        """A fresh copy, in place of the last one."""
        await self.drop()
        name = f"flipped_{number}"
        place = self.outside.with_name(name)
        await asyncio.to_thread(shutil.copytree, self.outside, place)
        self.place.settings["signing_dir"] = place
        await run_as_admin(self.source.postgres, f"CREATE DATABASE {name} TEMPLATE {self.source.name}")
        self.place.database = Database(self.source.postgres, name)

    async def drop(self) -> None:
        """Back to the one that is copied."""
        await self.place.kill_servers()
        if self.place.database is not None and self.place.database.name != self.source.name:
            await self.place.clusters.drop_database(self.place.database)
            await asyncio.to_thread(shutil.rmtree, self.outside.with_name(self.place.database.name))
        self.place.database = self.source


async def fill(place: Ground, asked: Run) -> Books:
    """Make the books: all kinds of rows, a checkpoint, rows after it. They are right, or nothing is proven."""
    outside, key = place.directory / "outside", place.directory / "signing.key"
    SigningKey.create(key, "faults.example")
    place.settings.update(signing_key=key, signing_dir=outside, signing_interval_s=1)
    siege = Siege(place, asked, per_s=1_000.0)
    await siege.begin(asked.first)
    assert siege.load is not None and siege.log is not None and place.database is not None
    siege.load.start()
    try:
        await asyncio.sleep(FILL_S)
        async with asyncio.timeout(CHECK_TIMEOUT_S), place.connected() as connection:
            while await connection.fetchval("SELECT count(*) FROM pyledger.batch") < FILL_BATCHES:
                await asyncio.sleep(LOOK_S)
        wrong = await siege.load.finish()
        await asyncio.sleep(EXPIRED_S)
        await damage.some_more(place)
    finally:
        await siege.load.abandon()
        siege.log.close()
    served = await damage.served(place, place.server.url)
    await place.kill_servers()
    keys = await damage.keys(place)
    books = Books(place, place.database, keys, await damage.read(place, keys), served, outside)
    await books.copy(asked.first)
    code, said = await check_books(place)
    assert not wrong and code == 0, f"the books are wrong before anything is flipped: {wrong} {said}"
    return books


async def check_books(place: Ground) -> tuple[int | None, str]:
    """`pyledger check` as an operator runs it: its exit code, None if it does not end, and what it says."""
    assert place.database is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyledger.cli", "check",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd="/",
        env=environment(
            database_url=place.database.server_dsn, owner_url=place.database.owner_dsn, **place.settings
        ),
    )  # fmt: skip
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            said, _ = await ended(process)
    except TimeoutError:
        return None, "it does not end"
    return process.returncode, said.decode("utf-8", "replace")


async def flipped(books: Books, number: int, chance: Random) -> Cycle:
    """One bit, and what becomes of it."""
    place, names = books.place, list(KINDS)
    kind, turn = names[number % len(names)], number // len(names)
    await books.copy(number)
    what = await KINDS[kind](place, chance, turn)
    await damage.well(place)
    changed = damage.compared(books.truth, await damage.read(place, books.keys))
    code, said = await check_books(place)
    wrong: list[str] = []
    notes: dict[str, Any] = {"kind": kind, "flip": what, "changed": changed, "check": last_line(said), kind: 1}
    notes |= {"harmful": int(bool(changed)), "found": int(code not in (0, None)), "endless": int(code is None)}
    if changed and code == 0:
        wrong.append(f"check finds nothing, but {changed} ({what})")
    if changed and code == 1 and SAYS.get(kind, "wrong: ") not in said:
        wrong.append(f"check finds something else: {last_line(said)} ({what})")
    if code not in (0, None) and "Traceback" in said:
        wrong.append(f"check breaks: {last_line(said)} ({what})")
    await damage.well(place)
    outcome, shown = await start(place, books.served)
    refused = [path for path in shown if damage.REFUSED in path]
    lies = [path for path in shown if path not in refused]
    seen = [path for path in lies if damage.is_state(path) or kind.startswith("noticed")]
    if not (kind.startswith("noticed") and UNREADABLE in changed):
        seen += filter(damage.is_state, refused)
    notes |= {outcome: 1, "history_shown": int(bool(lies) and not any(map(damage.is_state, lies)))}
    wrong += [f"served: {path} is not what it was ({what})" for path in seen]
    if outcome == "crashed":
        wrong.append(f"the server breaks over it: {last_line(place.said())} ({what})")
    await place.kill_servers()
    return Cycle(number, 1, wrong, notes)


async def start(place: Ground, truth: dict[str, str]) -> tuple[str, list[str]]:
    """Start a server: whether it refused, waits or serves; and what it serves that is not the truth."""
    server = place.launch_server()
    assert server.process is not None
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (code := server.process.poll()) is not None:
            return ("refused" if code in REFUSED and "Traceback" not in server.log() else "crashed"), []
        if await asyncio.to_thread(server.answers, "/readyz"):
            return "serving", list(damage.otherwise(truth, await damage.served(place, server.url)))
        await asyncio.sleep(LOOK_S)
    return "waiting", []


def last_line(said: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(("wrong:", "pyledger:"))]
    return (wrong or lines or [""])[0][:300]


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One bit a cycle, of each kind in turn."""
    async with ground(asked.directory, planted=asked.planted) as place:
        books = await fill(place, asked)
        try:
            for number in asked.numbers:
                yield await flipped(books, number, asked.chance(number))
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await books.drop()


ROW: Final = Row(
    id="C10",
    what="bits flipped in the journal, the checkpoint, the indexes and the proofs",
    unit="bits",
    passes="what changed is found by `pyledger check`, and no balance of it is served",
    submission=20,
    campaign=1_000,
    run=run,
)
