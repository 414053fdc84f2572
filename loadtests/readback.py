"""The proof over HTTP alone, for a server whose database cannot be looked into: every acknowledged id is read
back, and the accounts of the ledger are added up.

Guarded here: each id is read, none is sampled; an id that is missing, or has another outcome than was
acknowledged, is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Final
from urllib.parse import quote
from uuid import UUID

from loadtests.books import Caller, SetUpFailed
from loadtests.nouns import Books

CONNECTIONS: Final = 8
PAGE_ROWS: Final = 1_000
FAILURES_SHOWN: Final = 3
COUNTERS: Final = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")


def read_back(
    url: str, key: str, acknowledged: Iterable[tuple[bytes, bool]], tell: Callable[[str, int, int], None]
) -> list[str]:
    """Read every acknowledged id; one sentence for each that is not as it was acknowledged."""
    told: dict[bytes, bool] = dict(acknowledged)
    ids = list(told)
    pieces = [ids[start::CONNECTIONS] for start in range(CONNECTIONS)]
    done = 0

    def read(piece: list[bytes]) -> list[str]:
        nonlocal done
        caller, wrong = Caller(url, key), []
        for id_bytes in piece:
            found = _read_one(caller, id_bytes, told[id_bytes])
            if found:
                wrong.append(found)
                caller.close()
                caller = Caller(url, key)
            done += 1
            if done % PAGE_ROWS == 0:
                tell("read back", done, len(ids))
        caller.close()
        return wrong

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return [each for wrong in threads.map(read, pieces) for each in wrong]


def _read_one(caller: Caller, id_bytes: bytes, accepted: bool) -> str:
    id = UUID(bytes=id_bytes)
    try:
        answer = json.loads(caller.call("GET", f"/v1/transfers/{id}"))
    except (SetUpFailed, HTTPException, OSError) as error:
        return f"{id} is acknowledged and cannot be read: {error}"
    if (answer["status"] == "accepted") != accepted:
        return f"{id} is stored as {answer['status']}, and was acknowledged otherwise"
    return ""


def trial_balance(url: str, key: str, books: Books) -> list[str]:
    """Add up all accounts of the ledger; what is wrong with the sums."""
    caller, sums, accounts, cursor = Caller(url, key), dict.fromkeys(COUNTERS, 0), 0, None
    while True:
        path = f"/v1/accounts?ledger={books.ledger}&limit={PAGE_ROWS}"
        page = json.loads(caller.call("GET", path + (f"&cursor={quote(cursor)}" if cursor else "")))
        for account in page["data"]:
            accounts += 1
            for name in COUNTERS:
                sums[name] += int(account["balances"][name])
        cursor = page["next"]
        if cursor is None:
            break
    caller.close()
    wrong = [
        f"debits {what} {sums[f'debits_{what}']} are not credits {what} {sums[f'credits_{what}']}"
        for what in ("posted", "pending")
        if sums[f"debits_{what}"] != sums[f"credits_{what}"]
    ]
    if accounts != books.accounts:
        wrong.append(f"{accounts} accounts are served, {books.accounts} were opened")
    return wrong


def shown(failures: list[str]) -> str:
    """The first of some failures, and how many there are."""
    more = f" and {len(failures) - FAILURES_SHOWN} more" if len(failures) > FAILURES_SHOWN else ""
    return "; ".join(failures[:FAILURES_SHOWN]) + more
