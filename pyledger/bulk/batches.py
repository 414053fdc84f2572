"""Rows become requests: up to 8,190 at once, in the form that carries them best, and what is wrong is set aside.

Guarded here: a linked chain is never cut in two, and where one row of it is set aside all of it is; the core that
decides in the server has read every row before it is sent, so one bad row cannot have a whole request refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyledger._rust import Commands, Malformed, decode_account, decode_accounts, decode_transfer, decode_transfers
from pyledger.bulk.cells import is_linked
from pyledger.bulk.nouns import (
    ACCOUNTS,
    BATCH_BODY_BYTES_MAX,
    BATCH_ROWS_MAX,
    GROUP_ROWS,
    SKIPPED,
    BulkError,
    Row,
)
from pyledger.bulk.reading import Block

ANY_TENANT = 1
"""Rows are only read here; whose they are follows from the key."""


@dataclass(slots=True)
class Prepared:
    """One request: its rows, as they are sent and decoded; those set aside; how many rows of the file it covers."""

    block: Block
    rows: int = 0
    bad: list[Row] = field(default_factory=list)
    skipped: int = 0
    body: bytes = b""
    commands: Commands | None = None

    @property
    def depends(self) -> bool:
        """Whether its rows depend on others, whatever is there to spend. Text may say so too, which does no harm."""
        return any(word in self.body for word in (b'"imported"', b'"pending_id"', b'"reverses"'))

    @property
    def last_id(self) -> str:
        """Of the last row that is sent."""
        at = self.body.rfind(b'"id":"')
        return self.body[at + 6 : at + 42].decode("ascii", "replace") if at >= 0 else ""


def requests(what: str, blocks: Iterator[Block], done: int) -> Iterator[Prepared]:
    """Requests of all rows but the first `done`."""
    for block in blocks:
        if done >= block.covers:
            done -= block.covers
        elif block.body and not done:
            yield _plain(what, block)
        else:
            for rows in cut(iter(block.rows[done:])):
                yield prepare(what, Block(len(rows), found=rows))
            done = 0


def _plain(what: str, block: Block) -> Prepared:
    try:
        commands = decode_transfers(block.body, ANY_TENANT)
    except Malformed:
        return prepare(what, Block(block.covers, found=block.rows))
    return Prepared(block, block.covers, body=block.body, commands=commands)


def cut(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in requests, chains whole."""
    batch: list[Row] = []
    weight = size = 0
    for row in rows:
        heavy = GROUP_ROWS if b'"group"' in row.text else 1
        if batch and (weight + heavy > BATCH_ROWS_MAX or size + len(row.text) > BATCH_BODY_BYTES_MAX):
            keep = len(batch)
            while keep and is_linked(batch[keep - 1]):
                keep -= 1
            # A chain longer than a request cannot be sent whole; the ledger says so of its part.
            keep = keep or len(batch)
            yield batch[:keep]
            batch = batch[keep:]
            weight = sum(GROUP_ROWS if b'"group"' in each.text else 1 for each in batch)
            size = sum(len(each.text) for each in batch)
        batch.append(row)
        weight += heavy
        size += len(row.text) + 1
    if batch:
        yield batch


def prepare(what: str, block: Block) -> Prepared:
    """Decode a request's rows; what cannot be decoded is set aside with its reason."""
    decode_all = decode_accounts if what == ACCOUNTS else decode_transfers
    decode_one = decode_account if what == ACCOUNTS else decode_transfer
    rows = [row for row in block.rows if row.code != SKIPPED]
    found = Prepared(block, skipped=block.covers - len(rows))
    if any(row.code for row in rows):
        rows, found.bad = _apart(rows)
    for attempt in (1, 2):
        if not rows:
            break
        body = b'{"%s":[%s]}' % (what.encode(), b",".join([row.text for row in rows]))
        try:
            found.commands = decode_all(body, ANY_TENANT)
        except Malformed as wrong:
            if attempt == 2:
                raise BulkError(f"lines {rows[0].line} to {rows[-1].line}: {wrong.detail}") from wrong
            rows, bad = _apart([_judged(row, decode_one) for row in rows])
            found.bad += bad
            continue
        found.body = body
        break
    found.block = Block(block.covers, found=rows)
    found.rows = len(rows)
    found.bad.sort()
    return found


def _judged(row: Row, decode_one: Callable[[bytes, int, str | None], Commands]) -> Row:
    try:
        decode_one(row.text, ANY_TENANT, None)
    except Malformed as wrong:
        return row._replace(code=wrong.code, detail=wrong.detail)
    return row


def _apart(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Good rows and bad ones. A good row whose chain has a bad one is bad too."""
    start = 0
    good: list[Row] = []
    bad: list[Row] = []
    while start < len(rows):
        end = start
        while end + 1 < len(rows) and is_linked(rows[end]):
            end += 1
        chain = rows[start : end + 1]
        if any(row.code for row in chain):
            others = "Another row of the same linked chain was set aside, so none of the chain was sent."
            bad += [row if row.code else row._replace(code="linked_chain_refused", detail=others) for row in chain]
        else:
            good += chain
        start = end + 1
    return good, bad
