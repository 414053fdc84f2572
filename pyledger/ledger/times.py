"""Moments as text and back: RFC 3339 in UTC with nine digits, as rust_ext/core/src/time.rs writes them. Pure."""

import datetime
from typing import Final

_SECOND_NS: Final = 1_000_000_000


def instant(moment_ns: int) -> str:
    """Nanoseconds since 1970 as text."""
    seconds, fraction = divmod(moment_ns, _SECOND_NS)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of what `instant` or the core wrote."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * _SECOND_NS + int(fraction or 0)
