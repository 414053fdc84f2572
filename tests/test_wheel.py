"""The wheel: what is in it, and that it runs in an environment that has never seen the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.faults.planted import core, protocol
from tests.faults.planted.server import BUGS as OF_THE_SERVER
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment

ROOT = Path(__file__).resolve().parent.parent
BUILD_TIMEOUT_S = 900
COMMAND_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release would be; with Cargo's own directory, so that little is compiled again."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "maturin", "build", "--release", "--quiet", "--out", str(out)],
        cwd=ROOT,
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )
    (found,) = out.glob("pyledger-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has the wheel, and for the rest the packages of ours.

    Nothing is fetched: a .pth file makes our packages seen. Those files are not followed into our own
    editable installation, so `pyledger` can only come from the wheel."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=COMMAND_TIMEOUT_S)
    python = home / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)],
        check=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    site = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "ours.pth").write_text(sysconfig.get_path("platlib") + "\n")
    return python


def run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment(),
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_server_is_inside_the_package_and_nowhere_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        links = [entry.filename for entry in archive.infolist() if (entry.external_attr >> 28) == 0o12]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"pyledger", next(top for top in tops if top.endswith(".dist-info"))}
    assert links == []
    assert not [name for name in names if "__pycache__" in name]
    committed = subprocess.run(["git", "ls-files", "server"], cwd=ROOT, capture_output=True, text=True, check=False)
    wanted = committed.stdout.split() or [str(path.relative_to(ROOT)) for path in (ROOT / "server").rglob("*.py")]
    assert {f"pyledger/{name}" for name in wanted} <= names
    assert {"pyledger/_rust.abi3.so", "pyledger/_rust.pyi", "pyledger/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_no_planted_bug_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        everything = {name: archive.read(name) for name in archive.namelist()}
    names = [bug.name.encode() for bugs in (core.BUGS, protocol.BUGS, OF_THE_SERVER) for bug in bugs]
    assert not [(where, name) for where, data in everything.items() for name in names if name in data]
    assert not [where for where in everything if "planted" in where or where.startswith("tests")]


def test_it_runs_where_nothing_else_of_ours_is(installed: Path) -> None:
    where = run(installed, "-c", "import pyledger, pyledger.server.main as m; print(pyledger.__file__, m.__file__)")
    assert all(path.startswith(str(installed.parent.parent)) for path in where.split())
    found = json.loads(run(installed.with_name("pyledger"), "info", "--json"))
    assert found["version"] == "0.1.0"
    assert found["engine"]["limits"]["batch_rows_max"] == 8190
    assert found["embedded_postgresql"]["version"].startswith("18.")


def test_no_global_package_is_called_server(installed: Path) -> None:
    said = run(installed, "-c", "import importlib.util as u; print([n for n in ('server', 'tests') if u.find_spec(n)])")
    assert said.strip() == "[]"


def test_it_serves_a_transfer(installed: Path, database: Database, tmp_path: Path) -> None:
    urls = {"database_url": database.server_dsn, "owner_url": database.owner_dsn}
    server = ServerProcess(urls, tmp_path / "server.log", python=str(installed))
    try:
        server.start()
        accounts = [f"0190163d-8694-739b-aea5-966c26f8ad9{digit}" for digit in (1, 2)]
        transfer = {"debit_account_id": accounts[0], "credit_account_id": accounts[1], "amount": "500"}
        post(server, "ledgers", {"id": 1, "asset": "EUR", "exponent": 2})
        for account in accounts:
            post(server, "accounts", {"id": account, "ledger": 1, "code": 1})
        reply = post(server, "transfers", {"id": accounts[0][:-1] + "3", "ledger": 1, "code": 1, **transfer})
        assert (reply["status"], reply["amount"]) == ("accepted", "500")
    finally:
        if server.process is not None:
            assert server.stop() == 0


def post(server: ServerProcess, path: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(
        f"{server.url}/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 201
        return dict(json.load(reply))
