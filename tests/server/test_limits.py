"""The bounds of a request, with bytes on a socket: each is refused clearly and the server goes on."""

from __future__ import annotations

import json
import socket
import struct
import time
import uuid

import pytest

from tests.server.conftest import LIMITS
from tests.server.talk import Books, read_all

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
POST = b"POST /v1/transfers HTTP/1.1\r\n" + HEAD
BATCH = b"POST /v1/transfers/batch HTTP/1.1\r\n" + HEAD
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer on the wire."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)["code"]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_body_beyond_the_bound_is_refused_by_its_length(books: Books) -> None:
    answer = books.send(POST + b"Content-Length: 16385\r\n\r\n" + b"x" * 16_385)
    assert problem(answer) == (413, "body_too_large")
    assert b"connection: close" in answer
    assert b'"body_bytes_max":16384' in answer


def test_a_batch_may_be_larger_but_not_by_any_amount(books: Books) -> None:
    size = LIMITS["body_bytes_max"]
    answer = books.send(BATCH + b"Content-Length: %d\r\n\r\n" % (size + 1) + b" " * (size + 1))
    assert problem(answer) == (413, "body_too_large")
    answer = books.send(BATCH + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size + b" " * size)
    assert problem(answer) == (400, "invalid_json")


def test_a_length_of_an_exabyte_reserves_nothing(books: Books) -> None:
    start = time.monotonic()
    answer = books.send(BATCH + b"Content-Length: 1000000000000000000\r\n\r\n" + b"x" * 1_000)
    assert problem(answer) == (413, "body_too_large")
    assert time.monotonic() - start < 3


def test_a_gigabyte_is_not_read_to_its_end(books: Books) -> None:
    sent = 0
    piece = b"x" * 1_048_576
    with books.connect() as wire:
        wire.sendall(BATCH + b"Content-Length: 1073741824\r\n\r\n")
        try:
            for _ in range(1_024):
                wire.sendall(piece)
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 200 * 1_048_576
    assert books.get("/readyz").status == 200


def test_chunks_are_counted(books: Books) -> None:
    body = json.dumps(books.transfer()).encode()
    answer = books.send(POST + b"Connection: close\r\n" + CHUNKED + chunk(body[:40]) + chunk(body[40:]) + b"0\r\n\r\n")
    assert b" 201 " in answer
    answer = books.send(POST + CHUNKED + chunk(b" " * 10_000) + chunk(b" " * 10_000) + b"0\r\n\r\n")
    assert problem(answer) == (413, "body_too_large")


def record(books: Books) -> bytes:
    """A good transfer in its binary form."""
    number = [uuid.uuid4().int, uuid.UUID(books.cash).int, uuid.UUID(books.wallet).int, 10, 0]
    return b"".join(each.to_bytes(16, "little") for each in number) + struct.pack("<QIIHH28x", 0, 0, 1, 1, 0)


def test_chunks_that_break_off_are_not_taken_for_a_body(books: Books) -> None:
    # What arrived before the break is a whole batch by itself: it must not be taken for one.
    head = BATCH.replace(b"application/json", b"application/vnd.pyledger.transfers")
    for end in (b"", b"5\r\nab", b"zz\r\n", b"0\r\nX: trailer\r\n\r\n"):
        answer = books.send(head + CHUNKED + chunk(record(books)) + end, half_close=not end.endswith(b"\n"))
        # The parser may find its client gone before we can say anything.
        assert answer == b"" or problem(answer) == (400, "body_incomplete"), end
    answer = books.send(POST + b"Content-Length: 300\r\n\r\n" + b"{}", half_close=True)
    assert answer == b"" or problem(answer) == (400, "body_incomplete")
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "0"
    assert b" 200 " in books.send(head + b"Connection: close\r\n" + CHUNKED + chunk(record(books)) + b"0\r\n\r\n")
    assert books.get(f"/v1/accounts/{books.wallet}").json["balances"]["posted"] == "10"


