"""`pyledger import`: a file's rows into the ledger, over HTTP, each once however often it is run.

Guarded here: rows are decided in the order of the file, for what is there to spend depends on what came before. A row
that is not taken is in the report with its line and its reason, and nothing else is.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyledger._rust import REFUSALS as TABLE
from pyledger._rust import Commands, Engine, ReadRows, decode_accounts, decode_transfers, decode_transfers_binary
from pyledger.bulk import parquet
from pyledger.bulk.answers import Answered, Verdict, of_json, of_records
from pyledger.bulk.cursor import Cursor, Position, alone, identity
from pyledger.bulk.nouns import (
    ACCOUNTS,
    BATCH_ROWS_MAX,
    BATCH_ROWS_MIN,
    TRANSFERS,
    BulkError,
    Interrupted,
    Reading,
    TooMuch,
)
from pyledger.bulk.reading import form_of, requests
from pyledger.bulk.sending import Line
from pyledger.bulk.showing import Bar
from pyledger.client.binary import TRANSFER
from pyledger.client.errors import LedgerError, NotFound
from pyledger.client.nouns import TransferFlags
from pyledger.client.retry import Retry
from pyledger.client.transport import Transport, path

ANSWER_TIMEOUT_S: Final = 60.0
"""For one request; after that it is sent again, which does no harm."""

_DETAILS: Final = {code: detail for _number, code, _kind, detail in TABLE}
_SHAPE: Final = frozenset(code for _number, code, kind, _detail in TABLE if kind == "malformed")
"""Refusals that follow from a row alone, whatever is in the books."""
_ANY_TENANT: Final = 1
"""Rows are only read here; whose they are follows from the key."""
_REGRESSED: Final = "imported_must_not_regress"


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

        def coming(rows_max: int) -> Iterator[ReadRows]:
            return requests(order.file, form, order.reading, cursor.position, bar.advance, rows_max)

        try:
            if order.dry_run:
                await asyncio.to_thread(_try, order.reading.what, coming(BATCH_ROWS_MAX), cursor)
            else:
                await _connected(order, coming, cursor)
        finally:
            cursor.close()
    return cursor.position


async def _connected(order: Order, coming: Callable[[int], Iterator[ReadRows]], cursor: Cursor) -> None:
    try:
        transport = Transport(
            order.url, order.key, retry=Retry(), timeout_s=ANSWER_TIMEOUT_S, connections_max=order.in_flight,
            tls=None, plain_http_ok=False,
        )  # fmt: skip
    except ValueError as error:
        raise BulkError(str(error)) from error
    began, rows_max = cursor.position.rows, BATCH_ROWS_MAX
    try:
        await _known(transport, order.reading.what, cursor)
        while not cursor.position.finished:
            try:
                await _send(transport, order, coming(rows_max), cursor)
            except TooMuch:
                # From where it is, with requests of half as many rows.
                rows_max //= 2
                if rows_max < BATCH_ROWS_MIN:
                    raise
    except (BulkError, OSError) as error:
        if cursor.position.rows == began and not isinstance(error, Interrupted):
            raise
        raise Interrupted(f"{error}; run it again to go on") from error
    finally:
        await transport.close()


async def _send(transport: Transport, order: Order, source: Iterator[ReadRows], cursor: Cursor) -> None:
    """Request after request; the next one is made in a thread while the ledger is at those before.

    Answers are noted in order, so the cursor never passes a request that was not answered for."""
    line = Line(transport, order.reading.what, order.in_flight)
    flying = deque[tuple[ReadRows, asyncio.Task[Answered]]]()
    reading = ThreadPoolExecutor(1, "pyledger-reading")

    def ahead() -> asyncio.Future[ReadRows | None]:
        return asyncio.get_running_loop().run_in_executor(reading, next, source, None)

    coming = ahead()

    async def landed() -> tuple[ReadRows, Answered]:
        request, answer = flying[0]
        answered = await answer
        flying.popleft()
        return request, answered

    def note(*answers: tuple[ReadRows, Answered]) -> None:
        for request, (verdicts, replayed) in answers:
            _note(order.reading.what, request, verdicts, replayed, cursor)
            cursor.save()

    try:
        while (request := await coming) is not None:
            coming = ahead()
            answers = []
            while len(flying) >= line.at_once:
                answers.append(await landed())
            flying.append((request, line.join(request)))
            # The next one is on its way before the last one is noted.
            await asyncio.sleep(0)
            note(*answers)
        while flying:
            note(await landed())
    finally:
        for _request, answer in flying:
            answer.cancel()
        # A thread cannot be stopped in the middle of a request; it ends by itself, at the next row at the latest.
        left: list[asyncio.Future[Any]] = [coming, *(answer for _request, answer in flying)]
        await asyncio.gather(*left, return_exceptions=True)
        reading.shutdown()
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


def _note(what: str, request: ReadRows, verdicts: list[Verdict], replayed: int, cursor: Cursor) -> None:
    """Into the report and the cursor, in the order of lines."""
    position = cursor.position
    report = [(line, row_id, "malformed", code, detail) for line, row_id, code, detail in request.wrong]
    report += [(*request.row(place), status, code, _DETAILS.get(code, "")) for place, status, code in verdicts]
    for told in sorted(report):
        cursor.reject(*told)
    declined = sum(status == "declined" for _place, status, _code in verdicts)
    # A declined transfer is in the books, a declined opening is no account.
    nowhere = {place for place, status, _code in verdicts if status != "declined" or what == ACCOUNTS}
    position.rows += request.covers
    position.bytes += request.bytes
    position.number, position.torn = request.next_number, request.torn
    position.skipped += request.skipped
    position.malformed += len(request.wrong)
    position.declined += declined
    position.refused += len(verdicts) - declined
    position.accepted += request.rows - len(verdicts)
    position.replayed += replayed
    last = next((place for place in reversed(range(request.rows)) if place not in nowhere), None)
    if last is not None:
        position.last_id = request.row(last)[1]


def _try(what: str, source: Iterator[ReadRows], cursor: Cursor) -> None:
    """A dry run: an engine without books says what it has against the rows themselves."""
    engine = Engine(0, ledgers_max=1, accounts_max=1, holds_max=1, window_ids=1, seed=1)
    latest: dict[int, int] = {}
    for request in source:
        verdicts: list[Verdict] = []
        if request.rows:
            commands = _decoded(what, request)
            applied = engine.apply([commands], time.time_ns(), [])
            answered, _replayed = (of_records if request.binary else of_json)(applied.replies[0].body, request.rows)
            engine.undo()
            wrong = {place: code for place, _status, code in answered if code in _SHAPE}
            if what == TRANSFERS:
                wrong |= {place: _REGRESSED for place in _regressed(commands, latest) if place not in wrong}
            verdicts = [(place, "refused", code) for place, code in sorted(wrong.items())]
        _note(what, request, verdicts, 0, cursor)
    cursor.position.last_id, cursor.position.finished = "", True
    cursor.save()


def _decoded(what: str, request: ReadRows) -> Commands:
    decode = decode_accounts if what == ACCOUNTS else decode_transfers_binary if request.binary else decode_transfers
    return decode(request.body, _ANY_TENANT)


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
