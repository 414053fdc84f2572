"""How a server starts, refuses to start, and speaks TLS."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.talk import Books, Talker, open_books, read_all
from tests.support.clusters import Database
from tests.support.process import ServerProcess, environment

Start = Callable[..., ServerProcess]


def serve_to_its_end(arguments: tuple[str, ...], **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "pyledger.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(**settings),
    )


def refuses(arguments: tuple[str, ...] = (), **settings: object) -> str:
    """The one line with which a server refuses to start."""
    done = serve_to_its_end(arguments, **settings)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done
    return done.stderr


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    return cert, key


def test_what_would_be_insecure_is_refused(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    assert "loopback" in refuses(("--dev", "--host", "0.0.0.0"), database_url=nowhere)
    assert "unencrypted" in refuses(("--host", "0.0.0.0"), database_url=nowhere)
    assert "together" in refuses(database_url=nowhere, tls_cert=cert)
    assert "cannot read" in refuses(database_url=nowhere, tls_cert=cert, tls_key=tmp_path / "none.pem")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
    assert "TLS certificate" in refuses(database_url=nowhere, tls_cert=broken, tls_key=key)
    assert "TLS certificate" in refuses(database_url=nowhere, tls_cert=cert, tls_key=cert)
    assert "encrypted" in refuses(database_url=nowhere, tls_cert=cert, tls_key=encrypted(key, tmp_path))


def encrypted(key: Path, directory: Path) -> Path:
    """The key under a passphrase."""
    found = directory / "encrypted.pem"
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", found],
                   check=True, capture_output=True)  # fmt: skip
    return found


def test_a_port_that_is_taken_is_not_shared(server: ServerProcess, database: Database) -> None:
    port = server.url.rpartition(":")[2]
    said = refuses(("--dev", "--port", port), database_url=database.server_dsn)
    assert f"port {port}" in said
    assert "in use" in said
    with contextlib.closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(Talker(server.url).address)


def test_an_address_that_is_not_ours_is_refused() -> None:
    assert "cannot listen on 192.0.2.1" in refuses(
        ("--host", "192.0.2.1"), database_url="postgresql://x@127.0.0.1:1/x", behind_tls_proxy=1
    )


def test_ipv6_and_free_ports_are_addresses_too(database: Database) -> None:
    arguments = ["--dev", "--port", "0", "--host", "::1", "--database-url", database.server_dsn]
    with subprocess.Popen(
        [sys.executable, "-m", "pyledger.cli", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(owner_url=database.owner_dsn),
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert url.startswith("http://[::1]:")
        assert not url.endswith(":0")
        assert Talker(url).get("/healthz").status == 200
        process.terminate()
        assert process.wait(30) == 0


def handshake(url: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(Talker(url).address, timeout=10)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_tls_is_1_3_or_nothing(start_server: Start, database: Database, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    server = start_server(database, tls_cert=cert, tls_key=key)
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(cert))
    with handshake(server.url, context) as wire:
        assert wire.version() == "TLSv1.3"
        wire.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert json.loads(read_all(wire).partition(b"\r\n\r\n")[2])["ready"] is True
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), handshake(server.url, old):
        pass
    context.set_alpn_protocols(["h2", "http/1.1"])
    with handshake(server.url, context) as wire:
        assert wire.selected_alpn_protocol() == "http/1.1"
    # Plain HTTP gets no answer, and the server goes on.
    assert b"HTTP/1.1 2" not in Talker(server.url).send(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout_s=3
    )
    handshake(server.url, context).close()
    assert server.stop() == 0


def test_too_many_requests_at_once_are_told_so(start_server: Start, database: Database) -> None:
    server = start_server(database, connections_max=4, feed_readers_max=3)
    books: Books = open_books(server.url)
    head = (
        b"POST /v1/transfers HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            wire = stack.enter_context(contextlib.closing(books.connect()))
            wire.sendall(head)
        for _ in range(50):
            answer = books.post("/v1/transfers", books.transfer())
            if answer.status == 503:
                break
        assert (answer.status, answer.code) == (503, "connections_full")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["connection"] == "close"
    for _ in range(50):
        if books.post("/v1/transfers", books.transfer()).status == 201:
            return
    raise AssertionError("it does not recover")


def test_a_database_that_cannot_be_used_is_refused() -> None:
    done = serve_to_its_end(("--dev", "--port", "0"), database_url="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("pyledger: cannot use the database: ")
    assert "Traceback" not in done.stderr


def test_dev_without_the_right_to_add_its_tenant_is_refused(database: Database) -> None:
    done = serve_to_its_end(("--dev", "--port", "0"), database_url=database.server_dsn)
    assert done.returncode == 2
    assert "PYLEDGER_OWNER_URL" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
