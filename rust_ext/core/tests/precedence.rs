//! The order of the refusals: a command that deserves several gets the first of the table.

mod common;

use common::{SECOND, START_NS, Shard, account, command, ledger};
use pyledger_core::Request;
use pyledger_core::nouns::{
    Command, CommandKind, EFFECTIVE_NS_MAX, LEDGER_MAX, TIMEOUT_S_MAX, Text, account_flags, transfer_flags,
};
use pyledger_core::refusal::Refusal;

const PENDING: u16 = transfer_flags::PENDING;
const POST: u16 = transfer_flags::POST_PENDING;
const VOID: u16 = transfer_flags::VOID_PENDING;
const REVERSE: u16 = transfer_flags::REVERSE;
const GROUP: u16 = transfer_flags::GROUP;
const IMPORTED: u16 = transfer_flags::IMPORTED;
const ALL: u128 = u128::MAX;

fn imported(bank: &mut Shard, debit: u128, credit: u128, effective_ns: u64) -> Command {
    Command { flags: IMPORTED, effective_ns, ..bank.transfer(debit, credit, 1) }
}

/// What is wrong by the bytes alone.
#[test]
fn the_first_refusal_of_the_table_wins() {
    let mut bank = Shard::bank();
    let moved = bank.transfer(4, 1, 5);
    bank.one(moved).accepted();
    let future_ns = bank.now_ns + SECOND;
    let table = [
        (Refusal::ReservedFieldUsed, Command { reserved: true, id: 0, ..bank.transfer(3, 4, 1) }),
        (Refusal::IdempotencyConflict, Command { flags: POST | VOID, ..moved }),
        (Refusal::FlagsAreMutuallyExclusive, Command { ledger: LEDGER_MAX + 1, ..bank.act(POST | VOID, 0) }),
        (Refusal::LedgerMustNotBeZero, Command { ledger: 0, code: 0, ..bank.transfer(0, 0, 0) }),
        (Refusal::CodeMustNotBeZero, Command { code: 0, ..bank.transfer(0, 0, 0) }),
        (Refusal::DebitAccountMustNotBeZero, bank.transfer(0, 0, 0)),
        (Refusal::CreditAccountMustNotBeZero, bank.transfer(4, 0, 0)),
        (Refusal::AccountsMustDiffer, Command { target: 1, ..bank.transfer(4, 4, 0) }),
        (Refusal::TargetMustBeZero, Command { target: 1, ..bank.transfer(3, 4, 0) }),
        (Refusal::TargetMustNotBeZero, Command { amount: 0, ..bank.act(POST, 0) }),
        (Refusal::AmountMustNotBeZero, Command { timeout_s: 1, ..bank.transfer(3, 4, 0) }),
        (
            Refusal::TimeoutReservedForPending,
            Command { timeout_s: 1, flags: transfer_flags::CLOSING_DEBIT, ..bank.transfer(3, 4, 1) },
        ),
        (
            Refusal::TimeoutReservedForPending,
            Command { timeout_s: TIMEOUT_S_MAX + 1, flags: PENDING, ..bank.transfer(3, 4, 1) },
        ),
        (
            Refusal::ClosingMustBePending,
            Command { flags: transfer_flags::CLOSING_DEBIT | GROUP, ..bank.transfer(3, 4, 1) },
        ),
        (Refusal::GroupReservedForResolution, Command { amount: 1, ..bank.act(REVERSE | GROUP, 9) }),
        (Refusal::GroupResolvesInFull, Command { amount: 1, ..bank.act(POST | GROUP | IMPORTED, 9) }),
        (
            Refusal::ImportedNeedsEffectiveAt,
            Command { flags: IMPORTED, ledger: 90, ..bank.transfer(3, 4, 1) },
        ),
        (Refusal::ImportedMustNotBeInTheFuture, imported(&mut bank, 90, 91, future_ns)),
    ];
    for (refusal, command) in table {
        assert_eq!(bank.refusal(command), Some(refusal), "{command:?}");
    }
}

