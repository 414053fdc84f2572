"""The verbs that talk to a running server: demo, feed."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from pyledger.cli.shared import Options, run


def add_commands(commands: Any, common: Options) -> None:
    """Both."""
    demo = commands.add_parser(
        "demo", parents=[common.served, common.machine], help="a shop's day, against the running server"
    )
    demo.set_defaults(run=_demo)
    feed = commands.add_parser(
        "feed", parents=[common.served], help="follow the journal of the running server, a line a row"
    )
    feed.add_argument("--after", metavar="CURSOR", help="where to go on; else only what is still to come")
    feed.add_argument("--store", metavar="FILE", help="keep the cursor here, and go on from it the next time")
    feed.add_argument("--once", action="store_true", help="what is there, from the beginning on, and no further")
    feed.add_argument("--ledger", type=int, metavar="N", help="of one ledger only")
    feed.add_argument("--account", metavar="ID", help="of one account only")
    feed.add_argument("--code", type=int, metavar="N", help="of one code only")
    feed.add_argument("--declined", action="store_true", help="with what was declined")
    feed.add_argument("--json", action="store_true", help="a JSON object a line, with its cursor")
    feed.set_defaults(run=_feed)


def _demo(asked: Namespace) -> int:
    from pyledger.demo import run as shop

    return int(run(shop(asked.url, asked.key, as_json=asked.json)))


def _feed(asked: Namespace) -> int:
    from pyledger.follow import run as follow

    return int(run(follow(asked)))