def test_length_and_chunks_together_are_read_as_chunks_and_the_connection_closed(books: Books) -> None:
    body = json.dumps(books.transfer()).encode()
    answer = books.send(
        POST + b"Content-Length: 5\r\n" + CHUNKED + chunk(body) + b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"
    )
    assert b" 201 " in answer
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1_0\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Content-Length : 3\r\n",
        b" folded: x\r\n",
        b"X\x00Y: 1\r\n",
    ],
)
def test_what_is_not_http_is_refused_by_the_parser(books: Books, headers: bytes) -> None:
    answer = books.send(POST + headers + b"\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_slow_body_is_refused_in_time(books: Books) -> None:
    body = json.dumps(books.transfer()).encode()
    for framing in (b"Content-Length: %d\r\n\r\n" % len(body) + body[:10], CHUNKED + chunk(body[:10])):
        start = time.monotonic()
        answer = books.send(POST + framing)
        assert problem(answer) == (408, "body_timeout")
        assert 0.9 < time.monotonic() - start < 3


def test_a_body_that_drips_is_as_late_as_one_that_does_not_come(books: Books) -> None:
    with books.connect() as wire:
        wire.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        start = time.monotonic()
        wire.settimeout(0.1)
        answer = b""
        while time.monotonic() - start < 5 and not answer:
            try:
                wire.sendall(b"x")
                answer = wire.recv(65_536)
            except TimeoutError:
                continue
        assert problem(answer) == (408, "body_timeout")
        assert time.monotonic() - start < 3


def test_a_slow_body_delays_nobody_else(books: Books) -> None:
    """For none of three times, that is: a disk may be away for a moment too."""
    took_s = list[float]()
    while not took_s or (took_s[-1] >= 0.8 and len(took_s) < 3):
        wires = []
        for _ in range(50):
            wire = books.connect()
            wire.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
            wires.append(wire)
        start = time.monotonic()
        books.moved()
        took_s.append(time.monotonic() - start)
        for wire in wires:
            assert problem(read_all(wire)) == (408, "body_timeout")
            wire.close()
    assert took_s[-1] < 0.8, took_s


def test_a_large_or_crowded_head_is_refused_by_the_parser(books: Books) -> None:
    answer = books.send(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"X: " + b"a" * 17_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    many = b"".join(b"X%d: a\r\n" % number for number in range(120))
    assert books.send(b"GET /healthz HTTP/1.1\r\n" + HEAD + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
    path = b"/" + b"a" * 17_000
    assert books.send(b"GET " + path + b" HTTP/1.1\r\n" + HEAD + b"\r\n").split(b" ")[1] in (b"414", b"431")


def test_a_slow_head_and_an_idle_connection_are_closed(books: Books) -> None:
    start = time.monotonic()
    assert books.send(b"GET /healthz HTTP/1.1\r\nHost:", 0.5, b" x\r\nX:", 0.5, b" y") == b""
    assert time.monotonic() - start < 4
    start = time.monotonic()
    assert books.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").count(b"HTTP/1.1 200") == 1
    assert 1.5 < time.monotonic() - start < 4


def test_one_connection_serves_many_requests_in_order(books: Books) -> None:
    asked = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
        + b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    answer = books.send(asked)
    assert answer.count(b"HTTP/1.1 200") == 21
    assert answer.rstrip().endswith(b"}")
    assert b'"ready":true' in answer


def test_garbage_tls_and_http2_do_not_disturb(books: Books) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"\r\n\r\n\r\n\r\n", b"GET\r\n\r\n", b"\0" * 20_000, b"GET / HTTP/9.9\r\n\r\n"):  # fmt: skip
        books.send(nonsense, timeout_s=3)
    for _ in range(200):
        with books.connect() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            wire.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
    assert books.moved()["status"] == "accepted"


def test_expect_continue_is_answered_before_the_body(books: Books) -> None:
    body = json.dumps(books.transfer()).encode()
    with books.connect() as wire:
        wire.sendall(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert wire.recv(100).startswith(b"HTTP/1.1 100 ")
        wire.sendall(body)
        assert b" 201 " in read_all(wire)
