"""The table of cuts: every byte of both ways once, each in the message that it belongs to."""

from __future__ import annotations

import struct

from tests.faults.proxy import Armed, Cut, Way
from tests.faults.wire_table import DOWN_MESSAGES, UP_MESSAGES, messages, places


def message(kind: str, body: bytes) -> bytes:
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def measured() -> Armed:
    armed = Armed(Cut(Way.UP, 10**9))
    armed.passed[Way.UP] += message("Q", b"COPY\0") + message("d", b"rows") + message("c", b"")
    armed.passed[Way.DOWN] += message("G", bytes(3)) + message("C", b"COPY 1\0") + message("Z", b"I")
    return armed


def test_every_byte_is_there_once_whatever_the_seed() -> None:
    armed = measured()
    tables = [places("one", armed, seed) for seed in (1, 2)]
    assert tables[0] != tables[1]
    for table in tables:
        for way in Way:
            after = sorted(place.after_bytes for place in table if place.way is way)
            assert after == list(range(len(armed.passed[way]) + 1))
        whole = [place.after_bytes for place in table if place.whole and place.way is Way.UP]
        assert whole == [len(armed.passed[Way.UP])]


def test_messages_are_told_apart() -> None:
    armed = measured()
    assert messages(bytes(armed.passed[Way.UP]), UP_MESSAGES) == [(0, "Query"), (10, "CopyData"), (19, "CopyDone")]
    assert [name for _, name in messages(bytes(armed.passed[Way.DOWN]), DOWN_MESSAGES)] == [
        "CopyInResponse", "CommandComplete", "ReadyForQuery",
    ]  # fmt: skip
    within = {(place.way, place.after_bytes): place.within for place in places("one", armed, 1)}
    assert [within[Way.UP, after] for after in (0, 1, 10, 11, 19, 20, 24)] == [
        "Query", "Query", "Query", "CopyData", "CopyData", "CopyDone", "CopyDone",
    ]  # fmt: skip


def test_what_postgres_cannot_have_got_is_told_from_what_it_may_have() -> None:
    """The end of rows that were sent ahead leaves when they are answered; an append that is one message, at once."""
    ahead = measured()
    first = len(ahead.passed[Way.DOWN])
    ahead.passed[Way.UP] += message("Q", b"UPDATE; COMMIT\0")
    ahead.passed[Way.DOWN] += message("C", b"COMMIT\0") + message("Z", b"I")
    for armed, heard in ((measured(), -1), (ahead, first)):
        for place in places("one", armed, 1):
            end = len(armed.passed[Way.UP])
            assert place.whole == (place.after_bytes == end if place.way is Way.UP else place.after_bytes > heard)
