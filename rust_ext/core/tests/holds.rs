//! Holds: posted in full or in part, voided, expired; alone and as a linked group; and closed accounts.

mod common;

use common::{MS, SECOND, START_NS, Shard, TENANT, counters};
use pyledger_core::nouns::{Command, RowKind, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

const POST: u16 = transfer_flags::POST_PENDING;
const VOID: u16 = transfer_flags::VOID_PENDING;
const PENDING: u16 = transfer_flags::PENDING;
const LINKED: u16 = transfer_flags::LINKED;
const GROUP: u16 = transfer_flags::GROUP;

#[test]
fn a_hold_is_posted_in_full() {
    let mut bank = Shard::bank();
    let hold = bank.pending(3, 1, 100);
    let row = bank.one(hold).accepted();
    assert_eq!((row.kind, row.debit_after), (RowKind::Pending, counters(100, 0, 0, 0)));
    assert_eq!(bank.engine.hold(TENANT, hold.id).expect("open").amount, 100);
    let post = bank.act(POST, hold.id);
    let posted = bank.one(post).accepted();
    assert_eq!((posted.kind, posted.amount, posted.target), (RowKind::Post, 100, hold.id));
    assert_eq!((posted.debit, posted.credit, posted.ledger, posted.code), (3, 1, 1, 1));
    assert_eq!(posted.debit_after, counters(0, 100, 0, 0));
    assert_eq!(posted.credit_after, counters(0, 0, 0, 100));
    assert_eq!(bank.engine.holds(), 0);
}

#[test]
fn a_hold_is_posted_in_part_and_the_rest_released() {
    let mut bank = Shard::bank();
    let hold = bank.pending(3, 1, 100);
    bank.one(hold).accepted();
    let post = Command { amount: 30, ..bank.act(POST, hold.id) };
    assert_eq!(bank.one(post).accepted().amount, 30);
    assert_eq!((bank.counters(3), bank.counters(1)), (counters(0, 30, 0, 0), counters(0, 0, 0, 30)));
}

#[test]
fn a_void_releases_all_of_it_and_a_second_resolution_says_what_was_first() {
    let mut bank = Shard::bank();
    for (first, second) in
        [(VOID, Refusal::PendingTransferAlreadyVoided), (POST, Refusal::PendingTransferAlreadyPosted)]
    {
        let hold = bank.pending(3, 1, 100);
        bank.one(hold).accepted();
        let resolution = bank.act(first, hold.id);
        assert_eq!(bank.one(resolution).accepted().amount, 100);
        for flags in [POST, VOID] {
            let again = bank.act(flags, hold.id);
            assert_eq!(bank.refusal(again), Some(second));
        }
    }
    assert_eq!(bank.counters(3), counters(0, 100, 0, 0));
}

#[test]
fn all_of_it_in_one_batch() {
    let mut bank = Shard::bank();
    let hold = bank.pending(3, 1, 100);
    let post = bank.act(POST, hold.id);
    let void = bank.act(VOID, hold.id);
    let answers = bank.many(&[hold, post, void]);
    assert_eq!(answers[1].accepted().amount, 100);
    assert_eq!(answers[2].refusal, Some(Refusal::PendingTransferAlreadyPosted));
    // A declined resolution names what it found.
    assert_eq!((answers[2].row().debit, answers[2].row().ledger), (3, 1));
}

#[test]
fn a_hold_expires_by_a_row_of_its_own() {
    let mut bank = Shard::bank();
    let hold = Command { timeout_s: 2, ..bank.pending(3, 1, 100) };
    let row = bank.one(hold).accepted();
    assert_eq!(bank.engine.next_expiry_ns(), Some(row.recorded_ns + 2 * SECOND));
    assert_eq!(bank.wait(1), []);
    let expired = bank.wait(1);
    assert_eq!(expired.len(), 1);
    let row = expired[0];
    assert_eq!((row.kind, row.target, row.amount), (RowKind::Expire, hold.id, 100));
    assert_eq!((row.debit_after, row.credit_after), Default::default());
    assert_eq!((row.id >> 76 & 0xf, row.id >> 96), (8, 0xffff_ffff), "no client can have its id");
    assert_eq!(bank.engine.next_expiry_ns(), None);
    let post = bank.act(POST, hold.id);
    assert_eq!(bank.refusal(post), Some(Refusal::PendingTransferExpired));
}

#[test]
fn a_hold_past_its_time_is_not_resolved_even_if_no_row_has_said_so() {
    let mut bank = Shard::bank();
    let hold = Command { timeout_s: 1, ..bank.pending(3, 1, 100) };
    let row = bank.one(hold).accepted();
    // The clock stands still one nanosecond early; the rows before the post use the time up.
    bank.now_ns = row.recorded_ns + SECOND - 2 - MS;
    let (one, two) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 1));
    let post = bank.act(POST, hold.id);
    let answers = bank.many(&[one, two, post]);
    assert_eq!(answers[2].refusal, Some(Refusal::PendingTransferExpired));
    assert_eq!(answers[2].row().recorded_ns, row.recorded_ns + SECOND);
    assert_eq!(bank.engine.holds(), 1);
    assert_eq!(bank.wait(0).len(), 1);
}

