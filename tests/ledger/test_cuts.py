"""The wire is cut at any byte, either way, again and again, under load: what was said is what is there."""

from __future__ import annotations

import asyncio
import json
import os
import random

from pyledger.ledger import Ledger, Unavailable
from pyledger.ledger.nouns import State
from tests.ledger.tools import (
    Wire,
    fields,
    findings,
    make_accounts,
    opened,
    posted,
    run_as_admin,
    transfer,
    transfers,
    until,
)
from tests.support.chance import replayable
from tests.support.clusters import Database

CUTS = int(os.environ.get("PYLEDGER_TEST_CUTS", "15"))


class Load:
    """Submitters that send each command until it is answered, and keep what they were told."""

    def __init__(self, ledger: Ledger, accounts: list[str], dice: random.Random) -> None:
        self.ledger, self.accounts, self.dice = ledger, accounts, dice
        self.told: dict[str, bytes] = {}
        self.amount = 0
        self.stop = False

    async def submitter(self) -> None:
        while not self.stop:
            debit, credit = self.accounts
            count = self.dice.choice([1, 1, 1, 40, 700])
            amount = self.dice.randint(1, 9)
            rows = [fields(debit, credit, amount) for _ in range(count)]
            commands = transfers(rows) if count > 1 else transfer(debit, credit, amount)
            body = await self.send_until_answered(commands)
            self.told[commands.ids[0]] = body
            self.amount += amount * count

    async def send_until_answered(self, commands: object) -> bytes:
        while True:
            try:
                reply = await self.ledger.writer.submit(commands)  # type: ignore[arg-type]
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            assert reply.outcome in ("accepted", "batch"), reply.body
            return reply.body


async def test_cut_at_any_byte(database: Database, wire: Wire) -> None:
    dice = replayable()
    async with opened(database, url=wire.url) as ledger:
        accounts = await make_accounts(ledger)
        load = Load(ledger, accounts, dice)
        working = [asyncio.ensure_future(load.submitter()) for _ in range(6)]
        for number in range(CUTS):
            wire.bytes_left = int(10 ** dice.uniform(0, 5.5))
            await until(lambda number=number: wire.cuts > number, 30)
        await until(lambda: ledger.state is State.SERVING)
        load.stop = True
        await asyncio.wait_for(asyncio.gather(*working), 30)
        assert await posted(ledger, accounts[1]) == load.amount
        assert await run_as_admin(database, "SELECT sum(amount) FROM pyledger.journal WHERE kind = 3") == load.amount
        for first_id, body in dice.sample(sorted(load.told.items()), min(50, len(load.told))):
            kept = await ledger.reads.transfer(7, first_id)
            said = json.loads(body)
            assert json.loads(kept or b"") == said.get("results", [said])[0]
        assert await findings(database) == []
