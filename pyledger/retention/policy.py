"""The policy file: when a partition is archived, and when it is dropped, by ledger.

Guarded here: nothing is guessed. An unknown word, a missing one, a number that cannot be meant or a ledger that is
named twice refuses the whole file; and where ledgers share a partition the longest time holds for it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyledger.retention.nouns import DAY_NS, DAYS_MAX, RetentionError

NEVER: Final = "never"
POLICY_BYTES_MAX: Final = 1024 * 1024
"""A thousand ledgers have some hundred KiB."""
_TIMES: Final = ("archived_after_days", "dropped_after_days")

Ledger = tuple[str, int]
"""A tenant's name and the number of its ledger."""


class BadPolicy(RetentionError):
    """The policy file cannot be meant."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Days after the end of a partition; None is never."""

    archived_after_days: int | None
    dropped_after_days: int | None

    def longest(self, other: Terms) -> Terms:
        """What both permit."""
        return Terms(
            _later(self.archived_after_days, other.archived_after_days),
            _later(self.dropped_after_days, other.dropped_after_days),
        )

    def is_due(self, step: str, end_ns: int, now_ns: int) -> bool:
        """Whether a partition that ended then is to be `archived` or `dropped` by now."""
        days = self.archived_after_days if step == "archived" else self.dropped_after_days
        return days is not None and now_ns - end_ns >= days * DAY_NS


@dataclass(frozen=True, slots=True)
class Policy:
    """Terms by ledger, and those of all others."""

    default: Terms
    ledgers: dict[Ledger, Terms]

    def terms(self, ledgers: Iterable[Ledger]) -> Terms:
        """Those of a partition that has rows of these ledgers."""
        found: Terms | None = None
        for ledger in ledgers:
            own = self.ledgers.get(ledger, self.default)
            found = own if found is None else found.longest(own)
        return found or self.default

    @classmethod
    def read(cls, path: Path) -> Policy:
        """A policy file. Raises `BadPolicy`."""
        try:
            with path.open("rb") as file:
                text = file.read(POLICY_BYTES_MAX + 1)
            if len(text) > POLICY_BYTES_MAX:
                raise BadPolicy(f"{path} is larger than {POLICY_BYTES_MAX} bytes")
            said = tomllib.loads(text.decode("utf-8"))
        except OSError as error:
            raise BadPolicy(f"cannot read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadPolicy(f"{path} is not TOML: {error}") from error
        try:
            return cls.parse(said)
        except BadPolicy as error:
            raise BadPolicy(f"{path}: {error}") from error

    @classmethod
    def parse(cls, said: dict[str, Any]) -> Policy:
        """What a policy file says. Raises `BadPolicy`."""
        _only(said, ("default", "ledger"), "the file")
        default = _terms(said.get("default"), (), "[default]")
        ledgers: dict[Ledger, Terms] = {}
        tables = said.get("ledger", [])
        if not isinstance(tables, list):
            raise BadPolicy("ledgers are tables [[ledger]]")
        for place, table in enumerate(tables, 1):
            where = f"[[ledger]] number {place}"
            terms = _terms(table, ("tenant", "number"), where)
            tenant, number = table.get("tenant"), table.get("number")
            if not isinstance(tenant, str) or not tenant:
                raise BadPolicy(f"{where} needs tenant, a name")
            if type(number) is not int or not 0 < number < 2**31:
                raise BadPolicy(f"{where} needs number, that of a ledger")
            if (tenant, number) in ledgers:
                raise BadPolicy(f"ledger {number} of {tenant} stands twice")
            ledgers[tenant, number] = terms
        return cls(default, ledgers)


def _terms(table: Any, more: tuple[str, ...], where: str) -> Terms:
    if not isinstance(table, dict):
        raise BadPolicy(f"there is no table {where}")
    _only(table, (*_TIMES, *more), where)
    archived, dropped = (_days(table, name, where) for name in _TIMES)
    if dropped is not None and (archived is None or dropped < archived):
        raise BadPolicy(f"{where}: what is dropped must be archived before")
    return Terms(archived, dropped)


def _days(table: dict[str, Any], name: str, where: str) -> int | None:
    days = table.get(name)
    if days == NEVER:
        return None
    if type(days) is not int or not 0 <= days <= DAYS_MAX:
        raise BadPolicy(f'{where} needs {name}, a number of days within 0..{DAYS_MAX} or "{NEVER}"')
    return days


def _only(table: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in names:
            raise BadPolicy(f"{where} has {name!r}, which is none of {', '.join(names)}")


def _later(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)
