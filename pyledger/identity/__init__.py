"""Who is asking: API keys, their tenants and what they may do. Nothing here knows about HTTP or money."""

from pyledger.identity.rules import (
    KEY_PREFIX,
    NAME_BYTES_MAX,
    SCOPES,
    AccessDenied,
    Principal,
    Scope,
    hash_key,
    make_key,
)
from pyledger.identity.store import (
    KeyMade,
    KeyRow,
    KeyStore,
    KeysUnavailable,
    create_key,
    ensure_tenant,
    list_keys,
    revoke_key,
)

__all__ = [
    "KEY_PREFIX",
    "NAME_BYTES_MAX",
    "SCOPES",
    "AccessDenied",
    "KeyMade",
    "KeyRow",
    "KeyStore",
    "KeysUnavailable",
    "Principal",
    "Scope",
    "create_key",
    "ensure_tenant",
    "hash_key",
    "list_keys",
    "make_key",
    "revoke_key",
]
