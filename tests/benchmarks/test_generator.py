"""What comes back: verdicts, the wire, both loops, percentiles."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks import judge
from benchmarks.bodies import Traffic
from benchmarks.load import Order, drive, work
from benchmarks.outcome import Outcome
from benchmarks.summary import percentiles, summarize, timeline
from benchmarks.wire import Unreadable, Wire, answer_bytes
from tests.benchmarks.support import answer, plan, quiet


def result(refusal: int, recorded_ns: int) -> bytes:
    return recorded_ns.to_bytes(8, "little") + refusal.to_bytes(2, "little") + bytes(150)


NOW_NS = 1_800_000_000_000_000_000


def test_verdicts_on_singles() -> None:
    assert judge.single(answer(201, b"{}")) == judge.ACCEPTED
    assert judge.single(answer(422, b'{"code":"exceeds_credits","recorded_at":"x"}')) == judge.DECLINED
    wrong = {"422 idempotency_conflict": b'{"code":"idempotency_conflict"}', "503 queue_full": b'{"code":"queue_full"}'}
    for name, content in {**wrong, "500": b"<html>"}.items():
        with pytest.raises(judge.Wrong, match=name):
            judge.single(answer(int(name[:3]), content))


def test_verdicts_on_batches() -> None:
    good = b'{"results":[%b],"accepted":2,"declined":0,"refused":0}' % b",".join([b'{"status":"accepted"}'] * 2)
    assert judge.batch(answer(200, good), 2) is None
    with pytest.raises(judge.Wrong):
        judge.batch(answer(200, good), 3)
    mixed = (
        b'{"results":[{"status":"declined"},{"status":"accepted"},{"status":"refused"}],'
        b'"accepted":1,"declined":1,"refused":1}'
    )
    assert judge.batch(answer(200, mixed), 3) == bytes((judge.DECLINED, judge.ACCEPTED, judge.REFUSED))


def test_verdicts_on_records() -> None:
    assert judge.binary(answer(200, result(0, NOW_NS) * 3), 3) is None
    mixed = result(0, NOW_NS) + result(59, NOW_NS) + result(256, NOW_NS) + result(29, 0)
    wanted = bytes((judge.ACCEPTED, judge.DECLINED, judge.DECLINED, judge.REFUSED))
    assert judge.binary(answer(200, mixed), 4) == wanted
    with pytest.raises(judge.Wrong):
        judge.binary(answer(200, result(0, NOW_NS)), 2)


def test_answers_in_pieces() -> None:
    whole = answer(200, b"x" * 1_000)
    for step in (1, 7, 45, 400, len(whole)):
        seen: list[bytes] = []
        wire = Wire(lambda _, data: seen.append(data), lambda _: None)  # noqa: B023
        for start in range(0, len(whole), step):
            wire.data_received(whole[start : start + step])
        assert seen == [whole]
    assert answer_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\n") == 45 + 12
    with pytest.raises(Unreadable):
        answer_bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


class Stub:
    """A server that answers 201 after a delay, one request at a time, whatever the connection."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.lock = asyncio.Lock()
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                async with self.lock:
                    await asyncio.sleep(self.delay_s)
                self.requests += 1
                writer.write(answer(201, b"{}"))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def stub() -> AsyncIterator[tuple[Stub, str]]:
    serving = Stub(0.0)
    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    yield serving, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_a_closed_loop_sends_everything_once(stub: tuple[Stub, str], tmp_path: Path) -> None:
    made = plan(requests=200, connections=8)
    outcomes, files = await drive(made, stub[1], "", tmp_path, quiet)
    measured = summarize(made, outcomes, "W", "")
    assert (stub[0].requests, measured.accepted, measured.errors) == (200, 200, {})
    assert measured.generator_cpu_s > 0
    # Head 19 bytes, 27 a row of an id and a verdict, two bytes at the end.
    assert files[0].stat().st_size == 19 + 27 * 200 + 2


async def test_latency_counts_from_the_schedule(stub: tuple[Stub, str], tmp_path: Path) -> None:
    """A server that takes 20 ms a request, offered 100 a second: what waits must not look quick."""
    stub[0].delay_s = 0.02
    made = plan(requests=100, connections=2, offered_per_s=100.0)
    measured = summarize(made, (await drive(made, stub[1], "", tmp_path, quiet))[0], "W", "")
    assert measured.accepted == 100
    assert measured.latency_ms["50"] > 300
    assert measured.latency_ms["99"] > 700


async def test_a_lost_server_is_an_error_not_a_hang(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made = plan(requests=50, connections=3)
    measured = summarize(made, (await drive(made, url, "", tmp_path, quiet))[0], "W", "")
    assert (measured.accepted, measured.errors) == (0, {"connection lost": 3})
    server.close()


def test_what_was_sent_is_never_written_out_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio does that to the result of what it ran, when it ends; of a whole run it took minutes and gigabytes."""
    written: list[str] = []
    for kind in (Traffic, Outcome):
        monkeypatch.setattr(kind, "__repr__", lambda self: str(written.append(type(self).__name__)))
    loop, (ours, theirs) = asyncio.new_event_loop(), multiprocessing.Pipe()
    server = loop.run_until_complete(asyncio.start_server(Stub(0.0), "127.0.0.1", 0))
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        ours.send("go")
        work(Order(plan(requests=9), url, "", tmp_path / "ids"), multiprocessing.Value("q", 0), theirs)
    finally:
        gc.enable()
        gc.unfreeze()
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.call_later, 0.2, loop.stop)  # once the connections have seen it
        serving.join()
        loop.close()
    assert (ours.recv(), list(ours.recv().transfers), written) == ("ready", [1] * 9, [])


def test_percentiles_leave_nothing_out() -> None:
    found = percentiles([each / 1_000 for each in range(1, 1_001)])
    assert (found["50"], found["99"], found["99.9"], found["100"]) == (500, 990, 999, 1_000)
    assert percentiles([0.007]) == dict.fromkeys(found, 7)


def test_a_timeline_adds_up() -> None:
    points = timeline([(0.05 * each, 3) for each in range(21)], 1.0)
    starts = [0.0, *(end for end, _ in points)]
    total = sum(rate * (end - start) for start, (end, rate) in zip(starts, points, strict=False))
    assert total == pytest.approx(63, rel=0.01)
