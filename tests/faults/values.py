"""One bit of one value of one row, flipped by SQL as a superuser can who turns the triggers off.

Guarded here: the row differs afterwards in this one value, and no constraint is bent: what PostgreSQL refuses is
tried with another bit.
"""

from __future__ import annotations

import decimal
import uuid
from random import Random
from typing import Any, Final

import asyncpg

PROVEN: Final = {
    "journal": (
        "shard", "seq", "recorded_ns", "id", "tenant", "kind", "status", "debit_account", "credit_account", "amount",
        "target", "ledger", "code", "flags", "timeout_s", "effective_ns", "fingerprint", "reference", "metadata",
        "debit_after", "credit_after",
    ),
    "batch": ("shard", "seq", "rows", "first_ns", "last_ns", "root", "hash"),
    "head": ("shard", "seq", "hash", "last_ns"),
    "checkpoint": ("shard", "seq", "hash", "last_ns", "ledgers", "accounts", "holds"),
    "ledger": ("shard", "tenant", "number", "asset", "exponent", "created_ns", "imported_ns", "seal"),
    "account": (
        "shard", "slot", "tenant", "id", "ledger", "code", "flags", "allowance", "debits_pending", "debits_posted",
        "credits_pending", "credits_posted", "created_ns", "effective_ns", "seal",
    ),
    "hold": (
        "shard", "tenant", "id", "debit_account", "credit_account", "amount", "ledger", "code", "flags",
        "recorded_ns", "expires_ns", "group_id", "seal",
    ),
    "subtree": ("shard", "level", "number", "hash"),
    "signed_checkpoint": ("shard", "size", "key_number", "key", "note"),
}  # fmt: skip
"""The columns that `pyledger check` proves, by table; see pyledger/ledger/check.py for those that it does not."""
BITS: Final = {"smallint": 16, "integer": 32, "bigint": 64, "numeric": 40}
MADE: Final = {"uuid": uuid.UUID(int=1), "text": "x", "bytea": b"\x01"}
"""What stands where nothing stood; 1 for a number."""
TRIES: Final = 40
ROWS: Final = (
    "SELECT tableoid::regclass::text AS part, ctid, {column} AS value FROM pyledger.{table} ORDER BY part, ctid"
)
TYPE: Final = """
SELECT split_part(format_type(atttypid, NULL), '(', 1) FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attname = $2
"""


async def flip_value(connection: asyncpg.Connection[Any], table: str, column: str, chance: Random) -> str | None:
    """Change a value; what was changed, or None where there is no row or no bit that PostgreSQL takes."""
    kind = await connection.fetchval(TYPE, f"pyledger.{table}", column)
    rows = await connection.fetch(ROWS.format(table=table, column=column))
    await connection.execute("SET session_replication_role = replica")
    for _ in range(TRIES if rows else 0):
        row = chance.choice(rows)
        value = flipped(row["value"], kind, chance)
        try:
            done = await connection.execute(
                f"UPDATE {row['part']} SET {column} = $1 WHERE ctid = $2", value, row["ctid"]
            )
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError):
            continue
        assert done == "UPDATE 1", done
        return f"{column} of {row['part']} {row['ctid']}: {row['value']!r} became {value!r}"
    return None


def flipped(value: Any, kind: str, chance: Random) -> Any:
    """The value with another bit, as its type is stored."""
    if value is None:
        return MADE.get(kind, decimal.Decimal(1) if kind == "numeric" else 1)
    if kind == "uuid":
        return uuid.UUID(int=value.int ^ 1 << chance.randrange(128))
    if kind == "text":
        place = chance.randrange(len(value))
        return value[:place] + chr(ord(value[place]) ^ 1 << chance.randrange(5)) + value[place + 1 :]
    if kind == "bytea":
        place = chance.randrange(8 * len(value)) if value else 0
        return bytes(each ^ (1 << place % 8 if at == place // 8 else 0) for at, each in enumerate(value or b"\0"))
    bit = chance.randrange(BITS[kind])
    if kind == "numeric":
        return decimal.Decimal(int(value) ^ 1 << bit)
    signed = (value ^ 1 << bit) & ((1 << BITS[kind]) - 1)
    return signed - (1 << BITS[kind]) if signed >> (BITS[kind] - 1) else signed
