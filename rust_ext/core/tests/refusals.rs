//! The table of refusals: for each one the shortest story that ends in it, and what it leaves behind.

mod common;

use common::{MS, Shard, account, ledger, uuid7};
use pyledger_core::nouns::{Command, REVERSALS_MAX, Row, account_flags, transfer_flags};
use pyledger_core::refusal::{Class, Refusal};
use pyledger_core::{Limits, Request};

const PENDING: u16 = transfer_flags::PENDING;
const POST: u16 = transfer_flags::POST_PENDING;
const VOID: u16 = transfer_flags::VOID_PENDING;
const REVERSE: u16 = transfer_flags::REVERSE;
const LINKED: u16 = transfer_flags::LINKED;
const GROUP: u16 = transfer_flags::GROUP;
const IMPORTED: u16 = transfer_flags::IMPORTED;
const ALL: u128 = u128::MAX;

/// The last command of the story, sent or yet to be sent.
type Story = fn(&mut Shard) -> Command;

/// Each refusal of a command that stands alone, in order of precedence.
const TABLE: &[(Refusal, Story)] = &[
    (Refusal::LinkedChainOpen, |bank| Command { flags: LINKED, ..bank.transfer(3, 4, 1) }),
    (Refusal::ReservedFieldUsed, |bank| Command { reserved: true, ..bank.transfer(3, 4, 1) }),
    (Refusal::IdMustNotBeZero, |bank| Command { id: 0, ..bank.transfer(3, 4, 1) }),
    (Refusal::IdMustNotBeMax, |bank| Command { id: ALL, ..bank.transfer(3, 4, 1) }),
    (Refusal::IdFromTheFuture, |bank| {
        let id = uuid7((bank.now_ns + MS) / MS + 300_001, 1);
        Command { id, ..bank.transfer(3, 4, 1) }
    }),
    (Refusal::IdempotencyConflict, |bank| {
        let first = bank.transfer(3, 4, 1);
        bank.one(first).accepted();
        Command { amount: 2, ..first }
    }),
    (Refusal::IdArchived, |bank| {
        let moved = bank.transfer(3, 4, 1);
        bank.one(moved).accepted();
        bank.journal.archived_ns = u64::MAX;
        moved
    }),
    (Refusal::FlagsAreMutuallyExclusive, |bank| bank.act(POST | VOID, 9)),
    (Refusal::LedgerMustNotBeZero, |bank| Command { ledger: 0, ..bank.transfer(3, 4, 1) }),
    (Refusal::CodeMustNotBeZero, |bank| Command { code: 0, ..bank.transfer(3, 4, 1) }),
    (Refusal::DebitAccountMustNotBeZero, |bank| bank.transfer(0, 4, 1)),
    (Refusal::CreditAccountMustNotBeZero, |bank| bank.transfer(3, ALL, 1)),
    (Refusal::AccountsMustDiffer, |bank| bank.transfer(3, 3, 1)),
    (Refusal::TargetMustBeZero, |bank| Command { target: 9, ..bank.transfer(3, 4, 1) }),
    (Refusal::TargetMustNotBeZero, |bank| bank.act(POST, 0)),
    (Refusal::TargetMustDiffer, |bank| {
        let act = bank.act(VOID, 0);
        Command { target: act.id, ..act }
    }),
    (Refusal::AmountMustNotBeZero, |bank| bank.transfer(3, 4, 0)),
    (Refusal::TimeoutReservedForPending, |bank| Command { timeout_s: 1, ..bank.transfer(3, 4, 1) }),
    (Refusal::ClosingMustBePending, |bank| Command {
        flags: transfer_flags::CLOSING_DEBIT,
        ..bank.transfer(3, 4, 1)
    }),
    (Refusal::GroupReservedForResolution, |bank| Command { flags: GROUP, ..bank.transfer(3, 4, 1) }),
    (Refusal::GroupResolvesInFull, |bank| Command { amount: 1, ..bank.act(POST | GROUP, 9) }),
    (Refusal::AllowanceNeedsALimit, |_| Command { amount: 1, ..account(90) }),
    (Refusal::ExponentOutOfRange, |_| Command { code: 39, ..ledger(90) }),
    (Refusal::ImportedNeedsEffectiveAt, |bank| Command { flags: IMPORTED, ..bank.transfer(3, 4, 1) }),
    (Refusal::ImportedTimeoutMustBeZero, |bank| Command {
        flags: IMPORTED | PENDING,
        timeout_s: 1,
        effective_ns: 1,
        ..bank.transfer(3, 4, 1)
    }),
    (Refusal::ImportedMustNotBeInTheFuture, |bank| imported(bank, 3, 4, bank.now_ns + MS)),
    (Refusal::LedgerNotFound, |bank| Command { ledger: 90, ..bank.transfer(90, 91, 1) }),
    (Refusal::DebitAccountNotFound, |bank| bank.transfer(90, 91, 1)),
    (Refusal::CreditAccountNotFound, |bank| bank.transfer(3, 91, 1)),
    (Refusal::PendingTransferNotFound, |bank| bank.act(POST, 9)),
    (Refusal::ReversedTransferNotFound, |bank| bank.act(REVERSE, 9)),
    (Refusal::TransferArchived, |bank| {
        let moved = bank.transfer(3, 4, 1);
        bank.one(moved).accepted();
        bank.journal.archived_ns = u64::MAX;
        bank.act(REVERSE, moved.id)
    }),
    (Refusal::AccountsMustShareTheLedger, |bank| {
        second_ledger(bank);
        bank.transfer(3, 53, 1)
    }),
    (Refusal::TransferMustShareTheLedger, |bank| {
        second_ledger(bank);
        Command { ledger: 2, ..bank.transfer(3, 4, 1) }
    }),
    (Refusal::PendingTransferNotPending, |bank| {
        let moved = bank.transfer(3, 4, 1);
        bank.one(moved).accepted();
        bank.act(POST, moved.id)
    }),
    (Refusal::TransferNotReversible, |bank| {
        let hold = bank.pending(3, 4, 1);
        bank.one(hold).accepted();
        bank.act(REVERSE, hold.id)
    }),
    (Refusal::TargetHasDifferentDebitAccount, |bank| Command { debit: 4, ..resolution(bank, POST) }),
    (Refusal::TargetHasDifferentCreditAccount, |bank| Command { credit: 3, ..resolution(bank, POST) }),
    (Refusal::TargetHasDifferentLedger, |bank| Command { ledger: 90, ..resolution(bank, POST) }),
    (Refusal::TargetHasDifferentCode, |bank| Command { code: 90, ..resolution(bank, POST) }),
    (Refusal::ExceedsPendingAmount, |bank| Command { amount: 101, ..resolution(bank, POST) }),
    (Refusal::PendingTransferHasDifferentAmount, |bank| Command { amount: 99, ..resolution(bank, VOID) }),
    (Refusal::PendingTransferAlreadyPosted, |bank| resolved(bank, POST)),
    (Refusal::PendingTransferAlreadyVoided, |bank| resolved(bank, VOID)),
    (Refusal::PendingTransferExpired, |bank| {
        let hold = Command { timeout_s: 1, ..bank.pending(3, 4, 100) };
        bank.one(hold).accepted();
        bank.wait(2);
        bank.act(POST, hold.id)
    }),
    (Refusal::GroupTooLarge, |bank| {
        let linked = PENDING | LINKED;
        let mut holds: Vec<Command> =
            (0..65).map(|_| Command { flags: linked, ..bank.pending(3, 4, 1) }).collect();
        holds[64].flags = PENDING;
        bank.many(&holds);
        bank.act(POST | GROUP, holds[0].id)
    }),
    (Refusal::ExceedsReversibleAmount, |bank| {
        let moved = bank.transfer(3, 4, 100);
        bank.one(moved).accepted();
        Command { amount: 101, ..bank.act(REVERSE, moved.id) }
    }),
    (Refusal::TooManyReversals, |bank| {
        let moved = bank.transfer(3, 4, 100);
        bank.one(moved).accepted();
        // Half of them in the journal, half in one batch.
        for _ in 0..2 {
            let part = |_| Command { amount: 1, ..bank.act(REVERSE, moved.id) };
            let parts: Vec<Command> = (0..REVERSALS_MAX / 2).map(part).collect();
            bank.many(&parts).iter().for_each(|answer| _ = answer.accepted());
        }
        bank.act(REVERSE, moved.id)
    }),
    (Refusal::ImportedMustNotRegress, |bank| {
        imported_accounts(bank);
        let first = imported(bank, 81, 82, 50);
        bank.one(first).accepted();
        imported(bank, 81, 82, 50)
    }),
    (Refusal::ImportedMustPostdateDebitAccount, |bank| {
        imported_accounts(bank);
        imported(bank, 82, 81, 20)
    }),
    (Refusal::ImportedMustPostdateCreditAccount, |bank| {
        imported_accounts(bank);
        imported(bank, 81, 82, 20)
    }),
    (Refusal::DebitAccountClosed, |bank| {
        close(bank, 3);
        bank.transfer(3, 4, 1)
    }),
    (Refusal::CreditAccountClosed, |bank| {
        close(bank, 3);
        bank.transfer(4, 3, 1)
    }),
    (Refusal::OverflowsDebitsPending, |bank| {
        fill(bank, PENDING, 3, 4);
        Command { flags: PENDING, ..bank.transfer(3, 84, 1) }
    }),
    (Refusal::OverflowsCreditsPending, |bank| {
        fill(bank, PENDING, 3, 4);
        Command { flags: PENDING, ..bank.transfer(84, 4, 1) }
    }),
    (Refusal::OverflowsDebitsPosted, |bank| {
        fill(bank, 0, 3, 4);
        bank.transfer(3, 84, 1)
    }),
    (Refusal::OverflowsCreditsPosted, |bank| {
        fill(bank, 0, 3, 4);
        bank.transfer(84, 4, 1)
    }),
    (Refusal::OverflowsDebits, |bank| {
        fill(bank, PENDING, 3, 4);
        bank.transfer(3, 84, 1)
    }),
    (Refusal::OverflowsCredits, |bank| {
        fill(bank, PENDING, 3, 4);
        bank.transfer(84, 4, 1)
    }),
    (Refusal::ExceedsCredits, |bank| bank.transfer(1, 3, 1)),
    (Refusal::ExceedsDebits, |bank| {
        bank.open_account(85, account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS, 0);
        bank.transfer(3, 85, 1)
    }),
];

