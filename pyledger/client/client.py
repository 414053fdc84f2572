"""`Client`: the ledger's verbs as methods.

Guarded here: every write carries an id that is made before the first attempt, so that it takes effect once
however often it is sent; and nothing that the caller did not ask for is ever sent.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from typing import Any, Self, TypeVar
from uuid import UUID

import msgspec

from pyledger.client import binary
from pyledger.client.ids import new_id
from pyledger.client.nouns import (
    BATCH_ROWS_MAX,
    Account,
    AccountFlags,
    BatchReply,
    Ledger,
    Metadata,
    NewAccount,
    NewTransfer,
    Transfer,
    TransferFlags,
    resolution_fields,
    rfc3339,
)
from pyledger.client.retry import Retry
from pyledger.client.streams import Page, all_pages, in_order
from pyledger.client.transport import Transport, path, query

T = TypeVar("T")


def _body(fields: dict[str, Any]) -> bytes:
    # The strict encoder of the standard library: NaN, Decimal and lone surrogates are errors.
    return json.dumps(fields, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _read(body: bytes, kind: type[T]) -> T:
    # Not strict: amounts are strings of digits on the wire and int here.
    return msgspec.json.decode(body, type=kind, strict=False)


class Client:
    """A connection pool to one pyledger server.

    `url` is the server's root, `key` a bearer key made by `pyledger key create` (none for a server run with
    `--dev`). Use it as an async context manager, from one event loop.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retry: Retry | None = None,
        timeout_s: float = 30.0,
        connections_max: int = 64,
        tls: ssl.SSLContext | None = None,
        plain_http_ok: bool = False,
    ) -> None:
        self._transport = Transport(
            url,
            key,
            retry=retry or Retry(),
            timeout_s=timeout_s,
            connections_max=connections_max,
            tls=tls,
            plain_http_ok=plain_http_ok,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection. A command in flight may still take effect."""
        await self._transport.close()

    # Ledgers and accounts

    async def create_ledger(
        self, number: int, asset: str, exponent: int = 2, *, metadata: Metadata | None = None
    ) -> Ledger:
        """Opens ledger `number`; its number is its id, so opening it again the same way changes nothing."""
        fields: dict[str, Any] = {"id": number, "asset": asset, "exponent": exponent}
        if metadata is not None:
            fields["metadata"] = metadata
        return _read((await self._transport.send("POST", path("ledgers"), _body(fields))).body, Ledger)

    async def ledger(self, number: int) -> Ledger:
        """The ledger of this number; raises NotFound."""
        return _read((await self._transport.send("GET", path("ledgers", number))).body, Ledger)

    def ledgers(self, *, page_rows: int | None = None) -> AsyncIterator[Ledger]:
        """Every ledger of this tenant, in the order of their opening."""
        return self._list("ledgers", Page[Ledger], limit=page_rows)

    async def create_account(
        self,
        ledger: int,
        *,
        code: int = 1,
        flags: AccountFlags = AccountFlags.NONE,
        allowance: int | None = None,
        reference: str | None = None,
        metadata: Metadata | None = None,
        id: UUID | None = None,
    ) -> Account:
        """Opens one account."""
        new = NewAccount(
            ledger=ledger,
            code=code,
            flags=flags,
            allowance=allowance,
            reference=reference,
            metadata=metadata,
            id=id or new_id(),
        )
        return _read((await self._transport.send("POST", path("accounts"), _body(new.to_json()))).body, Account)

    async def create_accounts(self, accounts: Sequence[NewAccount]) -> BatchReply:
        """Opens up to 8,190 accounts in one request; the reply has a result for each."""
        _check_rows(accounts)
        body = _body({"accounts": [each.to_json() for each in accounts]})
        return _read((await self._transport.send("POST", path("accounts", "batch"), body)).body, BatchReply)

    async def account(self, id: UUID) -> Account:
        """The account and its balances now; raises NotFound."""
        return _read((await self._transport.send("GET", path("accounts", id))).body, Account)

    def accounts(self, *, ledger: int | None = None, page_rows: int | None = None) -> AsyncIterator[Account]:
        """Every account of this tenant, or of one ledger, in the order of their opening."""
        return self._list("accounts", Page[Account], ledger=ledger, limit=page_rows)

    # Money

    async def transfer(
        self,
        debit: UUID,
        credit: UUID,
        amount: int | None,
        *,
        ledger: int,
        code: int = 1,
        flags: TransferFlags = TransferFlags.NONE,
        timeout_s: int = 0,
        reference: str | None = None,
        metadata: Metadata | None = None,
        effective_ns: int | None = None,
        id: UUID | None = None,
    ) -> Transfer:
        """Moves `amount` minor units, or holds them with `TransferFlags.PENDING`; raises Declined."""
        return await self.submit(
            NewTransfer(
                debit_account_id=debit,
                credit_account_id=credit,
                amount=amount,
                ledger=ledger,
                code=code,
                flags=flags,
                timeout_s=timeout_s,
                reference=reference,
                metadata=metadata,
                effective_ns=effective_ns,
                id=id or new_id(),
            )
        )

    async def submit(self, transfer: NewTransfer) -> Transfer:
        """Sends one transfer as it stands. Sending the same one again gets the first answer again."""
        return await self._decide(path("transfers"), transfer.to_json())

    async def transfers(self, transfers: Sequence[NewTransfer], *, as_binary: bool = False) -> BatchReply:
        """Sends up to 8,190 transfers in one request. Each is decided on its own, except linked ones; look at
        the status of each result."""
        _check_rows(transfers)
        target = path("transfers", "batch")
        if as_binary:
            answer = await self._transport.send(
                "POST", target, binary.encode(transfers), content_type=binary.CONTENT_TYPE, accept=binary.CONTENT_TYPE
            )
            return binary.decode(transfers, answer.body)
        body = _body({"transfers": [each.to_json() for each in transfers]})
        return _read((await self._transport.send("POST", target, body)).body, BatchReply)

    def stream(
        self, batches: AsyncIterable[Sequence[NewTransfer]], *, in_flight_max: int = 4, as_binary: bool = False
    ) -> AsyncGenerator[BatchReply, None]:
        """Sends batches as they come, up to `in_flight_max` at once, and yields the replies in their order.

        Two batches in flight may be decided in either order: put what depends on each other in one batch, or
        use `in_flight_max=1`. Takes the next batch only when there is room, so a slow ledger slows the source.
        A batch that fails ends the stream with its error; the outcome of those in flight is then unknown.
        """
        return in_order(batches, lambda batch: self.transfers(batch, as_binary=as_binary), in_flight_max)

    async def post(
        self,
        pending_id: UUID,
        amount: int | None = None,
        *,
        group: bool = False,
        reference: str | None = None,
        metadata: Metadata | None = None,
        effective_ns: int | None = None,
        id: UUID | None = None,
    ) -> Transfer:
        """Moves what a hold holds, all or `amount` of it, and releases the rest."""
        fields = resolution_fields(
            id, amount, group=group, reference=reference, metadata=metadata, effective_ns=effective_ns
        )
        return await self._decide(path("transfers", pending_id, "post"), fields)

    async def void(
        self,
        pending_id: UUID,
        *,
        group: bool = False,
        reference: str | None = None,
        metadata: Metadata | None = None,
        effective_ns: int | None = None,
        id: UUID | None = None,
    ) -> Transfer:
        """Releases what a hold holds. `group` resolves every hold that was linked with it."""
        fields = resolution_fields(
            id, None, group=group, reference=reference, metadata=metadata, effective_ns=effective_ns
        )
        return await self._decide(path("transfers", pending_id, "void"), fields)

    async def reverse(
        self,
        transfer_id: UUID,
        amount: int | None = None,
        *,
        reference: str | None = None,
        metadata: Metadata | None = None,
        effective_ns: int | None = None,
        id: UUID | None = None,
    ) -> Transfer:
        """Moves back what a transfer moved, all that is left or `amount` of it."""
        fields = resolution_fields(
            id, amount, group=False, reference=reference, metadata=metadata, effective_ns=effective_ns
        )
        return await self._decide(path("transfers", transfer_id, "reverse"), fields)

    async def get(self, transfer_id: UUID) -> Transfer:
        """A transfer as it was decided; raises NotFound."""
        return _read((await self._transport.send("GET", path("transfers", transfer_id))).body, Transfer)

    def history(
        self,
        *,
        account: UUID | None = None,
        ledger: int | None = None,
        reference: str | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        oldest_first: bool = False,
        page_rows: int | None = None,
    ) -> AsyncIterator[Transfer]:
        """Transfers by account, ledger, reference and time of recording; declined ones too."""
        return self._list(
            "transfers",
            Page[Transfer],
            account_id=account,
            ledger=ledger,
            reference=reference,
            since=None if since_ns is None else rfc3339(since_ns),
            until=None if until_ns is None else rfc3339(until_ns),
            order="oldest" if oldest_first else None,
            limit=page_rows,
        )

    async def _decide(self, target: str, fields: dict[str, Any]) -> Transfer:
        answer = await self._transport.send("POST", target, _body(fields))
        transfer = _read(answer.body, Transfer)
        return msgspec.structs.replace(transfer, replayed=answer.replayed)

    async def _list(self, what: str, page: type[Page[T]], **filters: object) -> AsyncIterator[T]:
        async def fetch(cursor: str | None) -> Page[T]:
            answer = await self._transport.send("GET", path(what) + query(filters | {"cursor": cursor}))
            return _read(answer.body, page)

        async for each in all_pages(fetch):
            yield each


def _check_rows(rows: Sequence[object]) -> None:
    if not 1 <= len(rows) <= BATCH_ROWS_MAX:
        raise ValueError(f"a batch has 1 to {BATCH_ROWS_MAX} rows, not {len(rows)}")
