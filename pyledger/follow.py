"""`pyledger feed`: the journal on a terminal or in a pipe, a line a row, from where it was left last time.

Guarded here: a cursor in a file is moved only past lines that were written out.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import AsyncGenerator
from typing import Final

from pyledger.client import (
    Account,
    Client,
    Event,
    EventPage,
    Feed,
    FileStore,
    Ledger,
    LedgerError,
    Retry,
    Transfer,
    Unavailable,
)
from pyledger.client.feed import LATEST

RETRY: Final = Retry(attempts_max=6, deadline_s=15.0)


async def run(asked: Namespace) -> int:
    """Print rows until told to stop, or with `--once` those that are there; the exit code."""
    try:
        await _print(asked)
    except Unavailable as error:
        raise ConnectionError(f"no answer from {asked.url}: {error.detail}") from error
    except (LedgerError, ValueError) as error:
        sys.stderr.write(f"pyledger: {error}\n")
        return 1
    return 0


async def _print(asked: Namespace) -> None:
    store = None if asked.store is None else FileStore(asked.store)
    stored = None if store is None else await store.load()
    after = stored or asked.after or (None if asked.once else LATEST)
    async with Client(asked.url, asked.key, retry=RETRY) as client:
        feed = Feed(client, ledger=asked.ledger, account=asked.account, code=asked.code, declined=asked.declined)
        async for page in _pages(feed, after, once=asked.once):
            for event in page.events:
                sys.stdout.write((event.json.decode() if asked.json else _line(event)) + "\n")
            sys.stdout.flush()
            if store is not None:
                await store.save(page.next)


async def _pages(feed: Feed, after: str | None, *, once: bool) -> AsyncGenerator[EventPage, None]:
    # Whoever cannot be reached at first is an error; later it is an outage, which passes.
    page = await feed.page(after)
    yield page
    while once and page.next != after:
        after = page.next
        page = await feed.page(after)
        yield page
    if not once:
        async for later in feed.pages(page.next):
            yield later


def _line(event: Event) -> str:
    """When, what, how much, between whom: for a person."""
    row = event.row
    match row:
        case Ledger():
            return f"{row.created_at}  {event.kind:8}  {row.id} {row.asset}"
        case Account():
            return f"{row.created_at}  {event.kind:8}  {row.id} in ledger {row.ledger}"
        case Transfer() if row.debit_account and row.credit_account:
            moved = f"{row.amount} in ledger {row.ledger}: {row.debit_account.id} -> {row.credit_account.id}"
            return f"{row.recorded_at}  {event.kind:8}  {row.id} {moved}"
    return f"{row.recorded_at}  {event.kind:8}  {row.id} declined: {row.refusal}"
