"""The workloads W1 to W9 of the comparison with other ledgers, as data. (There is no W8.)

Guarded here: what each of them is, so that a figure means the same in every run; sizes come from `Size`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from benchmarks.bodies import first_account
from benchmarks.nouns import BATCH_CONNECTIONS, BATCH_TRANSFERS, Case, Form, Plan, Size

NO_OVERDRAFT: Final = ("debits_must_not_exceed_credits",)

SINGLES_PER_S_MAX: Final = 45_000
"""The echo handler takes no more a second on the reference machine: what is built for a timed run."""

SQL_PLAIN_PER_S_MAX: Final = 15_000
"""Built for the lock-and-update ledger with one transaction a request, which takes a third of it there."""

SINGLE_CONNECTIONS: Final = (64, 256, 1_024)
"""Connections of the singles of W1."""

REQUESTS_A_CONNECTION: Final = 2
"""Of full requests over many connections: each is sent again while the others wait."""

SIDE_BY_SIDE: Final = ("w1_binary", "w2_90_binary", "w2_100_binary", "w9_binary")
"""Cases that targets compare: they run one right after the other, each with as many transfers."""
IN_TURN: Final = {case: turn for turn, case in enumerate((*SIDE_BY_SIDE, "w1_json"))}
"""The order of full requests, all others after these: on a fresh server, as the raw append before them."""

W7_PER_S: Final = 440
W7_HOT_SHARE: Final = 308 / 440
W7_POST_AFTER_S: Final = 1.0

TITLES: Final = {
    "W1": "10,000 accounts, uniform, no limits",
    "W2": "one debit account takes 90 % and 100 %",
    "W3": "one account to one account, both hot, atomic",
    "W4": "fresh account to fresh account",
    "W5": "100,000 accounts, Zipf 1.0, no overdraft, one a request",
    "W6": "50 and 10 accounts, uniform pairs, 20 connections, one a request",
    "W7": "440 requests a second, 308 on one account, hold then post, open loop",
    "W9": "W1 with 30 % pending, timeouts of 1 to 5 s",
}


class Planner:
    """Makes cases, each with a ledger and accounts of its own; those of W5 share theirs."""

    def __init__(self, size: Size, first_ledger: int, batch_connections: tuple[int, ...] = ()) -> None:
        self.size = size
        self.batch_connections = batch_connections
        """Further numbers of connections that send the full requests of W1."""
        self.ledgers = count(first_ledger)
        self.seeds = count(first_ledger)
        self._card_books: dict[str, int] = {}

    def case(self, workload: str, name: str, title: str, **fields: Any) -> Case:
        """A case whose plan has these fields, on a ledger of its own unless they name one."""
        about = {
            key: fields.pop(key) for key in ("account_flags", "funding", "figure", "latency_figure") if key in fields
        }
        books: dict[str, Any] = {} if "ledger" in fields else self._books()
        return Case(workload, Plan(case=name, seed=next(self.seeds), **books, **fields), title=title, **about)

    def _books(self) -> dict[str, int]:
        ledger = next(self.ledgers)
        return {"ledger": ledger, "first_account": first_account(ledger)}

    def card_books(self) -> dict[str, Any]:
        """The books of W5, which all of its cases share: opening and funding them takes longer than a case."""
        self._card_books = self._card_books or self._books()
        return {
            **self._card_books,
            "accounts": 100_000,
            "choice": "zipf",
            "account_flags": NO_OVERDRAFT,
            "funding": 1_000_000,
            "amount_max": 1_000,
        }

    def batches(self, workload: str, name: str, title: str, transfers: int, form: Form, **fields: Any) -> Case:
        """A case of full requests."""
        per_request = fields.pop("per_request", BATCH_TRANSFERS)
        return self.case(
            workload,
            name,
            title,
            form=form,
            requests=max(1, -(-transfers // per_request)),
            connections=fields.pop("connections", BATCH_CONNECTIONS),
            per_request=per_request,
            accounts=fields.pop("accounts", 10_000),
            **fields,
        )

    def singles(self, workload: str, name: str, title: str, connections: int, **fields: Any) -> Case:
        """A case of one transfer a request, in a closed loop, for a time."""
        seconds = fields.pop("seconds_max", self.size.single_s)
        per_s = min(fields.pop("per_s_max", SINGLES_PER_S_MAX), connections * 2_000)
        return self.case(
            workload,
            name,
            title,
            form="single",
            requests=int(seconds * per_s) + connections,
            connections=connections,
            seconds_max=seconds,
            accounts=fields.pop("accounts", 10_000),
            **fields,
        )


def w1(planner: Planner) -> Iterator[Case]:
    """Uniform: full requests in both forms, then one transfer a request."""
    transfers = planner.size.w1_transfers
    yield planner.batches("W1", "w1_binary", "8,189 a request, binary", transfers, "binary", figure="w1_binary_per_s")
    yield planner.batches("W1", "w1_json", "8,189 a request, JSON", transfers, "json", figure="w1_json_per_s")
    for connections in planner.batch_connections:
        some = max(transfers, REQUESTS_A_CONNECTION * connections * BATCH_TRANSFERS)
        for form in ("binary", "json"):
            yield planner.batches(
                "W1", f"w1_{form}_{connections}", f"8,189 a request, {form}", some, form, connections=connections
            )
    for connections in SINGLE_CONNECTIONS:
        figure = f"single_{connections}_per_s" if connections >= 256 else ""
        yield planner.singles("W1", f"single_{connections}", "one a request", connections, figure=figure)


def w2(planner: Planner) -> Iterator[Case]:
    """A hot debit account."""
    for percent in (90, 100):
        hot: dict[str, Any] = {"choice": "hot_debit", "hot_share": percent / 100}
        yield planner.batches(
            "W2",
            f"w2_{percent}_binary",
            f"{percent} %, 8,189 a request",
            planner.size.w1_transfers,
            "binary",
            figure="hot_per_s",
            **hot,
        )
        yield planner.batches(
            "W2",
            f"w2_{percent}_50",
            f"{percent} %, 50 a request",
            planner.size.hot_transfers // 5,
            "json",
            per_request=50,
            connections=100,
            **hot,
        )
        yield planner.singles(
            "W2",
            f"w2_{percent}_single",
            f"{percent} %, one a request",
            256,
            seconds_max=planner.size.single_s / 2,
            **hot,
        )


def w3(planner: Planner) -> Iterator[Case]:
    """One account to another, in atomic chains and one by one."""
    yield planner.batches(
        "W3",
        "w3_50",
        "chains of 50",
        planner.size.hot_transfers // 5,
        "json",
        per_request=50,
        connections=100,
        accounts=2,
        choice="one_pair",
        linked=True,
    )
    yield planner.singles(
        "W3", "w3_single", "one a request", 100, accounts=2, choice="one_pair", seconds_max=planner.size.single_s / 2
    )


def w4(planner: Planner) -> Iterator[Case]:
    """Two new accounts for every transfer; opening them is part of the time."""
    yield planner.batches(
        "W4",
        "w4_50",
        "100 accounts opened, then 50 transfers",
        planner.size.hot_transfers // 10,
        "json",
        per_request=50,
        connections=100,
        accounts=0,
        choice="fresh",
    )


def w5(planner: Planner) -> Iterator[Case]:
    """What a card processor does: each transfer is checked against a limit. `w5_at_half` follows these."""
    for connections in planner.size.w5_connections:
        yield planner.singles(
            "W5",
            f"w5_{connections}",
            "closed loop",
            connections,
            seconds_max=planner.size.single_s * 0.6,
            **planner.card_books(),
        )


def w5_at_half(planner: Planner, peak_per_s: float) -> Case:
    """The open loop at half of the peak that the closed loops reached."""
    offered = max(1.0, peak_per_s / 2)
    return planner.case(
        "W5",
        "w5_open",
        "open loop at half of peak",
        form="single",
        requests=max(1, int(offered * planner.size.open_s)),
        connections=256,
        offered_per_s=offered,
        latency_figure="authorization_p99_ms",
        **planner.card_books(),
    )


def w6(planner: Planner) -> Iterator[Case]:
    """Few accounts, so that most transfers meet another one."""
    for accounts in (50, 10):
        yield planner.singles(
            "W6", f"w6_{accounts}", f"{accounts} accounts", 20, accounts=accounts, seconds_max=planner.size.single_s / 2
        )


def w7(planner: Planner) -> Iterator[Case]:
    """Holds and their posts, at a steady pace."""
    requests = max(4, int(W7_PER_S * planner.size.open_s))
    yield planner.case(
        "W7",
        "w7_open",
        "hold, post a second later",
        form="single",
        requests=requests,
        connections=64,
        accounts=1_000,
        choice="hot_debit",
        hot_share=W7_HOT_SHARE,
        offered_per_s=float(W7_PER_S),
        post_after_s=W7_POST_AFTER_S,
    )


def w9(planner: Planner) -> Iterator[Case]:
    """Two-phase at full size; the holds expire while it runs."""
    yield planner.batches(
        "W9",
        "w9_binary",
        "8,189 a request, binary",
        planner.size.w1_transfers,
        "binary",
        pending_share=0.3,
        timeouts_s=(1, 5),
        figure="two_phase_per_s",
    )


WORKLOADS: Final[dict[str, Callable[[Planner], Iterator[Case]]]] = {
    "W1": w1,
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W6": w6,
    "W7": w7,
    "W9": w9,
}
