"""Keys in PostgreSQL, and the cached set that requests are checked against.

Guards: a request never waits for the database to be authenticated, except once for a key that the cache
does not know. The cache is at most `key_refresh_s` old while PostgreSQL answers, so that is how long a
revoked key still works; once it could not be refreshed for `KEY_STALE_S_MAX`, nobody is let in.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pyledger import sql
from pyledger.identity.rules import (
    KEY_RANDOM_BYTES,
    AccessDenied,
    Principal,
    checked_name,
    checked_scopes,
    hash_key,
    is_key_shaped,
    make_key,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

log = logging.getLogger("pyledger.identity")

KEYS_MAX: Final = 100_000
"""Usable keys held in memory, about 1 KiB each; the newest win."""

KEY_STALE_S_MAX: Final = 60
"""How old the cached keys may be while PostgreSQL does not answer. Nothing can be posted meanwhile
anyway; this bounds how long a key revoked on a database that we cannot see could still read."""

KEY_MISS_INTERVAL_S: Final = 0.25
"""An unknown key makes the cache look again at most this often, so that guessing costs us nothing."""

CONNECT_TIMEOUT_S: Final = 5
QUERY_TIMEOUT_S: Final = 5


QUERIES: Final = sql.load(__package__)


class KeysUnavailable(RuntimeError):
    """PostgreSQL did not answer, so whether the key exists is not known."""


class KeyMade(msgspec.Struct, frozen=True):
    """A new key. `key` exists nowhere else."""

    id: str
    key: str
    tenant: int
    tenant_name: str
    name: str
    scopes: list[str]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None


class KeyRow(msgspec.Struct, frozen=True):
    """A key as the database knows it."""

    id: str
    tenant: int
    tenant_name: str
    name: str
    scopes: list[str]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None


async def ensure_tenant(connection: asyncpg.Connection[Any], name: str) -> int:
    """The number of the tenant of this name, made if there is none."""
    checked_name("tenant", name)
    found = await connection.fetchval(QUERIES["find_tenant"], name)
    if found is None:
        await connection.execute(QUERIES["add_tenant"], name)
        found = await connection.fetchval(QUERIES["find_tenant"], name)
    return int(found)


async def create_key(
    connection: asyncpg.Connection[Any],
    tenant_name: str,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime.datetime | None = None,
) -> KeyMade:
    """Make a key for a tenant, which is made if there is none. Raises `AccessDenied`."""
    checked_name("key", name)
    granted = sorted(checked_scopes(scopes))
    if expires_at is not None and expires_at <= datetime.datetime.now(datetime.UTC):
        raise AccessDenied("the key would expire before it exists")
    key = make_key(secrets.token_bytes(KEY_RANDOM_BYTES))
    key_id = uuid.uuid4()
    async with connection.transaction():
        tenant = await ensure_tenant(connection, tenant_name)
        created_at = await connection.fetchval(
            QUERIES["add_key"], key_id, hash_key(key), tenant, name, granted, expires_at
        )
    return KeyMade(str(key_id), key, tenant, tenant_name, name, [*granted], created_at, expires_at)


async def list_keys(connection: asyncpg.Connection[Any]) -> list[KeyRow]:
    """All keys, the oldest first, revoked and expired ones included."""
    rows = await connection.fetch(QUERIES["list_keys"])
    return [
        KeyRow(
            str(row["id"]), row["tenant"], row["tenant_name"], row["name"], list(row["scopes"]),
            row["created_at"], row["expires_at"], row["revoked_at"],
        )
        for row in rows
    ]  # fmt: skip


async def revoke_key(connection: asyncpg.Connection[Any], key_id: str) -> bool:
    """Revoke a key for ever. False if there is no such key or it was revoked before."""
    try:
        number = uuid.UUID(key_id)
    except ValueError as error:
        raise AccessDenied("a key's id is a UUID; `pyledger key list` shows it") from error
    return await connection.fetchval(QUERIES["revoke_key"], number) is not None


class KeyStore:
    """The usable keys, by hash, refreshed in the background by its own connection."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], refresh_s: float) -> None:
        self._connect = connect
        self._refresh_s = refresh_s
        self._keys: dict[bytes, Principal] = {}
        self._counts: tuple[int, int] | None = None
        self._fresh_at: float | None = None
        self._looking = asyncio.Lock()
        self._next: asyncio.Task[bool] | None = None
        self._looked_at = -KEY_MISS_INTERVAL_S
        self._connection: asyncpg.Connection[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def keys(self) -> int:
        """Usable keys in memory."""
        return len(self._keys)

    def start(self) -> None:
        """Begin to refresh, for ever, until `close`."""
        self._task = asyncio.create_task(self._refresh_forever(), name="pyledger-keys")

    async def close(self) -> None:
        """Stop refreshing and let go of the connection."""
        for task in (self._task, self._next):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._drop_connection()

    def is_stale(self) -> bool:
        """True if the cached keys are too old to be trusted, or were never read."""
        return self._fresh_at is None or time.monotonic() - self._fresh_at > KEY_STALE_S_MAX

    def find(self, key: str) -> Principal | None:
        """Who presents this key, if the cache knows it. The hot path: one hash, one lookup."""
        return self._keys.get(hash_key(key))

    async def find_again(self, key: str) -> Principal | None:
        """The same after looking into the database. Raises `KeysUnavailable` if it does not answer."""
        if not is_key_shaped(key):
            return None
        # Whoever cancels his request must not cancel the look that others wait for.
        if not await asyncio.shield(self._next_look()):
            raise KeysUnavailable
        return self.find(key)

    def _next_look(self) -> asyncio.Task[bool]:
        # A look that has already begun may not see a key made just now, so only one that is still to
        # begin is shared. There is thus at most one running and one waiting, however many ask.
        if self._next is None:
            self._next = asyncio.create_task(self._wait_and_look(), name="pyledger-keys-look")
        return self._next

    async def _wait_and_look(self) -> bool:
        async with self._looking:
            await asyncio.sleep(max(0.0, self._looked_at + KEY_MISS_INTERVAL_S - time.monotonic()))
            self._next = None
            try:
                return await self._look()
            finally:
                self._looked_at = time.monotonic()

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.shield(self._next_look())
            await asyncio.sleep(self._refresh_s)

    async def _look(self) -> bool:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT_S)
            await self._read(self._connection)
            return True
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.debug("keys could not be refreshed: %s", error)
            self._drop_connection()
            return False

    async def _read(self, connection: asyncpg.Connection[Any]) -> None:
        asked_at = time.monotonic()
        row = await connection.fetchrow(QUERIES["count_keys"], timeout=QUERY_TIMEOUT_S)
        counts = (int(row["keys"]), int(row["revoked"])) if row is not None else (0, 0)
        if counts != self._counts:
            rows = await connection.fetch(QUERIES["usable_keys"], KEYS_MAX, timeout=QUERY_TIMEOUT_S)
            self._keys = {bytes(row["hash"]): _principal(row) for row in rows}
            # The counts were read first: a key made in between only means that we look once more.
            self._counts = counts
        self._fresh_at = asked_at

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _principal(row: Any) -> Principal:
    expires_at = row["expires_at"]
    return Principal(
        tenant=row["tenant"],
        key_id=str(row["id"]),
        name=row["name"],
        scopes=frozenset(row["scopes"]),
        expires_at=None if expires_at is None else expires_at.timestamp(),
    )
