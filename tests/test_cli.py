"""The command line in processes of its own: exit codes, one line for each error, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyledger import cli
from pyledger.embedded import processes
from pyledger.embedded.nouns import Place
from tests.support.clusters import Database
from tests.support.embedded import WAL_MIB
from tests.support.process import ServerProcess, environment, free_port

TIMEOUT_S = 120


def pyledger(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyledger.cli", *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment(**settings),
        timeout=TIMEOUT_S,
        check=False,
    )


def urls(database: Database) -> dict[str, object]:
    return {"database_url": database.server_dsn, "owner_url": database.owner_dsn}


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        ((), {}, "the following arguments are required: COMMAND"),
        (("nonsense",), {}, "invalid choice: 'nonsense'"),
        (("serve", "--port", "no"), {}, "PYLEDGER_PORT: 'no' is not a whole number"),
        (("serve", "--host", "0.0.0.0"), {}, "would carry keys unencrypted"),
        (("serve", "--dev", "--host", "0.0.0.0"), {}, "only on loopback"),
        (("serve",), {"potr": 1}, "PYLEDGER_POTR is not a setting; did you mean PYLEDGER_PORT?"),
        (("serve", "--data-dir", "/proc/pyledger", "--port", "0"), {}, "/proc/pyledger"),
        (("migrate", "--database-url", "postgresql://127.0.0.1:1/x"), {}, "127.0.0.1"),
        (("check", "--database-url", "postgresql://127.0.0.1:1/x"), {}, "cannot check the database"),
        (("key", "list", "--database-url", "postgresql://127.0.0.1:1/x"), {}, "127.0.0.1"),
        (("key", "create", "--tenant", "t", "--name", "n", "--expires-in-days", "0"), {}, "is not a number of days"),
        (("demo", "--url", "http://127.0.0.1:1"), {}, "no answer from http://127.0.0.1:1"),
        (("feed", "--once", "--ledger", "0x1"), {}, "invalid int value: '0x1'"),
        (("feed", "--url", "http://127.0.0.1:1"), {}, "no answer from http://127.0.0.1:1"),
        (("info",), {"postgres_bin": "x", "port": -1}, "PYLEDGER_PORT"),
    ],
)
def test_what_is_refused_is_one_clear_line(arguments: tuple[str, ...], settings: dict[str, object], says: str) -> None:
    done = pyledger(*arguments, **settings)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert last.startswith("pyledger: ")
    assert says in last
    assert done.stdout == "" or arguments[0] == "serve"
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_refused(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = pyledger("serve", "--dev", "--port", str(taken.getsockname()[1]), data_dir=data_dir)
    assert done.returncode == 2
    assert re.fullmatch(r"pyledger: cannot listen on 127\.0\.0\.1 port \d+: .*in use\n", done.stderr)


def test_help_is_quick_and_names_every_command() -> None:
    started = time.monotonic()
    done = pyledger("--help")
    assert time.monotonic() - started < 5
    assert done.returncode == 0
    for command in ("serve", "check", "key", "demo", "info", "migrate"):
        assert f"    {command} " in done.stdout


def test_the_command_line_imports_no_room() -> None:
    program = "import sys, pyledger.cli; print([n for n in sys.modules if n in ('asyncpg', 'rich', 'pyledger._rust')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("division by zero\nand more")

    monkeypatch.setattr(cli.books, "_info", broken)
    assert cli.main(["info"]) == 1
    assert capsys.readouterr().err == (
        "pyledger: ZeroDivisionError: division by zero and more (PYLEDGER_LOG_LEVEL=debug shows where)\n"
    )


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m pyledger.cli info --json | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=environment(), check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_keys_live_from_create_to_revoke(database: Database) -> None:
    made = pyledger("key", "create", "--tenant", "shop", "--name", "till", "--scope", "read", **urls(database))
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"pk_[A-Za-z0-9_-]{43}\n", made.stdout)
    listed = pyledger("key", "list", "--json", **urls(database))
    (key,) = json.loads(listed.stdout)["keys"]
    assert (key["tenant_name"], key["name"], key["scopes"], key["revoked_at"]) == ("shop", "till", ["read"], None)
    assert made.stdout.strip() not in listed.stdout
    assert pyledger("key", "revoke", key["id"], **urls(database)).returncode == 0
    again = pyledger("key", "revoke", key["id"], **urls(database))
    assert again.returncode == 1
    assert again.stderr == f"pyledger: no key {key['id']} that is not revoked already\n"
    assert " revoked" in pyledger("key", "list", **urls(database)).stdout
    unknown = pyledger("key", "create", "--tenant", "t", "--name", "n", "--scope", "all", **urls(database))
    assert (unknown.returncode, unknown.stdout) == (2, "")


@pytest.mark.postgres(15, 18)
def test_migrate_brings_an_empty_database_up_to_date_twice(empty_database: Database) -> None:
    for _ in range(2):
        done = pyledger("migrate", "--json", **urls(empty_database))
        assert done.returncode == 0, done.stderr
        assert set(json.loads(done.stdout)) == {"schema"}


@pytest.mark.postgres(15, 18)
def test_demo_and_check_against_a_server(database: Database, start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(database)
    demo = pyledger("demo", "--url", server.url)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Debits equal credits." in demo.stdout
    assert json.loads(pyledger("demo", "--url", server.url, "--json").stdout)
    info = json.loads(pyledger("info", "--json", **urls(database)).stdout)
    assert info["database"]["heads"][0]["seq"] > 10
    assert "secret" not in info["settings"]["PYLEDGER_DATABASE_URL"]
    check = pyledger("check", database_url=database.owner_dsn)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "are right" in check.stdout
    assert server.stop() == 0
    assert json.loads(pyledger("check", "--json", database_url=database.owner_dsn).stdout) == {"findings": []}


def test_the_embedded_database_serves_commands_running_or_not(data_dir: Path, tmp_path: Path) -> None:
    settings: dict[str, object] = {"data_dir": data_dir, "wal_mib_max": WAL_MIB}
    key = pyledger("key", "create", "--tenant", "t", "--name", "n", **settings)
    assert key.returncode == 0, key.stderr
    server = ServerProcess(settings, tmp_path / "server.log", ("--dev",))
    try:
        server.start()
        assert len(json.loads(pyledger("key", "list", "--json", **settings).stdout)["keys"]) == 1
        assert "/docs" in server.log()
        assert "curl" in server.log()
        second = pyledger("serve", "--dev", "--port", str(free_port()), **settings)
        assert second.returncode == 2
        assert f"in use by another pyledger (serve {server.pid})" in second.stderr.splitlines()[-1]
        place = Place(data_dir, 18)
        orphan = processes.postmaster_id(place.cluster_dir)
        server.stop(signal.SIGKILL)
        assert orphan is not None
        assert os.path.exists(f"/proc/{orphan}") or sys.platform != "linux"
        server.start()
        assert server.stop() == 0
        assert processes.postmaster_id(place.cluster_dir) is None
        assert pyledger("check", **settings).returncode == 0
    finally:
        server.stop(signal.SIGKILL)
