"""The benchmarks measure what they say: traffic, verdicts, schedule, proof, baseline and report."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from benchmarks import __main__ as command_line
from benchmarks import judge, page, peers, report
from benchmarks.bodies import BINARY_TYPE, Envelope, Ids, build, first_account, uuid_text
from benchmarks.load import drive
from benchmarks.lock_and_update import SCHEMA
from benchmarks.nouns import FIGURES, SMOKE, TARGETS, Case, Measured, Plan, ProofFailed
from benchmarks.proof import Claim, prove
from benchmarks.run import Runner
from benchmarks.service import Service
from benchmarks.session import Asked, Session
from benchmarks.summary import percentiles, summarize, timeline
from benchmarks.wire import Unreadable, Wire, answer_bytes
from benchmarks.workloads import WORKLOADS, Planner, w5_at_half
from pyledger import _rust
from tests.support.clusters import Database
from tests.support.process import ServerProcess

LEDGER = 7
FIRST = first_account(LEDGER)


def plan(**fields: Any) -> Plan:
    given: dict[str, Any] = {
        "case": "test", "form": "single", "ledger": LEDGER, "first_account": FIRST, "accounts": 20,
        "requests": 40, "connections": 4, "seed": 3,
    }  # fmt: skip
    return Plan(**(given | fields))


def body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


# Traffic


def test_ids_grow_and_are_uuid7() -> None:
    ids = Ids(Random(1))
    made = [ids.next() for _ in range(5_000)]
    assert all(a < b for a, b in pairwise(made))
    assert {UUID(int=each).version for each in made} == {7}


@pytest.mark.parametrize(("form", "decode"), [
    ("binary", _rust.decode_transfers_binary), ("json", _rust.decode_transfers)])  # fmt: skip
def test_batches_are_what_the_server_reads(form: Any, decode: Callable[[bytes, int], _rust.Commands]) -> None:
    traffic = build(
        plan(form=form, requests=3, per_request=50, pending_share=0.3, timeouts_s=(1, 5)), Envelope("h", "k")
    )
    assert list(traffic.transfers) == [50, 50, 50]
    for request, ids in zip(traffic.requests, traffic.ids, strict=True):
        assert b"authorization: Bearer k\r\n" in request
        assert (BINARY_TYPE.encode() in request) == (form == "binary")
        asked = [uuid_text(int.from_bytes(ids[at : at + 16])) for at in range(0, len(ids), 16)]
        assert decode(body(request), 1).ids == asked


def test_both_forms_of_a_plan_are_the_same_transfers() -> None:
    def shape(form: Any) -> list[tuple[int, int]]:
        requests = build(plan(form=form, requests=1, per_request=9), Envelope("h", "")).requests
        if form == "binary":
            text = body(requests[0])
            return [
                (int.from_bytes(text[at + 16 : at + 32], "little"), int.from_bytes(text[at + 48 : at + 64], "little"))
                for at in range(0, len(text), 128)
            ]
        return [
            (UUID(each["debit_account_id"]).int, int(each["amount"]))
            for each in json.loads(body(requests[0]))["transfers"]
        ]

    assert len(shape("binary")) == 9
    assert shape("binary") == shape("json")


@pytest.mark.parametrize("choice", ["uniform", "hot_debit", "one_pair", "zipf"])
def test_no_transfer_is_from_an_account_to_itself(choice: Any) -> None:
    traffic = build(plan(choice=choice, hot_share=0.9, accounts=3, requests=500), Envelope("h", ""))
    for request in traffic.requests:
        sent = json.loads(body(request))
        assert sent["debit_account_id"] != sent["credit_account_id"]


def test_a_hot_account_takes_its_share() -> None:
    hot = uuid_text(FIRST)
    made = plan(choice="hot_debit", hot_share=0.9, accounts=1_000, requests=2_000)
    debits = [json.loads(body(each))["debit_account_id"] for each in build(made, Envelope("h", "")).requests]
    assert 0.87 < debits.count(hot) / len(debits) < 0.93


def test_a_post_comes_after_its_hold_and_on_schedule() -> None:
    traffic = build(plan(post_after_s=0.5, offered_per_s=100.0, requests=60), Envelope("h", ""))
    assert list(traffic.due_s) == sorted(traffic.due_s)
    held: dict[str, float] = {}
    for request, due_s in zip(traffic.requests, traffic.due_s, strict=True):
        path = request.split(b" ", 2)[1].decode()
        if path.endswith("/post"):
            assert due_s == pytest.approx(held.pop(path.split("/")[3]) + 0.5)
        else:
            held[json.loads(body(request))["id"]] = due_s
    assert not held


def test_the_shares_of_workers_are_the_whole_plan() -> None:
    whole = plan(requests=103, connections=10, offered_per_s=90.0)
    shares = [whole.share(worker, 4) for worker in range(4)]
    assert sum(each.requests for each in shares) == 103
    assert sum(each.connections for each in shares) == 10
    assert len({each.seed for each in shares}) == 4


def test_every_workload_makes_cases_with_known_figures() -> None:
    planner = Planner(SMOKE, 1)
    cases = [case for make in WORKLOADS.values() for case in make(planner)] + [w5_at_half(planner, 100.0)]
    assert len({case.plan.ledger for case in cases}) == len(cases)
    assert len({case.plan.case for case in cases}) == len(cases)
    assert {case.figure or case.latency_figure for case in cases} - {""} <= set(FIGURES)
    assert {target.figure for target in TARGETS} | {target.against for target in TARGETS} - {""} <= set(FIGURES)


# Verdicts


def answer(status: int, content: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content)


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


# The generator


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


def quiet(*_: object) -> None:
    pass


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


def test_percentiles_leave_nothing_out() -> None:
    found = percentiles([each / 1_000 for each in range(1, 1_001)])
    assert (found["50"], found["99"], found["99.9"], found["100"]) == (500, 990, 999, 1_000)
    assert percentiles([0.007]) == dict.fromkeys(found, 7)


def test_a_timeline_adds_up() -> None:
    points = timeline([(0.05, 10), (0.95, 20), (1.02, 30)], 1.02)
    starts = [0.0, *(end for end, _ in points)]
    total = sum(rate * (end - start) for start, (end, rate) in zip(starts, points, strict=False))
    assert total == pytest.approx(60, rel=0.01)


# A run and its proof, on the real thing


@pytest.fixture
async def service(server: ServerProcess, database: Database) -> AsyncIterator[Service]:
    found = Service(server.url, "", database.admin_dsn)
    await found.connect()
    yield found
    await found.close()


LEDGERS = count(50, 100)


def small(workload: str, name: str) -> Case:
    planner = Planner(replace(SMOKE, w1_transfers=9_000), next(LEDGERS))
    return {case.plan.case: case for case in WORKLOADS[workload](planner)}[name]


async def test_every_workload_runs_and_is_proven(service: Service, tmp_path: Path) -> None:
    """On one server, one after the other, as in earnest."""
    runner = Runner(service, tmp_path, quiet)
    for workload, name in (("W1", "w1_binary"), ("W1", "w1_json"), ("W1", "single_64"), ("W2", "w2_100_50"),
                           ("W3", "w3_50"), ("W4", "w4_50"), ("W7", "w7_open"), ("W9", "w9_binary")):  # fmt: skip
        measured = await runner.run(small(workload, name))
        assert not measured.errors, name
        assert measured.refused == 0, name
        assert measured.accepted, name
        assert measured.proof["debits_posted"] == measured.proof["credits_posted"], name
        assert measured.wal_bytes_per_transfer, name


async def test_declines_are_acknowledged_too(service: Service, tmp_path: Path) -> None:
    case = next(WORKLOADS["W5"](Planner(SMOKE, 60)))
    poor = replace(case, funding=5, plan=replace(case.plan, accounts=50, requests=100, amount_max=9))
    measured = await Runner(service, tmp_path, quiet).run(poor)
    assert measured.declined
    assert measured.proof["acknowledged"] == measured.accepted + measured.declined


async def test_a_proof_finds_what_is_wrong(service: Service, tmp_path: Path) -> None:
    case = small("W1", "w1_binary")
    runner = Runner(service, tmp_path, quiet)
    mark_ns = await service.mark_ns()
    await runner.run(case)
    head, tail = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
    invented = tmp_path / "invented"
    invented.write_bytes(head + b"\0\2\0\0\0\x10" + uuid4().bytes + b"\0\0\0\1\1" + tail)
    caller = service.caller()

    async def failures(**fields: Any) -> str:
        claim = Claim("test", case.plan.ledger, case.plan.accounts, mark_ns, mark_ns, [], 20_000)
        with pytest.raises(ProofFailed) as failed:
            await prove(service.database, caller, service.envelope, replace(claim, **fields), quiet)
        return "; ".join(failed.value.failures)

    assert "1 ids are acknowledged but not stored" in await failures(acknowledged=[invented])
    assert "10000 accounts are served, 9 were opened" in await failures(accounts=9)
    assert "unanswered commands" in await failures(unanswered=0)
    caller.close()


# The baseline


async def test_lock_and_update_is_a_ledger(empty_database: Database) -> None:
    """Batches with limits, unknown accounts, repeats and retries, against a model of a few lines."""
    connection = await asyncpg.connect(empty_database.admin_dsn)
    await connection.execute(SCHEMA.read_text("utf-8"))
    random, accounts = Random(5), [uuid4() for _ in range(6)]
    limited = set(accounts[:3])
    await connection.copy_records_to_table(
        "account", columns=("id", "limited"), records=[(each, each in limited) for each in accounts]
    )
    model: dict[UUID, int] = dict.fromkeys(accounts, 0)
    first: dict[UUID, int] = {}
    history: list[tuple[UUID, UUID, UUID, int]] = []
    for _ in range(60):
        batch = [(uuid4(), *random.sample(accounts, 2), random.randint(1, 9)) for _ in range(random.randint(1, 12))]
        if random.random() < 0.3:
            batch.append((uuid4(), accounts[0], uuid4(), 1))
        if history and random.random() < 0.5:
            batch += [random.choice(history), batch[0]]
        statuses = await connection.fetchval("SELECT post_batch($1, $2, $3, $4)", *map(list, zip(*batch, strict=True)))
        for (id, debit, credit, amount), status in zip(batch, statuses, strict=True):
            if id not in first:
                if credit not in model:
                    first[id] = 2
                elif debit in limited and model[debit] < amount:
                    first[id] = 1
                else:
                    first[id] = 0
                    model[debit] -= amount
                    model[credit] += amount
            assert status == first[id]
        history += batch
    rows = await connection.fetch("SELECT id, credits - debits AS balance FROM account")
    assert {row["id"]: row["balance"] for row in rows} == model
    assert set(first.values()) == {0, 1, 2}
    await connection.close()


# The report


def a_result() -> dict[str, Any]:
    line = Measured("<case>", "W1", "a & b", "json", 4, 50, 10, 500, seconds=2.0, per_s=250.0,
                    latency_ms=percentiles([0.001, 0.002, 0.5]), timeline=[(1.0, 200.0), (2.0, 300.0)])  # fmt: skip
    about = {"size": "quick", "began_at": "now", "commit": "unknown", "changed": False, "machine": {"cpu": "<b>"}}
    return report.document(about, {"w1_binary_per_s": 500_000.0, "append_ceiling_per_s": 600_000.0}, [line], {})


def test_the_report_names_figures_and_targets() -> None:
    found = a_result()
    assert found["figures"] == {"w1_binary_per_s": 500_000.0, "append_ceiling_per_s": 600_000.0}
    reached = {row["title"]: row["reached"] for row in found["targets"]}
    assert reached == {"W1, binary form, transfers/s": True, "W1, binary form / raw append ceiling": True}
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found))
    with pytest.raises(AssertionError):
        report.document({}, {"some_other_name": 1.0}, [], {})


def test_the_page_stands_alone() -> None:
    text = page.render(a_result())
    assert "&lt;case&gt;" in text
    assert "<case>" not in text
    assert "a &amp; b" in text
    assert text.count("<svg") == 2
    for word in ("http:", "https:", "<script", "@import", "url("):
        assert word not in text


def test_what_tigerbeetle_prints_is_read() -> None:
    text = "load accepted = 327667 tx/s\nbatch latency p50 = 15 ms\nbatch latency p99 = 121 ms\n"
    assert peers.read(text) == (327_667.0, {"50": 15.0, "99": 121.0})
    with pytest.raises(ValueError, match="no rate"):
        peers.read("panic")


def test_the_command_line_refuses_what_cannot_be_meant(tmp_path: Path) -> None:
    def asked(*arguments: str) -> Asked:
        options: argparse.Namespace = command_line.parse(list(arguments))
        return command_line.asked_of(options, tmp_path)

    assert asked("--only", "w1,ECHO").parts == ("W1", "echo")
    assert "growth" not in asked().parts
    assert "growth" in asked("--full").parts
    for wrong, message in ((("--only", "W8"), "W8 is none of"), (("--url", "http://h"), "needs --database"),
                           (("--tigerbeetle", "/nowhere"), "is not a file")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            asked(*wrong)


def test_a_session_says_where_it_was_measured(tmp_path: Path) -> None:
    session = Session(Asked(SMOKE, (), tmp_path), quiet, quiet)
    asyncio.run(session.run())
    assert session.about["machine"]["cores"] >= 1
    assert len(session.about["commit"]) in {40, len("unknown")}
