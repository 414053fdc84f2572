"""The command line: `pyledger serve | check | verify | rebuild | key | signing-key | demo | feed | info | migrate`.

Guards: each error is one clear line on stderr; the exit code says what kind it was (0 done, 1 something is
wrong with the books or the command failed, 2 refused before anything was done, 3 fenced, 4 halted); what
a program would read comes as JSON on stdout with `--json`, and nothing else does. Rooms are imported by
the command that needs them, so that `pyledger --help` is quick.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import pyledger
from pyledger import signing
from pyledger.settings import BadSetting, Settings

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells say it."""

EXPIRY_DAYS_MAX: Final = 36_500
"""A century: a key that is to live longer is one that never ends."""

OVERRIDES: Final = ("host", "port", "dev", "data_dir", "database_url", "owner_url", "log_level")
"""Settings that have an option of the same name."""


class Failed(Exception):
    """The command could not do what it was asked. `str()` is one clear line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line in one line."""

    def error(self, message: str) -> NoReturn:
        raise BadSetting(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        asked = _parser().parse_args(arguments)
        code = asked.run(asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def _complain(error: Exception, code: int) -> int:
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pyledger", description="A double-entry ledger over HTTP whose only record is PostgreSQL.")
    parser.add_argument("--version", action="version", version=f"pyledger {pyledger.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    where = _Parser(add_help=False)
    where.add_argument("--database-url", metavar="URL", help="PostgreSQL >= 15; without it the embedded one")
    where.add_argument("--owner-url", metavar="URL", help="the same database as the owner of the schema")
    where.add_argument("--data-dir", metavar="DIR", help="directory of the embedded PostgreSQL")
    machine = _Parser(add_help=False)
    machine.add_argument("--json", action="store_true", help="one JSON document on stdout")

    serve = commands.add_parser("serve", parents=[where], help="serve HTTP until told to stop")
    serve.add_argument("--dev", action="store_true", default=None, help="without keys; on loopback only")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", help="TCP port to listen on")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", parents=[where, machine], help="prove the books, from the first row on")
    check.set_defaults(run=_check)

    rebuild = commands.add_parser(
        "rebuild", parents=[where, machine], help="drop the checkpoint; the next start replays the whole journal"
    )
    rebuild.add_argument(
        "--subtrees", action="store_true", help="instead drop what proofs are made from, beside a server"
    )
    rebuild.set_defaults(run=_rebuild)

    info = commands.add_parser("info", parents=[where, machine], help="versions, settings, where the data is")
    info.set_defaults(run=_info)

    migrate = commands.add_parser("migrate", parents=[where, machine], help="bring the database's schema up to date")
    migrate.set_defaults(run=_migrate)

    served = _Parser(add_help=False)
    served.add_argument("--url", default=os.environ.get("PYLEDGER_URL", "http://127.0.0.1:8080"), help="of the server")
    served.add_argument("--key", default=os.environ.get("PYLEDGER_KEY"), help="API key; none for a server with --dev")
    demo = commands.add_parser("demo", parents=[served, machine], help="a shop's day, against the running server")
    demo.set_defaults(run=_demo)
    _add_feed_command(commands, served)
    _add_key_commands(commands, where, machine)
    signing.add_commands(commands, _Parser, machine)
    return parser


def _add_feed_command(commands: Any, served: _Parser) -> None:
    feed = commands.add_parser("feed", parents=[served], help="follow the journal of the running server, a line a row")
    feed.add_argument("--after", metavar="CURSOR", help="where to go on; else only what is still to come")
    feed.add_argument("--store", metavar="FILE", help="keep the cursor here, and go on from it the next time")
    feed.add_argument("--once", action="store_true", help="what is there, from the beginning on, and no further")
    feed.add_argument("--ledger", type=int, metavar="N", help="of one ledger only")
    feed.add_argument("--account", metavar="ID", help="of one account only")
    feed.add_argument("--code", type=int, metavar="N", help="of one code only")
    feed.add_argument("--declined", action="store_true", help="with what was declined")
    feed.add_argument("--json", action="store_true", help="a JSON object a line, with its cursor")
    feed.set_defaults(run=_feed)


def _add_key_commands(commands: Any, where: _Parser, machine: _Parser) -> None:
    key = commands.add_parser("key", help="make, list and revoke API keys")
    verbs = key.add_subparsers(required=True, metavar="VERB", parser_class=_Parser)
    create = verbs.add_parser("create", parents=[where, machine], help="make a key; it is shown once")
    create.add_argument("--tenant", required=True, help="whose books; made if there is no such tenant")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--scope", action="append", metavar="SCOPE", help="what it may do; again for more")
    create.add_argument("--expires-in-days", type=_days, default=0, metavar="N", help="when it ends; else never")
    create.set_defaults(run=_key_create)
    listed = verbs.add_parser("list", parents=[where, machine], help="all keys, without their secrets")
    listed.set_defaults(run=_key_list)
    revoke = verbs.add_parser("revoke", parents=[where, machine], help="end a key for ever")
    revoke.add_argument("id", help="as `pyledger key list` shows it")
    revoke.set_defaults(run=_key_revoke)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= EXPIRY_DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days within 1..{EXPIRY_DAYS_MAX}")
    return int(text)


def _settings(asked: argparse.Namespace) -> Settings:
    return Settings.load(overrides={name: getattr(asked, name, None) for name in OVERRIDES})


def _serve(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger.server.main import serve

    return serve(settings)


def _check(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger.proof import prove

    findings = _run(prove(settings, show=not asked.json))
    if asked.json:
        _print_json({"findings": findings})
    return EXIT_FAILED if findings else EXIT_DONE


def _info(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger.info import collect, show

    found = _run(collect(settings))
    if asked.json:
        _print_json(found)
    else:
        show(found, settings)
    return EXIT_DONE


def _migrate(asked: argparse.Namespace) -> int:
    version = _run(_migrated(_settings(asked)))
    if asked.json:
        _print_json({"schema": version})
    else:
        print(f"the schema is at version {version}")
    return EXIT_DONE


async def _migrated(settings: Settings) -> str:
    from pyledger.embedded import open_database
    from pyledger.ledger.migrate import upgrade

    async with open_database(settings) as database:
        return await upgrade(database.owner_dsn)


def _rebuild(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger.proof import drop

    dropped = _run(drop(settings, subtrees=asked.subtrees))
    if asked.json:
        _print_json({"shard": settings.shard})
    else:
        print(dropped)
    return EXIT_DONE


def _demo(asked: argparse.Namespace) -> int:
    from pyledger.demo import run

    return int(_run(run(asked.url, asked.key, as_json=asked.json)))


def _feed(asked: argparse.Namespace) -> int:
    from pyledger.follow import run

    return int(_run(run(asked)))


def _key_create(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger import keys

    made = _run(keys.create(settings, asked.tenant, asked.name, asked.scope, asked.expires_in_days))
    if asked.json:
        _print_json(made)
    else:
        keys.show_made(made)
    return EXIT_DONE


def _key_list(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger import keys

    rows = _run(keys.listed(settings))
    if asked.json:
        _print_json({"keys": rows})
    else:
        keys.show_list(rows)
    return EXIT_DONE


def _key_revoke(asked: argparse.Namespace) -> int:
    settings = _settings(asked)
    from pyledger import keys

    if not _run(keys.revoke(settings, asked.id)):
        raise Failed(f"no key {asked.id} that is not revoked already")
    if asked.json:
        _print_json({"id": asked.id, "revoked": True})
    else:
        print(f"key {asked.id} is revoked")
    return EXIT_DONE


def _run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def _print_json(value: object) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(value), indent=2))


if __name__ == "__main__":
    sys.exit(main())
