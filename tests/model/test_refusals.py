"""The table of refusals over the boundary: each one provoked, by one row of a table.

Guarded here: every refusal that the core knows has a row; its class says whether it is recorded; a recorded
one is replayed word for word, and an unrecorded one leaves the id free; the model, which knows no bounds of a
server, gives the same. The same list is proven in Rust.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pyledger import _rust
from pyledger.client.refusals import REFUSALS as OF_THE_CLIENT
from tests.model.book import Book
from tests.model.forms import Request, Seen, ledger_id, read
from tests.model.model import Model
from tests.model.nouns import MAX, SECOND, Command
from tests.model.plans import CREDIT_LIMIT, DEBIT_LIMIT, RESERVED, version_7

NOW = 1_800_000_000 * SECOND
OPEN, OTHER, WALLET, ASSET, ELSEWHERE, IMPORTED = 1, 2, 3, 4, 5, 6
SMALL = {"ledgers_full": {"ledgers_max": 2}, "accounts_full": {"accounts_max": 6}, "holds_full": {"holds_max": 1}}


def ledger(number: int, exponent: int = 2) -> Command:
    """A ledger to open."""
    return Command("ledger", ledger_id(1, number), ledger=number, code=exponent, reference="EUR")


def account(each: int, in_ledger: int = 1, *flags: str, **more: int) -> Command:
    """An account to open."""
    return Command("account", each, flags=frozenset(flags), **({"ledger": in_ledger, "code": 1} | more))  # type: ignore[arg-type]


def move(each: int, *flags: str, **more: int | None) -> Command:
    """A transfer of 10 from one open account to the other, with whatever is different about it."""
    usual: dict[str, int | None] = {"debit": OPEN, "credit": OTHER, "amount": 10, "ledger": 1, "code": 1}
    return Command("transfer", each, flags=frozenset(flags), **(usual | more))  # type: ignore[arg-type]


def hold(each: int, *flags: str, **more: int | None) -> Command:
    """A hold of 10."""
    return move(each, "pending", *flags, **more)


def act(each: int, flag: str, target: int, *flags: str, **more: int | None) -> Command:
    """A post, void or reversal of all of it."""
    usual: dict[str, int | None] = {"amount": None, "target": target}
    return Command("transfer", each, flags=frozenset({flag, *flags}), **(usual | more))  # type: ignore[arg-type]


BOOKS = [
    [ledger(1)],
    [ledger(2)],
    [
        *(account(OPEN), account(OTHER), account(WALLET, 1, DEBIT_LIMIT), account(ASSET, 1, CREDIT_LIMIT)),
        *(account(ELSEWHERE, 2), account(IMPORTED, 1, "imported", effective_ns=1_000)),
    ],
]


@dataclass
class Case:
    """Requests that come before, and one whose command at `place` gets the refusal."""

    last: list[Command]
    before: list[list[Command]] = field(default_factory=list)
    place: int = -1
    wait_s: int = 0
    form: str = ""


TABLE = [each for each in _rust.REFUSALS if not each[1].endswith("_archived")]  # those take an archive
HUGE, HALF = MAX - 1, 2**127
CASES: dict[str, Case] = {
    "linked_chain_open": Case([move(101, "linked")]),
    "linked_chain_refused": Case([move(101, "linked"), move(102, credit=99)], place=0),
    "linked_event_failed": Case([move(101, "linked"), move(102, debit=WALLET)], place=0),
    "reserved_field_used": Case([move(RESERVED)]),
    "id_must_not_be_zero": Case([move(0)]),
    "id_must_not_be_max": Case([move(MAX)]),
    "id_from_the_future": Case([move(version_7(NOW + 301 * SECOND, 1))]),
    "idempotency_conflict": Case([move(101, amount=11)], [[move(101)]]),
    "flags_are_mutually_exclusive": Case([act(101, "post_pending", 99, "void_pending")]),
    "ledger_must_not_be_zero": Case([move(101, ledger=0)]),
    "code_must_not_be_zero": Case([move(101, code=0)]),
    "debit_account_must_not_be_zero": Case([move(101, debit=0)]),
    "credit_account_must_not_be_zero": Case([move(101, credit=0)]),
    "accounts_must_differ": Case([move(101, credit=OPEN)]),
    "target_must_be_zero": Case([move(101, target=99)]),
    "target_must_not_be_zero": Case([act(101, "post_pending", 0)]),
    "target_must_differ": Case([act(101, "post_pending", 101)]),
    "amount_must_not_be_zero": Case([move(101, amount=0)]),
    "timeout_reserved_for_pending": Case([move(101, timeout_s=1)]),
    "closing_must_be_pending": Case([move(101, "closing_debit")]),
    "group_reserved_for_resolution": Case([move(101, "group")]),
    "group_resolves_in_full": Case([act(101, "post_pending", 99, "group", amount=1)]),
    "allowance_needs_a_limit": Case([account(101, amount=5)]),
    "exponent_out_of_range": Case([ledger(3, 39)]),
    "imported_needs_effective_at": Case([move(101, "imported")]),
    "imported_timeout_must_be_zero": Case([hold(101, "imported", timeout_s=1, effective_ns=5)]),
    "imported_must_not_be_in_the_future": Case([move(101, "imported", effective_ns=NOW + SECOND)]),
    "ledger_not_found": Case([move(101, ledger=9)]),
    "debit_account_not_found": Case([move(101, debit=99)]),
    "credit_account_not_found": Case([move(101, credit=99)]),
    "pending_transfer_not_found": Case([act(101, "post_pending", 99)]),
    "reversed_transfer_not_found": Case([act(101, "reverse", 99)]),
    "accounts_must_share_the_ledger": Case([move(101, credit=ELSEWHERE)]),
    "transfer_must_share_the_ledger": Case([move(101, ledger=2)]),
    "pending_transfer_not_pending": Case([act(102, "post_pending", 101)], [[move(101)]]),
    "transfer_not_reversible": Case([act(102, "reverse", 101)], [[hold(101)]]),
    "target_has_different_debit_account": Case([act(102, "void_pending", 101, debit=WALLET)], [[hold(101)]]),
    "target_has_different_credit_account": Case([act(102, "void_pending", 101, credit=WALLET)], [[hold(101)]]),
    "target_has_different_ledger": Case([act(102, "void_pending", 101, ledger=2)], [[hold(101)]]),
    "target_has_different_code": Case([act(102, "void_pending", 101, code=2)], [[hold(101)]]),
    "exceeds_pending_amount": Case([act(102, "post_pending", 101, amount=11)], [[hold(101)]]),
    "pending_transfer_has_different_amount": Case([act(102, "void_pending", 101, amount=9)], [[hold(101)]]),
    "pending_transfer_already_posted": Case(
        [act(103, "post_pending", 101)], [[hold(101)], [act(102, "post_pending", 101, amount=1)]]
    ),
    "pending_transfer_already_voided": Case(
        [act(103, "post_pending", 101)], [[hold(101)], [act(102, "void_pending", 101)]]
    ),
    "pending_transfer_expired": Case([act(102, "void_pending", 101)], [[hold(101, timeout_s=2)]], wait_s=3),
    "group_too_large": Case(
        [act(102, "void_pending", 1_000, "group")],
        [[*(hold(1_000 + each, "linked") for each in range(64)), hold(1_064)]],
    ),
    "exceeds_reversible_amount": Case([act(103, "reverse", 101)], [[move(101)], [act(102, "reverse", 101)]]),
    "too_many_reversals": Case(
        [act(199, "reverse", 101)],
        [[move(101, amount=100)], [act(102 + each, "reverse", 101, amount=1) for each in range(64)]],
    ),
    "imported_must_not_regress": Case([account(101, 1, "imported", effective_ns=1_000)]),
    "imported_must_postdate_debit_account": Case([move(101, "imported", credit=IMPORTED, effective_ns=2_000)]),
    "imported_must_postdate_credit_account": Case([move(101, "imported", debit=IMPORTED, effective_ns=2_000)]),
    "debit_account_closed": Case([move(102)], [[hold(101, "closing_debit")]]),
    "credit_account_closed": Case([move(102)], [[hold(101, "closing_credit")]]),
    "overflows_debits_pending": Case([hold(102, credit=WALLET, amount=2)], [[hold(101, amount=HUGE)]]),
    "overflows_credits_pending": Case([hold(102, debit=WALLET, amount=2)], [[hold(101, amount=HUGE)]]),
    "overflows_debits_posted": Case([move(102, credit=WALLET, amount=2)], [[move(101, amount=HUGE)]]),
    "overflows_credits_posted": Case([move(102, debit=WALLET, amount=2)], [[move(101, amount=HUGE)]]),
    "overflows_debits": Case([move(102, credit=WALLET, amount=HALF)], [[hold(101, amount=HALF)]]),
    "overflows_credits": Case([move(102, debit=WALLET, amount=HALF)], [[hold(101, amount=HALF)]]),
    "exceeds_credits": Case([move(101, debit=WALLET)]),
    "exceeds_debits": Case([move(101, credit=ASSET)]),
    "ledgers_full": Case([ledger(3)]),
    "accounts_full": Case([account(101)]),
    "holds_full": Case([hold(102)], [[hold(101)]]),
}


def request(commands: list[Command], form: str = "") -> Request:
    """In JSON, if it can say it."""
    kinds = {"ledger": "ledger", "account": "accounts", "transfer": "transfers"}
    return Request(form or kinds[commands[0].kind], tuple(commands))


def prepared(case: Case, code: str) -> tuple[Book, int]:
    """The books as the case needs them, and the time when its last request comes."""
    book = Book(**SMALL.get(code, {}))  # type: ignore[arg-type]
    for commands in [*BOOKS, *case.before]:
        sent = request(commands, case.form if commands[0].kind == "transfer" else "")
        (reply,) = book.submit([sent.decoded()], NOW)
        assert all(not seen.refusal for seen in read(sent, reply)), "what comes before is accepted"
    return book, NOW + case.wait_s * SECOND


def seen_in(book: Book, sent: Request, now: int, place: int) -> tuple[Seen, bytes]:
    """One outcome, and the whole reply."""
    (reply,) = book.submit([sent.decoded()], now)
    return read(sent, reply)[place], reply.body


def test_every_refusal_has_a_row() -> None:
    assert list(CASES) == [code for _number, code, _class, _detail in TABLE]


def test_the_list_is_the_clients_too() -> None:
    assert {number: code for number, code, _class, _detail in _rust.REFUSALS} == OF_THE_CLIENT


def test_no_two_mean_the_same() -> None:
    numbers, codes, classes, details = zip(*_rust.REFUSALS, strict=True)
    assert len(set(numbers)) == len(set(codes)) == len(set(details)) == len(numbers)
    assert set(classes) == {"malformed", "unknown", "conflict", "declined", "full", "chain"}
    assert all(0 < number < 65_536 for number in numbers)


@pytest.mark.parametrize(("number", "code", "kind", "detail"), TABLE, ids=str)
def test_it_is_provoked(number: int, code: str, kind: str, detail: str) -> None:
    case = CASES[code]
    book, now = prepared(case, code)
    digest, balances = book.engine.digest(), book.engine.balances(0, 100)
    sent = request(case.last, case.form)
    seen, body = seen_in(book, sent, now, case.place)
    assert seen.refusal == code, f"{number} {detail}"
    assert seen.recorded == (kind == "declined"), "only declines are recorded"
    if case.wait_s == 0:
        assert book.engine.balances(0, 100) == balances
        assert book.engine.digest() == digest
    again, same_body = seen_in(book, sent, now, case.place)
    assert again == seen
    if sent.form != "binary":  # whose results have a bit that says that they are replayed
        assert body == same_body


def in_both(requests: list[list[Command]], last_ns: int) -> list[str]:
    """What the last request gets, from the engine and from the model."""
    book, model, answers = Book(), Model(), []
    for commands in requests:
        now, sent = last_ns if commands is requests[-1] else NOW, request(commands)
        (reply,) = book.submit([sent.decoded()], now)
        answers = [(code, row is not None) for code, row in model.batch([commands], now)[0]]
        assert [(seen.refusal, seen.recorded) for seen in read(sent, reply)] == answers
    return [code for code, _recorded in answers]


@pytest.mark.parametrize("code", [code for _number, code, kind, _detail in TABLE if kind != "full"])
def test_the_model_gives_the_same(code: str) -> None:
    case = CASES[code]
    assert in_both([*BOOKS, *case.before, case.last], NOW + case.wait_s * SECOND)[case.place] == code


@pytest.mark.parametrize("code", [code for _n, code, kind, _d in TABLE if kind in ("malformed", "unknown")])
def test_a_transient_one_leaves_the_id_free(code: str) -> None:
    case = CASES[code]
    book, now = prepared(case, code)
    seen_in(book, request(case.last, case.form), now, case.place)
    refused = case.last[case.place].id
    if 0 < refused < RESERVED and case.last[0].kind == "transfer":
        seen, _body = seen_in(book, request([move(refused)]), now + 600 * SECOND, 0)
        assert seen.refusal == ""


@pytest.mark.parametrize("code", [code for _number, code, kind, _detail in TABLE if kind == "declined"])
def test_alone_it_is_a_problem_and_is_replayed_word_for_word(code: str) -> None:
    case = CASES[code]
    if len(case.last) > 1 or case.form == "binary":
        pytest.skip("cannot be sent alone")
    book, now = prepared(case, code)
    alone = request(case.last, case.last[0].kind)
    (first,) = book.submit([alone.decoded()], now)
    (second,) = book.submit([alone.decoded()], now + 7 * SECOND)
    assert (first.outcome, first.refusal, first.replayed) == ("declined", code, False)
    assert (second.outcome, second.refusal, second.replayed) == ("declined", code, True)
    assert first.body == second.body


def test_a_chain_whose_members_share_an_id_is_refused() -> None:
    book, now = prepared(CASES["exceeds_credits"], "")
    twins = [move(101, "linked"), move(101, amount=11)]
    seen, _body = seen_in(book, request(twins), now, 1)
    assert (seen.refusal, seen.recorded) == ("idempotency_conflict", False)
    seen, _body = seen_in(book, request([move(101)]), now, 0)
    assert seen.refusal == "", "nothing of the chain was recorded"


def test_a_declined_chain_whose_members_share_an_id_is_refused() -> None:
    book, now = prepared(CASES["exceeds_credits"], "")
    chain = [move(101, "linked"), move(102, "linked", debit=WALLET), move(101, amount=11)]
    seen, _body = seen_in(book, request(chain), now, 2)
    assert (seen.refusal, seen.recorded) == ("idempotency_conflict", False)


def test_the_same_transfer_twice_in_one_batch_moves_once() -> None:
    book, now = prepared(CASES["exceeds_credits"], "")
    sent = request([move(101), move(101), move(101, amount=11)])
    (reply,) = book.submit([sent.decoded()], now)
    first, second, third = read(sent, reply)
    assert first == second
    assert third.refusal == "idempotency_conflict"
    assert book.engine.balances(0, 1)[0][3] == 10


def test_nothing_of_another_tenant_exists() -> None:
    book, now = prepared(CASES["idempotency_conflict"], "")
    theirs = move(101)._replace(tenant=2)
    seen, _body = seen_in(book, request([theirs]), now, 0)
    assert seen.refusal == "ledger_not_found", "neither their id nor our ledger is known to the other"
    seen, _body = seen_in(book, request([act(102, "reverse", 101)._replace(tenant=2)]), now, 0)
    assert seen.refusal == "reversed_transfer_not_found"


@pytest.mark.parametrize(("early_ns", "answer"), [(1, ""), (0, "pending_transfer_expired")])
def test_a_group_takes_a_nanosecond_for_each_hold(early_ns: int, answer: str) -> None:
    group = [hold(101, "linked", timeout_s=1), hold(102)]
    first_ns = NOW + sum(map(len, BOOKS))
    void = act(103, "void_pending", 102, "group")
    assert in_both([*BOOKS, group, [void]], first_ns + SECOND - 1 - early_ns) == [answer]


def test_precedence_holds_across_the_ledgers_of_a_group() -> None:
    older = [account(each, 2, "imported", effective_ns=each) for each in (11, 12)]
    past = move(101, "imported", debit=11, credit=12, ledger=2, effective_ns=500)
    group = [hold(102, "linked"), hold(103, debit=11, credit=12, ledger=2)]
    void = act(104, "void_pending", 102, "group", "imported", effective_ns=400)
    assert in_both([*BOOKS, older, [past], group, [void]], NOW) == ["imported_must_not_regress"]
