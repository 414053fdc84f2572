"""What goes wrong around an import or an export: disks that are full, files of somebody else, rows that are not there.

Guarded here: each ends in one clear line, no row is there twice or missing, a report has every row that was not taken,
and no file that is not ours is written over.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.server.talk import Talker
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment
from tests.test_bulk import (
    BANK,
    LEDGER,
    SHOP,
    WALLET,
    balances,
    imported,
    many,
    number,
    open_books,
    pyledger,
    reported,
    rows_in,
    with_bad_rows,
)  # fmt: skip

LIMITED_BYTES = 4_096
"""What a process of `limited` can write to a file."""


def limited(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    """A command line on a disk that is soon full: each file ends at some bytes."""
    return subprocess.run(
        [sys.executable, "-m", "pyledger.cli", *map(str, arguments)],
        env=environment(**settings), capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITED_BYTES, LIMITED_BYTES)),
    )  # fmt: skip


def test_a_full_disk_stops_an_import_which_then_goes_on(server: ServerProcess, tmp_path: Path) -> None:
    talker, file, rows = Talker(server.url), tmp_path / "many.csv", 30_000
    open_books(talker)
    bad = with_bad_rows(file, rows, 500)
    stopped = limited("import", "transfers", file, "--url", server.url)
    assert (stopped.returncode, stopped.stdout) == (1, ""), stopped.stderr
    assert stopped.stderr == "pyledger: [Errno 27] File too large; run it again to go on\n"
    assert 0 < rows_in(tmp_path / "many.csv.progress") < rows
    done = imported("transfers", file, server.url)
    assert (done["rows"], done["malformed"], done["accepted"]) == (rows, len(bad), rows - len(bad))
    assert reported(tmp_path / "many.csv.rejected.csv") == bad
    assert balances(talker)[WALLET]["posted"] == str(rows - len(bad))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_full_disk_leaves_nothing_of_an_export(
    server: ServerProcess, database: Database, tmp_path: Path, form: str
) -> None:
    open_books(Talker(server.url))
    file = tmp_path / "some.csv"
    many(file, 1_000)
    assert imported("transfers", file, server.url)["accepted"] == 1_000
    to = tmp_path / f"out.{form}"
    to.write_bytes(b"of yesterday")
    stopped = limited("export", "transfers", "--to", to, database_url=database.reader_dsn)
    assert (stopped.returncode, stopped.stderr) == (2, "pyledger: [Errno 27] File too large\n")
    assert to.read_bytes() == b"of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == [to.name]
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "pyledger.cli", "export", "transfers", "--format", form]
        done = subprocess.run(
            command, env=environment(database_url=database.reader_dsn), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"pyledger: [Errno 28] No space left on device\n")


def test_an_export_that_was_killed_is_made_anew_and_never_by_two(
    server: ServerProcess, database: Database, tmp_path: Path
) -> None:
    open_books(Talker(server.url))
    to, left = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    left.write_bytes(b"what one that was killed has left" * 1_000)
    with left.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = pyledger("export", "accounts", "--to", to, database_url=database.reader_dsn)
        assert (done.returncode, done.stderr) == (2, f"pyledger: {to} is being written already\n")
    assert pyledger("export", "accounts", "--to", to, database_url=database.reader_dsn).returncode == 0
    assert to.read_text("utf-8").count("\n") == 4
    assert not left.exists()


def test_no_file_of_somebody_else_is_written_over(server: ServerProcess, tmp_path: Path) -> None:
    open_books(Talker(server.url))
    file, mine = tmp_path / "few.csv", tmp_path / "mine.txt"
    many(file, 10)
    before = file.read_bytes()
    mine.write_text("line, id and more\n", "utf-8")
    for more, said in (
        (("--report", file), "is not a report of rejected rows"),
        (("--report", mine), "is not a report of rejected rows"),
        (("--report", mine, "--dry-run"), "is not a report of rejected rows"),
        (("--report", tmp_path), "is no file"),
        (("--progress", mine), "is not the progress of an import"),
        (("--progress", tmp_path / "both", "--report", tmp_path / "both"), "cannot be both"),
        (("--progress", tmp_path / "nowhere" / "progress"), "No such file or directory"),
    ):
        done = pyledger("import", "transfers", file, "--url", server.url, *more)
        assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), (more, done.stderr)
    assert (file.read_bytes(), mine.read_text("utf-8")) == (before, "line, id and more\n")
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = pyledger("import", "transfers", file, "--url", server.url)
    assert (done.returncode, done.stderr) == (2, f"pyledger: {file} is being imported already\n")


def test_a_report_that_has_lost_rows_is_not_gone_on_with(server: ServerProcess, tmp_path: Path) -> None:
    open_books(Talker(server.url))
    file, report = tmp_path / "some.csv", tmp_path / "some.csv.rejected.csv"
    bad = with_bad_rows(file, 300, 100)
    assert imported("transfers", file, server.url)["malformed"] == len(bad)
    os.truncate(report, report.stat().st_size - 1)
    done = pyledger("import", "transfers", file, "--url", server.url)
    assert (done.returncode, "has lost what" in done.stderr) == (2, True), done.stderr
    (tmp_path / "some.csv.progress").unlink()
    again = imported("transfers", file, server.url)
    assert (again["replayed"], reported(report)) == (300 - len(bad), bad)
    # The same file read in another way, or changed, is another import.
    done = pyledger("import", "transfers", file, "--url", server.url, "--imported")
    assert (done.returncode, "is of another file, report" in done.stderr) == (2, True), done.stderr
    os.utime(file)
    done = pyledger("import", "transfers", file, "--url", server.url)
    assert (done.returncode, "is of another file, report" in done.stderr) == (2, True), done.stderr


def test_a_server_that_takes_less_gets_smaller_requests(
    start_server: Callable[..., ServerProcess], database: Database, tmp_path: Path
) -> None:
    server = start_server(database, batch_rows_max=1_000, body_bytes_max=100_000)
    talker, file, rows = Talker(server.url), tmp_path / "many.csv", 10_000
    open_books(talker)
    bad = with_bad_rows(file, rows, 997)
    done = imported("transfers", file, server.url)
    assert (done["rows"], done["accepted"], done["malformed"]) == (rows, rows - len(bad), len(bad))
    assert reported(tmp_path / "many.csv.rejected.csv") == bad
    server.stop(signal.SIGTERM)
    server = start_server(database, batch_rows_max=100)
    refused = pyledger("import", "transfers", file, "--url", server.url, "--progress", tmp_path / "other")
    assert (refused.returncode, "batch_too_large" in refused.stderr) == (2, True), refused.stderr


def test_a_dry_run_leaves_an_import_that_is_to_go_on_alone(server: ServerProcess, tmp_path: Path) -> None:
    open_books(Talker(server.url))
    file, report = tmp_path / "some.csv", tmp_path / "some.csv.rejected.csv"
    bad = with_bad_rows(file, 300, 100)
    done = imported("transfers", file, server.url)
    kept = report.read_bytes()
    tried = imported("transfers", file, server.url, "--dry-run")
    assert (tried["malformed"], tried["report"]) == (len(bad), str(tmp_path / "some.csv.dry-run.csv"))
    assert reported(tmp_path / "some.csv.dry-run.csv") == bad
    refused = pyledger("import", "transfers", file, "--url", server.url, "--dry-run", "--report", report)
    assert (refused.returncode, "is not written over by a dry run" in refused.stderr) == (2, True), refused.stderr
    assert report.read_bytes() == kept
    assert imported("transfers", file, server.url) == done
    # After a loss of power the cursor may be a file of nothing: that is as good as none.
    (tmp_path / "some.csv.progress").write_bytes(bytes(100))
    again = imported("transfers", file, server.url)
    assert (again["accepted"], again["replayed"]) == (done["accepted"], done["accepted"])
    assert report.read_bytes() == kept


def test_an_id_in_the_metadata_of_the_last_row_is_not_that_of_the_row(server: ServerProcess, tmp_path: Path) -> None:
    open_books(Talker(server.url))
    row = {"debit_account_id": BANK, "credit_account_id": SHOP, "amount": "1", "ledger": LEDGER, "code": 1}
    for place, more in enumerate(({}, {"flags": ["linked"]})):
        rows = [row | more | {"id": number(2 * place)}, row | {"id": number(2 * place + 1), "metadata": {"id": "7"}}]
        file = tmp_path / f"{place}.jsonl"
        file.write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in rows), "utf-8")
        done = imported("transfers", file, server.url)
        assert (done["accepted"], json.loads(file.with_name(file.name + ".progress").read_bytes())["last_id"]) == (
            2,
            number(2 * place + 1),
        )
        assert imported("transfers", file, server.url) == done


def test_an_export_beside_an_import_is_of_one_moment(server: ServerProcess, database: Database, tmp_path: Path) -> None:
    open_books(Talker(server.url))
    file, rows = tmp_path / "many.csv", 60_000
    many(file, rows)
    ids = [number(place) for place in range(rows)]
    command = [sys.executable, "-m", "pyledger.cli", "import", "transfers", str(file), "--url", server.url]
    importing = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    sizes = []
    while importing.poll() is None or sizes[-1:] != [rows]:
        to = tmp_path / f"{len(sizes)}.csv"
        done = pyledger("export", "transfers", "--to", to, database_url=database.reader_dsn)
        assert done.returncode == 0, done.stderr
        with to.open(encoding="utf-8", newline="") as out:
            found = [row["id"] for row in csv.DictReader(out)]
        assert found == ids[: len(found)], "rows are missing, or not in their order"
        sizes.append(len(found))
        assert len(sizes) < 60
    assert importing.returncode == 0
    assert sizes == sorted(sizes)


async def test_an_export_that_would_lack_rows_is_refused(
    server: ServerProcess, database: Database, tmp_path: Path
) -> None:
    """Rows that were archived are not in the database; what is left must not look like all there ever was."""
    open_books(Talker(server.url))
    file, to = tmp_path / "few.csv", tmp_path / "out.csv"
    many(file, 10)
    assert imported("transfers", file, server.url)["accepted"] == 10
    connection = await asyncpg.connect(database.admin_dsn)
    name = await connection.fetchval("SELECT tableoid::regclass::text FROM pyledger.journal WHERE kind = 3 LIMIT 1")
    await connection.execute(f"ALTER TABLE pyledger.journal DETACH PARTITION {name}")
    await connection.close()
    done = pyledger("export", "transfers", "--to", to, database_url=database.reader_dsn)
    assert (done.returncode, "are not in the database" in done.stderr) == (2, True), done.stderr
    assert not to.exists()


PEAK = """
import sys
from pathlib import Path
from pyledger import cli
code = cli.main(sys.argv[1:])
print(Path("/proc/self/status").read_text("ascii"))
sys.exit(code)
"""
"""A command line that says at its end what it used."""


def peak_bytes(*arguments: object) -> int:
    """The most memory that a command line had; not by getrusage, to which the memory of who started it counts too."""
    command = [sys.executable, "-c", PEAK, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r"^VmHWM:\s*(\d+) kB$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return int(found[1]) * 1024


def in_one_group(file: Path) -> Path:
    """A table as Parquet in one row group, about as large."""
    table, to = pyarrow.csv.read_csv(file), file.with_suffix(".parquet")
    pyarrow.parquet.write_table(table, to, row_group_size=table.num_rows, compression="none", use_dictionary=False)
    assert pyarrow.parquet.read_metadata(to).num_row_groups == 1
    return to


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    """Nor with a row group. What is held grows for a while, by less than a quarter of what the file does here."""
    peaks, sizes = [], []
    for rows in (160_000, 800_000):
        file = tmp_path / f"{rows}.csv"
        many(file, rows)
        if form == "parquet":
            file = in_one_group(file)
        sizes.append(file.stat().st_size)
        peaks.append(peak_bytes("import", "transfers", file, "--dry-run"))
    assert sizes[1] - sizes[0] > 70 * 1024**2
    assert peaks[1] - peaks[0] < 32 * 1024**2
