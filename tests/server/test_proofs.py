"""Proofs over HTTP, verified by the command line with neither server nor database, and a server that is killed."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.talk import Books, new_id, open_books
from tests.support import verifier
from tests.support.chance import replayable
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment

Start = Callable[..., ServerProcess]
KILLS = 2
TIMEOUT_S = 30.0


def pyledger(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyledger.cli", *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment(**settings),
        timeout=60,
        check=False,
    )


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str]:
    """The file of a signing key, and its public half."""
    file = str(tmp_path / "signing.key")
    made = pyledger("signing-key", "create", file, "--origin", "books.example.com")
    assert made.returncode == 0, made.stderr
    assert Path(file).stat().st_mode & 0o777 == 0o600
    shown = pyledger("signing-key", "show", file)
    assert shown.stdout == made.stdout
    shard = pyledger("signing-key", "show", file, "--shard", "3")
    assert shard.stdout.startswith("books.example.com/3+")
    assert pyledger("signing-key", "show", file, "--shard", "-1").returncode == 2
    return file, made.stdout.strip()


def test_a_proof_from_transfer_to_public_key(
    database: Database, start_server: Start, key: tuple[str, str], tmp_path: Path
) -> None:
    file, public = key
    outside = tmp_path / "outside"
    server = start_server(database, signing_key=file, signing_dir=outside)
    books = open_books(server.url)
    moved = books.moved(amount="250", reference="order-1\u202e")
    signed_proof(books)
    answer = books.get(f"/v1/transfers/{moved['id']}/proof")
    assert answer.status == 200
    assert verifier.transfer(answer.body, public)[0] == moved["id"].replace("-", "")
    (tmp_path / "proof.json").write_bytes(answer.body)
    (tmp_path / "public.key").write_text(public + "\n")
    for given in (public, str(tmp_path / "public.key")):
        done = pyledger("verify", "--proof", str(tmp_path / "proof.json"), "--key", given)
        assert done.returncode == 0, done.stderr
        assert f"transfer {moved['id']}: accepted, recorded at {moved['recorded_at']}" in done.stdout
        assert "amount: 250" in done.stdout
        assert "reference: order-1\\u202e\n" in done.stdout
        assert public in done.stdout
    told = json.loads(pyledger("verify", "--json", "--proof", str(tmp_path / "proof.json"), "--key", public).stdout)
    assert (told["row"]["id"], told["row"]["reference"]) == (moved["id"], "order-1\u202e")
    (tmp_path / "forged.json").write_bytes(answer.body.replace(b'"amount":"250"', b'"amount":"950"'))
    forged = pyledger("verify", "--proof", str(tmp_path / "forged.json"), "--key", public)
    assert (forged.returncode, forged.stdout) == (1, "")
    assert forged.stderr == "pyledger: this proves nothing: the row is not what the leaf says\n"
    unsigned = answer.json | {"checkpoint": None, "unsigned": "\x1b[2Jbecause"}
    (tmp_path / "forged.json").write_text(json.dumps(unsigned))
    forged = pyledger("verify", "--proof", str(tmp_path / "forged.json"), "--key", public)
    assert (forged.returncode, forged.stdout) == (1, "")
    assert forged.stderr.endswith("which no key signed: \\x1b[2Jbecause\n")
    first = books.get("/v1/checkpoints").json["data"][-1]
    assert (first["key"], first["origin"]) == (public, "books.example.com")
    second = verifier.transfer(signed_proof(books), public)[1]
    consistency = books.get(f"/v1/checkpoints/{second}/consistency?first={first['size']}")
    assert verifier.consistent(consistency.body, public) == (first["size"], second)
    (tmp_path / "consistency.json").write_bytes(consistency.body)
    done = pyledger("verify", "--consistency", str(tmp_path / "consistency.json"), "--key", public)
    assert f"its {second} batches begin with the {first['size']}" in done.stdout, done.stderr
    assert server.stop() == 0
    check = pyledger("check", database_url=database.owner_dsn, signing_dir=outside)
    assert check.returncode == 0, check.stdout


def signed_proof(books: Books) -> bytes:
    """The proof of a new transfer, once there is one that was signed: a busy machine may take longer than it waits."""
    path = f"/v1/transfers/{books.moved()['id']}/proof"
    deadline = time.monotonic() + TIMEOUT_S
    while (answer := books.get(path)).json["checkpoint"] is None:
        assert time.monotonic() < deadline, answer.json["unsigned"]
    return answer.body


def test_bad_questions_about_proofs(books: Books) -> None:
    moved = books.moved()
    proof = books.get(f"/v1/transfers/{moved['id']}/proof")
    assert proof.json["unsigned"] == "this server has no signing key"
    assert proof.json["row"]["id"] == moved["id"]
    for path, status, code in (
        (f"/v1/transfers/{new_id()}/proof", 404, "transfer_not_found"),
        (f"/v1/transfers/{books.cash}/proof", 404, "transfer_not_found"),
        ("/v1/transfers/x/proof", 400, "id_invalid"),
        (f"/v1/transfers/{moved['id']}/proof?a=b", 400, "parameter_unknown"),
        ("/v1/checkpoints/1/consistency?first=1", 404, "checkpoint_not_found"),
        ("/v1/checkpoints/999999999999999999/consistency?first=1", 404, "checkpoint_not_found"),
        ("/v1/checkpoints/0/consistency?first=1", 400, "id_invalid"),
        (f"/v1/checkpoints/{'9' * 19}/consistency?first=1", 400, "id_invalid"),
        ("/v1/checkpoints/1/consistency", 400, "parameter_invalid"),
        ("/v1/checkpoints/1/consistency?first=0", 400, "parameter_invalid"),
        ("/v1/checkpoints?cursor=AAAA", 400, "cursor_invalid"),
        ("/v1/checkpoints?limit=0", 400, "parameter_invalid"),
    ):
        answer = books.get(path)
        assert (answer.status, answer.code) == (status, code), path
    assert books.get("/v1/checkpoints").json == {"data": [], "next": None}


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (
            ("serve", "--dev", "--port", "0"),
            {"signing_key": "/nowhere/key"},
            "cannot read the signing key /nowhere/key",
        ),
        (("serve", "--dev"), {"signing_dir": "s3://bucket"}, "only a directory of this machine"),
        (("signing-key", "create", "/nowhere/key", "--origin", "a"), {}, "cannot make /nowhere/key"),
        (("signing-key", "create", "/tmp/never-made", "--origin", "a b"), {}, "'a b' is no origin"),
        (("verify", "--key", "x"), {}, "one of the arguments --proof --consistency is required"),
        (("verify", "--proof", "/dev/null", "--key", "a+b+c"), {}, "is no public key"),
    ],
)
def test_what_is_refused_is_one_clear_line(
    database: Database, arguments: tuple[str, ...], settings: dict[str, object], says: str
) -> None:
    done = pyledger(*arguments, **settings, database_url=database.server_dsn)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_killed_again_and_again_while_it_signs(
    database: Database, start_server: Start, key: tuple[str, str], tmp_path: Path
) -> None:
    """What was proven once stays proven, and every checkpoint goes on where the ones before it ended."""
    chance = replayable()
    file, public = key
    outside = tmp_path / "outside"
    proofs: list[bytes] = []
    server = start_server(database, signing_key=file, signing_dir=outside, signing_interval_s=1)
    for _ in range(KILLS):
        books = open_books(server.url)
        proofs.append(signed_proof(books))

        def ask(books: Books = books) -> None:
            try:
                while True:
                    proofs.append(signed_proof(books))
            except (OSError, http.client.HTTPException):
                return

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for each in asking:
            each.start()
        time.sleep(chance.uniform(0.05, 1.3))
        server.stop(signal.SIGKILL)
        for each in asking:
            each.join()
        server.start()
    books = open_books(server.url)
    newest = verifier.transfer(signed_proof(books), public)[1]
    for size in {verifier.transfer(proof, public)[1] for proof in proofs}:
        answer = books.get(f"/v1/checkpoints/{newest}/consistency?first={size}")
        assert verifier.consistent(answer.body, public) == (size, newest)
    assert server.stop() == 0
    assert pyledger("check", database_url=database.owner_dsn, signing_dir=outside).returncode == 0
