"""One case from an empty ledger to a proven line of the report.

Guarded here: no run ends without its proof, pieces of one are proven together when it ends, and what the set-up
wrote is inside the proof of the balances but outside of the measured time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import OK, SERVICE_UNAVAILABLE
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.bodies import ACCOUNTS_PER_REQUEST, Ids, account_id, accounts_body, transfer_json, uuid_text
from benchmarks.load import drive
from benchmarks.nouns import Case, Measured, ProofFailed
from benchmarks.outcome import Outcome
from benchmarks.proof import Claim, prove
from benchmarks.service import Reading, Service
from benchmarks.summary import summarize
from benchmarks.wire import Caller
from pyledger.settings import Settings

Tell = Callable[[str, int], None]

RESENDS_MAX: Final = 20
"""Of one request of a set-up: over millions of accounts a commit may take longer than the server waits for it."""
RESEND_AFTER_S: Final = 0.5
REST_ROWS_MAX: Final = Settings().seal_rows // 4
"""A partition with fewer rows than that does not end, however long it rests; to seal it is three seconds of a core."""
REST_S_MAX: Final = 600.0
"""Until they are sealed: two minutes until their partition ends, and some for ten million rows of it."""
REST_LOOK_S: Final = 1.0
_OPENING_AT_ONCE: Final = 2
"""Connections of a set-up: one request is decided while the next one is built."""

_ASSET: Final = "EUR"


@dataclass(slots=True)
class _Books:
    """A ledger of this run, and what of it is to be proven still."""

    setup_mark_ns: int
    run_mark_ns: int = 0
    acknowledged: list[Path] = field(default_factory=list)
    unanswered: int = 0
    pieces: list[Measured] = field(default_factory=list)
    """What was measured since the last proof."""


class Runner:
    """Runs cases on one server, one after the other; each once what the one before left is sealed, if `rested`."""

    def __init__(self, service: Service, scratch: Path, tell: Tell, *, rested: bool = False) -> None:
        self._service, self._scratch, self.tell, self._rested = service, scratch, tell, rested
        self._books: dict[int, _Books] = {}

    async def run(self, case: Case) -> Measured:
        """Set up, drive, prove: a piece of a larger run is proven with the case that ends it. Raises `ProofFailed`."""
        plan, service = case.plan, self._service
        if plan.ledger not in self._books:
            self.tell("set-up", 0)
            self._books[plan.ledger] = _Books(await service.mark_ns())
            await self._open(case)
        books = self._books[plan.ledger]
        if not books.acknowledged:
            books.run_mark_ns = await service.mark_ns()
        if self._rested:
            await self._rest()
        before = await service.read()
        outcomes, files = await drive(plan, service.url, service.key, self._scratch, self.tell)
        after = await service.read()
        self.tell("summary", 0)
        measured = summarize(plan, outcomes, case.workload, case.title)
        books.acknowledged += files
        books.unanswered += _unanswered(outcomes)
        if case.proven:
            measured.proof = await self._prove(case, books)
            for piece in books.pieces:
                piece.notes["proven_with"] = plan.case
            books.pieces = []
        else:
            books.pieces.append(measured)
        if not measured.accepted:
            raise ProofFailed(plan.case, [f"nothing was accepted; errors: {measured.errors}"])
        _charge(measured, before, after)
        return measured

    async def _rest(self) -> None:
        """Wait until no more is to be done for earlier cases than can be done beside the next one."""
        until_s = time.monotonic() + REST_S_MAX
        while (rows := await self._service.rows_unsealed()) > REST_ROWS_MAX:
            self.tell("rest", 0)
            if time.monotonic() > until_s:
                raise RuntimeError(f"{rows:,} rows of earlier cases are not sealed after {REST_S_MAX:.0f} s of rest")
            await asyncio.sleep(REST_LOOK_S)
        await self._service.settle()

    async def _prove(self, case: Case, books: _Books) -> dict[str, int]:
        """Everything of these books that was not proven before."""
        caller, plan, service = self._service.caller(), case.plan, self._service
        claim = Claim(
            plan.case,
            plan.ledger,
            _accounts(case),
            books.setup_mark_ns,
            books.run_mark_ns,
            books.acknowledged,
            books.unanswered,
        )
        try:
            return await prove(service.database, caller, service.envelope, claim, lambda text: self.tell(text, 0))
        finally:
            caller.close()
            for path in books.acknowledged:
                path.unlink()
            books.acknowledged, books.unanswered = [], 0

    async def _open(self, case: Case) -> None:
        """The case's ledger, its accounts, and what they own at first."""
        plan, envelope = case.plan, self._service.envelope
        callers = [self._service.caller() for _ in range(_OPENING_AT_ONCE)]
        try:
            body = json.dumps({"id": plan.ledger, "asset": _ASSET, "exponent": 2}).encode()
            await callers[0].expect(envelope.post("/v1/ledgers", body), 201)
            ids = [account_id(plan.first_account, each) for each in range(plan.accounts)]
            accounts = (accounts_body(some, plan.ledger, case.account_flags) for some in _slices(ids))
            await self._batches(callers, "/v1/accounts/batch", accounts)
            if case.funding:
                bank = account_id(plan.first_account, plan.accounts)
                await self._batch(callers[0], "/v1/accounts/batch", accounts_body([bank], plan.ledger, ()))
                await self._batches(callers, "/v1/transfers/batch", _funding(case, bank, ids))
        finally:
            for caller in callers:
                caller.close()

    async def _batches(self, callers: list[Caller], path: str, bodies: Iterator[bytes]) -> None:
        """All of these requests, one at a time over each connection."""

        async def send(caller: Caller) -> None:
            for body in bodies:
                await self._batch(caller, path, body)

        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(send(caller))

    async def _batch(self, caller: Caller, path: str, body: bytes) -> None:
        """One request of the set-up, sent again with its own ids while its outcome is unknown, as a client should."""
        request = self._service.envelope.post(path, body)
        status, text = await caller.call(request)
        for _ in range(RESENDS_MAX):
            if status != SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(RESEND_AFTER_S)
            status, text = await caller.call(request)
        if status != OK:
            raise ConnectionError(f"the set-up of a case was answered {status}: {text[:300].decode(errors='replace')}")
        answer = json.loads(text)
        if answer["declined"] or answer["refused"]:
            wrong = next(each for each in answer["results"] if each.get("status", "accepted") != "accepted")
            raise RuntimeError(f"the set-up of a case was not accepted: {wrong}")


