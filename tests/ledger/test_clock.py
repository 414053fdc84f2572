"""The ledger's clock follows the wall, but not where PostgreSQL's clock says otherwise."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from pyledger.ledger import ledger as ledger_module
from pyledger.ledger.clock import Clock, steady_ns
from tests.ledger.tools import findings, make_accounts, opened, resolve, transfer
from tests.support.clusters import Database

HOUR_NS = 3_600 * 10**9


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.set_ns = 0

    def __call__(self) -> int:
        return time.time_ns() + self.set_ns


def test_a_step_alone_is_not_believed() -> None:
    wall = Wall()
    clock = Clock(wall)
    for step_ns in (HOUR_NS, -HOUR_NS):
        wall.set_ns = step_ns
        assert abs(clock() - time.time_ns()) < 10**9
        assert abs(clock.compare(wall(), time.time_ns(), wall()) + step_ns) < 10**9
        assert abs(clock() - time.time_ns()) < 10**9


def test_a_step_that_postgresql_confirms_is_followed() -> None:
    wall = Wall()
    clock = Clock(wall)
    wall.set_ns = HOUR_NS
    assert abs(clock.compare(wall(), wall(), wall())) < 10**9
    assert abs(clock() - wall()) < 10**9


def test_it_goes_on_as_the_steady_clock_does() -> None:
    moments = iter([5, 1_000, 1_007])
    clock = Clock(lambda: 2_000_000, lambda: next(moments))
    assert (clock(), clock()) == (2_000_995, 2_001_002)
    assert steady_ns() <= steady_ns()


async def test_a_wall_clock_set_ahead_expires_no_hold(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall()
    monkeypatch.setattr(ledger_module, "CLOCK_LOOK_S", 0.05)
    async with opened(database, wall_ns=wall) as ledger:
        debit, credit = await make_accounts(ledger)
        held = await ledger.writer.submit(transfer(debit, credit, 5, flags=["pending"], timeout_s=600))
        wall.set_ns = HOUR_NS
        await asyncio.sleep(0.5)
        await ledger.writer.submit(transfer(debit, credit, 1))
        assert ledger.stats.holds == 1
        posted = await ledger.writer.submit(resolve("post", json.loads(held.body)["id"]))
        assert posted.outcome == "accepted"
        assert await findings(database) == []
