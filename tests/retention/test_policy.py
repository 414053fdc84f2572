"""The policy file, strictly; the plan that follows from it; and legal holds, which come before either."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pyledger.retention import holds
from pyledger.retention.books import Books
from pyledger.retention.nouns import DAY_NS, Hold, Part, Partition, RetentionError
from pyledger.retention.plan import Seen, plan
from pyledger.retention.policy import BadPolicy, Policy, Terms
from pyledger.retention.verifying import no_newer_hold
from tests.ledger.tools import findings, new_id, run_as_admin
from tests.retention.tools import POLICY, archive, asking, count, write_history
from tests.support.clusters import Database

GOOD = """
[default]
archived_after_days = 400
dropped_after_days = 430

[[ledger]]
tenant = "shop"
number = 1
archived_after_days = 3650
dropped_after_days = "never"
"""


def test_a_policy_is_read(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(GOOD)
    policy = Policy.read(tmp_path / "policy.toml")
    assert policy.terms([("shop", 2), ("till", 1)]) == Terms(400, 430)
    assert policy.terms([("shop", 2), ("shop", 1)]) == Terms(3650, None), "the longest wins"
    assert policy.terms([]) == Terms(400, 430)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[default]", "[defaults]"), "'defaults', which is none of default, ledger"),
        (("[default]", "[[default]]"), "no table"),
        (("archived_after_days = 400", "archive_after_days = 400"), "'archive_after_days'"),
        (("archived_after_days = 400\n", ""), "needs archived_after_days"),
        (("= 400", "= 400.5"), "needs archived_after_days"),
        (("= 400", "= true"), "needs archived_after_days"),
        (("= 400", "= -1"), "needs archived_after_days"),
        (("= 400", "= 36501"), "needs archived_after_days"),
        (("= 400", '= "always"'), "needs archived_after_days"),
        (("= 400", "= 431"), "must be archived before"),
        (("= 400", '= "never"'), "must be archived before"),
        (("= 3650", '= "never"'), None),
        (('tenant = "shop"', "tenant = 7"), "needs tenant"),
        (('tenant = "shop"', ""), "needs tenant"),
        (("number = 1", "number = 0"), "needs number"),
        (("number = 1", 'number = "1"'), "needs number"),
        (("number = 1", "number = 1\nreason = 1"), "'reason'"),
        (("[[ledger]]", "[ledger]"), "tables"),
        (("400", "4 00"), "is not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, change: tuple[str, str], said: str | None) -> None:
    path = tmp_path / "policy.toml"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    if said is None:
        assert Policy.read(path).ledgers["shop", 1] == Terms(None, None)
        return
    with pytest.raises(BadPolicy, match=said):
        Policy.read(path)


def test_a_ledger_twice_and_no_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD + GOOD[GOOD.index("[[") :])
    with pytest.raises(BadPolicy, match="stands twice"):
        Policy.read(path)
    with pytest.raises(BadPolicy, match="cannot read"):
        Policy.read(tmp_path / "other.toml")
    path.write_bytes(b"\xff")
    with pytest.raises(BadPolicy, match="is not TOML"):
        Policy.read(path)


def seen(
    week: int, *, step: str = "", sealed: bool = True, rows: int = 5, ledgers: Sequence[int] = (1,), held: bool = False
) -> Seen:
    start_ns = week * 7 * DAY_NS
    partition = Partition(f"journal_{week:08}", start_ns, start_ns + 7 * DAY_NS, rows if sealed else None, step, "")
    parts = tuple(Part(0, 7, ledger, rows) for ledger in ledgers if rows)
    bound = (Hold(3, None, None, None, "court"),) if held else ()
    return Seen(partition, parts, bound, 0, frozenset({(7, 1), (7, 2), (7, 3), (8, 4)}))


def planned(*each: Seen, policy: Policy = POLICY, again: str | None = None, week: int = 9) -> list[tuple[Any, ...]]:
    steps = plan(each, policy, {7: "shop"}, week * 7 * DAY_NS, again)
    return [(*step.do, step.why) for step in steps]


def test_the_plan() -> None:
    assert planned(seen(1), seen(2), seen(8, sealed=False), seen(9, sealed=False)) == [
        ("archive", "drop", ""),
        ("archive", "drop", ""),
        ("not sealed yet",),
        ("not over yet",),
    ]
    assert planned(seen(1, sealed=False), seen(2)) == [
        ("not sealed yet",),
        ("archive", "not dropped: journal_00000001, which is older, stays"),
    ]
    assert planned(seen(1, step="archived"), week=3) == [("drop", "")]
    assert planned(seen(1), week=2) == [("not old enough",)]
    assert planned(seen(1, rows=0), seen(2)) == [("empty",), ("archive", "drop", "")]
    assert planned(seen(1, step="dropped", rows=0), seen(2)) == [("dropped",), ("archive", "drop", "")]


def test_what_stays_keeps_all_later_ones_here() -> None:
    stays = "not dropped: journal_00000001, which is older, stays"
    assert planned(seen(1, held=True), seen(2), seen(3)) == [
        ("legal hold 3",), ("archive", stays), ("archive", stays),
    ]  # fmt: skip
    policy = Policy(Terms(7, 7), {("shop", 2): Terms(7, None)})
    assert planned(seen(1, ledgers=[2]), seen(2), policy=policy) == [("archive", "never dropped"), ("archive", stays)]


@pytest.mark.parametrize("none", [0, 4, 99])
def test_a_decline_that_names_no_ledger_of_its_tenant_goes_with_those_that_are_there(none: int) -> None:
    never, old = Terms(None, None), "not dropped: not old enough"
    policy = Policy(never, {("shop", 1): Terms(7, 7), ("shop", 2): Terms(7, 21), ("shop", 3): Terms(7, 28)})
    for week, ledgers, do in (
        (3, [none, 1], ("archive", "drop", "")),
        (4, [none, 1, 2], ("archive", old)),
        (5, [none, 1, 2], ("archive", "drop", "")),
        # Alone it may be about any of them.
        (5, [none], ("archive", old)),
        (6, [none], ("archive", "drop", "")),
    ):
        assert planned(seen(1, ledgers=ledgers), policy=policy, week=week) == [do]
    # The default is that of a ledger that is not listed, and of a tenant that has none.
    listed = Policy(never, {("shop", 1): Terms(7, 7), ("shop", 2): Terms(7, 7)})
    decline = seen(1, ledgers=[none])
    assert planned(decline, policy=listed) == [("never, says the policy",)]
    assert planned(replace(decline, ledgers=frozenset()), policy=policy) == [("never, says the policy",)]
    assert planned(replace(decline, ledgers=frozenset({(7, 1), (7, 2)})), policy=listed) == [("archive", "drop", "")]


def test_what_was_restored_stays_until_it_is_named() -> None:
    restored = seen(1, step="restored")
    assert planned(restored, seen(2)) == [
        ("restored: it stays until --again names it",),
        ("archive", "drop", ""),
    ]
    assert planned(restored, again="journal_00000001") == [("archive", "drop", "")]
    assert planned(seen(1, step="restored", held=True), again="journal_00000001") == [("legal hold 3",)]
    for do, step in ((("archive", "drop", ""), "archived"), (("dropped",), "dropped")):
        assert planned(seen(1, step=step), again="journal_00000001") == [do], "its archive is lost"


async def hold(database: Database, **scope: Any) -> int:
    async with Books.open(database.owner_dsn, alone=False) as books:
        given = {"tenant": None, "ledger": None, "account": None, "reason": "a court wants it"} | scope
        return await holds.place(books, **given)


@pytest.mark.parametrize("scope", ["all", "tenant", "ledger", "account", "opening"])
async def test_a_legal_hold_stops_archive_and_drop(database: Database, tmp_path: Path, scope: str) -> None:
    history = await write_history(database)
    rows = await count(database)
    scopes: dict[str, dict[str, Any]] = {
        "all": {},
        "tenant": {"tenant": "shop"},
        "ledger": {"tenant": "shop", "ledger": 1},
        "account": {"tenant": "shop", "account": history.accounts[3]},
        "opening": {"tenant": "shop", "account": history.accounts[3], "ledger": 1},
    }
    number = await hold(database, **scopes[scope])
    assert not await archive(database, tmp_path)
    assert list(tmp_path.iterdir()) == []
    # One that protects something else does not.
    await run_as_admin(database, "INSERT INTO pyledger.tenant (id, name) VALUES (8, 'till')")
    other = await hold(database, tenant="till")
    async with Books.open(database.owner_dsn) as books:
        await holds.lift(books, number, "the case is closed")
        with pytest.raises(RetentionError, match="not lifted"):
            await holds.lift(books, number, "again")
        said = await holds.listed(books)
    assert [(each["number"], each["lifted_because"]) for each in said] == [
        (number, "the case is closed"), (other, None),
    ]  # fmt: skip
    assert said[0]["placed_by"]
    assert said[0]["lifted_at"]
    assert len(await archive(database, tmp_path)) == 2
    assert await count(database) < rows
    for statement in (
        "DELETE FROM pyledger.legal_hold",
        "UPDATE pyledger.legal_hold_lifted SET reason = 'none'",
        "TRUNCATE pyledger.archive_log CASCADE",
        "DELETE FROM pyledger.archived_id",
    ):
        async with asking(database) as connection:
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)


async def test_a_hold_between_archive_and_drop_or_while_one_is_under_way_counts(
    database: Database, tmp_path: Path
) -> None:
    await write_history(database)
    rows = await count(database)
    placed: list[asyncio.Task[int]] = []

    def place(step: str, _done: int, _total: int) -> None:
        if step == "proven" and not placed:
            placed.append(asyncio.create_task(hold(database)))

    # It is placed while the first is filled: it comes before the swap, or waits for it.
    with contextlib.suppress(RetentionError):
        await archive(database, tmp_path, report=place)
        rows = 0
    assert await count(database) == rows or not rows
    await asyncio.gather(*placed)
    assert placed
    assert not await archive(database, tmp_path)
    assert not await findings(database)


async def test_a_hold_that_is_committed_after_a_later_one_counts(database: Database) -> None:
    """Numbers are given when a hold is placed, and not when it is committed."""
    history = await write_history(database)
    dsn, account = database.owner_dsn, history.accounts[0]
    async with Books.open(dsn, alone=False) as slow, Books.open(dsn, alone=False) as quick, Books.open(dsn) as run:
        async with slow.connection.transaction():
            first = await holds.place(slow, "shop", None, account, "a case")
            assert first < await holds.place(quick, "shop", None, history.accounts[1], "another")
            seen = await run.see(POLICY, 0)
        async with run.connection.transaction():
            with pytest.raises(RetentionError, match="placed meanwhile"):
                await no_newer_hold(run, seen[0].holds_placed)


async def test_nothing_is_due_by_a_clock_that_is_wrong(database: Database) -> None:
    async with Books.open(database.owner_dsn) as books:
        now_ns = time.time_ns()
        assert await books.now_ns(now_ns) == now_ns
        for wrong_ns in (now_ns + 3_600 * 10**9, now_ns - 3_600 * 10**9):
            with pytest.raises(RetentionError, match=r"clock is 3(600|599)\.\d s"):
                await books.now_ns(wrong_ns)


async def test_a_hold_that_nobody_can_mean_is_refused(database: Database) -> None:
    history = await write_history(database, weeks=1)
    for given, said in (
        ({"tenant": "nobody"}, "no tenant"),
        ({"ledger": 1}, "says whose"),
        ({"tenant": "shop", "account": "x"}, "not the id"),
        ({"tenant": "shop", "ledger": 0}, "not the number"),
        ({"tenant": "shop", "ledger": 2}, "no ledger 2"),
        ({"tenant": "shop", "account": new_id()}, "no account"),
        ({"tenant": "shop", "account": history.accounts[0], "ledger": 2}, "no ledger 2"),
        ({"reason": "  "}, "a reason"),
        ({"reason": "x" * 1_025}, "a reason"),
    ):
        with pytest.raises(RetentionError, match=said):
            await hold(database, **given)


async def test_two_runs_do_not_meet(database: Database) -> None:
    async with Books.open(database.owner_dsn):
        with pytest.raises(RetentionError, match="another run"):
            async with Books.open(database.owner_dsn):
                raise AssertionError("both were let in")
