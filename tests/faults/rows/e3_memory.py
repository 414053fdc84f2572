"""E3: what an account, an open hold and an id of the window cost in memory, each measured in a new process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Final

from benchmarks.bodies import account_id, accounts_body
from benchmarks.nouns import BATCH_TRANSFERS
from benchmarks.processes import resident_bytes
from pyledger import _rust
from tests.faults.nouns import Cycle, Row, Run
from tests.model.forms import as_record
from tests.model.plans import version_7
from tests.model.shape import Command

TENANT: Final = 1
LEDGER: Final = 1
FIRST: Final = version_7(1_700_000_000 * 10**9, 0)
COUNTS: Final = {"submission": 1_000_000, "campaign": 4_000_000}
LIMITS_BYTES: Final = {"account": 200, "hold": 200, "id": 40}
SMALL_IDS: Final = 8_190


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One thing a cycle."""
    count = COUNTS[asked.size]
    for number in asked.numbers:
        what = tuple(LIMITS_BYTES)[number % len(LIMITS_BYTES)]
        each = await asyncio.to_thread(measure, what, count)
        limit = LIMITS_BYTES[what]
        violations = [f"{what}: {each:.0f} bytes, {limit} are allowed"] if each > limit else []
        yield Cycle(number, count, violations, {f"{what}_bytes_max": round(each, 1)})


def measure(what: str, count: int) -> float:
    """Bytes of memory that each of `count` costs, all in, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=fill, args=(what, count, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join()


def fill(what: str, count: int, pipe: Connection) -> None:
    """In that process: warm up, fill an engine, and say how much larger the process has become."""
    engine_with(SMALL_IDS, 2 * BATCH_TRANSFERS)
    if what == "account":
        engine, add = engine_with(SMALL_IDS, count), open_accounts
    elif what == "hold":
        engine, add = engine_with(SMALL_IDS, 2, holds_max=count), hold
    else:
        engine, add = engine_with(count, 2), move
    if what != "account":
        open_accounts(engine, 0, 2)
    before = resident_bytes(os.getpid())
    for start in range(0, count, BATCH_TRANSFERS):
        add(engine, start, min(start + BATCH_TRANSFERS, count))
    after = resident_bytes(os.getpid())
    assert before is not None and after is not None
    assert {"account": engine.accounts, "hold": engine.holds}.get(what, count) == count
    pipe.send((after - before) / count)


def engine_with(window_ids: int, accounts_max: int, holds_max: int = 10) -> _rust.Engine:
    """An engine with one ledger, whose buffers have their size."""
    engine = _rust.Engine(
        0, ledgers_max=10, accounts_max=accounts_max, holds_max=holds_max, window_ids=window_ids, seed=1
    )
    decide(engine, _rust.decode_ledger(b'{"id":1,"asset":"EUR","exponent":2}', TENANT))
    return engine


def decide(engine: _rust.Engine, commands: _rust.Commands) -> None:
    """One batch, with its bytes made as the writer does; all of it must be accepted."""
    engine.probe([commands])
    applied = engine.apply([commands], time.time_ns(), [])
    assert applied.rows == commands.rows and not applied.declines, applied.declines
    assert applied.copy and applied.replies
    engine.commit()


def open_accounts(engine: _rust.Engine, start: int, end: int) -> None:
    """Some accounts."""
    ids = [account_id(FIRST, each) for each in range(start, end)]
    decide(engine, _rust.decode_accounts(accounts_body(ids, LEDGER, ()), TENANT))


def hold(engine: _rust.Engine, start: int, end: int) -> None:
    """Some open holds that expire far from now."""
    transfers(engine, start, end, frozenset({"pending"}))


def move(engine: _rust.Engine, start: int, end: int) -> None:
    """Some transfers."""
    transfers(engine, start, end, frozenset())


def transfers(engine: _rust.Engine, start: int, end: int, flags: frozenset[str]) -> None:
    """Between two accounts, with ids as the client makes them."""
    debit, credit = (account_id(FIRST, each) for each in (0, 1))
    now_ns = time.time_ns()
    records = (
        Command("transfer", version_7(now_ns, each), TENANT, debit, credit, 1, 0, LEDGER, 1, flags)
        for each in range(start, end)
    )
    decide(engine, _rust.decode_transfers_binary(b"".join(map(as_record, records)), TENANT))


ROW: Final = Row(
    id="E3",
    what="memory of an account, a hold, an id",
    unit="things measured",
    passes="at most 200, 200 and 40 bytes each",
    submission=3,
    campaign=3,
    run=run,
)
