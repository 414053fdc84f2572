"""The verbs of `pyledger key`: create, list, revoke."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from typing import Any, Final

from pyledger.cli.shared import EXIT_DONE, Failed, Options, Parser, print_json, run, settings_of

EXPIRY_DAYS_MAX: Final = 36_500
"""A century: a key that is to live longer is one that never ends."""


def add_commands(commands: Any, common: Options) -> None:
    """All of them."""
    local = [common.where, common.machine]
    key = commands.add_parser("key", help="make, list and revoke API keys")
    verbs = key.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
    create = verbs.add_parser("create", parents=local, help="make a key; it is shown once")
    create.add_argument("--tenant", required=True, help="whose books; made if there is no such tenant")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--scope", action="append", metavar="SCOPE", help="what it may do; again for more")
    create.add_argument("--expires-in-days", type=_days, default=0, metavar="N", help="when it ends; else never")
    create.set_defaults(run=_key_create)
    listed = verbs.add_parser("list", parents=local, help="all keys, without their secrets")
    listed.set_defaults(run=_key_list)
    revoke = verbs.add_parser("revoke", parents=local, help="end a key for ever")
    revoke.add_argument("id", help="as `pyledger key list` shows it")
    revoke.set_defaults(run=_key_revoke)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= EXPIRY_DAYS_MAX:
        raise ArgumentTypeError(f"{text!r} is not a number of days within 1..{EXPIRY_DAYS_MAX}")
    return int(text)


def _key_create(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger import keys

    made = run(keys.create(settings, asked.tenant, asked.name, asked.scope, asked.expires_in_days))
    if asked.json:
        print_json(made)
    else:
        keys.show_made(made)
    return EXIT_DONE


def _key_list(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger import keys

    rows = run(keys.listed(settings))
    if asked.json:
        print_json({"keys": rows})
    else:
        keys.show_list(rows)
    return EXIT_DONE


def _key_revoke(asked: Namespace) -> int:
    settings = settings_of(asked)
    from pyledger import keys

    if not run(keys.revoke(settings, asked.id)):
        raise Failed(f"no key {asked.id} that is not revoked already")
    if asked.json:
        print_json({"id": asked.id, "revoked": True})
    else:
        print(f"key {asked.id} is revoked")
    return EXIT_DONE
