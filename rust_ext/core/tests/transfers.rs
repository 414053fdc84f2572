//! Transfers: what moves, what the limits allow, balancing, overflow, and who may see what.

mod common;

use common::{LEDGER, Shard, TENANT, account, counters, ledger, ledger_id};
use pyledger_core::nouns::{Command, RowKind, Text, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Limits, Request};

const DEBITS_LIMITED: u16 = account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS;
const CREDITS_LIMITED: u16 = account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS;

#[test]
fn a_transfer_moves_and_its_row_says_what_both_accounts_are_then() {
    let mut bank = Shard::bank();
    let transfer = Command { effective_ns: 5, ..bank.transfer(3, 1, 100) };
    let request = Request {
        commands: vec![Command {
            text: Text { start: 1, reference_bytes: 2, metadata_bytes: 3 },
            ..transfer
        }],
        text: b"xabcdexx".to_vec(),
    };
    let row = bank.request(request)[0].accepted();
    assert_eq!((row.kind, row.amount, row.debit, row.credit), (RowKind::Transfer, 100, 3, 1));
    assert_eq!((row.ledger, row.code, row.effective_ns, row.recorded_ns), (1, 1, 5, bank.now_ns));
    assert_eq!((row.debit_after, row.credit_after), (counters(0, 100, 0, 0), counters(0, 0, 0, 100)));
    assert!(bank.journal.text.ends_with(b"abcde"));
    assert_eq!(bank.counters(3), row.debit_after);
}

#[test]
fn time_never_stands_still_or_turns_back() {
    let mut bank = Shard::bank();
    let (one, two) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 1));
    let answers = bank.many(&[one, two]);
    let first = answers[0].accepted().recorded_ns;
    assert_eq!(answers[1].accepted().recorded_ns, first + 1);
    bank.now_ns -= 10 * common::SECOND;
    let three = Command { id: 77, ..bank.transfer(3, 4, 1) };
    assert_eq!(bank.one(three).accepted().recorded_ns, first + 2);
}

#[test]
fn a_limited_account_spends_what_it_has_and_its_allowance() {
    for (flags, allowance, refusal) in [
        (DEBITS_LIMITED, 0, Refusal::ExceedsCredits),
        (DEBITS_LIMITED, 30, Refusal::ExceedsCredits),
        (CREDITS_LIMITED, 0, Refusal::ExceedsDebits),
        (CREDITS_LIMITED, 30, Refusal::ExceedsDebits),
    ] {
        let mut bank = Shard::bank();
        bank.open_account(9, flags, allowance);
        let is_debit = flags == DEBITS_LIMITED;
        let spend = |bank: &mut Shard, amount: u128| {
            if is_debit { bank.transfer(9, 3, amount) } else { bank.transfer(3, 9, amount) }
        };
        let fund = if is_debit { bank.transfer(3, 9, 100) } else { bank.transfer(9, 3, 100) };
        bank.one(fund).accepted();
        let hold = Command { flags: transfer_flags::PENDING, ..spend(&mut bank, 60) };
        bank.one(hold).accepted();
        let too_much = spend(&mut bank, 41 + allowance);
        assert_eq!(bank.refusal(too_much), Some(refusal));
        let all = spend(&mut bank, 40 + allowance);
        bank.one(all).accepted();
        let one_more = spend(&mut bank, 1);
        assert_eq!(bank.refusal(one_more), Some(refusal));
        // Pending funds are not there yet, and a post needs no second check.
        let post = bank.act(transfer_flags::POST_PENDING, hold.id);
        bank.one(post).accepted();
    }
}

#[test]
fn the_largest_allowance_is_no_limit() {
    let mut bank = Shard::bank();
    bank.open_account(9, DEBITS_LIMITED, u128::MAX);
    for amount in [5, u128::MAX - 5] {
        let spend = bank.transfer(9, 3, amount);
        bank.one(spend).accepted();
    }
    let fund = bank.transfer(4, 9, u128::MAX - 1);
    bank.one(fund).accepted();
    let more = bank.transfer(9, 4, 1);
    assert_eq!(bank.refusal(more), Some(Refusal::OverflowsDebitsPosted));
}

