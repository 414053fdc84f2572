"""The verbs of retention: archive, restore, prove, verify-archive, legal-hold."""

from __future__ import annotations

import secrets
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyledger.cli.shared import EXIT_DONE, EXIT_FAILED, Options, Parser, print_json, run, settings_of
from pyledger.settings import BadSetting
from pyledger.signing import public_key

if TYPE_CHECKING:
    from pyledger._rust import Engine
    from pyledger.retention.books import Books
    from pyledger.retention.plan import Step
    from pyledger.settings import Settings


def add_commands(commands: Any, common: Options) -> None:
    """All of them."""
    local = [common.where, common.machine]
    archive = commands.add_parser(
        "archive", parents=local, help="archive sealed partitions as Parquet, and drop those that are long archived"
    )
    archive.add_argument("--policy", type=Path, required=True, metavar="FILE", help="what may go, and when; TOML")
    archive.add_argument("--to", type=Path, required=True, metavar="DIR", help="where the archives are")
    archive.add_argument("--dry-run", action="store_true", help="say what would be done")
    archive.add_argument(
        "--again", metavar="NAME", help="archive this partition again: it was restored, or its archive is lost"
    )
    archive.add_argument("--allow-unsigned", action="store_true", help="archive what no signed checkpoint contains")
    archive.set_defaults(run=_archive)
    restore = commands.add_parser("restore", parents=local, help="bring an archived partition back")
    restore.add_argument("archive", type=Path, help="its directory")
    restore.set_defaults(run=_restore)
    prove = commands.add_parser("prove", help="prove an archived transfer; needs nothing but its archive")
    prove.add_argument("id", help="of the transfer")
    prove.add_argument("--archive", type=Path, required=True, metavar="DIR", help="the archive's directory")
    prove.add_argument("--tenant", type=int, metavar="N", help="whose, if the id stands twice")
    prove.set_defaults(run=_prove)
    verify = commands.add_parser(
        "verify-archive", parents=[common.machine], help="read all of an archive; needs neither server nor database"
    )
    verify.add_argument("archive", type=Path, help="its directory")
    verify.add_argument("--key", action="append", required=True, help="public key, or a file with it; again for more")
    verify.set_defaults(run=_verify)
    _add_holds(commands, local)


def _add_holds(commands: Any, local: list[Parser]) -> None:
    hold = commands.add_parser("legal-hold", help="what must stay, whatever the policy says")
    verbs = hold.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
    place = verbs.add_parser("place", parents=local, help="on all books, or on a tenant's, a ledger's, an account's")
    place.add_argument("--tenant", metavar="NAME", help="of this tenant; without one, of all")
    place.add_argument("--ledger", type=int, metavar="N", help="one ledger of the tenant")
    place.add_argument("--account", metavar="ID", help="one account of the tenant")
    place.add_argument("--reason", required=True, help="why; it stays on record")
    place.set_defaults(run=_place)
    lift = verbs.add_parser("lift", parents=local, help="it stays on record")
    lift.add_argument("number", type=int, help="as `list` has it")
    lift.add_argument("--reason", required=True, help="why; it stays on record")
    lift.set_defaults(run=_lift)
    listed = verbs.add_parser("list", parents=local, help="all of them, those that were lifted too")
    listed.set_defaults(run=_list)


def _archive(asked: Namespace) -> int:
    from pyledger.retention.policy import Policy

    policy = Policy.read(asked.policy)
    if not asked.to.is_dir():
        raise BadSetting(f"{asked.to} is no directory")
    steps: list[Step] = []
    try:
        run(_archived(settings_of(asked), policy, asked, steps))
    except BaseException:
        # What was done before stays done.
        if steps:
            _say(steps, asked)
        raise
    _say(steps, asked)
    if not asked.json and not any(step.do for step in steps):
        print("Nothing is due.")
    return EXIT_DONE


def _say(steps: list[Step], asked: Namespace) -> None:
    if asked.json:
        print_json({"partitions": [_shown(step) for step in steps], "dry_run": asked.dry_run})
        return
    for step in steps:
        done = " and ".join(_said(step, asked))
        rows = "" if step.partition.rows is None else f"{step.partition.rows:,} rows: "
        print(f"{step.partition.name}: {rows}{', '.join(filter(None, (done, step.why)))}")
    sys.stdout.flush()


def _said(step: Step, asked: Namespace) -> list[str]:
    again = " again" if step.partition.name == asked.again else ""
    past = {"archive": f"archived{again}", "drop": "dropped"}
    return [f"would be {past[each]}" if asked.dry_run else past[each] for each in step.do]


def _shown(step: Step) -> dict[str, Any]:
    return {
        "name": step.partition.name,
        "start_ns": str(step.partition.start_ns),
        "end_ns": str(step.partition.end_ns),
        "rows": step.partition.rows,
        "do": list(step.do),
        "why": step.why,
    }