def _slices(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + ACCOUNTS_PER_REQUEST] for start in range(0, len(ids), ACCOUNTS_PER_REQUEST))


def _funding(case: Case, bank: int, ids: list[int]) -> Iterator[bytes]:
    """The requests that give each account what it owns at first."""
    made = Ids(Random(case.plan.seed))  # noqa: S311 - traffic, no secret
    for some in _slices(ids):
        texts = (
            transfer_json(made.next(), uuid_text(bank), uuid_text(each), case.funding, case.plan.ledger)
            for each in some
        )
        yield ('{"transfers":[' + ",".join(texts) + "]}").encode()


def _accounts(case: Case) -> int | None:
    """Accounts that the ledger must have at the end; None where the traffic opens them."""
    return None if case.plan.choice == "fresh" else case.plan.accounts + bool(case.funding)


def _unanswered(outcomes: list[Outcome]) -> int:
    """Commands that were sent and of which the generator does not know whether they are stored."""
    return sum(
        1 if transfers == 1 else 8_190
        for outcome in outcomes
        for began, ended, transfers in zip(outcome.began, outcome.ended, outcome.transfers, strict=True)
        if began and not ended
    )


def _charge(measured: Measured, before: Reading, after: Reading) -> None:
    """What the run cost the machine."""
    rows = max(1, measured.accepted + measured.declined)
    if before.server_cpu_s is not None and after.server_cpu_s is not None:
        measured.server_cpu_s = round(after.server_cpu_s - before.server_cpu_s, 2)
    if before.postgres_cpu_s is not None and after.postgres_cpu_s is not None:
        measured.postgres_cpu_s = round(after.postgres_cpu_s - before.postgres_cpu_s, 2)
    measured.wal_bytes_per_transfer = round((after.wal_bytes - before.wal_bytes) / rows, 1)
    measured.disk_bytes_per_transfer = round((after.journal_bytes - before.journal_bytes) / rows, 1)
