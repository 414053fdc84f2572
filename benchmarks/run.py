"""One case from an empty ledger to a proven line of the report.

Guarded here: nothing is reported of a run before its proof, and what the set-up wrote is inside the proof of
the balances but outside of the measured time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
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

Tell = Callable[[str, int], None]

RESENDS_MAX: Final = 20
"""Of one request of a set-up: over millions of accounts a commit may take longer than the server waits for it."""
RESEND_AFTER_S: Final = 0.5

_ASSET: Final = "EUR"


class Runner:
    """Runs cases on one server, one after the other."""

    def __init__(self, service: Service, scratch: Path, tell: Tell) -> None:
        self._service, self._scratch, self.tell = service, scratch, tell
        self._opened: dict[int, int] = {}

    async def run(self, case: Case) -> Measured:
        """Set up, drive, prove. Raises `ProofFailed`."""
        caller = self._service.caller()
        plan = case.plan
        try:
            if plan.ledger not in self._opened:
                self.tell("set-up", 0)
                self._opened[plan.ledger] = await self._service.mark_ns()
                await self._open(caller, case)
            run_mark = await self._service.mark_ns()
            before = await self._service.read()
            outcomes, files = await drive(plan, self._service.url, self._service.key, self._scratch, self.tell)
            after = await self._service.read()
            self.tell("summary", 0)
            measured = summarize(plan, outcomes, case.workload, case.title)
            claim = Claim(
                plan.case,
                plan.ledger,
                _accounts(case),
                self._opened[plan.ledger],
                run_mark,
                files,
                _unanswered(outcomes),
                case.prove_balances,
            )
            measured.proof = await prove(
                self._service.database, caller, self._service.envelope, claim, lambda text: self.tell(text, 0)
            )
        finally:
            caller.close()
            for path in self._scratch.glob("acknowledged_*.copy"):
                path.unlink()
        if not measured.accepted:
            raise ProofFailed(plan.case, [f"nothing was accepted; errors: {measured.errors}"])
        _charge(measured, before, after)
        return measured

    async def _open(self, caller: Caller, case: Case) -> None:
        """The case's ledger, its accounts, and what they own at first."""
        plan, envelope = case.plan, self._service.envelope
        body = json.dumps({"id": plan.ledger, "asset": _ASSET, "exponent": 2}).encode()
        await caller.expect(envelope.post("/v1/ledgers", body), 201)
        ids = [account_id(plan.first_account, each) for each in range(plan.accounts)]
        for some in _slices(ids):
            await self._batch(caller, "/v1/accounts/batch", accounts_body(some, plan.ledger, case.account_flags))
        if case.funding:
            bank = account_id(plan.first_account, plan.accounts)
            await self._batch(caller, "/v1/accounts/batch", accounts_body([bank], plan.ledger, ()))
            made = Ids(Random(plan.seed))  # noqa: S311 - traffic, no secret
            for some in _slices(ids):
                texts = (
                    transfer_json(made.next(), uuid_text(bank), uuid_text(each), case.funding, plan.ledger)
                    for each in some
                )
                await self._batch(caller, "/v1/transfers/batch", ('{"transfers":[' + ",".join(texts) + "]}").encode())

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