#[test]
fn holds_expire_in_order_of_time() {
    let mut bank = Shard::bank();
    for timeout_s in [5, 3, 4, 3] {
        let hold = Command { timeout_s, ..bank.pending(3, 1, u128::from(timeout_s)) };
        bank.one(hold).accepted();
    }
    let amounts: Vec<u128> = bank.wait(10).iter().map(|row| row.amount).collect();
    assert_eq!(amounts, [3, 3, 4, 5]);
}

#[test]
fn a_resolution_in_a_chain_that_fails_leaves_the_hold_open() {
    let mut bank = Shard::bank();
    let hold = Command { timeout_s: 5, ..bank.pending(3, 1, 100) };
    bank.one(hold).accepted();
    let void = Command { flags: VOID | LINKED, ..bank.act(VOID, hold.id) };
    let again = bank.act(POST, hold.id);
    let answers = bank.many(&[void, again]);
    assert_eq!(answers[0].refusal, Some(Refusal::LinkedEventFailed));
    assert_eq!(answers[1].refusal, Some(Refusal::PendingTransferAlreadyVoided));
    let post = bank.act(POST, hold.id);
    bank.one(post).accepted();
}

/// Two holds linked into a group, and what the second request knows of them.
fn group(bank: &mut Shard) -> [Command; 3] {
    let one = Command { flags: PENDING | LINKED, ..bank.pending(3, 1, 10) };
    let two = Command { flags: PENDING | LINKED, ..bank.pending(4, 2, 20) };
    let three = bank.pending(3, 4, 30);
    for answer in bank.many(&[one, two, three]) {
        answer.accepted();
    }
    [one, two, three]
}

#[test]
fn one_command_resolves_a_group() {
    let mut bank = Shard::bank();
    let holds = group(&mut bank);
    let other = bank.pending(3, 1, 5);
    bank.one(other).accepted();
    let post = bank.act(POST | GROUP, holds[1].id);
    let row = bank.one(post).accepted();
    assert_eq!((row.target, row.amount), (holds[1].id, 20));
    let rows = &bank.journal.rows[bank.journal.rows.len() - 3..];
    let targets: Vec<u128> = rows.iter().map(|row| row.target).collect();
    assert_eq!(targets, [holds[1].id, holds[0].id, holds[2].id], "the target first, the others in order");
    assert_eq!((rows[0].id, rows[1].id == rows[2].id), (post.id, false));
    assert!(rows[1..].iter().all(|row| row.id >> 96 == 0xffff_ffff && row.fingerprint == [0; 16]));
    assert_eq!(bank.engine.holds(), 1, "a hold that was not linked stays");
    assert_eq!(bank.counters(3), counters(5, 40, 0, 0));
    let again = bank.act(VOID, holds[2].id);
    assert_eq!(bank.refusal(again), Some(Refusal::PendingTransferAlreadyPosted));
}

#[test]
fn what_is_left_of_a_group_is_resolved() {
    let mut bank = Shard::bank();
    let holds = group(&mut bank);
    let void = bank.act(VOID, holds[0].id);
    bank.one(void).accepted();
    let rest = bank.act(VOID | GROUP, holds[2].id);
    let before = bank.journal.rows.len();
    bank.one(rest).accepted();
    assert_eq!((bank.journal.rows.len() - before, bank.engine.holds()), (2, 0));
}

#[test]
fn a_group_is_resolved_whole_or_not_at_all() {
    let mut bank = Shard::bank();
    let holds = group(&mut bank);
    // The second hold's account closes.
    let close = Command { flags: PENDING | transfer_flags::CLOSING_CREDIT, ..bank.pending(3, 2, 1) };
    bank.one(close).accepted();
    let post = bank.act(POST | GROUP, holds[0].id);
    assert_eq!(bank.refusal(post), Some(Refusal::CreditAccountClosed));
    assert_eq!(bank.engine.holds(), 4);
    let void = bank.act(VOID | GROUP, holds[0].id);
    bank.one(void).accepted();
    assert_eq!(bank.engine.holds(), 1);
}

