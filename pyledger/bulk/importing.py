"""`pyledger import`: a file's rows into the ledger, over HTTP, each once however often it is run.

Guarded here: requests go one after the other, for what is there to spend depends on what came before; several at once
only where that was asked for, and never past imported events, or rows that act on others. A row that is not taken is in
the report with its line and its reason, and nothing else is.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from pyledger._rust import REFUSALS as TABLE
from pyledger._rust import Commands, Engine, decode_accounts, decode_transfers, decode_transfers_binary
from pyledger.bulk import parquet
from pyledger.bulk.batches import ANY_TENANT, Prepared, requests
from pyledger.bulk.cells import Reading, peek
from pyledger.bulk.cursor import Cursor, Position, alone, identity
from pyledger.bulk.nouns import ACCOUNTS, TRANSFERS, BulkError, Interrupted
from pyledger.bulk.reading import blocks_of, form_of
from pyledger.bulk.showing import Bar
from pyledger.client.binary import CONTENT_TYPE, RESULT, TRANSFER
from pyledger.client.errors import AccessDenied, LedgerError, NotFound, Unavailable
from pyledger.client.nouns import TransferFlags
from pyledger.client.refusals import REFUSALS
from pyledger.client.retry import Retry
from pyledger.client.transport import JSON, Transport, path

ANSWER_TIMEOUT_S: Final = 60.0
"""For one request; after that it is sent again, which does no harm."""

_DETAILS: Final = {code: detail for _number, code, _kind, detail in TABLE}
_SHAPE: Final = frozenset(code for _number, code, kind, _detail in TABLE if kind == "malformed")
"""Refusals that follow from a row alone, whatever is in the books."""
_REGRESSED: Final = "imported_must_not_regress"


class _Result(msgspec.Struct):
    """What a reply in JSON says of one row."""

    id: str
    status: str = "accepted"
    refusal: str = ""
    detail: str = ""


class _Results(msgspec.Struct):
    results: list[_Result]


_read_results = msgspec.json.Decoder(_Results).decode
Verdict = tuple[int, str, str]
"""Which row of a request, its status, and the code of its refusal."""
Answered = tuple[list[Verdict], int]
"""What was not accepted, and how many rows had been decided before."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked on the command line."""

    file: Path
    reading: Reading
    form: str | None
    url: str
    key: str | None
    dry_run: bool
    in_flight: int
    progress: Path | None
    report: Path | None
    show: bool

    @property
    def progress_file(self) -> Path:
        """Where it is kept how far it is."""
        return self.progress or self.file.with_name(self.file.name + ".progress")

    @property
    def report_file(self) -> Path:
        """What was not taken; of a dry run what would not be, beside the one of an import that is to go on."""
        ending = ".dry-run.csv" if self.dry_run else ".rejected.csv"
        return self.report or self.file.with_name(self.file.name + ending)


async def take(order: Order) -> Position:
    """Import, or look whether it could be. Raises `BulkError`, or what the client raises."""
    with alone(order.file):
        return await _take(order)


async def _take(order: Order) -> Position:
    form = form_of(order.file, order.form)
    report = order.report_file
    position = Position(identity(order.file, order.reading), order.url, str(report.resolve()))
    cursor = Cursor.open(order.progress_file, report, position, keep=not order.dry_run)
    total = parquet.rows_of(order.file) if form == "parquet" else order.file.stat().st_size
    with Bar(f"{order.file.name}", total, show=order.show) as bar:
        source = blocks_of(order.file, form, order.reading, bar.advance)
        coming = requests(order.reading.what, source, cursor.position.rows)
        try:
            if order.dry_run:
                await asyncio.to_thread(_try, order.reading.what, coming, cursor)
            else:
                await _connected(order, coming, cursor)
        finally:
            cursor.close()
    return cursor.position


async def _connected(order: Order, coming: Iterator[Prepared], cursor: Cursor) -> None:
    try:
        transport = Transport(
            order.url, order.key, retry=Retry(), timeout_s=ANSWER_TIMEOUT_S, connections_max=order.in_flight,
            tls=None, plain_http_ok=False,
        )  # fmt: skip
    except ValueError as error:
        raise BulkError(str(error)) from error
    began = cursor.position.rows
    try:
        await _send(transport, order, coming, cursor)
    except (BulkError, OSError) as error:
        if cursor.position.rows == began and not isinstance(error, Interrupted):
            raise
        raise Interrupted(f"{error}; run it again to go on") from error
    finally:
        await transport.close()


async def _send(transport: Transport, order: Order, source: Iterator[Prepared], cursor: Cursor) -> None:
    """Request after request; the next one is made in a thread while the ledger is at those before.

    Answers are noted in order, so the cursor never passes a request that was not answered for."""
    what, flying = order.reading.what, deque[tuple[Prepared, asyncio.Task[Answered]]]()
    await _known(transport, what, cursor)
    if cursor.position.finished:
        return
    coming = asyncio.create_task(asyncio.to_thread(next, source, None))

    async def land() -> None:
        request, answer = flying.popleft()
        verdicts, replayed = await answer
        _note(request, verdicts, replayed, cursor)
        cursor.save()

    try:
        while (request := await coming) is not None:
            coming = asyncio.create_task(asyncio.to_thread(next, source, None))
            while len(flying) >= (1 if request.depends else order.in_flight):
                await land()
            flying.append((request, asyncio.create_task(_ask(transport, what, request))))
            if request.depends:
                await land()
        while flying:
            await land()
    finally:
        for _request, answer in flying:
            answer.cancel()
        # A thread cannot be stopped in the middle of a request; it ends by itself, at the next row at the latest.
        left = [coming, *(answer for _request, answer in flying)]
        await asyncio.gather(*left, return_exceptions=True)
    cursor.position.finished = True
    cursor.save()