fn imported(bank: &mut Shard, debit: u128, credit: u128, effective_ns: u64) -> Command {
    Command { flags: IMPORTED, effective_ns, ..bank.transfer(debit, credit, 1) }
}

/// Accounts 81 and 82, opened in the year 1970.
fn imported_accounts(bank: &mut Shard) {
    for (id, effective_ns) in [(81, 10), (82, 20)] {
        bank.one(Command { flags: account_flags::IMPORTED, effective_ns, ..account(id) }).accepted();
    }
}

/// Ledger 2 with account 53.
fn second_ledger(bank: &mut Shard) {
    bank.open_ledger(2);
    bank.one(Command { ledger: 2, ..account(53) }).accepted();
}

/// What resolves a hold of 100.
fn resolution(bank: &mut Shard, flags: u16) -> Command {
    let hold = bank.pending(3, 4, 100);
    bank.one(hold).accepted();
    bank.act(flags, hold.id)
}

/// What resolves it a second time.
fn resolved(bank: &mut Shard, flags: u16) -> Command {
    let first = resolution(bank, flags);
    bank.one(first).accepted();
    bank.act(POST, first.target)
}

fn close(bank: &mut Shard, id: u128) {
    let closing = Command { flags: PENDING | transfer_flags::CLOSING_DEBIT, ..bank.transfer(id, 4, 1) };
    bank.one(closing).accepted();
}

