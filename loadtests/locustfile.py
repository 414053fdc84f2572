"""The file for Locust: `locust -f loadtests/locustfile.py --host URL`, with the web UI or `--headless`.

It opens a ledger with accounts of its own, so it can run any number of times against any server. The load is
open-loop (see `pacing.py`): `--load` names a shape of `profiles.toml`, `--rate` and `--duration` change it,
and the number of users is fixed, because a user is a source of arrivals, not a waiting person. `--processes`
and workers share the sources. Give the API key by `--ledger-key` or in PYLEDGER_KEY.

Guarded here: a run that breaks the latency or error bounds of `slo.toml` exits with 1. The bounds that need
a look at the server (durability, balance, cost) are judged by `make load`.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from random import randrange
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests import config, nouns, rules
from loadtests.books import Caller, SetUpFailed, open_books
from loadtests.locust_gates import broken
from loadtests.recorder import Recorder
from loadtests.session import Session
from loadtests.users import USERS, BulkPoster, CardProcessor, Reader, Wallet

__all__ = ["BulkPoster", "CardProcessor", "Profile", "Reader", "Wallet"]

log = logging.getLogger("loadtests")
SPAWN_PER_S = 100.0


class Profile(LoadTestShape):
    """Keeps all sources there from the start to the end; what they offer follows the profile."""

    def tick(self) -> tuple[int, float] | None:
        """All users, until everything that was due has had its time."""
        assert self.runner is not None
        environment = self.runner.environment
        if getattr(environment, "ledger_failed", False):
            environment.ledger_failed = False  # type: ignore[attr-defined]
            return None
        session: Session | None = getattr(environment, "ledger_session", None)
        return None if session is not None and session.over else (nouns.SOURCES * len(USERS), SPAWN_PER_S)


def add_options(parser: LocustArgumentParser) -> None:
    """What can be asked for, on the command line and in the web UI."""
    names = list(config.profiles().profile)
    parser.add_argument("--load", choices=names, default="steady", help="shape and mix, from profiles.toml")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second, instead of the profile's")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds, instead of the profile's")
    parser.add_argument("--shared-cores", type=int, default=0, help="cores that the server has to share with Locust")
    # Not in the web UI: its page would show the key to whoever opens it.
    parser.add_argument("--ledger-key", env_var="PYLEDGER_KEY", default="", include_in_web_ui=False, help="API key")
    parser.add_argument("--seed", default="", help="of the schedule and of all choices; none: another each time")
    parser.add_argument("--books", default="", include_in_web_ui=False, help="books that are open already, as JSON")
    parser.add_argument("--out", default="", include_in_web_ui=False, help="directory for counts and ids")


def begin(environment: Environment, **_: Any) -> None:
    """Open the books, unless somebody did, and start the clock. Workers get the books from their master."""
    environment.ledger_failed = False  # type: ignore[attr-defined]
    environment.ledger_session = None  # type: ignore[attr-defined]
    options = environment.parsed_options
    assert options is not None
    made_here = not options.books
    try:
        plan = rules.plan(
            options.load, config.profiles(), duration_s=options.duration, requests_per_s=options.rate,
            cores=options.shared_cores,
        )  # fmt: skip
        if made_here:
            caller = Caller(environment.host or "", options.ledger_key)
            options.books = msgspec.json.encode(open_books(caller, plan, _tell)).decode()
            caller.close()
    except (SetUpFailed, config.BadConfig) as error:
        log.error("pyledger: %s", error)
        environment.ledger_failed = True  # type: ignore[attr-defined]
        environment.process_exit_code = 2
        return
    runner = environment.runner
    options.seed = options.seed or str(randrange(1 << 32))
    name = f"worker-{runner.worker_index}" if isinstance(runner, WorkerRunner) else "local"
    recording = options.out and not isinstance(runner, MasterRunner)
    books = msgspec.json.decode(options.books, type=nouns.Books)
    environment.ledger_session = Session(  # type: ignore[attr-defined]
        plan, books, options.ledger_key, Recorder(Path(options.out) if recording else None, name),
        f"{options.seed} {name}", alone=not isinstance(runner, MasterRunner | WorkerRunner),
    )  # fmt: skip
    if made_here:
        # Workers have been told by now to ask for them; a next run from the web UI opens new ones.
        environment.ledger_made_books = True  # type: ignore[attr-defined]
    log.info("pyledger: %s, %.0f requests/s at most, seed %s", plan.profile, plan.requests_per_s, options.seed)


def _tell(phase: str, done: int, of: int) -> None:
    log.info("pyledger: %s %d of %d", phase, done, of)


def end(environment: Environment, **_: Any) -> None:
    """Write down what was seen, and judge what Locust itself can."""
    session: Session | None = getattr(environment, "ledger_session", None)
    options = environment.parsed_options
    if session is None or options is None:
        return
    session.close()
    # The shape of a next run must not take this one's end for its own.
    environment.ledger_session = None  # type: ignore[attr-defined]
    if getattr(environment, "ledger_made_books", False):
        options.books = ""
        environment.ledger_made_books = False  # type: ignore[attr-defined]
    if isinstance(environment.runner, WorkerRunner) or options.out:
        return
    lines = broken(environment.stats, config.slo(), session.plan.requests_per_s)
    for line in lines:
        log.error("pyledger: FAILED %s", line)
    environment.process_exit_code = 1 if lines else 0


# Locust's hooks have no types.
_events: Any = events
_events.init_command_line_parser.add_listener(add_options)
_events.test_start.add_listener(begin)
_events.test_stop.add_listener(end)
