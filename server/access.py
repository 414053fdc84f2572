"""Who may: one small interface between a request's headers and a principal.

Guards: a request without a principal reaches no handler that has a scope. Another way to authenticate
(OAuth2, mTLS, signed requests) is another `Authenticator`; nothing else changes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from pyledger.identity import KeyStore, KeysUnavailable, Principal, Scope
from pyledger.server.problems import Refused
from pyledger.server.replies import RETRY_AFTER

if TYPE_CHECKING:
    from pyledger.server.rsgi import HeaderMap

CHALLENGE: Final = ("www-authenticate", 'Bearer realm="pyledger"')
CHALLENGE_INVALID: Final = ("www-authenticate", 'Bearer realm="pyledger", error="invalid_token"')
DEV_TENANT_NAME: Final = "dev"
DEV_TENANT: Final = 1
"""The tenant of a server without keys, until the database tells which number it has."""
SCHEME: Final = "Bearer "
LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names under which a server without keys answers."""
FORWARDED: Final = ("forwarded", "x-forwarded-for", "via")
"""What a proxy adds to a request that it passes on."""


class Authenticator(Protocol):
    """Tells who asks."""

    def known(self, headers: HeaderMap) -> Principal | None:
        """The principal, if that is known at once. Must not wait: it is on the hot path."""

    async def find(self, headers: HeaderMap) -> Principal:
        """The principal, looked for with patience. Raises `Refused`: 401, or 503 if it cannot be known."""


class DevAccess:
    """Everybody is the tenant `dev` and may do everything. Only on loopback, only with `--dev`.

    And only under a name of this machine: a web page whose own name is made to point here, to get at what
    only local programs can reach, sends that name as Host.
    """

    def __init__(self) -> None:
        self.principal = dev_principal(DEV_TENANT)

    def known(self, headers: HeaderMap) -> Principal | None:
        """Always the same."""
        host = headers.get("host")
        name = "" if host is None else host.rsplit(":", 1)[0] if host[-1:] != "]" else host
        return self.principal if name.lower() in LOCAL_NAMES else None

    async def find(self, headers: HeaderMap) -> Principal:
        """Says what is wrong."""
        del headers
        raise Refused("host_not_local")


class KeyAccess:
    """Bearer keys, checked against the cached set of `KeyStore`."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def known(self, headers: HeaderMap) -> Principal | None:
        """One hash and one lookup. Nobody, where two keys are shown: something on the way may go by the other one."""
        given = headers.get_all("authorization")
        if len(given) != 1 or not given[0].startswith(SCHEME) or self._store.is_stale():
            return None
        principal = self._store.find(given[0][len(SCHEME) :])
        if principal is None or principal.expires_at is None or not principal.is_expired(time.time()):
            return principal
        return None

    async def find(self, headers: HeaderMap) -> Principal:
        """Says what is wrong, or finds a key that was made a moment ago."""
        key = _presented_key(headers)
        try:
            principal = await self._store.find_again(key)
        except KeysUnavailable as error:
            raise Refused("unavailable", headers=(RETRY_AFTER,)) from error
        if principal is None or principal.is_expired(time.time()):
            raise Refused("key_invalid", headers=(CHALLENGE_INVALID,))
        return principal


def dev_principal(tenant: int) -> Principal:
    """Who everybody is on a server without keys."""
    return Principal(tenant=tenant, key_id="dev", name=DEV_TENANT_NAME, scopes=frozenset(Scope))


def require(principal: Principal, scope: Scope) -> None:
    """Refuse a principal that does not have the scope."""
    if scope not in principal.scopes:
        challenge = f'Bearer realm="pyledger", error="insufficient_scope", scope="{scope}"'
        raise Refused("scope_missing", headers=(("www-authenticate", challenge),), scope=str(scope))


def _presented_key(headers: HeaderMap) -> str:
    given = headers.get_all("authorization")
    if not given:
        raise Refused("key_missing", headers=(CHALLENGE,))
    scheme, _, key = given[0].partition(" ")
    key = key.strip()
    if len(given) > 1 or scheme.lower() != SCHEME.strip().lower() or not key:
        raise Refused("key_missing", headers=(CHALLENGE,))
    return key


def is_forwarded(headers: HeaderMap) -> bool:
    """Whether somebody passed this request on, so that the other end of the connection is not who asks."""
    return any(name in headers for name in FORWARDED)
