//! Imported events: the past of a ledger, in its own order.

mod common;

use common::{Shard, account};
use pyledger_core::nouns::{Command, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

const IMPORTED: u16 = transfer_flags::IMPORTED;

/// Accounts 71 and 72 of the past, opened at 10 and 20.
fn past() -> Shard {
    let mut bank = Shard::bank();
    let accounts = [(71, 10), (72, 20)].map(|(id, effective_ns)| Command {
        flags: account_flags::IMPORTED,
        effective_ns,
        ..account(id)
    });
    for answer in bank.many(&accounts) {
        answer.accepted();
    }
    bank
}

fn moved(bank: &mut Shard, effective_ns: u64) -> Command {
    Command { flags: IMPORTED, effective_ns, ..bank.transfer(71, 72, 5) }
}

#[test]
fn accounts_and_transfers_each_go_forward() {
    let mut bank = past();
    let same = Command { flags: account_flags::IMPORTED, effective_ns: 20, ..account(73) };
    assert_eq!(bank.refusal(same), Some(Refusal::ImportedMustNotRegress));
    // All accounts first, then the transfers from their beginning: two clocks.
    let first = moved(&mut bank, 21);
    bank.one(first).accepted();
    let same = moved(&mut bank, 21);
    assert_eq!(bank.refusal(same), Some(Refusal::ImportedMustNotRegress));
    let next = moved(&mut bank, 22);
    bank.one(next).accepted();
    assert_eq!(bank.engine.ledger(1, 1).expect("a ledger").imported_ns, 22);
}

#[test]
fn ordinary_events_do_not_hold_the_past_up() {
    let mut bank = past();
    let now = Command { effective_ns: 7, ..bank.transfer(71, 72, 5) };
    bank.one(now).accepted();
    let first = moved(&mut bank, 21);
    bank.one(first).accepted();
    let into_now = Command { flags: IMPORTED, effective_ns: 30, ..bank.transfer(71, 3, 5) };
    assert_eq!(bank.refusal(into_now), Some(Refusal::ImportedMustPostdateCreditAccount));
}

#[test]
fn a_failing_chain_takes_the_imported_clock_back() {
    let mut bank = past();
    let linked = transfer_flags::LINKED;
    let one = Command { flags: IMPORTED | linked, ..moved(&mut bank, 30) };
    let two = moved(&mut bank, 25);
    let answers = bank.many(&[one, two]);
    assert_eq!(answers[1].refusal, Some(Refusal::ImportedMustNotRegress));
    assert_eq!(bank.engine.ledger(1, 1).expect("a ledger").imported_ns, 0);
    let two = moved(&mut bank, 25);
    bank.one(two).accepted();
    let flags = account_flags::IMPORTED | account_flags::LINKED;
    let one = Command { flags, effective_ns: 40, ..account(80) };
    let two = Command { flags: account_flags::IMPORTED, effective_ns: 39, ..account(81) };
    let answers = bank.many(&[one, two]);
    assert_eq!(answers[1].refusal, Some(Refusal::ImportedMustNotRegress));
    bank.one(Command { effective_ns: 35, id: 82, ..two }).accepted();
}

#[test]
fn holds_resolutions_and_reversals_can_be_imported() {
    let mut bank = past();
    let hold = Command {
        flags: IMPORTED | transfer_flags::PENDING | transfer_flags::LINKED,
        ..moved(&mut bank, 30)
    };
    let second = Command { flags: IMPORTED | transfer_flags::PENDING, ..moved(&mut bank, 31) };
    bank.many(&[hold, second]);
    let flags = IMPORTED | transfer_flags::POST_PENDING | transfer_flags::GROUP;
    let post = Command { effective_ns: 31, ..bank.act(flags, hold.id) };
    assert_eq!(bank.refusal(post), Some(Refusal::ImportedMustNotRegress));
    let post = Command { effective_ns: 32, ..bank.act(flags, hold.id) };
    bank.one(post).accepted();
    assert_eq!(bank.engine.holds(), 0, "one moment for the whole group");
    let reversal = Command { effective_ns: 33, ..bank.act(IMPORTED | transfer_flags::REVERSE, post.id) };
    bank.one(reversal).accepted();
    assert_eq!(bank.engine.ledger(1, 1).expect("a ledger").imported_ns, 33);
}
