"""What statements cost the others: postings, memory, connections, and PostgreSQL's disk."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import time
from typing import Any

import pytest

from pyledger import sql
from pyledger.ledger import Filter, Ledger
from pyledger.ledger.connections import QUERIES
from pyledger.ledger.nouns import HISTORY_CONNECTIONS_MAX
from pyledger.ledger.statements import HistoryNotIndexed, Period, history, many
from pyledger.ledger.statements.pace import Pace
from pyledger.server.documents import FORMS, made
from tests.ledger.replaying import Replay
from tests.ledger.tools import TENANT, fields, make_accounts, opened, run_as_admin, transfer, transfers
from tests.support.clusters import Database

HELD_S_MAX = 0.15
"""The event loop, by the CPU time of its thread: a document of 10,000 rows is half a second and more."""


async def fill(ledger: Ledger, debit: str, credit: str, rows: int) -> None:
    """So many transfers with the longest texts."""
    texts = {"reference": "r" * 60, "metadata": {"t": "x" * 900}}
    for _ in range(0, rows, 1_000):
        await ledger.writer.submit(transfers([fields(debit, credit, **texts) for _ in range(min(rows, 1_000))]))


async def test_a_document_never_holds_up_postings(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await fill(ledger, debit, credit, 5_000)
        longest: dict[str, float] = {}
        gc.freeze()  # as a server does: nobody's garbage of before is looked through

        async def tick(name: str) -> None:
            before_s = time.thread_time()
            while True:
                await asyncio.sleep(0)
                now_s = time.thread_time()
                longest[name] = max(longest.get(name, 0.0), now_s - before_s)
                before_s = now_s

        for name, form in FORMS.items():
            ticking = asyncio.create_task(tick(name))
            pages = (ledger.statements.pages(TENANT, credit, Period()) for _ in range(2))
            documents = await asyncio.gather(*(made(form, each, ledger.statements.pace) for each in pages))
            ticking.cancel()
            assert documents[0] == documents[1]
            assert documents[0] is not None
            assert len(documents[0]) > 1_000_000
        gc.unfreeze()
        assert set(longest) == set(FORMS)
        assert max(longest.values()) < HELD_S_MAX, longest


async def test_pieces_take_turns_and_rest_as_long_as_they_take() -> None:
    pace = Pace()
    spans: list[tuple[float, float, int]] = []

    def work(who: int) -> None:
        began_s, until_s = time.monotonic(), time.thread_time() + 0.004
        while time.thread_time() < until_s:
            pass
        spans.append((began_s, time.monotonic(), who))

    async def go_on(who: int) -> None:
        for _ in range(5):
            await pace.piece(lambda: work(who))

    await asyncio.gather(*(go_on(who) for who in range(3)))
    assert [who for _, _, who in spans] == [0, 1, 2] * 5
    rests = [following[0] - one[1] for one, following in itertools.pairwise(spans)]
    assert sum(rests) > 0.004 * len(rests) * 0.8


async def test_a_trial_balance_of_now_is_answered_while_others_post(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (history, many):
        monkeypatch.setattr(module, "TAIL_ROWS_MAX", 100)
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 5)
        seen: dict[str, Any] = {}

        async def post() -> None:
            for _ in range(100):
                await ledger.writer.submit(transfers([fields(*accounts[:2]) for _ in range(20)]))

        posting = asyncio.create_task(post())
        while not posting.done():
            found = await ledger.statements.trial.whole(TENANT, 1, None)
            assert found is not None
            assert found.totals.accounts == 5
            assert seen.setdefault(found.as_of, found) == found
        await posting
        assert len(seen) > 10
        assert sorted(int(each.totals.debits_posted) for each in seen.values()) == [
            int(seen[moment].totals.debits_posted) for moment in sorted(seen)
        ]
        # What was archived is none of its business.
        await run_as_admin(database, "DELETE FROM pyledger.partition WHERE start_ns < $1", ledger.stats.head_ns)
        found = await ledger.statements.trial.whole(TENANT, 1, None)
        assert found is not None
        assert found.totals.debits_posted == "2000"


async def test_pages_of_a_trial_balance_of_now_go_on_while_others_post(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "LOOK_ROWS_FIRST", 0)
    monkeypatch.setattr(many, "TAIL_ROWS_MAX", 100)
    async with opened(database) as ledger:
        accounts = await make_accounts(ledger, 5)
        for _ in range(10):
            await ledger.writer.submit(transfers([fields(*accounts[3:]) for _ in range(20)]))
        page = await ledger.statements.trial.page(TENANT, 1, None, None, 4)
        assert page is not None
        await ledger.writer.submit(transfers([fields(*accounts[3:]) for _ in range(20)]))
        second = await ledger.statements.trial.page(TENANT, 1, None, page.next, 4)
        assert second is not None
        assert [row.credits_posted for row in second.data or []] == ["200"]
        await ledger.writer.submit(transfers([fields(*accounts[3:]) for _ in range(200)]))
        with pytest.raises(HistoryNotIndexed):
            await ledger.statements.trial.page(TENANT, 1, None, page.next, 4)


async def test_a_look_at_the_tail_does_not_go_through_the_batches_before_it(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(200):
            await ledger.writer.submit(transfer(debit, credit))
        moments = (await Replay.of(database, TENANT)).moments
        pool = await ledger.reads._pool._get()
        for name, *asked in (
            ("scan_newest_first", moments[-1], moments[-9], 50_000),
            ("scan_newest_first", moments[-1], moments[-9], 3),
            ("scan_oldest_first", moments[-9], moments[-1], 50_000),
        ):
            plan = await pool.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", 0, *asked)
            assert max(passed(json.loads(plan[0][0])[0]["Plan"])) < 20


def passed(node: dict[str, Any]) -> list[int]:
    """The rows that each node of a plan has passed."""
    own = node["Actual Rows"] + sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return [own, *(rows for child in node.get("Plans", []) for rows in passed(child))]


async def test_by_date_no_text_is_written_to_a_disk(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await fill(ledger, debit, credit, 8_000)
        pool = await ledger.statements._history._pool._get()
        head_ns = ledger.stats.head_ns
        for indexed_ns in (0, head_ns + 1):
            asked = (0, TENANT, credit, 0, indexed_ns, head_ns + 1, 50_001, 0, 2**62, 0, 0, 101)
            explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql.load("pyledger.ledger.statements")["dated"]
            plan = json.loads((await pool.fetch(explain, *asked))[0][0])[0]["Plan"]
            assert plan["Temp Written Blocks"] == 0, "eight thousand texts are twice what PostgreSQL sorts in memory"


async def test_who_waits_for_statements_is_only_who_asked_for_them(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        await ledger.writer.submit(transfers([fields(debit, credit)]))
        pool = await ledger.statements._history._pool._get()
        taken = [await pool.acquire() for _ in range(HISTORY_CONNECTIONS_MAX)]
        asking = asyncio.create_task(ledger.statements.account(TENANT, credit, ledger.stats.head_ns - 1))
        async with asyncio.timeout(10):
            assert len((await ledger.reads.transfers(TENANT, Filter(), None, 10)).items) == 1
        assert not asking.done()
        for each in taken:
            await pool.release(each)
        assert await asking is not None


async def test_further_pages_do_not_look_for_what_the_first_has_found(database: Database) -> None:
    async with opened(database) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(9):
            await ledger.writer.submit(transfers([fields(debit, credit)]))
        looks: list[tuple[Any, ...]] = []
        fetch = ledger.statements._history.fetch

        async def watched(name: str, *arguments: object) -> list[Any]:
            if name == "last_scanned":
                looks.append(arguments)
            return await fetch(name, *arguments)

        ledger.statements._history.fetch = watched  # type: ignore[method-assign]
        moments = (await Replay.of(database, TENANT)).moments
        asked = Period(moments[-7], moments[-2])
        page = await ledger.statements.page(TENANT, credit, asked, None, 1)
        assert page is not None
        cursor, first = page.next, len(looks)
        assert first == 2, "for its opening balance, which the first row goes on from, and for its closing balance"
        while cursor:
            looks.clear()
            page = await ledger.statements.page(TENANT, credit, asked, cursor, 1)
            assert page is not None
            cursor = page.next
            assert len(looks) == 1, "for the balance before its own rows"