#[test]
fn a_group_of_more_than_64_is_too_large() {
    for (members, refusal) in [(64, None), (65, Some(Refusal::GroupTooLarge))] {
        let mut bank = Shard::bank();
        let mut holds: Vec<Command> =
            (0..members).map(|_| Command { flags: PENDING | LINKED, ..bank.pending(3, 1, 1) }).collect();
        holds.last_mut().expect("some").flags = PENDING;
        bank.many(&holds);
        let post = bank.act(POST | GROUP, holds[7].id);
        assert_eq!(bank.refusal(post), refusal);
        assert_eq!(bank.engine.holds(), if refusal.is_none() { 0 } else { 65 });
    }
}

#[test]
fn a_group_in_a_failing_chain_is_restored() {
    let mut bank = Shard::bank();
    let holds = group(&mut bank);
    let post = bank.act(POST | GROUP | LINKED, holds[0].id);
    let hold = Command { flags: PENDING | LINKED, ..bank.pending(3, 1, 7) };
    let fails = bank.transfer(1, 3, 1_000);
    let answers = bank.many(&[post, hold, fails]);
    assert_eq!(answers[0].refusal, Some(Refusal::LinkedEventFailed));
    assert_eq!(answers[2].refusal, Some(Refusal::ExceedsCredits));
    assert_eq!(bank.engine.holds(), 3);
    let post = bank.act(POST | GROUP, holds[2].id);
    bank.one(post).accepted();
    assert_eq!(bank.engine.holds(), 0);
}

#[test]
fn a_closing_hold_closes_until_it_is_voided_or_expires() {
    let mut bank = Shard::bank();
    let open = bank.pending(3, 1, 5);
    bank.one(open).accepted();
    for ends_by_void in [true, false] {
        let close =
            Command { flags: PENDING | transfer_flags::CLOSING_DEBIT, timeout_s: 9, ..bank.pending(3, 4, 1) };
        bank.one(close).accepted();
        assert!(bank.is_closed(3) && !bank.is_closed(4));
        let (out, into) = (bank.transfer(3, 4, 1), bank.transfer(4, 3, 1));
        assert_eq!(bank.refusal(out), Some(Refusal::DebitAccountClosed));
        assert_eq!(bank.refusal(into), Some(Refusal::CreditAccountClosed));
        for target in [open.id, close.id] {
            let post = bank.act(POST, target);
            assert_eq!(bank.refusal(post), Some(Refusal::DebitAccountClosed));
        }
        if ends_by_void {
            let void = bank.act(VOID, close.id);
            bank.one(void).accepted();
        } else {
            assert_eq!(bank.wait(10).len(), 1);
        }
        assert!(!bank.is_closed(3));
    }
    let post = bank.act(POST, open.id);
    bank.one(post).accepted();
}

#[test]
fn a_void_of_another_hold_does_not_reopen() {
    let mut bank = Shard::bank();
    let open = bank.pending(3, 1, 5);
    let close = Command { flags: PENDING | transfer_flags::CLOSING_CREDIT, ..bank.pending(4, 3, 1) };
    bank.many(&[open, close]);
    let void = bank.act(VOID, open.id);
    bank.one(void).accepted();
    assert!(bank.is_closed(3));
}

#[test]
fn closing_in_a_failing_chain_leaves_the_account_open() {
    let mut bank = Shard::bank();
    let close = Command { flags: PENDING | LINKED | transfer_flags::CLOSING_DEBIT, ..bank.pending(3, 4, 1) };
    let fails = bank.transfer(3, 4, 1);
    let answers = bank.many(&[close, fails]);
    assert_eq!(answers[1].refusal, Some(Refusal::DebitAccountClosed));
    assert!(!bank.is_closed(3));
    let transfer = bank.transfer(3, 4, 1);
    bank.one(transfer).accepted();
}

#[test]
fn holds_have_a_bound() {
    let mut bank = Shard::with(pyledger_core::Limits { holds_max: 1, ..common::LIMITS });
    bank.open_ledger(1);
    bank.open_account(1, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS, 0);
    bank.open_account(3, 0, 0);
    let one = bank.pending(3, 1, 1);
    bank.one(one).accepted();
    let two = bank.pending(3, 1, 1);
    let answer = bank.one(two);
    assert_eq!((answer.refusal, answer.row), (Some(Refusal::HoldsFull), None));
    let post = bank.act(POST, one.id);
    bank.one(post).accepted();
    bank.one(two).accepted();
}

#[test]
fn far_timeouts_fit() {
    let mut bank = Shard::bank();
    let hold = Command { timeout_s: i32::MAX as u32, ..bank.pending(3, 1, 1) };
    let row = bank.one(hold).accepted();
    let expires_ns = row.recorded_ns + i32::MAX as u64 * SECOND;
    assert_eq!(bank.engine.next_expiry_ns(), Some(expires_ns));
    assert!(i64::try_from(expires_ns).is_ok() && row.recorded_ns > START_NS);
}
