"""Opens the books of a run over HTTP: a ledger, a bank, merchants, customers with money, and a journal.

Guarded here: a run starts from books of the size that its plan says, in which every customer can pay; a
command that is refused while they are made ends the run before it begins.
"""

from __future__ import annotations

import json
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from loadtests.nouns import Books, Plan
from loadtests.rules import merchants
from pyledger.client import new_id

BATCH_COMMANDS: Final = 8_190
LEDGERS_TRIED_MAX: Final = 16
TIMEOUT_S: Final = 120.0
FUNDING_CENTS: Final = 10_000_000
"""What each customer has at the start: some thousand payments."""
CUSTOMER_CODE, MERCHANT_CODE, BANK_CODE, FUNDING_CODE = 2_000, 3_000, 1_000, 10

BINARY_TYPE: Final = "application/vnd.pyledger.transfers"
_RECORD: Final = struct.Struct("<16s16s16s16s16xQIIHH28x")
_RESULT_BYTES: Final = 160
_REFUSAL_AT: Final = 8


class SetUpFailed(RuntimeError):
    """The books could not be made. `str()` is one clear line."""


class Caller:
    """One connection that is kept, for making books and for reading them back."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SetUpFailed(f"{url} is not an http or https URL")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def call(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        """The body of a good answer. Raises `SetUpFailed` on any other."""
        headers = self._headers | ({"Content-Type": content_type} if body else {})
        try:
            self._connection.request(method, path, body or None, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise SetUpFailed(f"{method} {path}: no answer: {error}") from error
        if answer.status >= 300:
            raise SetUpFailed(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return text

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def uuid_text(number: int) -> str:
    """An id as JSON carries it."""
    return str(UUID(int=number))


def open_books(caller: Caller, plan: Plan, tell: Callable[[str, int, int], None]) -> Books:
    """Make the books of a plan. `tell(phase, done, of)` hears how far it is."""
    ledger = _open_ledger(caller)
    # UUIDv7 by form: time, version, variant; then the index in the lowest 32 bits.
    base = int(time.time() * 1_000) << 80 | 7 << 76 | 2 << 62 | secrets.randbits(29) << 32
    books = Books(ledger, base, merchants(plan.accounts), plan.accounts)
    done = 0
    for body, commands in _accounts(books):
        answer = json.loads(caller.call("POST", "/v1/accounts/batch", body))
        if answer["accepted"] != commands:
            raise SetUpFailed(f"only {answer['accepted']} of {commands} accounts were opened")
        done += commands
        tell("accounts", done, books.accounts)
    done = 0
    for body in _funding(books, plan.rows):
        results = caller.call("POST", "/v1/transfers/batch", body, BINARY_TYPE)
        if any(results[_REFUSAL_AT::_RESULT_BYTES]) or any(results[_REFUSAL_AT + 1 :: _RESULT_BYTES]):
            raise SetUpFailed("a customer could not be given money")
        done += len(results) // _RESULT_BYTES
        tell("journal", done, plan.rows)
    return books


def _open_ledger(caller: Caller) -> int:
    """A ledger number that nobody has taken: the time in seconds, or soon after."""
    number = 1_000_000_000 + int(time.time()) % 1_000_000_000
    for turn in range(LEDGERS_TRIED_MAX):
        try:
            # The random name makes sure that a ledger of the same second is not taken for ours.
            body = {"id": number + turn, "asset": "EUR", "exponent": 2, "metadata": {"run": secrets.token_hex(8)}}
            caller.call("POST", "/v1/ledgers", json.dumps(body).encode())
            return number + turn
        except SetUpFailed as error:
            if "idempotency_conflict" not in str(error):
                raise
    raise SetUpFailed(f"ledgers {number} to {number + LEDGERS_TRIED_MAX - 1} are all taken")


def _accounts(books: Books) -> Iterator[tuple[bytes, int]]:
    """Bodies that open all accounts, with the number in each."""
    for start in range(0, books.accounts, BATCH_COMMANDS):
        indexes = range(start, min(books.accounts, start + BATCH_COMMANDS))
        accounts = ",".join(_account(books, index) for index in indexes)
        yield f'{{"accounts":[{accounts}]}}'.encode(), len(indexes)


def _account(books: Books, index: int) -> str:
    code, flags = CUSTOMER_CODE, '"debits_must_not_exceed_credits"'
    if index <= books.merchants:
        code, flags = (MERCHANT_CODE if index else BANK_CODE), ""
    return f'{{"id":"{uuid_text(books.first + index)}","ledger":{books.ledger},"code":{code},"flags":[{flags}]}}'


def _funding(books: Books, rows: int) -> Iterator[bytes]:
    """Bodies of transfers from the bank to the customers in turn, `rows` of them, in the binary form."""
    amount = max(1, FUNDING_CENTS * books.customers // rows).to_bytes(16, "little")
    bank, ledger = books.bank.to_bytes(16, "little"), books.ledger
    for start in range(0, rows, BATCH_COMMANDS):
        count = min(BATCH_COMMANDS, rows - start)
        yield b"".join(
            _RECORD.pack(
                new_id().int.to_bytes(16, "little"), bank,
                books.customer((start + place) % books.customers).to_bytes(16, "little"),
                amount, 0, 0, ledger, FUNDING_CODE, 0,
            )
            for place in range(count)
        )  # fmt: skip