#[test]
fn balancing_moves_what_there_is() {
    let mut bank = Shard::bank();
    bank.open_account(9, CREDITS_LIMITED, 0);
    let fund = bank.transfer(3, 1, 100);
    bank.one(fund).accepted();
    let sweep = |bank: &mut Shard, flags: u16, debit: u128, credit: u128, amount: u128| {
        let command = Command { flags, ..bank.transfer(debit, credit, amount) };
        bank.one(command)
    };
    let debit = transfer_flags::BALANCING_DEBIT;
    let credit = transfer_flags::BALANCING_CREDIT;
    assert_eq!(sweep(&mut bank, debit, 1, 4, 30).accepted().amount, 30, "the amount is an upper bound");
    let row = sweep(&mut bank, debit, 1, 4, u128::MAX).accepted();
    assert_eq!((row.amount, row.debit_after.debits_posted), (70, 100));
    let none = sweep(&mut bank, debit, 1, 4, 7);
    assert_eq!((none.refusal, none.row().amount), (Some(Refusal::ExceedsCredits), 7));
    // An account without a limit balances by the same formula.
    assert_eq!(sweep(&mut bank, debit, 4, 3, u128::MAX).accepted().amount, 100);
    assert_eq!(sweep(&mut bank, credit, 4, 2, 5).refusal, Some(Refusal::ExceedsDebits));
    let fund = bank.transfer(9, 2, 40);
    bank.one(fund).accepted();
    let both = sweep(&mut bank, debit | credit, 2, 9, u128::MAX).accepted();
    assert_eq!(both.amount, 40);
    let pending = debit | transfer_flags::PENDING;
    assert_eq!(sweep(&mut bank, pending, 2, 9, 1).refusal, Some(Refusal::ExceedsCredits));
}

#[test]
fn balancing_counts_the_allowance() {
    let mut bank = Shard::bank();
    bank.open_account(9, DEBITS_LIMITED, 25);
    let sweep = |bank: &mut Shard| Command {
        flags: transfer_flags::BALANCING_DEBIT | transfer_flags::PENDING,
        ..bank.transfer(9, 3, u128::MAX)
    };
    let (first, second) = (sweep(&mut bank), sweep(&mut bank));
    assert_eq!(bank.one(first).accepted().amount, 25);
    assert_eq!(bank.refusal(second), Some(Refusal::ExceedsCredits));
}

#[test]
fn a_full_hold_can_always_be_posted() {
    let mut bank = Shard::bank();
    let (half, rest) = (u128::MAX / 2, u128::MAX - u128::MAX / 2);
    let moved = bank.transfer(3, 4, half);
    let hold = bank.pending(3, 4, rest);
    let over = bank.pending(3, 4, 1);
    let answers = bank.many(&[moved, hold, over]);
    answers[1].accepted();
    assert_eq!(answers[2].refusal, Some(Refusal::OverflowsDebits));
    let post = bank.act(transfer_flags::POST_PENDING, hold.id);
    bank.one(post).accepted();
    assert_eq!(
        (bank.counters(3), bank.counters(4)),
        (counters(0, u128::MAX, 0, 0), counters(0, 0, 0, u128::MAX))
    );
}

