"""The nouns and rules of identity: scopes, keys, principals. Pure: no clock, no randomness, no I/O.

Guards: a key is 256 random bits, so its SHA-256 is all that is ever stored or compared. Lookup is by
hash; an attacker who measures its time learns about a hash that he cannot choose.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Final

import msgspec

KEY_PREFIX: Final = "pk_"
"""What every key starts with, so that scanners of leaked secrets recognise one."""

KEY_RANDOM_BYTES: Final = 32
"""256 bits: twice what the contract with our users promises, and the size of the hash."""

KEY_CHARACTERS: Final = len(KEY_PREFIX) + 43
"""Length of a key: 32 bytes are 43 characters of base64url."""

NAME_BYTES_MAX: Final = 128
"""Bytes in the name of a tenant or a key."""


class Scope(StrEnum):
    """One thing that a key may do."""

    LEDGERS_WRITE = "ledgers:write"
    ACCOUNTS_WRITE = "accounts:write"
    TRANSFERS_WRITE = "transfers:write"
    READ = "read"
    METRICS = "metrics"


SCOPES: Final[tuple[Scope, ...]] = tuple(Scope)
"""All scopes. A key made without naming any gets all but `metrics`."""

DEFAULT_SCOPES: Final[frozenset[Scope]] = frozenset(SCOPES) - {Scope.METRICS}
"""Metrics tell about all tenants, so a tenant's key gets them only when asked for."""


class AccessDenied(ValueError):
    """A name, a scope or a key is not acceptable. `str()` is one line for a person."""


class Principal(msgspec.Struct, frozen=True):
    """Who asks: a tenant, through one key, with scopes, until a time."""

    tenant: int
    key_id: str
    name: str
    scopes: frozenset[str]
    expires_at: float | None = None
    """Seconds since 1970, or None for never."""

    def is_expired(self, now_s: float) -> bool:
        """True once the key's time is over."""
        return self.expires_at is not None and now_s >= self.expires_at


def make_key(random_bytes: bytes) -> str:
    """The key made of 32 random bytes. It is shown once and never stored."""
    if len(random_bytes) != KEY_RANDOM_BYTES:
        raise AssertionError("a key is made of exactly 32 random bytes")
    return KEY_PREFIX + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode("ascii")


def hash_key(key: str) -> bytes:
    """SHA-256 of a key: what is stored, and what a presented key is looked up by."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_key_shaped(text: str) -> bool:
    """True if it could be a key. Spares the database a question about anything else."""
    return len(text) == KEY_CHARACTERS and text.startswith(KEY_PREFIX)


def checked_name(what: str, name: str) -> str:
    """A name of a tenant or key, or `AccessDenied` with what is wrong with it."""
    if not name or not name.isprintable() or name != name.strip():
        raise AccessDenied(f"the {what} name must be printable, not empty, without spaces around it")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise AccessDenied(f"the {what} name is longer than {NAME_BYTES_MAX} bytes")
    return name


def checked_scopes(names: list[str] | None) -> frozenset[Scope]:
    """The scopes by these names; all but `metrics` for None."""
    if names is None:
        return DEFAULT_SCOPES
    known = {scope.value for scope in SCOPES}
    unknown = sorted(set(names) - known)
    if unknown:
        raise AccessDenied(f"unknown scope {unknown[0]!r}; the scopes are {', '.join(SCOPES)}")
    if not names:
        raise AccessDenied("a key needs at least one scope")
    return frozenset(Scope(name) for name in names)
