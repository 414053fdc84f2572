"""What is sent: ids, transfers in each form, schedules, and what each workload is."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest

from benchmarks.bodies import BINARY_TYPE, Envelope, Ids, build, uuid_text
from benchmarks.nouns import BATCH_TRANSFERS, FIGURES, FULL, FURTHER, QUICK, SMOKE, TARGETS, Size
from benchmarks.service import environment
from benchmarks.session import queue_settings
from benchmarks.workloads import SIDE_BY_SIDE, WORKLOADS, Planner, w5_at_half
from pyledger import _rust
from pyledger.settings import Settings
from tests.benchmarks.support import FIRST, body, plan


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
    own = [case.plan.ledger for case in cases if case.workload != "W5"]
    assert len(set(own)) == len(own)
    assert len({case.plan.ledger for case in cases if case.workload == "W5"}) == 1
    assert len({case.plan.seed for case in cases}) == len(cases)
    assert len({case.plan.case for case in cases}) == len(cases)
    assert {case.figure or case.latency_figure for case in cases} - {""} <= set(FIGURES)
    named = {target.figure for target in TARGETS} | {target.against for target in TARGETS} - {""}
    assert named <= set(FIGURES) | set(FURTHER)
    assert set(FIGURES).isdisjoint(FURTHER)


@pytest.mark.parametrize("size", [QUICK, FULL])
def test_what_is_compared_is_as_many_transfers_in_the_same_form(size: Size) -> None:
    plans = {case.plan.case: case.plan for make in WORKLOADS.values() for case in make(Planner(size, 1))}
    compared = [plans[name] for name in SIDE_BY_SIDE]
    assert len({(plan.form, plan.transfers, plan.per_request, plan.connections) for plan in compared}) == 1


def test_more_connections_get_a_queue_that_holds_them() -> None:
    assert queue_settings(()) == queue_settings((8,)) == {}
    asked = queue_settings((64, 256))
    assert asked["queue_rows_max"] == 256 * BATCH_TRANSFERS
    Settings.load(environment(asked), user_id=0)
    cases = {case.plan.case: case.plan for case in WORKLOADS["W1"](Planner(SMOKE, 1, (256,)))}
    assert cases["w1_binary_256"].connections == 256
    assert cases["w1_json_256"].requests >= 2 * 256


def test_w5_is_offered_what_half_of_its_peak_is() -> None:
    assert w5_at_half(Planner(SMOKE, 1), 1_000.0).plan.offered_per_s == 500.0
