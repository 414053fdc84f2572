"""Two servers on one database: one owns the shard, the other waits, visibly, and follows."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest

from pyledger.ledger import Exit, State, Unavailable
from pyledger.ledger.store import Session
from tests.ledger.tools import (
    fields,
    findings,
    make_accounts,
    opened,
    posted,
    run_as_admin,
    transfer,
    transfers,
    until,
    writer_pid,
)
from tests.support.clusters import Database

both = pytest.mark.postgres(15, 18)

OWNER = """
import asyncio, sys
from pyledger.ledger import Database, Ledger
from tests.ledger.tools import ledger_settings, make_accounts, transfer

async def main():
    ledger = await Ledger.open(ledger_settings(lease_ms=2_000), Database(sys.argv[1]))
    await ledger.serving()
    debit, credit = await make_accounts(ledger)
    print("serving", debit, credit, flush=True)

    async def post():
        while True:
            try:
                reply = await ledger.writer.submit(transfer(debit, credit, 1))
                print("posted", flush=True)
            except Exception as error:
                print("refused", type(error).__name__, flush=True)
            await asyncio.sleep(0.05)

    async def look():
        while True:
            try:
                await ledger.writer.read(lambda engine: engine.seq)
                print("read", flush=True)
            except Exception as error:
                print("refused", type(error).__name__, flush=True)
            await asyncio.sleep(0.05)

    jobs = [asyncio.ensure_future(job()) for job in (post, look)[: int(sys.argv[2])]]
    code = await ledger.ended()
    print("ended", ledger.stats.reason, flush=True)
    await ledger.close()
    sys.exit(code)

asyncio.run(main())
"""


@both
async def test_a_second_server_waits_and_takes_over_when_the_first_stops(database: Database) -> None:
    async with opened(database) as first:
        debit, credit = await make_accounts(first)
        await first.writer.submit(transfer(debit, credit, 5))
        async with opened(database, wait=False) as second:
            await until(lambda: second.state is State.STANDBY)
            assert "owns the shard" in second.stats.reason
            with pytest.raises(Unavailable, match="standby"):
                second.writer.submit(transfer(debit, credit, 5))
            await asyncio.sleep(1.5)
            assert second.state is State.STANDBY
            await first.close()
            await asyncio.wait_for(second.serving(), 5)
            assert second.stats.epoch == 2
            assert await posted(second, credit) == 5


@both
@pytest.mark.parametrize("owner", ["a host:1:0123456789abcdef", "a host:1:0123456789abcdef:0009"])
async def test_a_standby_of_an_older_version_never_takes_over(database: Database, owner: str) -> None:
    """It stood by since before the migration, so it has seen no schema but its own; and would not know archived ids."""
    async with opened(database) as first:
        debit, credit = await make_accounts(first)
        async with opened(database, wait=False) as older:
            older._owner = owner
            await until(lambda: older.state is State.STANDBY)
            await first.close()
            await until(lambda: "older version" in older.stats.reason)
            async with opened(database) as newer:
                await newer.writer.submit(transfer(debit, credit, 5))
                assert newer.stats.epoch == 2
            assert older.state is State.STANDBY


async def test_a_standby_takes_over_when_the_owner_loses_its_lock(database: Database) -> None:
    """The owner's backend dies while its wire is slow to come back: the standby is first, the owner fenced."""
    async with opened(database) as first, opened(database, wait=False) as second:
        debit, credit = await make_accounts(first)
        await until(lambda: second.state is State.STANDBY)

        async def never() -> None:
            await asyncio.sleep(3)
            raise ConnectionError("the owner's way to PostgreSQL is down")

        committer = first._committer
        assert committer is not None
        real, committer._open_session = committer._open_session, never  # type: ignore[assignment]
        await run_as_admin(database, "SELECT pg_terminate_backend($1)", writer_pid(first))
        riding = first.writer.submit(transfer(debit, credit, 5))
        await asyncio.wait_for(second.serving(), 10)
        await second.writer.submit(transfer(debit, credit, 2))
        committer._open_session = real
        with pytest.raises(Unavailable, match="took over"):
            await asyncio.wait_for(riding, 20)
        assert await first.ended() is Exit.FENCED
        assert await posted(second, credit) == 2
        assert await findings(database) == []


