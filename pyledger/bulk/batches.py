"""Rows become requests: up to 8,190 at once, in the form that carries them best, and what is wrong is set aside.

Guarded here: a linked chain is never cut in two, and where one row of it is set aside all of it is; the core that
decides in the server has read every row before it is sent, so one bad row cannot have a whole request refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyledger._rust import (
    Commands,
    Malformed,
    ReadLines,
    decode_account,
    decode_accounts,
    decode_transfer,
    decode_transfers,
)
from pyledger.bulk.cells import is_linked, peek
from pyledger.bulk.nouns import (
    ACCOUNTS,
    BATCH_BODY_BYTES_MAX,
    BATCH_ROWS_MAX,
    GROUP_ROWS,
    SKIPPED,
    TOO_LONG,
    TRANSFERS,
    BulkError,
    Row,
)
from pyledger.bulk.reading import Block

ANY_TENANT = 1
"""Rows are only read here; whose they are follows from the key."""


@dataclass(slots=True)
class Prepared:
    """One request: its rows, as they are sent; those set aside; how many rows of the file it covers.

    `binary` says whether the body is records or JSON, `depends` whether a row is about another one or about its time,
    so that none may overtake another. Without rows there is nothing to send."""

    block: Block
    rows: int = 0
    bad: list[Row] = field(default_factory=list)
    skipped: int = 0
    body: bytes = b""
    binary: bool = False
    depends: bool = False
    last_id: str = ""

    @property
    def sent(self) -> list[Row]:
        """The rows of the request, one by one."""
        rows = self.block.rows
        return rows if self.block.ready is None else [row for row in rows if row.code != SKIPPED]


def requests(what: str, blocks: Iterator[Block], done: int) -> Iterator[Prepared]:
    """Requests of all rows but the first `done`."""
    torn = False
    for block in blocks:
        if done >= block.covers:
            done -= block.covers
        elif block.ready is not None and not done and not torn:
            yield _ready(block, block.ready)
        else:
            # Only a chain that no request can hold ever goes on after the end of a request, or of a block.
            torn = is_linked(block.rows[done - 1]) if done else torn
            for rows in cut(block.rows[done:], torn=torn):
                yield prepare(what, Block(len(rows), found=rows))
            done = 0
        torn = block.ready is None and is_linked(block.rows[-1])


def _ready(block: Block, read: ReadLines) -> Prepared:
    skipped = read.lines - read.rows
    return Prepared(
        block, read.rows, [], skipped, read.body if read.rows else b"", read.binary, read.depends, read.last_id or ""
    )


def cut(rows: list[Row], *, torn: bool) -> Iterator[list[Row]]:
    """Rows in requests, chains whole. Of a chain that no request can hold each row says so; `torn` rows go on with one
    whose first rows did."""
    batch: list[Row] = []
    weight = size = 0
    for row in rows:
        heavy = GROUP_ROWS if b'"group"' in row.text else 1
        if batch and (weight + heavy > BATCH_ROWS_MAX or size + len(row.text) > BATCH_BODY_BYTES_MAX):
            keep = len(batch)
            while keep and not torn and is_linked(batch[keep - 1]):
                keep -= 1
            if keep == 0:
                batch, keep, torn = [_too_long(each) for each in batch], len(batch), True
            yield batch[:keep]
            batch = batch[keep:]
            weight = sum(GROUP_ROWS if b'"group"' in each.text else 1 for each in batch)
            size = sum(len(each.text) for each in batch)
        batch.append(_too_long(row) if torn else row)
        torn = torn and is_linked(row)
        weight += heavy
        size += len(row.text) + 1
    if batch:
        yield batch


def _too_long(row: Row) -> Row:
    detail = f"Its linked chain has more rows than one request takes, which is {BATCH_ROWS_MAX:,} or 12 MiB of them."
    return row._replace(code=TOO_LONG, detail=detail)


def prepare(what: str, block: Block) -> Prepared:
    """Decode a request's rows; what cannot be decoded is set aside with its reason."""
    decode_all = decode_accounts if what == ACCOUNTS else decode_transfers
    decode_one = decode_account if what == ACCOUNTS else decode_transfer
    rows = block.rows
    found = Prepared(block, skipped=sum(row.code == SKIPPED for row in rows))
    if any(row.code for row in rows):
        rows, found.bad = _apart(rows)
    for attempt in (1, 2):
        if not rows:
            break
        body = b'{"%s":[%s]}' % (what.encode(), b",".join([row.text for row in rows]))
        try:
            commands = decode_all(body, ANY_TENANT)
        except Malformed as wrong:
            if attempt == 2:
                raise BulkError(f"lines {rows[0].line} to {rows[-1].line}: {wrong.detail}") from wrong
            rows, bad = _apart([_judged(row, decode_one) for row in rows])
            found.bad += bad
            continue
        # Text may have these words too, which does no harm.
        found.depends = any(word in body for word in (b'"imported"', b'"pending_id"', b'"reverses"'))
        found.binary = what == TRANSFERS and not commands.has_texts
        found.body = commands.records() if found.binary else body
        found.last_id = peek(rows[-1].text).id or ""
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
    """Good rows and bad ones, without the skipped. A good row whose chain has a bad or a skipped one is bad too."""
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
            told = [row if row.code else row._replace(code="linked_chain_refused", detail=others) for row in chain]
            bad += [row for row in told if row.code != SKIPPED]
        else:
            good += chain
        start = end + 1
    return good, bad