async def _archived(settings: Settings, policy: Any, asked: Namespace, steps: list[Step]) -> None:
    """Do what is due; each of the `steps` is there once it is done."""
    from pyledger.embedded import open_database
    from pyledger.retention.archiving import Archiving
    from pyledger.retention.books import Books
    from pyledger.retention.dropping import Dropping
    from pyledger.retention.plan import Step, plan
    from pyledger.retention.signatures import given

    key_of = given(settings.signing_key)
    async with open_database(settings) as database, Books.open(database.owner_dsn) as books:
        now_ns = await books.now_ns(time.time_ns())
        seen = await books.see(policy, now_ns)
        tenants = await books.tenants()
        numbers = {name: number for number, name in tenants.items()}
        for tenant, number in policy.ledgers:
            if tenant not in numbers:
                raise BadSetting(f"the policy names ledger {number} of {tenant!r}, and there is no such tenant")
            await books.require_ledger(numbers[tenant], number)
        if asked.again is not None and asked.again not in [each.partition.name for each in seen]:
            raise BadSetting(f"there is no partition {asked.again}")
        planned = plan(seen, policy, tenants, now_ns, asked.again)
        with _Bars(show=not asked.json and not asked.dry_run) as bars:
            for step, each in zip(planned, seen, strict=True):
                report, at, said = bars.of(step.partition.name), len(steps), ""
                if "archive" in step.do and not asked.dry_run:
                    archiving = Archiving(books, asked.to, key_of, report, allow_unsigned=asked.allow_unsigned)
                    said = await archiving.archive(each)
                    steps.append(Step(step.partition, ("archive",), said))
                if "drop" in step.do and not asked.dry_run:
                    await Dropping(books, asked.to, key_of, partial(_engine, settings), report).drop(each)
                if step.partition.rows != 0 and step.partition.start_ns <= now_ns:
                    steps[at:] = [Step(step.partition, step.do, ", ".join(filter(None, (step.why, said))))]


def _engine(settings: Settings, shard: int) -> Engine:
    from pyledger._rust import Engine

    return Engine(
        shard,
        ledgers_max=settings.ledgers_max,
        accounts_max=settings.accounts_max,
        holds_max=settings.holds_max,
        window_ids=settings.window_ids,
        seed=secrets.randbits(64),
    )


def _restore(asked: Namespace) -> int:
    name = run(_restored(settings_of(asked), asked))
    if asked.json:
        print_json({"restored": name})
    else:
        print(f"{name} is restored. It stays until `pyledger archive --again {name}` lets it go.")
    return EXIT_DONE


async def _restored(settings: Settings, asked: Namespace) -> str:
    from pyledger.retention.restoring import restore

    async def verb(books: Books) -> str:
        with _Bars(show=not asked.json) as bars:
            return (await restore(books, asked.archive, bars.of("restore"))).name

    return str(await _with_books(settings, verb))


async def _with_books(settings: Settings, verb: Callable[[Books], Coroutine[Any, Any, Any]], alone: bool = True) -> Any:
    from pyledger.embedded import open_database
    from pyledger.retention.books import Books

    async with open_database(settings) as database, Books.open(database.owner_dsn, alone=alone) as books:
        return await verb(books)


def _prove(asked: Namespace) -> int:
    from pyledger.retention.proving import prove

    sys.stdout.buffer.write(prove(asked.archive, asked.id.lower(), asked.tenant) + b"\n")
    return EXIT_DONE


def _verify(asked: Namespace) -> int:
    from pyledger.ledger.proofs.notes import printable
    from pyledger.retention.nouns import BadArchive
    from pyledger.retention.proving import verify

    keys = [public_key(text) for text in asked.key]
    try:
        found = verify(asked.archive, keys)
    except BadArchive as error:
        sys.stderr.write(f"pyledger: this proves nothing: {printable(str(error))}\n")
        return EXIT_FAILED
    if asked.json:
        shards = [
            {"shard": each.shard, "first_seq": each.first_seq, "last_seq": each.last_seq, "rows": each.rows}
            | {"key": str(key)}
            for each, key in found
        ]
        print_json({"archive": str(asked.archive), "shards": shards})
        return EXIT_DONE
    for each, key in found:
        print(f"{each.rows:,} rows in batches {each.first_seq} to {each.last_seq} of shard {each.shard}, as signed by")
        print(f"  {key}")
    return EXIT_DONE


def _place(asked: Namespace) -> int:
    from pyledger.retention import holds

    arguments = (asked.tenant, asked.ledger, asked.account, asked.reason)
    number = run(_with_books(settings_of(asked), lambda books: holds.place(books, *arguments), alone=False))
    if asked.json:
        print_json({"number": number})
    else:
        print(f"legal hold {number} is placed")
    return EXIT_DONE


def _lift(asked: Namespace) -> int:
    from pyledger.retention import holds

    run(_with_books(settings_of(asked), lambda books: holds.lift(books, asked.number, asked.reason), alone=False))
    if asked.json:
        print_json({"number": asked.number, "lifted": True})
    else:
        print(f"legal hold {asked.number} is lifted")
    return EXIT_DONE


def _list(asked: Namespace) -> int:
    from pyledger.retention import holds

    rows = run(_with_books(settings_of(asked), holds.listed, alone=False))
    if asked.json:
        print_json({"legal_holds": rows})
        return EXIT_DONE
    for row in rows:
        parts = [f"{name} {row[name]}" for name in ("tenant", "ledger", "account") if row[name] is not None]
        lifted = (
            f"; lifted by {row['lifted_by']} at {row['lifted_at']}: {row['lifted_because']}" if row["lifted_at"] else ""
        )
        print(
            f"{row['number']}: {', '.join(parts) or 'all books'}: {row['reason']}"
            f" (by {row['placed_by']} at {row['placed_at']}{lifted})"
        )
    return EXIT_DONE


class _Bars:
    """A bar for each partition's steps, on a terminal."""

    def __init__(self, *, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        quiet = not show or not sys.stderr.isatty()
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._progress.stop()

    def of(self, name: str) -> Callable[[str, int, int], None]:
        """What is told how far the steps of a partition are."""
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = self._progress.add_task(f"{name}: {step}", total=max(total, 1))
            self._progress.update(tasks[step], completed=done, total=max(total, 1))

        return report