async def _known(transport: Transport, what: str, cursor: Cursor) -> None:
    """A cursor says what a server has: if it does not know the last row, it is another one, or was restored."""
    if not cursor.position.last_id:
        return
    try:
        await transport.send("GET", path(what, cursor.position.last_id))
    except NotFound as error:
        line = f"the ledger at {cursor.position.url} does not have what {cursor.place} says that it took"
        raise BulkError(f"{line}: remove it to begin anew") from error
    except LedgerError as error:
        raise BulkError(
            f"the ledger does not say whether it has what was sent ({error.code}: {error.detail})"
        ) from error


async def _ask(transport: Transport, what: str, request: Prepared) -> Answered:
    """Send one request, if there is anything to send."""
    if not request.rows:
        return [], 0
    target = path(what, "batch")
    try:
        if request.binary:
            answer = await transport.send("POST", target, request.body, content_type=CONTENT_TYPE, accept=CONTENT_TYPE)
            return _of_records(answer.body, request.rows)
        answer = await transport.send("POST", target, request.body, content_type=JSON)
    except AccessDenied as error:
        raise BulkError(f"the key may not do this: {error.detail}") from error
    except LedgerError as error:
        rows = request.sent
        lines = f"lines {rows[0].line} to {rows[-1].line}"
        ended = Interrupted if isinstance(error, Unavailable) and error.outcome_unknown else BulkError
        raise ended(f"{lines} were not answered for ({error.code}: {error.detail})") from error
    wrong, _unknown = _of_json(answer.body, request.rows)
    return wrong, request.rows if answer.replayed else 0


def _of_json(body: bytes, rows: int) -> Answered:
    """Whether all of them were decided before is said elsewhere."""
    results = _read_results(body).results
    if len(results) != rows:
        raise BulkError(f"the ledger answered for {len(results)} rows instead of {rows}")
    return [(place, each.status, each.refusal) for place, each in enumerate(results) if each.refusal], 0


def _of_records(body: bytes, rows: int) -> Answered:
    if len(body) != rows * RESULT.size:
        raise BulkError(f"the ledger answered with {len(body)} bytes, which are not {rows} results")
    replayed = body[10 :: RESULT.size].count(1)
    if not body[8 :: RESULT.size].strip(b"\0") and not body[9 :: RESULT.size].strip(b"\0"):
        return [], replayed
    wrong = []
    for place, (recorded_ns, refusal, *_) in enumerate(RESULT.iter_unpack(body)):
        if refusal:
            wrong.append((place, "declined" if recorded_ns else "refused", REFUSALS.get(refusal, str(refusal))))
    return wrong, replayed


def _note(request: Prepared, verdicts: list[Verdict], replayed: int, cursor: Cursor) -> None:
    """Into the report and the cursor, in the order of lines."""
    position = cursor.position
    report = [(row.line, row.text, "malformed", row.code, row.detail) for row in request.bad]
    for place, status, code in verdicts:
        row = request.sent[place]
        report.append((row.line, row.text, status, code, _DETAILS.get(code, "")))
    for line, text, status, code, detail in sorted(report):
        cursor.reject(line, peek(text).id or "", status, code, detail)
    declined = sum(status == "declined" for _place, status, _code in verdicts)
    refused = {place for place, status, _code in verdicts if status != "declined"}
    position.rows += request.block.covers
    position.skipped += request.skipped
    position.malformed += len(request.bad)
    position.declined += declined
    position.refused += len(refused)
    position.accepted += request.rows - len(verdicts)
    position.replayed += replayed
    if request.rows and not refused:
        position.last_id = request.last_id


def _try(what: str, source: Iterator[Prepared], cursor: Cursor) -> None:
    """A dry run: an engine without books says what it has against the rows themselves."""
    engine = Engine(0, ledgers_max=1, accounts_max=1, holds_max=1, window_ids=1, seed=1)
    latest: dict[int, int] = {}
    for request in source:
        verdicts: list[Verdict] = []
        if request.rows:
            commands = _decoded(what, request)
            applied = engine.apply([commands], time.time_ns(), [])
            answered, _replayed = (_of_records if request.binary else _of_json)(applied.replies[0].body, request.rows)
            engine.undo()
            wrong = {place: code for place, _status, code in answered if code in _SHAPE}
            if what == TRANSFERS:
                wrong |= {place: _REGRESSED for place in _regressed(commands, latest) if place not in wrong}
            verdicts = [(place, "refused", code) for place, code in sorted(wrong.items())]
        _note(request, verdicts, 0, cursor)
    cursor.position.last_id, cursor.position.finished = "", True
    cursor.save()


def _decoded(what: str, request: Prepared) -> Commands:
    decode = decode_accounts if what == ACCOUNTS else decode_transfers_binary if request.binary else decode_transfers
    return decode(request.body, ANY_TENANT)


def _regressed(commands: Commands, latest: dict[int, int]) -> Iterator[int]:
    """Imported transfers that do not come after the ones before them in their ledger."""
    for place, fields in enumerate(TRANSFER.iter_unpack(commands.records())):
        effective_ns, ledger, flags = fields[5], fields[7], fields[9]
        if not flags & TransferFlags.IMPORTED or not ledger:
            continue
        if effective_ns <= latest.get(ledger, 0):
            yield place
        else:
            latest[ledger] = effective_ns
