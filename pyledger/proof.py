"""`pyledger check`, the proof of the books, shown to a person as it goes on; and `pyledger rebuild`, the way out.

Guards: what was found is printed in full and makes the exit code 1; progress goes to stderr, where it
disturbs nobody who reads the result.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pyledger._rust import Engine
from pyledger.embedded import open_database
from pyledger.ledger import check, checkpoint, seals
from pyledger.ledger.proofs import PublicKey, SigningKey, drop_subtrees
from pyledger.ledger.proofs.outside import place
from pyledger.settings import Settings


async def prove(settings: Settings, *, show: bool) -> list[check.Finding]:
    """Check the settings' shard; what is wrong with it, or nothing. Raises `StartupRefused`."""
    findings: list[check.Finding] = []
    said = Console(quiet=not show, soft_wrap=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as bars:
        tasks: dict[str, TaskID] = {}
        async with open_database(settings) as database:
            where = place(settings.signing_dir, settings.shard)
            async for report in check.check(
                database.owner_dsn, settings.shard, lambda: _new_engine(settings), where, _own_keys(settings)
            ):
                if isinstance(report, check.Finding):
                    findings.append(report)
                    said.print(f"wrong: {report.step}: {report.place}: {report.wrong}", markup=False)
                elif isinstance(report, check.Unknown):
                    said.print(f"signed by a key that only the database names, is it yours? {report.key}", markup=False)
                else:
                    if report.step not in tasks:
                        tasks[report.step] = bars.add_task(report.step)
                    bars.update(tasks[report.step], completed=report.done, total=report.total)
    if findings:
        said.print(f"The books of shard {settings.shard} are wrong in {len(findings)} places.")
    else:
        said.print(
            f"The books of shard {settings.shard} are right: debits equal credits, every balance follows from its "
            "rows, the chain and its roots hold, no id stands twice, and what was signed still stands."
        )
    return findings


def _own_keys(settings: Settings) -> list[PublicKey]:
    if not settings.signing_key:
        return []
    return [SigningKey.load(Path(settings.signing_key)).of_shard(settings.shard).public]


async def drop(settings: Settings, what: str) -> str:
    """Drop the checkpoint, the subtrees that proofs are made from, or the seals; what became of it, in a sentence."""
    async with open_database(settings) as database:
        if what == "seals":
            await seals.drop(database.owner_dsn)
            return "the seals and indexes of older partitions are dropped; the server makes them again"
        if what == "subtrees":
            await drop_subtrees(database.owner_dsn, settings.shard)
            return f"the subtrees of shard {settings.shard} are dropped; the server makes them again when it signs"
        await checkpoint.drop(database.owner_dsn, settings.shard)
        return f"the checkpoint of shard {settings.shard} is dropped; the next start replays every row"


def _new_engine(settings: Settings) -> Engine:
    """An empty engine with room for whatever the journal holds: checking must not fail for want of room."""
    return Engine(
        settings.shard,
        ledgers_max=settings.ledgers_max,
        accounts_max=settings.accounts_max,
        holds_max=settings.holds_max,
        window_ids=settings.window_ids,
        seed=secrets.randbits(64),
    )
