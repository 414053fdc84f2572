"""Times, ids and query strings."""

from __future__ import annotations

import pytest

from pyledger.server.problems import Refused
from pyledger.server.queries import instant_of, ledger_of, read_query, uuid_of
from pyledger.server.schemas import TransferQuery


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01T02:30:00+02:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2026-11-21T13:53:08.405624729Z", 1_795_269_188_405_624_729),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
    ],
)
def test_times_to_the_nanosecond(text: str, ns: int) -> None:
    assert instant_of(text, "since") == ns


@pytest.mark.parametrize(
    "text",
    ["", "1970", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 00:00:00Z", "1970-13-01T00:00:00Z",
     "1970-01-01T24:00:00Z", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567890Z",
     "1970-01-01T00:00:00+24:00", "1969-12-31T23:59:59Z", "2262-04-11T23:47:16.854775808Z", "9999-12-31T23:59:59Z",
     "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z\n", "\u0661970-01-01T00:00:00Z"],
)  # fmt: skip
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(Refused) as refused:
        instant_of(text, "since")
    assert refused.value.members == {"parameter": "since"}


def test_ids_in_paths() -> None:
    assert uuid_of("ABCDEF00-0000-0000-0000-00000000000F") == "abcdef00-0000-0000-0000-00000000000f"
    assert ledger_of("2147483647") == 2**31 - 1
    for bad in ("01", "+1", "1 ", "", "2147483648", "99999999999999999999", "\u0661"):
        with pytest.raises(Refused):
            ledger_of(bad)


def test_queries_are_decoded_once() -> None:
    assert read_query("reference=a%2520b", TransferQuery).reference == "a%20b"
    assert read_query("reference=a+b%26limit%3D1", TransferQuery).reference == "a b&limit=1"
    assert read_query("", TransferQuery).limit is None
    for bad in ("&".join(f"a{n}=1" for n in range(99)), "reference", "=", "a;b=c", "reference=" + "x" * 129):
        with pytest.raises(Refused):
            read_query(bad, TransferQuery)
