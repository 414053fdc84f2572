"""The pure rules: what a fence's answer means, whose head it is, what a failure calls for, when to refuse."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from pyledger.ledger import rules
from pyledger.ledger.nouns import BACKOFF_MAX_S, SCHEMA_VERSION, Head, Position
from pyledger.ledger.rules import Facts, Failure, Fate, Standing, Trouble, Watch


def at(seq: int, text: str = "") -> Position:
    return Position(seq, hashlib.sha256(f"{seq}{text}".encode()).digest())


@pytest.mark.parametrize(
    ("found", "in_flight", "fate"),
    [
        (at(8), at(8), Fate.LANDED),
        (at(7), at(8), Fate.NOT_LANDED),
        (at(7), None, Fate.NOT_LANDED),
        (at(8), None, Fate.LOST),
        (at(8, "other"), at(8), Fate.LOST),
        (at(7, "other"), at(8), Fate.LOST),
        (at(6), at(8), Fate.LOST),
        (at(9), at(8), Fate.LOST),
        (at(0), None, Fate.LOST),
    ],
)
def test_fate(found: Position, in_flight: Position | None, fate: Fate) -> None:
    assert rules.fate(found, at(7), in_flight) is fate


@pytest.mark.parametrize(
    ("epoch", "owner", "standing"),
    [
        (3, "me", Standing.OURS),
        (4, "me", Standing.OURS),  # our fence landed and its reply was lost
        (4, "other", Standing.THEIRS),
        (3, "other", Standing.THEIRS),
        (2, "me", Standing.LOST),
        (2, "other", Standing.LOST),
    ],
)
def test_standing(epoch: int, owner: str, standing: Standing) -> None:
    assert rules.standing(Head(epoch, at(1), 0, owner, 0), "me", 3) is standing


@pytest.mark.parametrize(
    ("sqlstate", "relation", "failure"),
    [
        ("23505", "journal_20261116", Failure.DUPLICATE),
        ("23505", "batch_20261116", Failure.CONTENT),
        ("23505", None, Failure.CONTENT),
        ("23502", "batch_20261116", Failure.MOVED),
        ("23502", "journal_20261116", Failure.CONTENT),
        ("22003", None, Failure.CONTENT),
        ("23514", "journal_20261116", Failure.CONTENT),
        ("42501", None, Failure.CONTENT),
        ("53100", None, Failure.UNKNOWN),
        ("57P01", None, Failure.UNKNOWN),
        (None, None, Failure.UNKNOWN),
    ],
)
def test_failure(sqlstate: str | None, relation: str | None, failure: Failure) -> None:
    assert rules.failure(Trouble("it failed", sqlstate, relation)) is failure


def test_backoff_grows_to_its_bound() -> None:
    waits = [rules.backoff_s(attempt) for attempt in range(1_000)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_MAX_S


def test_lock_keys_differ_and_fit() -> None:
    keys = {rules.lock_key(shard, epoch) for shard in (0, 1, 32_767) for epoch in (0, 1, 2**31, 2**32 - 1)}
    assert len(keys) == 12
    assert all(0 < key < 2**63 for key in keys)


def test_a_watch_only_freezes_after_a_whole_lease_without_any_sign() -> None:
    head = Head(3, at(7), 0, "other", 5)
    watch = Watch.begin(head, 100.0)
    assert watch.look(head, 104.0) is watch
    assert not watch.frozen(104.9, 5_000)
    assert watch.frozen(105.0, 5_000)
    for sign in ({"beat": 6}, {"position": at(8)}, {"epoch": 4}):
        assert not watch.look(dataclasses.replace(head, **sign), 105.0).frozen(109.9, 5_000)


SOUND = Facts(
    server_version=150_000,
    fsync="on",
    full_page_writes="on",
    synchronous_commit="on",
    in_recovery=False,
    can_stage=True,
    encoding="UTF8",
    schema_version=SCHEMA_VERSION,
    superuser=False,
    owns_journal=False,
    can_rewrite_journal=False,
    can_append=True,
    clock_skew_ns=999_999_999,
)


def test_a_sound_database_is_taken() -> None:
    assert list(rules.refusals(SOUND)) == []
    assert rules.rewriting(SOUND) is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"server_version": 140_012}, "PostgreSQL 14 is too old"),
        ({"in_recovery": True}, "in recovery"),
        ({"fsync": "off"}, "fsync is off"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
        ({"synchronous_commit": "off"}, "synchronous_commit is off"),
        ({"encoding": "LATIN1"}, "encoding is LATIN1"),
        ({"schema_version": None}, "no pyledger schema"),
        ({"schema_version": "0000"}, "schema 0000, this server needs"),
        ({"schema_version": "9999"}, "schema 9999, this server needs"),
        ({"can_append": False}, "may not append"),
        ({"can_stage": False}, "may not make temporary tables"),
        ({"clock_skew_ns": 1_000_000_001}, "1.0 s behind"),
        ({"clock_skew_ns": -3_000_000_000}, "3.0 s ahead of"),
    ],
)
def test_refusals(wrong: dict[str, object], reason: str) -> None:
    found = list(rules.refusals(dataclasses.replace(SOUND, **wrong)))
    assert len(found) == 1
    assert reason in found[0]
    assert "\n" not in found[0]


@pytest.mark.parametrize("right", ["superuser", "owns_journal", "can_rewrite_journal"])
def test_a_role_that_could_rewrite_the_journal(right: str) -> None:
    assert rules.rewriting(dataclasses.replace(SOUND, **{right: True})) is not None
