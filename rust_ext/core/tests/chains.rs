//! Linked chains: all or nothing, recorded whole or not at all, and retried as a whole.

mod common;

use common::{MS, Shard, account, command, uuid7};
use pyledger_core::nouns::{Command, Counters, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Limits, Request};

const LINKED: u16 = transfer_flags::LINKED;

fn linked(command: Command) -> Command {
    Command { flags: command.flags | LINKED, ..command }
}

fn refusals(answers: &[common::Answer]) -> Vec<Option<Refusal>> {
    answers.iter().map(|answer| answer.refusal).collect()
}

#[test]
fn a_chain_takes_effect_whole() {
    let mut bank = Shard::bank();
    let (one, two, alone) = (bank.transfer(3, 1, 10), bank.transfer(1, 2, 10), bank.transfer(2, 4, 10));
    let answers = bank.many(&[linked(one), two, alone]);
    assert_eq!(refusals(&answers), [None; 3]);
    assert_eq!(bank.counters(4).credits_posted, 10);
}

#[test]
fn a_declined_chain_is_recorded_and_leaves_no_other_trace() {
    let mut bank = Shard::bank();
    let (one, two, three) = (bank.transfer(3, 1, 10), bank.transfer(1, 2, 11), bank.transfer(3, 4, 1));
    let before = bank.transfer(3, 4, 1);
    let after = bank.transfer(3, 4, 1);
    let chain = [before, linked(one), linked(two), three, after];
    let answers = bank.many(&chain);
    let failed = Some(Refusal::LinkedEventFailed);
    assert_eq!(refusals(&answers), [None, failed, Some(Refusal::ExceedsCredits), failed, None]);
    let times: Vec<u64> = answers.iter().map(|answer| answer.row().recorded_ns).collect();
    assert!(times.windows(2).all(|pair| pair[0] + 1 == pair[1]), "time has no gap where it was taken back");
    assert_eq!(bank.counters(1), Counters::default());
    // A retry gets the same answers, and does not try again.
    let fund = bank.transfer(3, 1, 100);
    bank.one(fund).accepted();
    let again = bank.many(&chain);
    assert_eq!(refusals(&again), refusals(&answers));
    assert!(again.iter().all(|answer| answer.is_replay));
}

#[test]
fn a_refused_chain_is_not_recorded() {
    let mut bank = Shard::bank();
    let (one, two, three) = (bank.transfer(3, 1, 10), bank.transfer(3, 90, 1), bank.transfer(1, 3, 99));
    let rows = bank.journal.rows.len();
    let chain = [linked(one), linked(two), three];
    let answers = bank.many(&chain);
    let refused = Some(Refusal::LinkedChainRefused);
    assert_eq!(refusals(&answers), [refused, Some(Refusal::CreditAccountNotFound), refused]);
    assert_eq!(bank.journal.rows.len(), rows);
    // The ids are free.
    bank.open_account(90, 0, 0);
    let three = Command { amount: 10, ..three };
    assert_eq!(refusals(&bank.many(&[linked(one), linked(two), three])), [None; 3]);
}

#[test]
fn what_is_wrong_by_its_bytes_comes_before_any_decline() {
    let mut bank = Shard::bank();
    let (declined, malformed) = (bank.transfer(1, 3, 10), bank.transfer(3, 4, 0));
    let answers = bank.many(&[linked(declined), malformed]);
    let expected = [Some(Refusal::LinkedChainRefused), Some(Refusal::AmountMustNotBeZero)];
    assert_eq!(refusals(&answers), expected);
    for id in [0, u128::MAX, uuid7(bank.now_ns / MS + 400_000, 1)] {
        let declined = bank.transfer(1, 3, 10);
        let other = Command { id, ..bank.transfer(3, 4, 1) };
        let answers = bank.many(&[linked(declined), other]);
        assert_eq!(answers[0].refusal, Some(Refusal::LinkedChainRefused));
        assert!(answers[0].row.is_none() && answers[1].row.is_none());
    }
}

