"""`pyledger import` and `pyledger export` as a user runs them: real files, a real server, real signals.

Guarded here: what goes out comes in again as the same books; every bad row is told with its line and its reason and
no other row is lost for it; killed at any moment and run again, nothing is there twice and nothing is missing.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.server.talk import Talker
from tests.support.clusters import Clusters, Database
from tests.support.process import ServerProcess, environment

LEDGER = 7
HEADER = "id,debit_account_id,credit_account_id,amount,ledger,code,flags,timeout_s,pending_id,reverses,"
HEADER += "reference,metadata"


def number(place: int, kind: int = 0) -> str:
    """An id like a UUIDv7 of long ago, which no look-up is spared, or of an account."""
    return str(uuid.UUID(int=0x01900000_0000_7000_8000_000000000000 + (kind << 40) + place))


BANK, WALLET, SHOP = (number(place, 1) for place in (1, 2, 3))


def pyledger(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """One command line."""
    command = [sys.executable, "-m", "pyledger.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, check=False, timeout=120
    )


def imported(what: str, file: Path, url: str, *more: str) -> dict[str, Any]:
    """Import a file and return what it said."""
    done = pyledger("import", what, file, "--url", url, "--json", *more)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def exported(database: Database, what: str, to: Path, *more: str) -> Path:
    """Export to a file."""
    done = pyledger("export", what, "--to", to, *more, database_url=database.reader_dsn)
    assert done.returncode == 0, done.stderr
    return to


def open_books(talker: Talker, *, accounts: bool = True) -> None:
    """A ledger, and three accounts of which the wallet must not be overdrawn."""
    assert talker.post("/v1/ledgers", {"id": LEDGER, "asset": "EUR", "exponent": 2}).status == 201
    if accounts:
        each = [{"id": id, "ledger": LEDGER, "code": 1} for id in (BANK, WALLET, SHOP)]
        each[1] |= {"flags": ["debits_must_not_exceed_credits"], "reference": 'Ada, "the first"', "metadata": {"a": 1}}
        assert talker.post("/v1/accounts/batch", {"accounts": each}).json["accepted"] == 3


def balances(talker: Talker) -> dict[str, Any]:
    """Of every account."""
    return {each["id"]: each["balances"] for each in talker.get("/v1/accounts").json["data"]}


def a_life(talker: Talker) -> None:
    """Some of everything that moves money, and some that does not."""
    move = {"ledger": LEDGER, "code": 5}
    into = move | {"debit_account_id": BANK, "credit_account_id": WALLET}
    out = move | {"debit_account_id": WALLET, "credit_account_id": SHOP}
    rows: list[dict[str, Any]] = [
        {"id": number(1), **into, "amount": str(2**100), "reference": 'a "quoted", one', "metadata": {"ü": "\n,\\"}},
        {"id": number(2), **into, "amount": "700", "effective_at": "2025-01-02T03:04:05.123456789Z"},
        {"id": number(3), **out, "amount": "300", "flags": ["pending"]},
        {"id": number(4), **out, "amount": "200", "flags": ["pending"], "timeout_s": 86400},
        {"id": number(5), **out, "amount": "10", "flags": ["linked", "pending"]},
        {"id": number(6), **out, "amount": "20", "flags": ["pending"]},
        {"id": number(7), "pending_id": number(3), "amount": "120", "flags": ["post_pending"]},
        {"id": number(8), "pending_id": number(5), "flags": ["post_pending", "group"]},
        {"id": number(9), "reverses": number(7), "amount": "20", "reference": "-- back"},
        {"id": number(10), **out, "amount": str(2**101)},
        {"id": number(11), **out, "amount": "5000", "flags": ["balancing_debit"]},
        {"id": number(12), **out, "amount": "7", "flags": ["pending"], "timeout_s": 1},
    ]
    done = talker.post("/v1/transfers/batch", {"transfers": rows}).json
    assert (done["accepted"], done["declined"], done["refused"]) == (11, 1, 0), done


async def test_what_goes_out_comes_in_as_the_same_books(
    start_server: Callable[..., ServerProcess], database: Database, clusters: Clusters, tmp_path: Path
) -> None:
    first = Talker(start_server(database).url)
    open_books(first)
    a_life(first)
    deadline = time.monotonic() + 20
    while "expire" not in {each["kind"] for each in first.get("/v1/transfers?limit=3").json["data"]}:
        assert time.monotonic() < deadline, "the hold of a second did not expire"
        time.sleep(0.1)
    nothing = pyledger("export", "transfers", "--ledger", 99, "--since", "2026-01-01", database_url=database.reader_dsn)
    assert (nothing.returncode, nothing.stdout.count("\n"), nothing.stdout[:19]) == (0, 1, "id,debit_account_id"), (
        nothing
    )
    nobody = pyledger("export", "transfers", "--tenant", "nobody", database_url=database.reader_dsn)
    assert (nobody.returncode, nobody.stderr) == (2, "pyledger: there is no tenant 'nobody': dev\n")
    for form in ("csv", "jsonl", "parquet"):
        accounts = exported(database, "accounts", tmp_path / f"accounts.{form}")
        transfers = exported(database, "transfers", tmp_path / f"transfers.{form}", "--declined")
        fresh = await clusters.make_database(18)
        server = start_server(fresh)
        same_books(first, Talker(server.url), accounts, transfers)
        server.stop(signal.SIGKILL)
        await clusters.drop_database(fresh)


def same_books(first: Talker, second: Talker, accounts: Path, transfers: Path) -> None:
    """Import both files into a server without books and compare."""
    open_books(second, accounts=False)
    assert imported("accounts", accounts, second.url)["accepted"] == 3
    done = imported("transfers", transfers, second.url)
    assert (done["accepted"], done["skipped"], done["malformed"], done["refused"]) == (13, 1, 0, 0)
    assert balances(second) == balances(first)
    assert second.get(f"/v1/accounts/{WALLET}").json["reference"] == 'Ada, "the first"'
    for place in (1, 2, 9):
        one, other = (talker.get(f"/v1/transfers/{number(place)}").json for talker in (first, second))
        assert {**one, "recorded_at": ""} == {**other, "recorded_at": ""}
    if transfers.suffix == ".parquet":
        assert imported("transfers", transfers, second.url) == done, "run again, it does nothing and says the same"


BAD_ROWS = [
    ("not-a-uuid,{BANK},{WALLET},5,7,1,,,,,,", "malformed", "invalid_id"),
    ("{id},{BANK},{WALLET},5.5,7,1,,,,,,", "malformed", "invalid_amount"),
    ("{id},{BANK},{WALLET},340282366920938463463374607431768211456,7,1,,,,,,", "malformed", "invalid_amount"),
    ("{id},{BANK},{WALLET},-1,7,1,,,,,,", "malformed", "invalid_amount"),
    ("{id},{BANK},{WALLET},5,seven,1,,,,,,", "malformed", None),
    ("{id},{BANK},{WALLET},5,7,99999999999999999999,,,,,,", "malformed", None),
    ("{id},{BANK},{WALLET},5,7", "malformed", "wrong_fields"),
    ("{id},{BANK},{WALLET},5,7,1,,,,,,,,", "malformed", "wrong_fields"),
    ("{id},{BANK},{WALLET},5,7,1,no_such_flag,,,,,", "malformed", None),
    ('{id},{BANK},{WALLET},5,7,1,,,,,,"{{""a"":"', "malformed", "invalid_metadata"),
    ('{id},{BANK},{WALLET},5,7,1,,,,,"x"y,', "malformed", "invalid_csv"),
    ("{id},{BANK},{WALLET},5,7,1,,,,,\udcff\udcfe,", "malformed", "invalid_utf8"),
    ('{id},{BANK},{WALLET},"5"",""code"":""9",7,1,,,,,,', "malformed", "invalid_amount"),
    ("{id},{BANK},{WALLET},0,7,1,,,,,,", "refused", "amount_must_not_be_zero"),
    ("{id},{BANK},{BANK},5,7,1,,,,,,", "refused", "accounts_must_differ"),
    ("{id},{BANK},01900000-0000-7000-8000-0000ffffffff,5,7,1,,,,,,", "refused", "credit_account_not_found"),
    ("{id},{WALLET},{BANK},99999999,7,1,,,,,,", "declined", "exceeds_credits"),
]


def bad_file(path: Path) -> list[int]:
    """A good row, then bad ones with good ones between them; the lines of the bad ones."""
    lines, bad = [HEADER], []
    for place, (row, _status, _code) in enumerate(BAD_ROWS):
        lines.append(f"{number(2 * place)},{BANK},{SHOP},1,{LEDGER},1,,,,,,")
        lines.append(row.format(id=number(2 * place + 1), BANK=BANK, WALLET=WALLET))
        bad.append(len(lines))
    lines.append(f"{number(900)},{BANK},{SHOP},1,{LEDGER},1,linked,,,,,")
    lines.append(f"{number(901)},{BANK},{SHOP},one,{LEDGER},1,,,,,,")
    path.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogateescape"))
    return [*bad, len(lines) - 1, len(lines)]


def test_every_bad_row_is_told_and_no_other_is_lost(server: ServerProcess, tmp_path: Path) -> None:
    talker = Talker(server.url)
    open_books(talker)
    file = tmp_path / "bad.csv"
    bad = bad_file(file)
    tried = imported("transfers", file, server.url, "--dry-run", "--report", str(tmp_path / "tried.csv"))
    done = imported("transfers", file, server.url)
    with (tmp_path / "bad.csv.rejected.csv").open(encoding="utf-8", newline="") as file:
        report = list(csv.DictReader(file))
    told = {int(row["line"]): (row["status"], row["code"]) for row in report}
    assert list(told) == bad
    for line, (_row, status, code) in zip(bad, BAD_ROWS, strict=False):
        assert told[line][0] == status, line
        assert code is None or told[line][1] == code, (line, told[line])
    assert told[bad[-2]] == ("malformed", "linked_chain_refused")
    assert all(row["detail"] for row in report)
    assert done["accepted"] == int(balances(talker)[SHOP]["posted"])
    assert done["accepted"] + len(bad) == done["rows"]
    # What follows from the rows alone was known before.
    assert tried["malformed"] == done["malformed"]
    assert tried["refused"] == 2


def with_bad_rows(path: Path, rows: int, every: int) -> list[int]:
    """A file of which some rows are wrong; their lines."""
    many(path, rows)
    lines = path.read_text("utf-8").splitlines()
    bad = list(range(every, rows, every))
    for line in bad:
        lines[line - 1] = lines[line - 1].replace(",1,7,", ",one,7,")
    path.write_text("\n".join([*lines, ""]), "utf-8")
    return bad


def reported(path: Path) -> list[int]:
    """The lines that a report tells."""
    with path.open(encoding="utf-8", newline="") as file:
        return [int(row["line"]) for row in csv.DictReader(file)]


def rows_in(progress: Path) -> int:
    """How many rows an import has answers for."""
    return int(json.loads(progress.read_bytes())["rows"]) if progress.exists() else 0


def many(path: Path, rows: int) -> None:
    """A file of good rows."""
    lines = [f"{number(place)},{BANK},{WALLET},1,{LEDGER},1,,,,,," for place in range(rows)]
    path.write_text("\n".join([HEADER, *lines, ""]), "utf-8")


def test_imported_events_have_the_time_of_their_recording(server: ServerProcess, tmp_path: Path) -> None:
    talker = Talker(server.url)
    assert talker.post("/v1/ledgers", {"id": LEDGER, "asset": "EUR", "exponent": 2}).status == 201
    accounts, transfers = tmp_path / "accounts.jsonl", tmp_path / "transfers.jsonl"
    at_ns = 1_700_000_000_000_000_000
    opened = [
        {"id": id, "ledger": LEDGER, "code": 1, "recorded_ns": at_ns + place} for place, id in enumerate((BANK, SHOP))
    ]
    rows = [
        {
            "debit_account_id": BANK,
            "credit_account_id": SHOP,
            "amount": "5",
            "ledger": LEDGER,
            "code": 1,
            "recorded_ns": n,
        }
        for n in (at_ns + 10, at_ns + 20, at_ns + 20)
    ]
    for file, objects in ((accounts, opened), (transfers, rows)):
        file.write_text("".join(json.dumps(each) + "\n" for each in objects), "utf-8")
    assert imported("accounts", accounts, server.url, "--imported")["accepted"] == 2
    tried = imported("transfers", transfers, server.url, "--imported", "--ids-from", "old books", "--dry-run")
    assert (tried["refused"], tried["rows"]) == (1, 3)
    done = imported("transfers", transfers, server.url, "--imported", "--ids-from", "old books")
    assert (done["accepted"], done["declined"]) == (2, 1)
    found = talker.get("/v1/transfers?order=oldest").json["data"]
    assert [each.get("effective_at") for each in found[:2]] == [
        "2023-11-14T22:13:20.000000010Z",
        "2023-11-14T22:13:20.000000020Z",
    ]
    assert found[0]["flags"] == ["imported"]


def test_an_import_of_which_the_last_row_was_declined_is_run_again(server: ServerProcess, tmp_path: Path) -> None:
    """Nobody finds an account whose opening was declined; a transfer that was is found."""
    assert Talker(server.url).post("/v1/ledgers", {"id": LEDGER, "asset": "EUR", "exponent": 2}).status == 201
    opened, moved = ("id", "id,amount,debit_account_id,credit_account_id")
    move = f"5,{BANK},{SHOP}"
    for what, names, rows, last_id in (
        ("accounts", opened, ((BANK, 2), (SHOP, 3), (WALLET, 1)), SHOP),
        ("accounts", opened, ((number(4, 1), 3),), ""),
        ("transfers", moved, ((f"{number(1)},{move}", 4), (f"{number(2)},{move}", 3)), number(2)),
    ):
        file = tmp_path / f"{what}-{len(rows)}.csv"
        progress = file.with_name(f"{file.name}.progress")
        lines = [f"{row},{LEDGER},1,imported,2025-01-0{day}T00:00:00Z" for row, day in rows]
        file.write_text("\n".join([f"{names},ledger,code,flags,effective_at", *lines, ""]), "utf-8")
        done = imported(what, file, server.url)
        assert (done["accepted"], done["declined"]) == (len(rows) - 1, 1)
        position = json.loads(progress.read_bytes())
        assert position["last_id"] == last_id
        assert imported(what, file, server.url) == done
        # As if it had been killed before the end.
        progress.write_text(json.dumps(position | {"finished": False}), "utf-8")
        assert imported(what, file, server.url) == done


def test_a_cursor_of_other_books_is_not_believed(
    start_server: Callable[..., ServerProcess], database: Database, tmp_path: Path
) -> None:
    """Rows that another server took, or that this one lost, are not left out in silence."""
    server = start_server(database)
    open_books(Talker(server.url))
    file = tmp_path / "few.csv"
    many(file, 10)
    assert imported("transfers", file, server.url)["accepted"] == 10
    progress = file.with_name("few.csv.progress")
    position = json.loads(progress.read_bytes())
    progress.write_text(json.dumps(position | {"last_id": number(77)}), "utf-8")
    done = pyledger("import", "transfers", file, "--url", server.url)
    assert (done.returncode, "does not have what" in done.stderr) == (2, True), done.stderr
    done = pyledger("import", "transfers", file, "--url", "http://127.0.0.1:1")
    assert (done.returncode, "is of another file, report or server" in done.stderr) == (2, True), done.stderr
