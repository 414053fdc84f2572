"""What a row of a file says, by Python's own readers of CSV and JSON: the model of the core's reader."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from typing import Any, Final
from uuid import UUID

from pyledger._rust import Commands, Malformed, decode_account, decode_transfer
from pyledger.bulk.nouns import OUTCOMES, TRANSFERS, Reading
from pyledger.client.nouns import rfc3339

SKIPPED: Final = "skipped"
WRONG: Final = "wrong"
EFFECTIVE_NS_MAX: Final = 9_214_646_399_999_999_999
Said = tuple[Commands, dict[str, Any]] | str
"""A command and its texts, or why there is none."""


def derived_id(source: str, line: int) -> str:
    """The id of a row that has none: the same for the same line of the same source, for ever."""
    digest = hashlib.sha256(f"pyledger.import\0{source}\0{line}".encode()).digest()[:16]
    number = int.from_bytes(digest) & ~(0xF << 76) & ~(0x3 << 62) & ~(1 << 127)
    return str(UUID(int=number | 8 << 76 | 2 << 62))


def said_by_line(line: bytes, number: int, header: list[str] | None, reading: Reading) -> Said:
    """What one line says."""
    try:
        fields = _members(line) if header is None else _cells(line.decode(), header)
    except (ValueError, csv.Error, RecursionError):
        return WRONG
    return said_by(fields, number, reading)


def said_by(given: dict[str, Any], number: int, reading: Reading) -> Said:
    """What fields say."""
    if given.get("status") == "declined":
        return SKIPPED
    if not all(isinstance(given.get(name), str | int | Number | None) for name in OUTCOMES):
        return WRONG
    fields = {name: value for name, value in given.items() if name not in OUTCOMES}
    if reading.ids_from:
        fields.setdefault("id", derived_id(reading.ids_from, number))
    recorded = given.get("recorded_ns")
    if reading.imported and recorded is not None:
        if not re.fullmatch("[0-9]+", str(recorded)) or not 0 < int(str(recorded)) <= EFFECTIVE_NS_MAX:
            return WRONG
        fields.setdefault("effective_at", rfc3339(int(str(recorded))))
    decode = decode_transfer if reading.what == TRANSFERS else decode_account
    try:
        found = decode(_written(fields), 1, None)
        if reading.imported:
            flags = fields.get("flags") or []
            fields["flags"] = flags if "imported" in flags else [*flags, "imported"]
            fields.pop("timeout_s", None)
            found = decode(_written(fields), 1, None)
    except Malformed:
        return WRONG
    return found, {name: json.loads(_written(fields.get(name))) for name in ("reference", "metadata")}


class Number(str):
    """A number in JSON, as it was written."""


def _members(line: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _value in pairs}) < len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    found = json.loads(
        line.decode(), parse_int=Number, parse_float=Number, parse_constant=_none, object_pairs_hook=once
    )
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _none(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _cells(line: str, header: list[str]) -> dict[str, Any]:
    cells = next(csv.reader([line], strict=True))
    if len(cells) != len(header):
        raise ValueError("too many or too few")
    if ("status", "declined") in zip(header, cells, strict=True):
        return {"status": "declined", "flags": dict(zip(header, cells, strict=True)).get("flags")}
    given: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if not cell:
            continue
        given[name] = cell
        if name in {"ledger", "code", "timeout_s"} and re.fullmatch(r"-?[0-9]+", cell):
            given[name] = Number(str(int(cell)))
        elif name == "flags":
            given[name] = cell.split()
        elif name == "metadata":
            given[name] = _members(cell.encode())
    return given


def _written(value: Any) -> bytes:
    """JSON, with numbers as they were."""
    if isinstance(value, Number):
        return value.encode()
    if isinstance(value, dict):
        return b"{%s}" % b",".join(json.dumps(name).encode() + b":" + _written(each) for name, each in value.items())
    if isinstance(value, list):
        return b"[%s]" % b",".join(map(_written, value))
    return json.dumps(value).encode()
