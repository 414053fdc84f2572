"""The command line, `pyledger VERB`: a file here for each group of verbs.

Guards: each error is one clear line on stderr; the exit code says what kind it was (0 done, 1 something is
wrong with the books or the command failed, 2 refused before anything was done, 3 fenced, 4 halted). Rooms are
imported by the verb that needs them, so that `pyledger --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import pyledger
from pyledger import signing
from pyledger.cli import books, bulk, keys, retention, served
from pyledger.cli.shared import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, Failed, Parser, options
from pyledger.settings import BadSetting

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        asked = _parser().parse_args(arguments)
        code = asked.run(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough.
        _drop_output()
        return EXIT_DONE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BadSetting as error:
        return _complain(error, EXIT_REFUSED)
    except Exception as error:
        if os.environ.get("PYLEDGER_LOG_LEVEL", "").lower() == "debug":
            raise
        return _complain(error, _exit_code(error))
    return int(code)


def _drop_output() -> None:
    """What cannot be written is dropped: Python flushes once more at exit, complains once more, and exits with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> Parser:
    parser = Parser(prog="pyledger", description="A double-entry ledger over HTTP whose only record is PostgreSQL.")
    parser.add_argument("--version", action="version", version=f"pyledger {pyledger.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    common = options()
    books.add_commands(commands, common)
    served.add_commands(commands, common)
    bulk.add_commands(commands, common)
    retention.add_commands(commands, common)
    keys.add_commands(commands, common)
    signing.add_commands(commands, Parser, common.machine)
    return parser


def _complain(error: Exception, code: int) -> int:
    _drop_output()
    line = " ".join(str(error).split()) or type(error).__name__
    if code == EXIT_FAILED and not isinstance(error, Failed):
        line = f"{type(error).__name__}: {line} (PYLEDGER_LOG_LEVEL=debug shows where)"
    sys.stderr.write(f"pyledger: {line}\n")
    return code


def _exit_code(error: Exception) -> int:
    """Errors that say in their own words why nothing was done are refusals; the rest are failures."""
    from pyledger.embedded import EmbeddedError

    refusals: tuple[type[Exception], ...] = (EmbeddedError, ConnectionError, TimeoutError, FileNotFoundError)
    if "asyncpg" in sys.modules:
        import asyncpg

        refusals += (asyncpg.PostgresError, asyncpg.InterfaceError)
    if "pyledger.ledger" in sys.modules:
        from pyledger.ledger import LedgerError

        refusals += (LedgerError,)
    if "pyledger.identity" in sys.modules:
        from pyledger.identity import AccessDenied

        refusals += (AccessDenied,)
    return EXIT_REFUSED if isinstance(error, refusals) else EXIT_FAILED