async def test_an_idle_owner_shows_life_and_keeps_the_shard(database: Database) -> None:
    async with opened(database, lease_ms=4_000) as first, opened(database, wait=False, lease_ms=4_000) as second:
        beat = await run_as_admin(database, "SELECT beat FROM pyledger.head")
        await asyncio.sleep(5.5)
        assert second.state is State.STANDBY
        assert first.state is State.SERVING
        assert await run_as_admin(database, "SELECT beat FROM pyledger.head") >= beat + 2


async def test_reads_alone_show_life_too(database: Database) -> None:
    """A confirmation reads the head; every second one of them must also change it."""
    async with opened(database) as ledger:
        beat = await run_as_admin(database, "SELECT beat FROM pyledger.head")
        for _ in range(25):
            await ledger.writer.read(lambda engine: engine.seq)
            await asyncio.sleep(0.1)
        assert await run_as_admin(database, "SELECT beat FROM pyledger.head") >= beat + 2


@both
@pytest.mark.parametrize("jobs", [0, 2], ids=["idle", "busy"])
async def test_a_frozen_owner_is_replaced_and_exits_when_it_thaws(database: Database, jobs: int) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, database.server_dsn, str(jobs), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    try:
        debit, credit = (await owner.stdout.readline()).decode().split()[1:]
        await asyncio.sleep(0.5)
        owner.send_signal(signal.SIGSTOP)
        async with opened(database, lease_ms=2_000) as successor:
            assert successor.stats.epoch == 2
            before = await posted(successor, credit)
            await successor.writer.submit(transfer(debit, credit, 1_000))
            owner.send_signal(signal.SIGCONT)
            said = (await asyncio.wait_for(owner.stdout.read(), 20)).decode()
            assert await owner.wait() == Exit.FENCED
            assert "took over in epoch 2" in said
            assert said.rstrip().splitlines()[-1].startswith("ended")
            assert await posted(successor, credit) == before + 1_000, "the zombie appended nothing"
            assert before == said.count("posted"), "what it acknowledged is there"
            assert await findings(database) == []
    finally:
        if owner.returncode is None:
            owner.kill()
            await owner.wait()


async def test_only_one_of_many_standbys_takes_over(database: Database) -> None:
    async with opened(database) as first, opened(database, wait=False) as a, opened(database, wait=False) as b:
        others = [a, b]
        await until(lambda: all(each.state is State.STANDBY for each in others))
        await first.close()
        await until(lambda: any(each.state is State.SERVING for each in others))
        await asyncio.sleep(1.5)
        assert sorted(each.state.value for each in others) == ["serving", "standby"]
        assert {each.stats.epoch for each in others} == {2}


@both
async def test_a_session_that_froze_inside_a_copy_is_ended(database: Database) -> None:
    """Or the ids that it has inserted would stay locked, and a retry to the successor wait for ever."""
    async with opened(database) as first:
        debit, credit = await make_accounts(first)
        # More than the thousand rows that a COPY buffers before it inserts them.
        commands = transfers([fields(debit, credit) for _ in range(1_500)])
        now_ns = time.time_ns()
        stream = await first.writer.between(
            lambda engine: (engine.apply([commands], now_ns, []).copy, engine.undo())[0]
        )
    zombie = await Session.open(database.server_dsn, 0)
    assert await zombie.try_lock(1)

    async def half() -> AsyncIterator[bytes]:
        yield stream[:-2]
        await asyncio.sleep(60)

    copying = asyncio.ensure_future(
        zombie._connection.copy_to_table("journal", schema_name="pyledger", source=half(), format="binary")
    )
    await asyncio.sleep(0.3)
    async with opened(database, lease_ms=2_000) as successor:
        reply = await asyncio.wait_for(successor.writer.submit(commands), 5)
        assert (reply.outcome, reply.replayed) == ("batch", False)
        assert await posted(successor, credit) == 1_500
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    zombie.terminate()
    assert await findings(database) == []
