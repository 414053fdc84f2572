"""The verbs of retention as a person types them, on partitions that end while one looks."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg

from tests.ledger.test_proofs import make_key
from tests.ledger.tools import fields, findings, let_pass, make_accounts, opened, run_as_admin, transfers
from tests.retention.tools import seal
from tests.support.clusters import Database

NS = 10**9


def run(database: Database, *words: object) -> subprocess.CompletedProcess[str]:
    urls = ["--database-url", database.server_dsn, "--owner-url", database.owner_dsn]
    local = [] if words[0] in ("prove", "verify", "verify-archive") else urls
    command = [sys.executable, "-m", "pyledger.cli", *map(str, words), *local]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def pyledger(database: Database, *words: object, code: int = 0) -> str:
    said = run(database, *words)
    assert said.returncode == code, said.stdout + said.stderr
    return said.stdout if code == 0 else said.stderr


async def end_now(database: Database) -> None:
    """End the newest partition, and wait until it is over."""
    connection = await asyncpg.connect(database.server_dsn)
    # The server moves the end of the newest one, too.
    async with asyncio.timeout(20):
        split = False
        while not split:
            at_ns = (time.time_ns() // NS + 2) * NS
            split = await connection.fetchval(
                "SELECT bool_or(pyledger.split_partition(start_ns, $1)) FROM pyledger.partition"
                " WHERE start_ns < $1 AND end_ns > $1",
                at_ns,
            )
    await connection.close()
    time.sleep((at_ns - time.time_ns()) / NS)


async def pieces(database: Database, count: int = 1, **settings: Any) -> list[str]:
    """Partitions that are over, and one that is not; the ids in the last of the first."""
    async with opened(database, **settings) as ledger:
        debit, credit = await make_accounts(ledger)
        for _ in range(count):
            bodies = [fields(debit, credit, 5) for _ in range(20)]
            await ledger.writer.submit(transfers(bodies))
            await end_now(database)
        let_pass(ledger, 20 * NS)
        await ledger.writer.submit(transfers([fields(debit, credit, 5) for _ in range(3)]))
        assert ledger.proofs.signer is not None
        await ledger.proofs.signer.cover(ledger.stats.head_seq)
    await seal(database)
    return [body["id"] for body in bodies]


async def test_from_the_policy_to_the_proof(database: Database, tmp_path: Path) -> None:
    key, public = make_key(tmp_path)
    ids = await pieces(database, signing_key=key, signing_interval_s=86_400)
    policy, to = tmp_path / "policy.toml", tmp_path / "archives"
    to.mkdir()
    policy.write_text("[default]\narchived_after_days = 0\ndropped_after_days = 0\n")
    archive = ("archive", "--policy", policy, "--to", to)
    said = pyledger(database, *archive, "--dry-run")
    assert "23 rows: would be archived and would be dropped" in said
    assert ": not over yet" in said
    number = json.loads(pyledger(database, "legal-hold", "place", "--reason", "court", "--json"))["number"]
    assert f"legal hold {number}" in pyledger(database, *archive)
    assert list(to.iterdir()) == []
    assert "is lifted" in pyledger(database, "legal-hold", "lift", number, "--reason", "closed")
    listed = json.loads(pyledger(database, "legal-hold", "list", "--json"))["legal_holds"]
    assert [each["lifted_because"] for each in listed] == ["closed"]
    assert "all books: court" in pyledger(database, "legal-hold", "list")
    found = json.loads(pyledger(database, *archive, "--json"))
    (step,) = [each for each in found["partitions"] if each["do"]]
    assert (step["rows"], step["do"]) == (23, ["archive", "drop"])
    assert "Nothing is due." in pyledger(database, *archive)
    (path,) = to.iterdir()
    (tmp_path / "proof.json").write_text(pyledger(database, "prove", ids[7], "--archive", path))
    verified = pyledger(database, "verify", "--proof", tmp_path / "proof.json", "--key", str(public))
    assert ids[7] in verified
    assert "23 rows in batches" in pyledger(database, "verify-archive", path, "--key", public)
    shown = json.loads(pyledger(database, "verify-archive", path, "--key", public, "--json"))
    assert [each["rows"] for each in shown["shards"]] == [23]
    (tmp_path / "other").mkdir()
    other = make_key(tmp_path / "other")[1]
    assert "none of the given keys signed it" in pyledger(database, "verify-archive", path, "--key", other, code=1)
    assert "has no transfer" in pyledger(database, "prove", ids[7][::-1], "--archive", path, code=2)
    assert not await findings(database)
    assert "is restored" in pyledger(database, "restore", path)
    assert "there is nothing to restore" in pyledger(database, "restore", path, code=2)
    assert "is right" in pyledger(database, "check") or not await findings(database)


async def test_what_was_done_is_said_where_the_next_one_fails(database: Database, tmp_path: Path) -> None:
    key, _ = make_key(tmp_path)
    await pieces(database, 2, signing_key=key, signing_interval_s=86_400)
    policy, to = tmp_path / "policy.toml", tmp_path / "archives"
    to.mkdir()
    policy.write_text("[default]\narchived_after_days = 0\ndropped_after_days = 0\n")
    archive = ("archive", "--policy", policy, "--to", to)
    planned = json.loads(pyledger(database, *archive, "--dry-run", "--json"))["partitions"]
    first, second = (each["name"] for each in planned if each["do"])
    (to / second).mkdir()
    failed = run(database, *archive)
    assert (failed.returncode, failed.stdout) == (2, f"{first}: 23 rows: archived and dropped\n")
    assert f"{second} is no archive" in failed.stderr
    (to / second).rmdir()
    assert f"{second}: 20 rows: archived and dropped\n" in pyledger(database, *archive)
    assert "there is no partition x" in pyledger(database, *archive, "--again", "x", code=2)
    assert not await findings(database)


async def test_what_cannot_be_done_is_one_line(database: Database, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[default]\narchived_after_days = 0\ndropped_after_days = 0\nkeep = 1\n")
    archive = ("archive", "--policy", policy, "--to", tmp_path)
    assert "'keep', which is none of" in pyledger(database, *archive, code=2)
    policy.write_text(
        '[default]\narchived_after_days = 0\ndropped_after_days = 0\n[[ledger]]\ntenant = "x"\nnumber = 1\n'
        "archived_after_days = 0\ndropped_after_days = 0\n"
    )
    assert "no such tenant" in pyledger(database, *archive, code=2)
    await run_as_admin(database, "INSERT INTO pyledger.tenant (id, name) VALUES (7, 'x')")
    assert "no ledger 1" in pyledger(database, *archive, code=2)
    assert "is no directory" in pyledger(database, "archive", "--policy", policy, "--to", tmp_path / "no", code=2)
    assert "is no archive" in pyledger(database, "restore", tmp_path, code=2)
    assert "is no archive" in pyledger(database, "prove", "x", "--archive", tmp_path, code=2)
    assert "no legal hold 9" in pyledger(database, "legal-hold", "lift", "9", "--reason", "x", code=2)
    urls = ("--database-url", database.server_dsn, "--owner-url", database.server_dsn)
    command = [sys.executable, "-m", "pyledger.cli", "legal-hold", "list", *urls]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