/// Moves or holds the largest number there is, and opens the account 84 beside.
fn fill(bank: &mut Shard, flags: u16, debit: u128, credit: u128) {
    bank.open_account(84, 0, 0);
    for amount in [ALL - 1, 1] {
        let part = Command { flags, ..bank.transfer(debit, credit, amount) };
        bank.one(part).accepted();
    }
}

#[test]
fn every_refusal_is_produced() {
    for &(refusal, story) in TABLE {
        let mut bank = Shard::bank();
        let last = story(&mut bank);
        let (books, rows) = (bank.engine.digest(), bank.journal.rows.len());
        // A ledger's asset stands at the beginning of its request's text.
        let answer = bank.request(Request { commands: vec![last], text: b"EUR".to_vec() })[0];
        assert_eq!(answer.refusal, Some(refusal));
        assert_eq!(bank.engine.digest(), books, "{refusal:?} changes no books");
        assert_eq!(refusal.is_final(), refusal.class() == Class::Declined);
        assert_eq!(bank.journal.rows.len() - rows, usize::from(refusal.is_final()), "{refusal:?}");
        if refusal.is_final() {
            let again = bank.request(Request { commands: vec![last], text: b"EUR".to_vec() })[0];
            let row = Row { text: again.row().text, ..answer.row() };
            assert_eq!((again.row(), again.refusal), (row, answer.refusal), "{refusal:?} for ever");
            assert!(again.is_replay);
        }
    }
}

