"""Cells and fields become JSON objects, each by itself.

Guarded here: nothing of a cell can reach beyond its field; a number is only one where the API wants one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from pyledger.bulk.nouns import COLUMNS, NUMBERS, OUTCOMES, SKIPPED, TOO_LONG, BulkError, Row
from pyledger.client.nouns import rfc3339

_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read: `what` is transfers or accounts; `ids_from` names the source of rows without ids of their own;
    `imported` makes each an imported event of the time when it was recorded, or of its effective_at."""

    what: str
    ids_from: str = ""
    imported: bool = False


class Peek(msgspec.Struct):
    """What a request needs to know of a row."""

    id: str | None = None
    flags: list[str] | None = None


_peek = msgspec.json.Decoder(Peek).decode


def peek(text: bytes) -> Peek:
    """Id and flags, as far as the row can be read."""
    try:
        return _peek(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Peek()


def is_linked(row: Row) -> bool:
    """Whether the next row is of the same chain. Of a row that is wrong nobody knows: if it has the word, it may be."""
    raw = row.text or row.raw
    if row.code == TOO_LONG or (b"linked" not in raw and b"\\u006" not in raw):
        return False
    if (row.code and row.code != SKIPPED) or raw.count(b"flags") > 1 or not row.text:
        return True
    # The word may also stand in somebody's metadata.
    return "linked" in (peek(row.text).flags or ())


def derived_id(source: str, line: int) -> str:
    """The id of a row that has none: the same for the same line of the same source, for ever."""
    digest = hashlib.sha256(f"pyledger.import\0{source}\0{line}".encode()).digest()[:16]
    number = int.from_bytes(digest) & ~(0xF << 76) & ~(0x3 << 62) & ~(1 << 127)
    return str(UUID(int=number | 8 << 76 | 2 << 62))


def _skipped(number: int, *, linked: bool) -> Row:
    """A row that is left out; whether it is of a chain counts for the others."""
    return Row(number, b'{"flags":["linked"]}' if linked else b"", SKIPPED)


def from_object(number: int, fields: dict[str, msgspec.Raw], reading: Reading) -> Row:
    """A row of fields that were read, without those that only say what became of it."""
    if bytes(fields.get("status", b"")) == b'"declined"':
        return _skipped(number, linked=b"linked" in bytes(fields.get("flags", b"")))
    kept: dict[str, Any] = {name: value for name, value in fields.items() if name not in OUTCOMES}
    if reading.ids_from:
        kept.setdefault("id", derived_id(reading.ids_from, number))
    if reading.imported:
        given = bytes(fields.get("recorded_ns", b"")).decode("ascii", "replace")
        if "effective_at" not in kept and _DIGITS.fullmatch(given):
            kept["effective_at"] = _time(given)
        kept.pop("timeout_s", None)
        try:
            flags = msgspec.json.decode(kept.get("flags", b"[]"), type=list[str])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Row(number, b"", "invalid_flags", "flags is not a list of names.")
        kept["flags"] = flags if "imported" in flags else [*flags, "imported"]
    return Row(number, msgspec.json.encode(kept))


class Cells:
    """Makes JSON objects of the cells of one table, whose first line was `header`."""

    def __init__(self, header: list[str], reading: Reading) -> None:
        known = COLUMNS[reading.what]
        for name in header:
            if name not in known and name not in OUTCOMES:
                raise BulkError(f"the first line must name columns; {name[:40]!r} is none of {', '.join(known)}")
            if header.count(name) > 1:
                raise BulkError(f"the column {name} stands twice in the first line")
        if "id" not in header and not reading.ids_from:
            raise BulkError("there is no column id; --ids-from NAME derives ids from a name and the line")
        self.header, self._reading = header, reading

    def row(self, line: int, cells: list[str]) -> Row:
        """One line's object, or what is wrong with it. Every cell is encoded by itself."""
        if len(cells) != len(self.header):
            return Row(line, b"", "wrong_fields", f"The row has {len(cells)} fields instead of {len(self.header)}.")
        given = dict(zip(self.header, cells, strict=True))
        if given.get("status") == "declined":
            return _skipped(line, linked="linked" in given.get("flags", ""))
        fields: dict[str, Any] = {}
        try:
            for name, value in given.items():
                if value and name not in OUTCOMES:
                    fields[name] = _FIELDS.get(name, str)(value)
            if self._reading.ids_from and "id" not in fields:
                fields["id"] = derived_id(self._reading.ids_from, line)
            if self._reading.imported:
                recorded = given.get("recorded_ns", "")
                if "effective_at" not in fields and recorded:
                    fields["effective_at"] = _time(recorded)
                flags = fields.get("flags", [])
                fields["flags"] = flags if "imported" in flags else [*flags, "imported"]
                fields.pop("timeout_s", None)
            return Row(line, msgspec.json.encode(fields))
        except UnicodeEncodeError:
            return Row(line, b"", "invalid_utf8", "The row is not UTF-8.")
        except (msgspec.MsgspecError, RecursionError) as error:
            return Row(line, b"", "invalid_metadata", f"metadata is no JSON: {error}.")


def _time(recorded_ns: str) -> str:
    """When something was recorded; what is no such time the core refuses as it stands."""
    try:
        return rfc3339(int(recorded_ns)) if _DIGITS.fullmatch(recorded_ns) else recorded_ns
    except (OverflowError, ValueError, OSError):
        return recorded_ns


def _number(value: str) -> int | str:
    return int(value) if _DIGITS.fullmatch(value) else value


def _metadata(value: str) -> msgspec.Raw:
    msgspec.json.decode(value)
    return msgspec.Raw(value.encode())


_FIELDS: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(NUMBERS, _number),
    "flags": str.split,
    "metadata": _metadata,
}
"""How a cell becomes a field, where it is not a text."""
