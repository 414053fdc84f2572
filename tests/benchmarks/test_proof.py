"""A run and its proof on a real server, and the baseline that is a ledger too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from benchmarks import baselines, growth
from benchmarks.lock_and_update import SCHEMA
from benchmarks.nouns import FURTHER, SMOKE, Case, Measured, ProofFailed
from benchmarks.proof import QUERIES, Claim, prove
from benchmarks.run import Runner
from benchmarks.service import Service
from benchmarks.workloads import WORKLOADS, Planner
from tests.benchmarks.support import quiet
from tests.support.clusters import Clusters, Database
from tests.support.process import ServerProcess


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


async def test_a_rested_run_begins_once_what_was_left_is_sealed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(service, tmp_path, quiet, rested=True)
    rows = (await runner.run(small("W1", "single_64"))).accepted
    assert await service.rows_unsealed() > rows
    monkeypatch.setattr("benchmarks.run.REST_ROWS_MAX", rows)
    monkeypatch.setattr("benchmarks.run.REST_S_MAX", 0.3)
    monkeypatch.setattr("benchmarks.run.REST_LOOK_S", 0.05)
    with pytest.raises(RuntimeError, match="rows of earlier cases are not sealed"):
        await runner.run(small("W1", "single_64"))
    await service.database.execute(
        "UPDATE pyledger.partition SET sealed_at = now(), rows = 0, root = sha256(''), filter = ''"
    )
    assert await service.rows_unsealed() == 0
    await service.database.execute("ANALYZE pyledger.journal")
    unfrozen = [row["name"] for row in await service.database.fetch(QUERIES["unfrozen"])]
    assert unfrozen
    assert (await runner.run(small("W1", "single_64"))).accepted
    vacuumed = "SELECT bool_and(vacuum_count = 1) FROM pg_stat_user_tables WHERE relname = ANY ($1)"
    async with asyncio.timeout(10):
        while not await service.database.fetchval(vacuumed, unfrozen):
            await asyncio.sleep(0.1)


async def test_the_echo_answers_as_many_bytes_as_the_ledger(service: Service, tmp_path: Path) -> None:
    case = small("W1", "single_64")
    ours = await Runner(service, tmp_path, quiet).run(case)
    echoed = await baselines.echo(case.plan, "a key", tmp_path, baselines.body_bytes(ours), quiet)
    assert not echoed.errors
    assert echoed.answer_bytes == ours.answer_bytes


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


async def test_growth_is_measured_and_proven_as_a_whole(
    service: Service,
    database: Database,
    clusters: Clusters,
    start_server: Callable[..., ServerProcess],
    tmp_path: Path,
) -> None:
    size = replace(SMOKE, grown_accounts=500, grown_rows=20_000)
    lines = list[Measured]()

    def on(one: Service) -> growth.RunCase:
        runner = Runner(one, tmp_path, quiet)

        async def run(case: Case) -> Measured:
            lines.append(await runner.run(case))
            return lines[-1]

        return run

    other = await clusters.make_database(database.postgres.version)
    small = Service(start_server(other).url, "", other.admin_dsn)
    await small.connect()
    found = await growth.measure(Planner(size, next(LEDGERS)), on(service), on(small), rest_s_max=0)
    await small.close()
    assert set(growth.ratios(found)) <= set(FURTHER)
    assert sum(line.accepted for line in lines if line.case.startswith("growth_load_")) >= 0.7 * 20_000
    pieces = [line for line in lines if line.case.startswith("growth_load_")]
    assert [line.proof for line in pieces] == [{}] * growth.PIECES
    assert {line.notes["proven_with"] for line in pieces} == {lines[-1].case} == {"growth_large_steady_2"}
    driven = [f"{name}_{turn}" for turn, order in enumerate(growth.TURNS) for name in order]
    assert [line.case for line in lines if "_rate_" in line.case] == [f"growth_{n[:5]}_rate_{n[-1]}" for n in driven]
    large = [line for line in lines if line.case.startswith(("growth_load_", "growth_large_"))]
    whole = large[-1].proof
    assert whole["acknowledged"] == whole["stored"] == sum(line.accepted for line in large)
    assert whole["debits_posted"] == whole["credits_posted"] > 0
    assert not list(tmp_path.glob("acknowledged_*"))