#[test]
fn an_unknown_account_after_a_decline_is_not_asked_for() {
    let mut bank = Shard::bank();
    let (declined, unknown) = (bank.transfer(1, 3, 10), bank.transfer(3, 90, 1));
    let answers = bank.many(&[linked(declined), unknown]);
    assert_eq!(refusals(&answers), [Some(Refusal::ExceedsCredits), Some(Refusal::LinkedEventFailed)]);
    assert_eq!(answers[1].row().credit, 90);
}

#[test]
fn an_open_chain_never_takes_effect() {
    let mut bank = Shard::bank();
    let (alone, one, two) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 1), bank.transfer(3, 4, 1));
    let open = [alone, linked(one), linked(two)];
    let answers = bank.many(&open);
    let expected = [None, Some(Refusal::LinkedChainRefused), Some(Refusal::LinkedChainOpen)];
    assert_eq!(refusals(&answers), expected);
    // Another request never closes it.
    let requests = [linked(one), two].map(|command| Request { commands: vec![command], text: Vec::new() });
    let answers = bank.requests(requests.to_vec());
    assert_eq!(refusals(&answers), [Some(Refusal::LinkedChainOpen), None]);
}

#[test]
fn members_known_before_answer_as_known_and_new_ones_are_refused() {
    let mut bank = Shard::bank();
    let (one, two, three) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 2), bank.transfer(3, 4, 3));
    bank.many(&[linked(one), two]);
    let answers = bank.many(&[linked(one), linked(three), two]);
    assert_eq!(refusals(&answers), [None, Some(Refusal::LinkedChainRefused), None]);
    assert!(answers[0].is_replay && answers[2].is_replay);
    let other = Command { amount: 9, ..two };
    let answers = bank.many(&[linked(one), other]);
    assert_eq!(refusals(&answers), [None, Some(Refusal::IdempotencyConflict)]);
    // Also within one batch.
    let (four, five) = (bank.transfer(3, 4, 4), bank.transfer(3, 4, 5));
    let answers = bank.many(&[linked(four), five, linked(four), five]);
    assert_eq!(refusals(&answers), [None; 4]);
    assert_eq!(answers[2].row(), answers[0].row());
    assert!(answers[2].is_replay && !answers[0].is_replay);
}

#[test]
fn an_id_twice_in_a_chain_is_a_retry_or_a_conflict() {
    let mut bank = Shard::bank();
    let (one, last) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 1));
    let rows = bank.journal.rows.len();
    let answers = bank.many(&[linked(one), linked(one), last]);
    assert_eq!(refusals(&answers), [None; 3]);
    assert_eq!((bank.journal.rows.len() - rows, bank.counters(4).credits_posted), (2, 2));
    let two = bank.transfer(3, 4, 1);
    let other = Command { amount: 2, ..two };
    let answers = bank.many(&[linked(two), other]);
    let expected = [Some(Refusal::LinkedChainRefused), Some(Refusal::IdempotencyConflict)];
    assert_eq!(refusals(&answers), expected);
    // A chain that is declined first and would then record an id twice.
    let declined = bank.transfer(1, 3, 1);
    let answers = bank.many(&[linked(declined), linked(two), other]);
    assert_eq!(answers[2].refusal, Some(Refusal::IdempotencyConflict));
    assert!(answers.iter().all(|answer| answer.row.is_none()));
    let answers = bank.many(&[linked(declined), linked(two), linked(two), last]);
    assert!(answers.iter().all(|answer| answer.refusal != Some(Refusal::LinkedEventFailed)));
    let end = bank.transfer(3, 4, 1);
    let answers = bank.many(&[linked(declined), linked(two), linked(two), end]);
    assert_eq!(answers[2].row(), answers[1].row(), "declined together, recorded once");
}

