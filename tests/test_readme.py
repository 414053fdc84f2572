"""The README is true: its lines run as they stand, its tables are those of the code, its links lead somewhere.

Blocks marked `sh`, `sql` and `python` are run, in order; only addresses are replaced by the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from pyledger import _rust, settings
from pyledger.client import AccountFlags, Client, NewTransfer, TransferFlags, binary
from pyledger.server.operations import OPERATIONS
from pyledger.server.problems import PROBLEMS
from tests.support.clusters import Clusters, Database, Postgres
from tests.support.process import ServerProcess, environment

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
URL = "http://127.0.0.1:8080"
PYLEDGER = ".venv/bin/pyledger"


def section(title: str) -> str:
    """The text below a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", README, re.M | re.S)
    assert found, f"no section {title!r}"
    return found[2]


def blocks(title: str, language: str) -> list[str]:
    """The fenced blocks of a section."""
    return re.findall(rf"^```{language}\n(.*?)^```", section(title), re.M | re.S)


def run_sh(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = script.replace(PYLEDGER, f"{sys.executable} -m pyledger.cli")
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def objects(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_the_first_transfer_works_when_pasted_twice(server: ServerProcess) -> None:
    scripts = blocks("A first transfer", "sh")
    assert [PYLEDGER in script for script in scripts] == [False, False, True]
    pasted = "\n".join(scripts).replace(URL, server.url)
    for time in (1, 2):
        done = run_sh(pasted, PYLEDGER_URL=server.url)
        assert done.returncode == 0, done.stderr
        ledger, bank, ada, moved, first, held, posted, second = objects(done.stdout)
        assert ledger["asset"] == "EUR"
        assert bank["id"] != ada["id"]
        assert (moved["status"], moved["amount"], held["kind"], posted["kind"]) == (
            "accepted",
            "1250",
            "pending",
            "post",
        )
        assert isinstance(first["balances"], dict)
        assert isinstance(second["balances"], dict)
        if time == 1:
            assert (first["balances"]["posted"], first["balances"]["available"]) == ("1250", "1250")
        assert (second["balances"]["posted"], second["balances"]["available"]) == ("950", "950")
        assert "Debits equal credits." in done.stdout


async def test_the_python_lines_do_what_they_say(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("From Python", "python")
    imports, body = block.replace(URL, server.url).split("\n\n", 1)
    code = f"{imports}\n\nasync def main():\n{textwrap.indent(body, '    ')}"
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # the README's own lines
    main = names["main"]
    assert callable(main)
    await main()
    said = re.findall(r"# (\S+)$", block, re.M)
    assert capsys.readouterr().out.split() == said == ["exceeds_credits", "10000"]


async def test_the_lines_that_follow_the_journal_do_what_they_say(
    server: ServerProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with Client(server.url) as client:
        await client.create_ledger(2, "USD", 2)
    (block,) = blocks("Following the journal", "python")
    imports, body = block.replace(URL, server.url).split("\n\n", 1)
    names: dict[str, object] = {}
    exec(compile(f"{imports}\n\nasync def main():\n{textwrap.indent(body, '    ')}", "README.md", "exec"), names)
    main = names["main"]
    assert callable(main)
    await main()
    assert capsys.readouterr().out.split() == re.findall(r"# (\S+)$", block, re.M)
    page, waiting, _, tail = blocks("Following the journal", "console")[0].replace("$ ", "").splitlines()
    first = await asyncio.to_thread(run_sh, page.replace(URL, server.url))
    cursor = json.loads(first.stdout)["next"]
    nothing = waiting.replace(URL, server.url).replace("CURSOR", cursor).replace("wait_s=20", "wait_s=1")
    assert json.loads((await asyncio.to_thread(run_sh, nothing)).stdout) == {"data": [], "next": cursor}
    lines = tail.replace("--json", "--json --once").replace("seen.cursor", str(tmp_path / "of-cli"))
    for expected in ([2], []):
        done = await asyncio.to_thread(run_sh, lines, PYLEDGER_URL=server.url)
        assert [row["id"] for row in objects(done.stdout)] == expected, done.stderr


@pytest.fixture
async def administrator(clusters: Clusters, postgres: Postgres) -> AsyncIterator[Database]:
    """A database that is only there to connect as a superuser; what the README makes is dropped again."""
    made = await clusters.make_database(postgres.version, migrated=False)
    yield made
    connection = await asyncpg.connect(made.admin_dsn)
    await connection.execute("DROP DATABASE IF EXISTS books WITH (FORCE)")
    await connection.execute("DROP ROLE IF EXISTS ledger_admin, ledger_app")
    await connection.close()
    await clusters.drop_database(made)


@pytest.mark.postgres(15, 18)
async def test_ones_own_postgresql(
    administrator: Database, start_server: Callable[..., ServerProcess], postgres: Postgres
) -> None:
    (sql,) = blocks("On your own PostgreSQL", "sql")
    connection = await asyncpg.connect(administrator.admin_dsn)
    for statement in sql.strip().split(";\n"):
        # Other databases of the test's cluster have made the group roles.
        there = (
            contextlib.suppress(asyncpg.DuplicateObjectError) if "NOLOGIN" in statement else contextlib.nullcontext()
        )
        with there:
            await connection.execute(statement)
    await connection.close()
    (script,) = blocks("On your own PostgreSQL", "sh")
    socket = administrator.admin_dsn.partition("?")[2]
    script = re.sub(r"@127\.0\.0\.1:5432/books", f"@/books?{socket}", script)
    done = await asyncio.to_thread(run_sh, script + "\nenv | grep ^PYLEDGER_")
    assert done.returncode == 0, done.stderr
    assert "the schema is at version" in done.stdout
    assert re.search(r"^\S{36}  shop    till  .*  valid$", done.stdout, re.M), done.stdout
    found = dict(re.findall(r"^PYLEDGER_(\w+)=(.*)$", done.stdout, re.M))
    urls = {"database_url": found["DATABASE_URL"], "owner_url": found["OWNER_URL"]}
    server = await asyncio.to_thread(start_server, administrator, arguments=(), **urls)
    async with Client(server.url, found["KEY"]) as client:
        assert (await client.create_ledger(1, "EUR")).asset == "EUR"
    assert await asyncio.to_thread(server.stop) == 0


def test_a_proof_is_made_and_verified_as_it_stands_there(
    database: Database, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    make_key, ask = blocks("Proofs", "sh")
    inside = f"cd {tmp_path}\n"
    assert run_sh(inside + make_key).returncode == 0
    server = start_server(database, signing_key=tmp_path / "signing.key", signing_dir=tmp_path / "checkpoints")
    moved = blocks("A first transfer", "sh")[0]
    done = run_sh((inside + moved + ask).replace(URL, server.url))
    assert done.returncode == 0, done.stderr
    assert "transfer 0198f2a4-0000-7000-8000-000000000003: accepted" in done.stdout
    assert done.stdout.endswith((tmp_path / "public.key").read_text())
    assert "PYLEDGER_SIGNING_KEY=$PWD/signing.key PYLEDGER_SIGNING_DIR=$PWD/checkpoints" in section("Proofs")


def settings_table() -> str:
    """The table of settings as the README must have it."""
    lines = ["| variable | default | what it bounds and why |", "| --- | --- | --- |"]
    for each in dataclasses.fields(settings.Settings):
        default = "by user" if each.name == "data_dir" else str(each.default)
        reason = each.metadata["reason"]
        lines.append(f"| `{settings.PREFIX}{each.name.upper()}` | {f'`{default}`' if default else ''} | {reason} |")
    return "\n".join(lines)


def test_the_settings_are_those_of_the_code() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README, re.S)
    assert found
    assert found[1] == settings_table(), f"the table should be:\n{settings_table()}"


def test_every_operation_is_named() -> None:
    table = section("The HTTP API")
    for operation in OPERATIONS:
        path = operation.path.replace("/v1/ledgers/{id}", "/v1/ledgers/{number}")
        short = f"`/{path.rsplit('/', 1)[1]}`"
        assert f"{operation.method} {path}" in table or f"`{path}`" in table or short in table, operation.path


def test_codes_and_metrics_are_those_of_the_code(server: ServerProcess) -> None:
    codes = {code for _number, code, _class, _detail in _rust.REFUSALS} | set(PROBLEMS)
    told = section("The HTTP API") + section("From Python")
    assert {code for code in ("idempotency_conflict", "outcome_unknown", "exceeds_credits") if code in told} <= codes
    flags = {flag.name.lower() for flag in TransferFlags if flag.name}
    flags |= {flag.name.lower() for flag in AccountFlags if flag.name}
    for paragraph in re.findall(r"\*\*Flags of an? \w+\.\*\*(.*?)\n\n", told, re.S):
        fields = {"timeout_s", "effective_at", "pending_id", "reverses", "allowance"}
        assert set(re.findall(r"`(\w+)`", paragraph)) <= flags | fields
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=5) as reply:
        shown = reply.read().decode()
    for name in re.findall(r"`(pyledger_[a-z_]+)`", section("Operations")):
        assert f"# TYPE {name} " in shown, name


def test_limits_are_those_of_the_code() -> None:
    limits = _rust.LIMITS
    text = " ".join(section("Limits").split())
    for sentence in (
        f"{limits['batch_rows_max']:,} commands a batch",
        f"1 to {limits['reference_bytes_max']} bytes",
        f"at most {limits['metadata_bytes_max']:,} bytes in canonical form, {limits['metadata_depth_max']} levels",
        f"at most {limits['group_holds_max']} holds",
        f"Ledger numbers go to {limits['ledger_max']:,}",
    ):
        assert sentence in text


def rows_of(table_after: str) -> list[tuple[int, int, str]]:
    """Offset, bytes and field of the table that follows a sentence of the section on the binary form."""
    table = section("The binary form of a batch").split(table_after)[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [(int(offset), int(size), what) for offset, size, what in cells]


def test_the_binary_form_is_as_documented() -> None:
    transfer = NewTransfer(
        id=UUID(int=1), debit_account_id=UUID(int=2), credit_account_id=UUID(int=3), amount=4, pending_id=UUID(int=5),
        effective_ns=6, timeout_s=7, ledger=8, code=9, flags=TransferFlags.POST_PENDING | TransferFlags.GROUP,
    )  # fmt: skip
    record = binary.encode([transfer])
    values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1 << 2 | 1 << 10, 0]
    table = rows_of("128-bit number of its UUID.")
    assert [int.from_bytes(record[at : at + size], "little") for at, size, _what in table] == values
    assert sum(size for _at, size, _what in table) == len(record) == _rust.LIMITS["record_bytes"]
    results = rows_of("160 bytes for each record")
    assert [at for at, _size, _what in results] == [0, 8, 10, 12, 16, 32, 96]
    assert sum(size for _at, size, _what in results) == _rust.LIMITS["result_bytes"] == binary.RESULT.size
    names = re.search(r"by bit from 0: (.*?)\. Other", " ".join(section("The binary form of a batch").split()))
    assert names
    assert names[1].split(", ") == [flag.name.lower() for flag in TransferFlags if flag.name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (document.parent / link).exists(), link
    tops = "rust_ext|pyledger|server|tests|benchmarks|loadtests|docs"
    for path in re.findall(rf"`((?:{tops})/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
