"""Legal holds: placed, lifted and listed. Both are rows that are never changed, with who did it, when and why."""

from __future__ import annotations

import uuid
from typing import Any

from pyledger.retention.books import Books
from pyledger.retention.nouns import RetentionError


async def place(books: Books, tenant: str | None, ledger: int | None, account: str | None, reason: str) -> int:
    """Place a hold on all, or on what a tenant, one of its ledgers or accounts has; its number."""
    number: int | None = None
    if tenant is not None:
        number = await books.value("tenant_by_name", tenant)
        if number is None:
            raise RetentionError(f"there is no tenant {tenant!r}")
    elif ledger is not None or account is not None:
        raise RetentionError("a ledger or an account is a tenant's: --tenant says whose")
    if account is not None:
        try:
            account = str(uuid.UUID(account))
        except ValueError as error:
            raise RetentionError(f"{account!r} is not the id of an account") from error
    if ledger is not None and not 0 < ledger < 2**31:
        raise RetentionError(f"{ledger} is not the number of a ledger")
    if number is not None and ledger is not None:
        await books.require_ledger(number, ledger)
    if number is not None and account is not None:
        await books.require_account(number, account, ledger)
    return int(await books.value("place_hold", number, ledger, account, _checked(reason)))


async def lift(books: Books, number: int, reason: str) -> None:
    """Lift a hold. Raises `RetentionError` if it is none, or lifted already."""
    if await books.value("lift_hold", number, _checked(reason)) is None:
        raise RetentionError(f"there is no legal hold {number} that is not lifted")


async def listed(books: Books) -> list[dict[str, Any]]:
    """All of them, those that were lifted too."""
    return [
        {name: said.isoformat() if hasattr(said, "isoformat") else said for name, said in row.items()}
        for row in await books.rows("all_holds")
    ]


def _checked(reason: str) -> str:
    if not 1 <= len(reason.strip().encode()) <= 1024:
        raise RetentionError("a reason has 1 to 1,024 bytes")
    return reason.strip()
