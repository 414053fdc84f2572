"""C9: failover to a standby that lacks the tail: what was acknowledged is gone, and the writer halts, every time.

Guarded here: from the failover on, nothing is answered out of the shorter history; the server ends with the exit
code that says so, and says it in its log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from pyledger.ledger.nouns import Exit
from tests.faults.ground import LOOK_S
from tests.faults.nouns import Cycle, Row, Run
from tests.faults.pair import Pair, missing, pair
from tests.faults.siege import BEFORE_S, Siege

TAIL_MIN: Final = 20
"""Acknowledged commands that the standby does not get."""
TAIL_TIMEOUT_S: Final = 20.0
HALT_TIMEOUT_S: Final = 30.0
SETTLE_S: Final = 0.3
"""Answers that were on their way when the primary died have arrived by then."""
ANSWERS: Final = ("status_200", "status_201", "status_422")
LOST: Final = "history was lost"


async def run(asked: Run) -> AsyncIterator[Cycle]:
    """One lost tail a cycle; what has lost its history is replaced by fresh books."""
    async with pair(asked) as nodes:
        siege = Siege(nodes.place, asked)
        for number in asked.numbers:
            await siege.begin(number)
            await nodes.follow(synchronous=False)
            try:
                yield await one(siege, nodes, number)
            finally:
                assert siege.load is not None
                await siege.load.abandon()


async def one(siege: Siege, nodes: Pair, number: int) -> Cycle:
    """Lose the tail, and see what the server does."""
    load, log, server = siege.load, siege.log, nodes.place.server
    assert load is not None and log is not None and server.process is not None
    chance = siege.asked.chance(number)
    load.start()
    await asyncio.sleep(chance.uniform(*BEFORE_S))
    nodes.link.freeze()
    kept = len(log.told)
    async with asyncio.timeout(TAIL_TIMEOUT_S):
        while len(log.told) < kept + TAIL_MIN:
            await asyncio.sleep(LOOK_S)
    await nodes.isolate()
    await nodes.crash()
    await asyncio.sleep(SETTLE_S)
    lost, before = len(log.told) - kept, sum(log.counts[each] for each in ANSWERS)
    await nodes.promote()
    violations = []
    try:
        code = await asyncio.wait_for(asyncio.to_thread(server.process.wait, HALT_TIMEOUT_S), HALT_TIMEOUT_S + 1)
    except Exception as error:
        code = None
        violations.append(f"the server lives on after {HALT_TIMEOUT_S:.0f} s: {type(error).__name__}")
    if code is not None and code != Exit.HALTED:
        violations.append(f"the server ended with {code}, not with {int(Exit.HALTED)}")
    if LOST not in server.log():
        violations.append(f"its log does not say that {LOST}")
    if answered := sum(log.counts[each] for each in ANSWERS) - before:
        violations.append(f"{answered} requests were answered out of the shorter history")
    if violations:
        violations.append(nodes.place.said())
    return Cycle(number, 1, violations, {"acknowledged_and_lost": lost, "exit_code_max": code or 0})


ROW: Final = Row(
    id="C9",
    what="failover to a standby that lacks the tail",
    unit="failovers",
    passes="the writer halts, every time, and answers nothing out of the shorter history",
    submission=1,
    campaign=20,
    run=run,
    needs=missing,
)
