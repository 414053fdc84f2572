"""Query strings and path ids: text from outside into checked values.

Guards: an unknown, repeated or ill-formed parameter is refused, never ignored: a filter that silently does
nothing shows somebody else's idea of the books.
"""

from __future__ import annotations

import calendar
import datetime
import re
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from pyledger.server.problems import Refused

T = TypeVar("T", bound=msgspec.Struct)

PARAMETERS_MAX: Final = 16
"""Parameters in one query; the longest list of them here has half as many."""

NUMBERS: Final = frozenset({"code", "first", "ledger", "limit", "wait_s"})
"""The parameters that are whole numbers; all others are text."""

LEDGER_MAX: Final = 2**31 - 1

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,17}")
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_NS_MAX: Final = 2**63 - 1


def read_query(text: str, kind: type[T]) -> T:
    """The parameters of a query string as a struct. Raises `Refused`."""
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise Refused("parameter_invalid", "The query string is not of the form name=value&name=value.") from error
    given: dict[str, str | int] = {}
    names = kind.__struct_fields__
    for name, value in pairs:
        if name not in names:
            known = ", ".join(names) or "none"
            raise Refused("parameter_unknown", f"There is no such query parameter; there are: {known}.", parameter=name)
        if name in given:
            raise Refused("parameter_invalid", "The parameter is given twice.", parameter=name)
        if "\0" in value:
            raise Refused("parameter_invalid", "The value must not contain NUL.", parameter=name)
        # By ourselves: the converter's lax mode would read "null" as nothing given.
        is_number = name in NUMBERS and (_NUMBER.fullmatch(value) or _SIZE.fullmatch(value)) is not None
        given[name] = int(value) if is_number else value
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Refused("parameter_invalid", str(error)) from error


def no_query(text: str) -> None:
    """Refuse any parameter."""
    if text:
        raise Refused("parameter_unknown", "This operation has no query parameters.")


def uuid_of(text: str, parameter: str | None = None) -> str:
    """A UUID in its canonical form, lower case. Raises `Refused`."""
    if _UUID.fullmatch(text) is None:
        if parameter is None:
            raise Refused("id_invalid", "The id in the path is not a UUID of 36 characters.")
        raise Refused("parameter_invalid", "The value is not a UUID of 36 characters.", parameter=parameter)
    return text.lower()


def ledger_of(text: str) -> int:
    """A ledger's number from a path. Raises `Refused`."""
    if _NUMBER.fullmatch(text) is None or not 1 <= int(text) <= LEDGER_MAX:
        raise Refused("id_invalid", f"The id of a ledger is a number from 1 to {LEDGER_MAX}.")
    return int(text)


def size_of(text: str) -> int:
    """A checkpoint's size from a path. Raises `Refused`."""
    if _SIZE.fullmatch(text) is None:
        raise Refused("id_invalid", "The size of a checkpoint is its number of batches, 1 or more.")
    return int(text)


def instant_of(text: str, parameter: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time with an offset and up to nine decimals. Raises `Refused`."""
    match = _INSTANT.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day, clock, fraction, offset = match.groups()
        zone = "+00:00" if offset in "Zz" else offset
        moment = datetime.datetime.fromisoformat(f"{day}T{clock}{zone}")
        seconds = calendar.timegm(moment.utctimetuple())
        number = seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
        if not 0 <= number <= _NS_MAX:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        detail = "The value is not an RFC 3339 time with an offset, from 1970 to 2262; a + in a URL is %2B."
        raise Refused("parameter_invalid", detail, parameter=parameter) from error
    return number