#[test]
fn accounts_are_opened_together() {
    let mut bank = Shard::bank();
    let answers =
        bank.many(&[linked(account(70)), linked(account(71)), Command { ledger: 9, ..account(72) }]);
    let refused = Some(Refusal::LinkedChainRefused);
    assert_eq!(refusals(&answers), [refused, refused, Some(Refusal::LedgerNotFound)]);
    assert_eq!((bank.engine.account(1, 70), bank.engine.accounts()), (None, 4));
    assert_eq!(bank.engine.accounts_page(1, None, None, 99).expect("a page").len(), 4);
    // An account and the first transfer into it.
    let fund = bank.transfer(3, 70, 5);
    assert_eq!(refusals(&bank.many(&[linked(account(70)), fund])), [None; 2]);
    let overdraw = bank.transfer(71, 3, 5);
    let limited = Command {
        flags: account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS | account_flags::LINKED,
        ..account(71)
    };
    let answers = bank.many(&[limited, overdraw]);
    assert_eq!(refusals(&answers), [Some(Refusal::LinkedEventFailed), Some(Refusal::ExceedsCredits)]);
    assert_eq!((bank.engine.account(1, 71), bank.engine.accounts()), (None, 5));
    // Its id is spent all the same: the journal recorded a decline.
    assert_eq!(bank.refusal(account(71)), Some(Refusal::IdempotencyConflict));
    assert_eq!(bank.refusal(limited), Some(Refusal::LinkedChainOpen));
}

#[test]
fn what_a_chain_reversed_is_free_again() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 4, 10);
    bank.one(moved).accepted();
    let reversal = bank.act(transfer_flags::REVERSE, moved.id);
    let fails = bank.transfer(1, 4, 1);
    let all = bank.act(transfer_flags::REVERSE, moved.id);
    let none = bank.act(transfer_flags::REVERSE, moved.id);
    let answers = bank.many(&[linked(reversal), fails, all, none]);
    assert_eq!(answers[0].refusal, Some(Refusal::LinkedEventFailed));
    assert_eq!(answers[2].accepted().amount, 10);
    assert_eq!(answers[3].refusal, Some(Refusal::ExceedsReversibleAmount));
}

#[test]
fn a_chain_can_use_what_its_members_made() {
    let mut bank = Shard::bank();
    let hold = bank.pending(3, 1, 10);
    let post = bank.act(transfer_flags::POST_PENDING, hold.id);
    let reversal = bank.act(transfer_flags::REVERSE, post.id);
    assert_eq!(refusals(&bank.many(&[linked(hold), linked(post), reversal])), [None; 3]);
    // And none of it is there if it fails.
    let hold = bank.pending(3, 1, 10);
    let post = bank.act(transfer_flags::POST_PENDING, hold.id);
    let fails = bank.transfer(2, 1, 10);
    let retry = bank.act(transfer_flags::VOID_PENDING, hold.id);
    let answers = bank.many(&[linked(hold), linked(post), fails, retry]);
    assert_eq!(answers[1].refusal, Some(Refusal::LinkedEventFailed));
    assert_eq!(answers[3].refusal, Some(Refusal::PendingTransferNotPending));
}

#[test]
fn a_chain_that_runs_into_a_bound_leaves_no_trace() {
    let mut bank = Shard::with(Limits { holds_max: 2, accounts_max: 2, ..common::LIMITS });
    bank.open_ledger(1);
    bank.open_account(3, 0, 0);
    bank.open_account(4, 0, 0);
    let holds = [(); 3].map(|()| linked(bank.pending(3, 4, 1)));
    let end = bank.transfer(3, 4, 1);
    let answers = bank.many(&[holds[0], holds[1], holds[2], end]);
    assert_eq!(answers[2].refusal, Some(Refusal::HoldsFull));
    assert_eq!((bank.engine.holds(), bank.counters(3)), (0, Counters::default()));
    let answers = bank.many(&[holds[0], holds[1], end]);
    assert_eq!(refusals(&answers), [None; 3]);
    assert_eq!(bank.refusal(command(7)).map(Refusal::code), Some("ledger_must_not_be_zero"));
}
