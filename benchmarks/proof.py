"""The proof after a run: debits equal credits, balances equal rows, each acknowledged id is stored once.

Guarded here: what the server answered is held against what PostgreSQL stores, never against the server's
own word; and a proof that cannot be made has failed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from benchmarks.bodies import Envelope
from benchmarks.nouns import ProofFailed
from benchmarks.wire import Caller
from pyledger import sql

QUERIES: Final = sql.load("benchmarks")

PAGE_ROWS: Final = 1_000
_COUNTERS: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
_EXPIRY_WAIT_S: Final = 120.0
"""Holds with a timeout expire by themselves; a proof waits so long for the last of them."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run claims: its ledger, its accounts, and what was acknowledged."""

    case: str
    ledger: int
    accounts: int | None
    """Accounts of the ledger; None where the run itself opened some."""
    setup_mark_ns: int
    """The head's time before the ledger was opened."""
    run_mark_ns: int
    """The head's time right before the first request."""
    acknowledged: list[Path]
    unanswered: int
    """Commands whose outcome the generator does not know, so that they may be stored or not."""


async def prove(
    database: Any, caller: Caller, envelope: Envelope, claim: Claim, tell: Callable[[str], None]
) -> dict[str, int]:
    """Prove a run over a connection that may read everything. Returns counts; raises `ProofFailed`."""
    tell("proof: waiting for holds to expire")
    tenant = await database.fetchval(QUERIES["tenant_of_ledger"], claim.ledger, claim.setup_mark_ns)
    if tenant is None:
        raise ProofFailed(claim.case, ["the ledger that the run opened is not in the journal"])
    await database.execute(QUERIES["prepare_proof"])
    await _wait_for_expiries(database, tenant, claim)
    tell("proof: balances over HTTP")
    await database.copy_records_to_table(
        "served", records=served_balances(caller, envelope, claim.ledger), columns=("account", *_COUNTERS)
    )
    tell("proof: acknowledged ids")
    for path in claim.acknowledged:
        with path.open("rb") as source:
            await database.copy_to_table("acknowledged", source=source, format="binary")
    await database.execute(QUERIES["analyze_proof"])
    tell("proof: ids in the journal")
    once = await database.fetchrow(QUERIES["stored_once"], tenant, claim.run_mark_ns, timeout=3_600)
    stored = await database.fetchval(QUERIES["stored_rows"], tenant, claim.run_mark_ns, 2, timeout=3_600)
    tell("proof: balances against rows")
    balances = await database.fetchrow(
        QUERIES["unequal_balances"], tenant, claim.ledger, claim.setup_mark_ns, timeout=3_600
    )
    trial = await database.fetchrow(QUERIES["trial_balance"])
    failures = _wrong_ids(claim, dict(once), stored) + _wrong_balances(claim, dict(balances), dict(trial))
    if failures:
        raise ProofFailed(claim.case, failures)
    counts = {name: int(trial[name]) for name in ("accounts", "debits_posted", "credits_posted")}
    return {"acknowledged": once["acknowledged"], "stored": stored, **counts}


async def prove_ids(database: Any) -> None:
    """At the end of everything: no id stands twice anywhere in the journal. Raises `ProofFailed`."""
    twice = await database.fetchval(QUERIES["ids_twice"], timeout=3_600)
    if twice:
        raise ProofFailed("the whole journal", [f"{twice} ids are stored more than once"])


def _wrong_ids(claim: Claim, once: dict[str, int], stored: int) -> list[str]:
    """Every sentence about ids that does not hold."""
    found = []
    for name, sentence in (
        ("lost", "acknowledged but not stored"),
        ("stored_twice", "stored more than once"),
        ("other_outcome", "stored with another outcome than acknowledged"),
        ("answered_twice", "acknowledged both as accepted and as declined"),
    ):
        if once[name]:
            found.append(f"{once[name]} ids are {sentence}")
    if not once["acknowledged"] <= stored <= once["acknowledged"] + claim.unanswered:
        found.append(
            f"{stored} rows are stored of {once['acknowledged']} acknowledged"
            f" and {claim.unanswered} unanswered commands"
        )
    return found


def _wrong_balances(claim: Claim, balances: dict[str, int], trial: dict[str, Any]) -> list[str]:
    """Every sentence about balances that does not hold."""
    found = []
    if balances["unequal"] or balances["not_served"]:
        found.append(
            f"{balances['unequal']} balances differ from the sum of their rows,"
            f" {balances['not_served']} accounts with rows are not served"
        )
    for what in ("posted", "pending"):
        debits, credits_ = trial[f"debits_{what}"], trial[f"credits_{what}"]
        if debits != credits_:
            found.append(f"debits {what} {debits} are not credits {what} {credits_}")
    if claim.accounts is not None and trial["accounts"] != claim.accounts:
        found.append(f"{trial['accounts']} accounts are served, {claim.accounts} were opened")
    return found


async def served_balances(caller: Caller, envelope: Envelope, ledger: int) -> AsyncIterator[tuple[Any, ...]]:
    """Every account of a ledger with its counters, as the server's list answers them."""
    cursor: str | None = None
    while True:
        path = f"/v1/accounts?ledger={ledger}&limit={PAGE_ROWS}"
        if cursor is not None:
            path += f"&cursor={quote(cursor)}"
        page = json.loads(await caller.expect(envelope.get(path), 200))
        for account in page["data"]:
            yield UUID(account["id"]), *(int(account["balances"][name]) for name in _COUNTERS)
        cursor = page["next"]
        if cursor is None:
            return


async def _wait_for_expiries(database: Any, tenant: int, claim: Claim) -> None:
    """Until no hold with a timeout is open, so that the balances hold still while they are read."""
    deadline = time.monotonic() + _EXPIRY_WAIT_S
    while True:
        open_now = await database.fetchval(
            QUERIES["open_timeouts"], tenant, claim.ledger, claim.setup_mark_ns, timeout=600
        )
        if not open_now:
            return
        if time.monotonic() > deadline:
            raise ProofFailed(claim.case, [f"{open_now} holds whose time has passed are still open"])
        await asyncio.sleep(1.0)
