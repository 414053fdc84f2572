"""What the verbs of the command line have in common: exit codes, options, settings, and how they say what they found.

Guarded here: what a program would read comes as JSON on stdout with `--json`, and nothing else does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from pyledger.settings import BadSetting, Settings

Found = TypeVar("Found")

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells say it."""

OVERRIDES: Final = ("host", "port", "dev", "data_dir", "database_url", "owner_url", "log_level")
"""Settings that have an option of the same name."""


class Failed(Exception):
    """The command could not do what it was asked. `str()` is one clear line."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse it."""
        raise BadSetting(f"{message}; see {self.prog} --help")


class Options(NamedTuple):
    """Options that several verbs have, as parents of their parsers."""

    where: Parser
    """Which database."""
    machine: Parser
    """`--json`."""
    served: Parser
    """Which server, and the key for it."""


def options() -> Options:
    """New ones, for one command line."""
    where, machine, served = (Parser(add_help=False) for _ in range(3))
    where.add_argument("--database-url", metavar="URL", help="PostgreSQL >= 15; without it the embedded one")
    where.add_argument("--owner-url", metavar="URL", help="the same database as the owner of the schema")
    where.add_argument("--data-dir", metavar="DIR", help="directory of the embedded PostgreSQL")
    machine.add_argument("--json", action="store_true", help="one JSON document on stdout")
    served.add_argument("--url", default=os.environ.get("PYLEDGER_URL", "http://127.0.0.1:8080"), help="of the server")
    served.add_argument("--key", default=os.environ.get("PYLEDGER_KEY"), help="API key; none for a server with --dev")
    return Options(where, machine, served)


def settings_of(asked: argparse.Namespace) -> Settings:
    """The settings, with what was said on the command line. Raises `BadSetting`."""
    return Settings.load(overrides={name: getattr(asked, name, None) for name in OVERRIDES})


def run(coroutine: Coroutine[Any, Any, Found]) -> Found:
    """Run it to its end."""
    return asyncio.run(coroutine)


def print_json(value: object) -> None:
    """One document."""
    import msgspec

    print(json.dumps(msgspec.to_builtins(value), indent=2))
