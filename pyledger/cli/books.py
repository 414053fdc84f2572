"""The verbs of a machine that has the books: serve, check, rebuild, info, migrate."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pyledger.cli.shared import EXIT_DONE, EXIT_FAILED, Options, print_json, run, settings_of
from pyledger.settings import Settings


def add_commands(commands: Any, common: Options) -> None:
    """All of them."""
    local = [common.where, common.machine]
    serve = commands.add_parser("serve", parents=[common.where], help="serve HTTP until told to stop")
    serve.add_argument("--dev", action="store_true", default=None, help="without keys; on loopback only")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", help="TCP port to listen on")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", parents=local, help="prove the books, from the first row on")
    check.set_defaults(run=_check)

    rebuild = commands.add_parser(
        "rebuild", parents=local, help="drop the checkpoint; the next start replays the whole journal"
    )
    instead = rebuild.add_mutually_exclusive_group()
    instead.add_argument(
        "--subtrees", action="store_true", help="instead drop what proofs are made from, beside a server"
    )
    instead.add_argument("--seals", action="store_true", help="instead drop what older partitions got, beside a server")
    rebuild.set_defaults(run=_rebuild)

    info = commands.add_parser("info", parents=local, help="versions, settings, where the data is")
    info.set_defaults(run=_info)

    migrate = commands.add_parser("migrate", parents=local, help="bring the database's schema up to date")
    migrate.set_defaults(run=_migrate)


def _serve(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger.server.main import serve

    return serve(settings)


def _check(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger.proof import prove

    findings = run(prove(settings, show=not asked.json))
    if asked.json:
        print_json({"findings": findings})
    return EXIT_FAILED if findings else EXIT_DONE


def _info(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger.info import collect, show

    found = run(collect(settings))
    if asked.json:
        print_json(found)
    else:
        show(found, settings)
    return EXIT_DONE


def _migrate(asked: Namespace) -> int:
    version = run(_migrated(settings_of(asked)))
    if asked.json:
        print_json({"schema": version})
    else:
        print(f"the schema is at version {version}")
    return EXIT_DONE


async def _migrated(settings: Settings) -> str:
    from pyledger.embedded import open_database
    from pyledger.ledger.migrate import upgrade

    async with open_database(settings) as database:
        return await upgrade(database.owner_dsn)


def _rebuild(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger.proof import drop

    dropped = run(drop(settings, "seals" if asked.seals else "subtrees" if asked.subtrees else "checkpoint"))
    if asked.json:
        print_json({"shard": settings.shard})
    else:
        print(dropped)
    return EXIT_DONE
