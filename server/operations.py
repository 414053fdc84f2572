"""THE table: everything that can be asked of this server, one row each.

Guards: the router, the access check, the metrics and the OpenAPI document all read this table and nothing
else, so an operation cannot exist undocumented, unmeasured or without a stated scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from pyledger.identity import Scope
from pyledger.server import schemas
from pyledger.server.handlers import accounts, feed, ledgers, proofs, statements, transfers, upkeep, writes
from pyledger.server.replies import BINARY_TYPE, CSV_TYPE, EVENTS_TYPE, HTML_TYPE, JSON_TYPE, RESULTS_TYPE, Answer
from pyledger.server.service import Decode, Request, Service

Handler = Callable[[Service, Request], Awaitable[Answer]]
Shape = type[msgspec.Struct] | str
"""A struct, or the words that describe bytes or text."""

BY_ID_OR_KEY: Final = (
    "Send either `id` in the body or an `Idempotency-Key` header (1 to 255 visible ASCII characters), from "
    "which the id is derived together with tenant and route. The first outcome, accepted or declined, is "
    "kept for ever: the same request again gets the same status and body, with `Idempotent-Replayed: true`; "
    "another body under the same id gets 422 `idempotency_conflict` and changes nothing; a retry that "
    "arrives while the first is in flight waits for the same answer."
)
BY_ID_EACH: Final = (
    "Each command carries its own `id`. A command that was decided before is answered with its first "
    "outcome, so the whole batch can be sent again; a batch that consists of such commands alone is answered "
    "with `Idempotent-Replayed: true`."
)
BY_NUMBER: Final = (
    "The number is the id: the same request again gets the same status and body, with `Idempotent-Replayed: "
    "true`; another asset or exponent under the same number gets 422 `idempotency_conflict`."
)
ONE_ROW: Final = (
    "One row, when the command is accepted or declined, with what was asked, the outcome and the balances "
    "right after. Nothing when it is refused with 400, 401, 403, 404, 413, 415, 503 or "
    "`idempotency_conflict`."
)
ROW_EACH: Final = (
    "One row for each command that is accepted or declined, all in one database transaction. Nothing for "
    "refused ones, and nothing at all when the request is refused as a whole."
)
READS: Final = ("parameter_unknown", "parameter_invalid", "unavailable")
HISTORY: Final = (*READS, "history_not_indexed", "history_too_slow", "history_archived", "too_many_at_once")
WRITES: Final = (
    "body_incomplete", "header_invalid", "parameter_unknown", "body_timeout", "body_too_large",
    "content_type_unsupported", "queue_full", "unavailable", "outcome_unknown", "stopping",
)  # fmt: skip
SINGLE: Final = (*WRITES, "<malformed>", "<unknown>", "<conflict>", "<declined>", "<full>", "<chain>")
BATCH: Final = (*WRITES, "<malformed>", "bodies_full", "out_of_turn")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked. `name` is stable: it is the operationId and a label of metrics."""

    name: str
    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    scope: Scope | None = None
    query: type[msgspec.Struct] | None = None
    takes: dict[str, Shape] = {}
    decodes: dict[str, Decode] = {}
    body_optional: bool = False
    status: int = 200
    gives: dict[str, Shape] = {}
    idempotency: str = ""
    key_header: bool = False
    journal: str = ""
    problems: tuple[str, ...] = ()
    limit: str = "single_body_bytes_max"
    notes: str = ""


def _write(**fields: Any) -> Operation:
    fields.setdefault("handler", writes.single)
    fields.setdefault("journal", ONE_ROW)
    fields.setdefault("problems", SINGLE)
    return Operation(method="POST", **fields)


def _batch(**fields: Any) -> Operation:
    fields |= {"handler": writes.batch, "idempotency": BY_ID_EACH, "journal": ROW_EACH, "problems": BATCH}
    return _write(limit="body_bytes_max", **fields)


def _past(**fields: Any) -> Operation:
    """A question of the past, whose handler says how long it may take."""
    return Operation(method="GET", scope=Scope.READ, **fields)