#[test]
fn another_tenants_things_do_not_exist() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 4, 5);
    let hold = bank.pending(3, 4, 5);
    bank.many(&[moved, hold]);
    let other = |command: Command| Command { tenant: 2, ..command };
    let transfer = bank.transfer(3, 4, 1);
    assert_eq!(bank.refusal(other(transfer)), Some(Refusal::LedgerNotFound));
    // The other tenant may use the same numbers and ids for its own.
    let request = Request { commands: vec![other(ledger(LEDGER))], text: b"USD".to_vec() };
    bank.request(request)[0].accepted();
    assert_eq!(bank.refusal(other(transfer)), Some(Refusal::DebitAccountNotFound));
    for id in [3, 5] {
        bank.one(other(account(id))).accepted();
    }
    assert_eq!(bank.refusal(other(transfer)), Some(Refusal::CreditAccountNotFound));
    let transfer = Command { credit: 5, ..transfer };
    bank.one(other(transfer)).accepted();
    let post = bank.act(transfer_flags::POST_PENDING, hold.id);
    assert_eq!(bank.refusal(other(post)), Some(Refusal::PendingTransferNotFound));
    let reverse = bank.act(transfer_flags::REVERSE, moved.id);
    assert_eq!(bank.refusal(other(reverse)), Some(Refusal::ReversedTransferNotFound));
    bank.one(other(moved)).refusal.expect("account 4 is not the other tenant's");
    assert_eq!(bank.counters(3), counters(5, 5, 0, 0));
    assert_eq!(bank.engine.account(2, 3).expect("an account").counters, counters(0, 1, 0, 0));
    assert_eq!(bank.engine.ledger(2, LEDGER).expect("a ledger").asset, "USD");
}

#[test]
fn pages_are_in_order_of_creation_and_bounded() {
    let mut bank = Shard::bank();
    bank.open_ledger(2);
    for id in [60, 50, 40] {
        let ledger = if id == 50 { LEDGER } else { 2 };
        bank.one(Command { ledger, ..account(id) }).accepted();
    }
    let page = |tenant, ledger, after, limit| {
        let page = bank.engine.accounts_page(tenant, ledger, after, limit);
        page.map(|page| page.iter().map(|account| account.id).collect::<Vec<_>>())
    };
    assert_eq!(page(TENANT, None, None, 100), Some(vec![1, 2, 3, 4, 60, 50, 40]));
    assert_eq!(page(TENANT, None, Some(3), 3), Some(vec![4, 60, 50]));
    assert_eq!(page(TENANT, Some(2), None, 100), Some(vec![60, 40]));
    assert_eq!(page(TENANT, Some(2), Some(60), 100), Some(vec![40]));
    assert_eq!(page(TENANT, Some(2), Some(40), 100), Some(vec![]));
    assert_eq!(page(TENANT, Some(2), Some(50), 100), None);
    assert_eq!(page(TENANT, None, Some(99), 100), None);
    assert_eq!(page(2, None, None, 100), Some(vec![]));
    assert_eq!(page(TENANT, None, None, 0), Some(vec![]));
    let numbers = |tenant, after, limit| {
        let page = bank.engine.ledgers_page(tenant, after, limit);
        page.iter().map(|ledger| ledger.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(TENANT, None, 9), [1, 2]);
    assert_eq!(numbers(TENANT, Some(1), 9), [2]);
    assert_eq!(numbers(TENANT, Some(u32::MAX), 9), []);
    assert_eq!(numbers(TENANT, None, 1), [1]);
    assert_eq!(numbers(2, None, 9), []);
    assert_eq!(bank.engine.account_at(4).map(|account| account.id), Some(60));
    assert_eq!(bank.engine.account_at(7), None);
    assert_eq!((bank.engine.accounts(), bank.engine.ledgers()), (7, 2));
}

#[test]
fn an_engine_without_room_still_answers() {
    let limits = Limits { ledgers_max: 0, accounts_max: 0, holds_max: 0, window_ids: 0 };
    let mut shard = Shard::with(limits);
    let request = Request { commands: vec![ledger(1)], text: b"EUR".to_vec() };
    assert_eq!(shard.request(request)[0].refusal, Some(Refusal::LedgersFull));
    assert_eq!(shard.refusal(account(1)), Some(Refusal::LedgerNotFound));
    assert_eq!(shard.engine.ledger(TENANT, 1), None);
    assert_eq!(ledger_id(1), ledger(1).id);
}

#[test]
fn only_what_has_an_upper_bound_can_be_asked_for_in_full() {
    let mut bank = Shard::bank();
    for flags in [0, transfer_flags::PENDING] {
        let all = Command { flags, ..bank.transfer(3, 4, u128::MAX) };
        assert_eq!(bank.refusal(all), Some(Refusal::ReservedFieldUsed));
    }
}
