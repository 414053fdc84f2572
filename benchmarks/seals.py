"""Posting with and without a seal: holds the server's sealing back, lets it go on, and sees when it is at work.

Guarded here: nothing in the server is changed for it. Only one server at a time seals what it shares with others, by a
lock in PostgreSQL; whoever has that lock is to a server what another shard's is. What is counted as posting with a
seal was posted while the server had the lock, from the beginning of one seal to its end, its rests with it, and what is
counted without one, while it had not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.outcome import Outcome
from benchmarks.proof import QUERIES
from benchmarks.summary import percentiles

_LOOK_S: Final = 0.2
_HELD_WAIT_S: Final = 300.0
"""A seal under way is not broken off: it ends first."""
_BEGIN_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Leg:
    """One run of the load generator, with or without a seal beside it: what came of the time that counts."""

    sealing: bool
    rows: int
    seconds: float
    per_s: float
    latency_ms: dict[str, float]
    sealed_rows: int
    """Of the partition that was sealed meanwhile."""
    whole: bool
    """Whether the seal ended before the posting did."""


class Seals:
    """The sealing of one server, through a connection of its own."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self.seen: list[tuple[float, bool]] = []
        self._held = False

    async def ask(self, query: str, *arguments: object) -> Any:
        """One value; one question at a time."""
        async with self._turn:
            return await self._database.fetchval(QUERIES[query], *arguments)

    async def close(self) -> None:
        """Hang up, and with it let go of the lock."""
        await self._database.close()

    async def watch(self) -> None:
        """Note when a seal is at work, for ever."""
        while True:
            at_work = await self.ask("sealing_at_work")
            self.seen.append((time.perf_counter(), at_work))
            await asyncio.sleep(_LOOK_S)

    async def hold(self) -> None:
        """Let no seal begin any more, once the one under way has ended."""
        until_s = time.monotonic() + _HELD_WAIT_S
        while not self._held:
            self._held = await self.ask("hold_sealing")
            if not self._held and time.monotonic() > until_s:
                raise RuntimeError("a seal does not end")
            await asyncio.sleep(0 if self._held else _LOOK_S)

    async def let(self) -> None:
        """Let the server seal again, which it finds out within seconds: wait so long."""
        if not self._held:
            return
        await self.ask("let_sealing")
        self._held = False
        until_s = time.monotonic() + _BEGIN_WAIT_S
        while not await self.ask("sealing_at_work") and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_S)

    async def sealed(self, within_s: float) -> tuple[int, int]:
        """Wait until all is sealed that can be; how many partitions are, and how many with rows there are."""
        until_s = time.monotonic() + within_s
        while await self.ask("partitions_due") and time.monotonic() < until_s:
            await asyncio.sleep(_LOOK_S)
        return await self.ask("partitions_sealed"), await self.ask("partitions_filled")

    def leg(self, outcomes: Sequence[Outcome], *, sealing: bool, sealed_rows: int) -> Leg:
        """What came of a run beside which a partition of so many rows was sealed, or none: of the requests that were
        sent and answered between the beginning of that seal and its end. Raises `RuntimeError` if the run was not what
        it was meant to be."""
        sent = [
            (began, ended, transfers)
            for each in outcomes
            for began, ended, transfers in zip(each.began, each.ended, each.transfers, strict=True)
        ]
        first_s, last_s = min(began for began, _, _ in sent), max(ended for _, ended, _ in sent)
        begins_s = next((at for at, at_work in self.seen if at >= first_s and at_work), last_s)
        ends_s = next((at for at, at_work in self.seen if at > begins_s and not at_work), last_s)
        if sealing and not sealed_rows:
            raise RuntimeError("nothing was sealed beside a run with a seal")
        if not sealing:
            if sealed_rows or begins_s < last_s:
                raise RuntimeError("a seal was at work beside a run without one")
            begins_s, ends_s = first_s, last_s
        counted = [each for each in sent if each[0] >= begins_s and each[1] <= ends_s]
        if not counted:
            raise RuntimeError("the seal and the posting missed each other")
        began_s, ended_s = min(each[0] for each in counted), max(each[1] for each in counted)
        rows, seconds = sum(transfers for _, _, transfers in counted), ended_s - began_s
        latency = percentiles([ended - began for began, ended, _ in counted])
        return Leg(sealing, rows, round(seconds, 2), round(rows / seconds, 1), latency, sealed_rows, ends_s < last_s)


def pair_rows(pairs: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """A line a pair of runs, and the medians: what a seal costs posting."""
    lines, ratios = [], []
    for pair in pairs:
        without, beside = sorted(pair, key=lambda leg: bool(leg["sealing"]))
        rates = [leg["per_s"] for leg in (without, beside)]
        tails = [leg["latency_ms"]["99"] for leg in (without, beside)]
        ratios.append((rates[1] / rates[0], tails[1] / tails[0]))
        lines.append(
            [
                "with a seal first" if pair[0]["sealing"] else "without one first",
                *(f"{rate:,.0f}" for rate in rates), f"{ratios[-1][0]:.2f}",
                *(f"{tail:.0f}" for tail in tails), f"{ratios[-1][1]:.2f}",
                f"{beside['sealed_rows']:,}", f"{'' if beside['whole'] else 'more than '}{beside['seconds']:.0f}",
            ]
        )  # fmt: skip
    rate, tail = (f"{median(each):.2f}" for each in zip(*ratios, strict=True))
    return [*lines, ["median", "", "", rate, "", "", tail, "", ""]]