def _read(handler: Handler, **fields: Any) -> Operation:
    fields.setdefault("problems", READS)

    async def read(service: Service, request: Request) -> Answer:
        # A read may be given up at any time; a write never is, see answers.py.
        async with asyncio.timeout(service.answers.timeout_s):
            return await handler(service, request)

    return Operation(method="GET", scope=Scope.READ, handler=read, **fields)


def _open(**fields: Any) -> Operation:
    return Operation(method="GET", tag="Upkeep", **fields)


OPERATIONS: Final[tuple[Operation, ...]] = (
    _write(
        name="createLedger", path="/v1/ledgers", decodes={JSON_TYPE: ledgers.create}, tag="Ledgers",
        summary="Open a ledger", scope=Scope.LEDGERS_WRITE, status=201,
        takes={JSON_TYPE: schemas.NewLedger}, gives={JSON_TYPE: schemas.Ledger}, idempotency=BY_NUMBER,
    ),
    _read(
        name="listLedgers", path="/v1/ledgers", handler=ledgers.list_page, tag="Ledgers",
        summary="List ledgers by number", query=schemas.LedgerQuery,
        gives={JSON_TYPE: schemas.LedgerPage}, problems=(*READS, "cursor_invalid"),
    ),
    _read(
        name="getLedger", path="/v1/ledgers/{id}", handler=ledgers.get, tag="Ledgers",
        summary="Get a ledger", gives={JSON_TYPE: schemas.Ledger},
        problems=(*READS, "id_invalid", "ledger_not_found"),
    ),
    _past(
        name="getTrialBalance", path="/v1/ledgers/{id}/trial-balance", handler=statements.trial_balance, tag="Ledgers",
        summary="Get a trial balance, now or as of a moment", query=schemas.TrialQuery,
        gives={JSON_TYPE: schemas.TrialBalance},
        problems=(*HISTORY, "id_invalid", "ledger_not_found", "ledger_too_large", "too_many_rows", "cursor_invalid"),
        notes="By code of accounts, of ledgers with up to 10,000 accounts: not answered unless debits equal credits. "
        "With `accounts=true` in pages; add up their `codes`.",
    ),
    _write(
        name="createAccount", path="/v1/accounts", decodes={JSON_TYPE: accounts.create}, tag="Accounts",
        summary="Open an account", scope=Scope.ACCOUNTS_WRITE, status=201,
        takes={JSON_TYPE: schemas.NewAccount}, gives={JSON_TYPE: schemas.Account},
        idempotency=BY_ID_OR_KEY, key_header=True,
    ),
    _batch(
        name="createAccounts", path="/v1/accounts/batch", decodes={JSON_TYPE: accounts.create_batch}, tag="Accounts",
        summary="Open up to 8,190 accounts", scope=Scope.ACCOUNTS_WRITE,
        takes={JSON_TYPE: schemas.NewAccounts}, gives={JSON_TYPE: schemas.AccountResults},
    ),
    _read(
        name="listAccounts", path="/v1/accounts", handler=accounts.list_page, tag="Accounts",
        summary="List accounts with their balances, in the order in which they were opened",
        query=schemas.AccountQuery, gives={JSON_TYPE: schemas.AccountPage},
        problems=(*READS, "cursor_invalid"),
    ),
    _past(
        name="getAccount", path="/v1/accounts/{id}", handler=accounts.get, tag="Accounts",
        summary="Get an account with its balances, now or as of a moment", query=schemas.AccountMoment,
        gives={JSON_TYPE: schemas.Account}, problems=(*HISTORY, "id_invalid", "account_not_found", "too_many_rows"),
        notes="Without `as_of`, current: the balances include every write answered before this request was sent. With "
        "it, exact at that moment, for ever; by effective date as far as was recorded until batch `seq`, and then only "
        "what is posted. Whether it was closed then is not shown. 404 before it was opened.",
    ),
    _past(
        name="getStatement", path="/v1/accounts/{id}/statement", handler=statements.get, tag="Accounts",
        summary="Get a statement of an account", query=schemas.StatementQuery,
        gives={
            JSON_TYPE: schemas.Statement,
            CSV_TYPE: "RFC 4180 with a line of names; a row each for the opening and the closing balance.",
            HTML_TYPE: "A page to print or to send, which loads nothing.",
        },
        problems=(
            *HISTORY, "id_invalid", "account_not_found", "cursor_invalid", "statement_too_long", "too_many_rows",
        ),
        notes="Opening balance, rows, the balance after each, closing balance: what does not add up is not answered. "
        "`until` of one period is `since` of the next, and the closing balance of one the opening balance of the "
        "next. Rows are in the order of their recording, or of their effective dates, which what is recorded later may "
        "still change: all pages say what was known at the first. A page may be short and still have a `next`. A "
        "document comes in one piece, and ends its connection.",
    ),
    _write(
        name="createTransfer", path="/v1/transfers", decodes={JSON_TYPE: transfers.create}, tag="Transfers",
        summary="Make a transfer or a hold", scope=Scope.TRANSFERS_WRITE, status=201,
        takes={JSON_TYPE: schemas.NewTransfer}, gives={JSON_TYPE: schemas.Transfer},
        idempotency=BY_ID_OR_KEY, key_header=True,
    ),
    _batch(
        name="createTransfers", path="/v1/transfers/batch", tag="Transfers",
        decodes={JSON_TYPE: transfers.create_batch, BINARY_TYPE: transfers.create_records},
        summary="Make up to 8,190 transfers", scope=Scope.TRANSFERS_WRITE,
        takes={
            JSON_TYPE: schemas.NewTransfers,
            BINARY_TYPE: "Records of 128 bytes, little-endian: id u128 | debit account u128 | credit account "
            "u128 | amount u128 | pending or reversed transfer u128 | effective_ns u64 | timeout_s u32 | "
            "ledger u32 | code u16 | flags u16 | 28 zero bytes. An amount of 2^128 - 1 asks for all.",
        },
        gives={
            JSON_TYPE: schemas.TransferResults,
            RESULTS_TYPE: "Records of 160 bytes, little-endian: recorded_ns u64 (0 if not recorded) | refusal "
            "number u16 (0 if accepted) | u16 with bit 0 for replayed | u32 zero | amount moved u128 | debit "
            "account after (debits pending, debits posted, credits pending, credits posted: u128 each) | "
            "credit account after, alike.",
        },
        notes="Commands are decided one by one in their order; those flagged `linked` stand or fall with the "
        "next one. Chains never reach beyond their request.",
    ),
    _write(
        name="postTransfer", path="/v1/transfers/{id}/post", tag="Transfers", decodes={JSON_TYPE: transfers.post},
        summary="Post a hold, in full or in part", scope=Scope.TRANSFERS_WRITE, status=201,
        takes={JSON_TYPE: schemas.PostOrVoid}, body_optional=True, gives={JSON_TYPE: schemas.Transfer},
        idempotency=BY_ID_OR_KEY, key_header=True, problems=(*SINGLE, "id_invalid"),
        journal=ONE_ROW + " With `group`, one row for each hold of the group.",
    ),
    _write(
        name="voidTransfer", path="/v1/transfers/{id}/void", tag="Transfers", decodes={JSON_TYPE: transfers.void},
        summary="Void a hold", scope=Scope.TRANSFERS_WRITE, status=201,
        takes={JSON_TYPE: schemas.PostOrVoid}, body_optional=True, gives={JSON_TYPE: schemas.Transfer},
        idempotency=BY_ID_OR_KEY, key_header=True, problems=(*SINGLE, "id_invalid"),
        journal=ONE_ROW + " With `group`, one row for each hold of the group.",
    ),
    _write(
        name="reverseTransfer", path="/v1/transfers/{id}/reverse", tag="Transfers",
        decodes={JSON_TYPE: transfers.reverse}, summary="Reverse a transfer, in full or in part",
        scope=Scope.TRANSFERS_WRITE, status=201,
        takes={JSON_TYPE: schemas.Reversal}, body_optional=True, gives={JSON_TYPE: schemas.Transfer},
        idempotency=BY_ID_OR_KEY, key_header=True, problems=(*SINGLE, "id_invalid"),
        notes="Never more than was moved and not yet reversed.",
    ),
    _read(
        name="getTransfer", path="/v1/transfers/{id}", handler=transfers.get, tag="Transfers",
        summary="Get a transfer as it was decided", gives={JSON_TYPE: schemas.Transfer},
        problems=(*READS, "id_invalid", "transfer_not_found", "archived"),
    ),
    _read(
        name="listTransfers", path="/v1/transfers", handler=transfers.list_page, tag="Transfers",
        summary="List transfers by account, ledger, reference and time", query=schemas.TransferQuery,
        gives={JSON_TYPE: schemas.TransferPage}, problems=(*READS, "cursor_invalid", "history_archived"),
        notes="A page looks at a bounded piece of the history: it may be short, even empty, and still have "
        "a `next`. What is archived is not listed: where it begins the next page is 410 `history_archived`.",
    ),
    Operation(
        name="followFeed", method="GET", path="/v1/feed", handler=feed.follow, tag="Feed", scope=Scope.READ,
        summary="Follow the journal from a cursor on", query=schemas.FeedQuery,
        gives={
            JSON_TYPE: schemas.FeedPage,
            EVENTS_TYPE: "Server-sent events, each with a row as its data and the cursor right after it as its id. An "
            "event without data says up to where was looked. A stream ends after some MiB: ask again.",
        },
        problems=(*READS, "cursor_invalid", "cursor_gone", "feed_full"),
        notes="Openings of ledgers and accounts, transfers, holds and what became of them, expiries included: every "
        "row that this tenant committed, in the order of commits, none left out. Read again from the last cursor "
        "after any failure: each row comes at least once. With `Accept: text/event-stream` as events, which go on "
        "after the `Last-Event-ID` header if there is one, else after `after`. Each page is bounded work: with a "
        "filter it may be empty and still have a further `next`.",
    ),
    _read(
        name="getProof", path="/v1/transfers/{id}/proof", handler=proofs.transfer, tag="Proofs",
        summary="Prove that a transfer was recorded", gives={JSON_TYPE: schemas.Proof},
        problems=(*READS, "id_invalid", "transfer_not_found", "archived"),
        notes="The row as it was hashed, the path from it to its batch, and the path from there to a checkpoint that "
        "was signed; `pyledger verify --proof FILE --key KEY` verifies it without server or database. A decline has "
        "a proof, too. It waits up to five seconds for a checkpoint; `unsigned` says why there is none yet.",
    ),
    _read(
        name="listCheckpoints", path="/v1/checkpoints", handler=proofs.list_page, tag="Proofs",
        summary="List signed checkpoints, the newest first", query=schemas.CheckpointQuery,
        gives={JSON_TYPE: schemas.CheckpointPage}, problems=(*READS, "cursor_invalid"),
        notes="A checkpoint is the root of the RFC 6962 tree over all batches so far, in C2SP's tlog-checkpoint "
        "format, signed with Ed25519. Leaf number `n` is the hash of batch `n` + 1.",
    ),
    _read(
        name="getConsistency", path="/v1/checkpoints/{id}/consistency", handler=proofs.consistency, tag="Proofs",
        summary="Prove that a checkpoint goes on where an earlier one ended", query=schemas.ConsistencyQuery,
        gives={JSON_TYPE: schemas.Consistency}, problems=(*READS, "id_invalid", "checkpoint_not_found"),
        notes="The id is the size of the later checkpoint. `pyledger verify --consistency FILE --key KEY` verifies it.",
    ),
    _open(
        name="healthz", path="/healthz", handler=upkeep.healthz, summary="Alive",
        gives={JSON_TYPE: schemas.Health},
    ),
    _open(
        name="readyz", path="/readyz", handler=upkeep.readyz, summary="Owns the head and takes commands",
        gives={JSON_TYPE: schemas.Readiness}, notes="503 with the same body while it does not.",
    ),
    _open(
        name="metrics", path="/metrics", handler=upkeep.metrics, summary="Prometheus metrics",
        gives={"text/plain": "The Prometheus text format."}, problems=("unavailable",),
        notes="Open to requests from this machine, unless a proxy is configured; else it takes a key with "
        "the scope `metrics`.",
    ),
    _open(
        name="openapi", path="/openapi.json", handler=upkeep.openapi, summary="This document",
        gives={JSON_TYPE: "An OpenAPI 3.1 document."},
    ),
    _open(
        name="docs", path="/docs", handler=upkeep.docs, summary="This document as a page",
        gives={"text/html": "A page that loads nothing from elsewhere."},
    ),
)  # fmt: skip