#[test]
fn the_table_is_complete_and_in_order() {
    let elsewhere = [
        Refusal::LinkedChainRefused,
        Refusal::LinkedEventFailed,
        Refusal::LedgersFull,
        Refusal::AccountsFull,
        Refusal::HoldsFull,
    ];
    let here: Vec<Refusal> = TABLE.iter().map(|&(refusal, _)| refusal).collect();
    let all = Refusal::ALL.iter().copied();
    let expected: Vec<Refusal> = all.filter(|refusal| !elsewhere.contains(refusal)).collect();
    assert_eq!(here, expected);
}

#[test]
fn members_of_a_chain_are_refused_with_it() {
    let mut bank = Shard::bank();
    let first = Command { flags: LINKED, ..bank.transfer(3, 4, 1) };
    let unknown = bank.transfer(3, 90, 1);
    let refusals: Vec<_> = bank.many(&[first, unknown]).iter().map(|answer| answer.refusal).collect();
    assert_eq!(refusals, [Some(Refusal::LinkedChainRefused), Some(Refusal::CreditAccountNotFound)]);
    let declined = bank.transfer(1, 3, 1);
    let refusals: Vec<_> = bank.many(&[first, declined]).iter().map(|answer| answer.refusal).collect();
    assert_eq!(refusals, [Some(Refusal::LinkedEventFailed), Some(Refusal::ExceedsCredits)]);
}

#[test]
fn what_is_full_refuses_and_records_nothing() {
    let limits = Limits { ledgers_max: 1, accounts_max: 1, holds_max: 0, ..common::LIMITS };
    let mut bank = Shard::with(limits);
    bank.open_ledger(1);
    let second = bank.request(Request { commands: vec![ledger(2)], text: b"EUR".to_vec() })[0];
    assert_eq!((second.refusal, second.row), (Some(Refusal::LedgersFull), None));
    bank.open_account(3, 0, 0);
    assert_eq!(bank.refusal(account(4)), Some(Refusal::AccountsFull));
    assert_eq!(bank.journal.rows.len(), 2);
}
