"""Page cursors: where a page ended, bound to the tenant and to the question that was asked.

Guarded here: a cursor of another tenant, of another query, or not of ours at all is refused. It carries no
secret and needs none: it only says where to go on, and every query names its tenant anyway.
"""

import base64
import binascii
import hashlib
from typing import Final

from pyledger.ledger.nouns import BadCursor

_TAG_BYTES: Final = 12
_TEXT_BYTES_MAX: Final = 256


def seal(tenant: int, question: str, position: bytes) -> str:
    """A cursor for the page after `position`."""
    return base64.urlsafe_b64encode(_tag(tenant, question) + position).decode("ascii").rstrip("=")


def unseal(tenant: int, question: str, cursor: str, position_bytes: int) -> bytes:
    """The position in a cursor. Raises `BadCursor`."""
    try:
        if len(cursor) > _TEXT_BYTES_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise BadCursor("this is no cursor") from None
    if len(raw) != _TAG_BYTES + position_bytes or raw[:_TAG_BYTES] != _tag(tenant, question):
        raise BadCursor("this cursor belongs to another query")
    if seal(tenant, question, raw[_TAG_BYTES:]) != cursor:
        raise BadCursor("this is no cursor")
    return raw[_TAG_BYTES:]


def _tag(tenant: int, question: str) -> bytes:
    return hashlib.sha256(f"pyledger.cursor.1\0{tenant}\0{question}".encode()).digest()[:_TAG_BYTES]