/// What the books have against it.
#[test]
fn the_first_of_what_the_books_refuse_wins() {
    let mut bank = Shard::bank();
    bank.open_ledger(2);
    bank.one(Command { ledger: 2, ..account(53) }).accepted();
    let moved = bank.transfer(4, 1, 5);
    bank.one(moved).accepted();
    let close = Command { flags: PENDING | transfer_flags::CLOSING_DEBIT, ..bank.transfer(3, 4, 1) };
    bank.one(close).accepted();
    // Account 4 can take nothing more.
    bank.open_account(6, 0, 0);
    let fill = bank.transfer(6, 4, ALL - 1);
    bank.one(fill).accepted();
    let table = [
        (Refusal::LedgerNotFound, Command { ledger: 90, ..bank.transfer(3, 53, 1) }),
        (Refusal::DebitAccountNotFound, bank.transfer(90, 91, 1)),
        (Refusal::CreditAccountNotFound, bank.transfer(3, 91, 1)),
        (Refusal::AccountsMustShareTheLedger, Command { ledger: 2, ..bank.transfer(3, 53, 1) }),
        (Refusal::TransferMustShareTheLedger, Command { ledger: 2, ..bank.transfer(3, 4, 1) }),
        (Refusal::TransferNotReversible, Command { debit: 90, ..bank.act(REVERSE, ledger(1).id) }),
        (
            Refusal::TargetHasDifferentDebitAccount,
            Command { debit: 90, credit: 91, amount: 99, ..bank.act(REVERSE, moved.id) },
        ),
        (Refusal::TargetHasDifferentLedger, Command { ledger: 9, code: 9, ..bank.act(REVERSE, moved.id) }),
        (Refusal::ImportedMustPostdateDebitAccount, imported(&mut bank, 3, 4, 1)),
        (Refusal::DebitAccountClosed, bank.transfer(3, 4, ALL - 1)),
        (Refusal::OverflowsCreditsPosted, bank.transfer(1, 4, ALL - 1)),
    ];
    for (refusal, command) in table {
        assert_eq!(bank.refusal(command), Some(refusal), "{command:?}");
    }
}

#[test]
fn a_kind_of_command_has_only_its_own_fields() {
    let mut bank = Shard::bank();
    let (one, two) = (account(90), ledger(90));
    let misplaced = [
        Command { debit: 1, ..one },
        Command { credit: 1, ..one },
        Command { target: 1, ..one },
        Command { timeout_s: 1, ..one },
        Command { flags: account_flags::CLOSED, ..one },
        Command { flags: 1 << 15, ..one },
        Command { effective_ns: EFFECTIVE_NS_MAX + 1, ..one },
        Command { debit: 1, ..two },
        Command { credit: 1, ..two },
        Command { amount: 1, ..two },
        Command { target: 1, ..two },
        Command { effective_ns: 1, ..two },
        Command { timeout_s: 1, ..two },
        Command { flags: 2, ..two },
        Command { text: Text::default(), ..two },
        Command { flags: 1 << 11, ..bank.transfer(3, 4, 1) },
        Command { effective_ns: u64::MAX, ..bank.transfer(3, 4, 1) },
        Command { id: 0xffff_ffff << 96 | 8 << 76 | 0b10 << 62, ..bank.transfer(3, 4, 1) },
    ];
    for command in misplaced {
        let answer = bank.request(Request { commands: vec![command], text: b"EUR".to_vec() })[0];
        assert_eq!(answer.refusal, Some(Refusal::ReservedFieldUsed), "{command:?}");
    }
}

#[test]
fn accounts_and_ledgers_have_a_ladder_too() {
    let both = account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS | account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS;
    let mut bank = Shard::bank();
    let dated = Command { flags: account_flags::IMPORTED, effective_ns: 10, ..account(70) };
    bank.one(dated).accepted();
    let table = [
        (Refusal::FlagsAreMutuallyExclusive, Command { flags: both, ledger: 0, ..account(90) }),
        (Refusal::LedgerMustNotBeZero, Command { ledger: 0, code: 0, ..account(90) }),
        (Refusal::CodeMustNotBeZero, Command { code: 0, amount: 1, ..account(90) }),
        (Refusal::AllowanceNeedsALimit, Command { amount: 1, ledger: 90, ..account(90) }),
        (
            Refusal::ImportedNeedsEffectiveAt,
            Command { flags: account_flags::IMPORTED, ledger: 90, ..account(90) },
        ),
        (Refusal::ImportedMustNotBeInTheFuture, Command { effective_ns: START_NS * 2, id: 90, ..dated }),
        (Refusal::LedgerNotFound, Command { ledger: 90, ..account(90) }),
        (Refusal::ImportedMustNotRegress, Command { id: 91, ..dated }),
        (Refusal::IdempotencyConflict, Command { kind: CommandKind::Account, ..command(70) }),
        (Refusal::LedgerMustNotBeZero, Command { ledger: LEDGER_MAX + 1, code: 39, ..ledger(90) }),
        // A ledger is named by its number: another id does not make another ledger.
        (Refusal::IdempotencyConflict, Command { id: 92, ..ledger(1) }),
    ];
    for (refusal, command) in table {
        let answer = bank.request(Request { commands: vec![command], text: b"EUR".to_vec() })[0];
        assert_eq!(answer.refusal, Some(refusal), "{command:?}");
    }
    let not_text = Request { commands: vec![ledger(90)], text: vec![0xff; 3] };
    assert_eq!(bank.request(not_text)[0].refusal, Some(Refusal::ReservedFieldUsed));
}
