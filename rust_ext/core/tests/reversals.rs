//! Reversals: in full or in part, never more than was moved, over batches and within one.

mod common;

use common::{Shard, counters};
use pyledger_core::nouns::{Command, RowKind, transfer_flags};
use pyledger_core::refusal::Refusal;

const REVERSE: u16 = transfer_flags::REVERSE;

#[test]
fn a_reversal_moves_it_back() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 1, 100);
    bank.one(moved).accepted();
    let reversal = bank.act(REVERSE, moved.id);
    let row = bank.one(reversal).accepted();
    assert_eq!((row.kind, row.amount, row.debit, row.credit), (RowKind::Reverse, 100, 1, 3));
    assert_eq!((row.ledger, row.code, row.target), (1, 1, moved.id));
    assert_eq!((bank.counters(1), bank.counters(3)), (counters(0, 100, 0, 100), counters(0, 100, 0, 100)));
}

#[test]
fn parts_never_exceed_the_whole() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 4, 100);
    // The transfer and its first reversal come in one batch; the journal knows of neither.
    let part = Command { amount: 30, ..bank.act(REVERSE, moved.id) };
    let answers = bank.many(&[moved, part]);
    answers[1].accepted();
    let part = Command { amount: 30, ..bank.act(REVERSE, moved.id) };
    let over = Command { amount: 41, ..bank.act(REVERSE, moved.id) };
    let answers = bank.many(&[part, over]);
    answers[0].accepted();
    assert_eq!(answers[1].refusal, Some(Refusal::ExceedsReversibleAmount));
    let rest = bank.act(REVERSE, moved.id);
    assert_eq!(bank.one(rest).accepted().amount, 40);
    let none = bank.act(REVERSE, moved.id);
    let answer = bank.one(none);
    assert_eq!(answer.refusal, Some(Refusal::ExceedsReversibleAmount));
    assert_eq!((answer.row().debit, answer.row().credit), (4, 3), "a decline names what it found");
    assert_eq!(bank.counters(4), counters(0, 100, 0, 100));
}

#[test]
fn only_money_that_moved_can_be_moved_back() {
    let mut bank = Shard::bank();
    let hold = bank.pending(3, 1, 100);
    let post = Command { amount: 60, ..bank.act(transfer_flags::POST_PENDING, hold.id) };
    let voided = bank.pending(3, 1, 5);
    let void = bank.act(transfer_flags::VOID_PENDING, voided.id);
    let declined = bank.transfer(2, 3, 1);
    bank.many(&[hold, post, voided, void, declined]);
    for target in [hold.id, voided.id, void.id, declined.id, common::ledger_id(1), 3] {
        let reversal = bank.act(REVERSE, target);
        assert_eq!(bank.refusal(reversal), Some(Refusal::TransferNotReversible));
    }
    let reversal = bank.act(REVERSE, post.id);
    assert_eq!(bank.one(reversal).accepted().amount, 60, "a post can, for what it moved");
    let again = bank.act(REVERSE, reversal.id);
    assert_eq!(bank.refusal(again), Some(Refusal::TransferNotReversible));
}

#[test]
fn the_limits_hold_for_reversals() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 1, 100);
    let spent = bank.transfer(1, 4, 1);
    bank.many(&[moved, spent]);
    let reversal = bank.act(REVERSE, moved.id);
    assert_eq!(bank.refusal(reversal), Some(Refusal::ExceedsCredits));
    let part = Command { amount: 99, ..bank.act(REVERSE, moved.id) };
    bank.one(part).accepted();
}

#[test]
fn what_a_reversal_states_must_be_as_it_was_moved_swapped() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(3, 4, 100);
    bank.one(moved).accepted();
    let all = Command { debit: 4, credit: 3, ledger: 1, code: 1, ..bank.act(REVERSE, moved.id) };
    for (refusal, wrong) in [
        (Refusal::TargetHasDifferentDebitAccount, Command { debit: 3, credit: 0, ..all }),
        (Refusal::TargetHasDifferentCreditAccount, Command { credit: 1, ..all }),
        (Refusal::TargetHasDifferentLedger, Command { ledger: 2, ..all }),
        (Refusal::TargetHasDifferentCode, Command { code: 2, ..all }),
    ] {
        let wrong = Command { id: bank.id(), ..wrong };
        let answer = bank.one(wrong);
        assert_eq!(answer.refusal, Some(refusal));
        // A decline keeps what was asked.
        assert!(wrong.debit == 0 || answer.row().debit == wrong.debit);
    }
    bank.one(all).accepted();
}

#[test]
fn a_member_of_a_group_can_be_moved_back_too() {
    let mut bank = Shard::bank();
    let linked = transfer_flags::PENDING | transfer_flags::LINKED;
    let one = Command { flags: linked, ..bank.pending(3, 4, 10) };
    let two = bank.pending(3, 1, 20);
    bank.many(&[one, two]);
    let post = bank.act(transfer_flags::POST_PENDING | transfer_flags::GROUP, one.id);
    bank.one(post).accepted();
    let member = *bank.journal.rows.last().expect("a row");
    assert_eq!(member.target, two.id);
    let reversal = bank.act(REVERSE, member.id);
    assert_eq!(bank.one(reversal).accepted().amount, 20);
}
