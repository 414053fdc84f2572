//! What is wrong with a command by its bytes alone, in order of precedence.
//!
//! Nothing here looks at the books, only at the command and the clock; a chain is looked through with it
//! before any member takes effect, so that a chain that is declined can be recorded whole.

use super::window;
use crate::nouns::{
    AMOUNT_ALL, ASSET_BYTES_MAX, Command, CommandKind, EFFECTIVE_NS_MAX, LEDGER_MAX, RowKind, TIMEOUT_S_MAX,
    account_flags, transfer_flags,
};
use crate::refusal::Refusal;

/// Decimal digits of a unit that fit in 128 bits.
const EXPONENT_MAX: u16 = 38;
/// How an id begins that the ledger itself gives to a row. No client may use it: a row of the ledger's own
/// could otherwise meet a row that a client put in its place. 2^-38 of all random ids.
const OWN_ID_PREFIX: u128 = 0xffff_ffff;

/// The flags that make a transfer act on another.
pub(super) const ACTING: u16 =
    transfer_flags::POST_PENDING | transfer_flags::VOID_PENDING | transfer_flags::REVERSE;
const BALANCING: u16 = transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT;
const CLOSING: u16 = transfer_flags::CLOSING_DEBIT | transfer_flags::CLOSING_CREDIT;

/// The refusals that come before the id is looked up: the command cannot be told from another.
pub(super) fn before_lookup(command: &Command, now_ns: u64) -> Result<(), Refusal> {
    if uses_reserved(command) || is_own(command.id) {
        return Err(Refusal::ReservedFieldUsed);
    }
    if command.id == 0 {
        return Err(Refusal::IdMustNotBeZero);
    }
    if command.id == u128::MAX {
        return Err(Refusal::IdMustNotBeMax);
    }
    if window::is_ahead(command.id, now_ns) {
        return Err(Refusal::IdFromTheFuture);
    }
    Ok(())
}

/// The refusals that come after it.
pub(super) fn after_lookup(command: &Command, now_ns: u64) -> Result<(), Refusal> {
    match command.kind {
        CommandKind::Ledger => ledger(command),
        CommandKind::Account => account(command, now_ns),
        CommandKind::Transfer => transfer(command, now_ns),
    }
}

/// What a row of this command would record.
pub(super) const fn row_kind(command: &Command) -> RowKind {
    match command.kind {
        CommandKind::Ledger => RowKind::Ledger,
        CommandKind::Account => RowKind::Account,
        CommandKind::Transfer if command.flags & transfer_flags::PENDING != 0 => RowKind::Pending,
        CommandKind::Transfer if command.flags & transfer_flags::POST_PENDING != 0 => RowKind::Post,
        CommandKind::Transfer if command.flags & transfer_flags::VOID_PENDING != 0 => RowKind::Void,
        CommandKind::Transfer if command.flags & transfer_flags::REVERSE != 0 => RowKind::Reverse,
        CommandKind::Transfer => RowKind::Transfer,
    }
}

/// Makes a `UUIDv8` one of the ledger's own.
pub(super) const fn own(id: u128) -> u128 {
    id | OWN_ID_PREFIX << 96
}

fn is_own(id: u128) -> bool {
    id >> 96 == OWN_ID_PREFIX && (id >> 76) & 0xf == 8 && (id >> 62) & 0b11 == 0b10
}

fn uses_reserved(command: &Command) -> bool {
    let text = command.text;
    let used = match command.kind {
        CommandKind::Ledger => {
            command.debit != 0
                || command.credit != 0
                || command.amount != 0
                || command.target != 0
                || command.effective_ns != 0
                || command.timeout_s != 0
                || command.flags != 0
                || text.reference_bytes == 0
                || text.reference_bytes as usize > ASSET_BYTES_MAX
        }
        CommandKind::Account => {
            command.debit != 0
                || command.credit != 0
                || command.target != 0
                || command.timeout_s != 0
                || command.flags & !account_flags::ALL != 0
        }
        // Only what has an upper bound of its own can be asked for all of it.
        CommandKind::Transfer => {
            command.flags & !transfer_flags::ALL != 0
                || command.amount == AMOUNT_ALL && command.flags & (ACTING | BALANCING) == 0
        }
    };
    used || command.reserved || command.effective_ns > EFFECTIVE_NS_MAX
}

fn ledger(command: &Command) -> Result<(), Refusal> {
    if command.ledger == 0 || command.ledger > LEDGER_MAX {
        return Err(Refusal::LedgerMustNotBeZero);
    }
    if command.code > EXPONENT_MAX {
        return Err(Refusal::ExponentOutOfRange);
    }
    Ok(())
}

fn account(command: &Command, now_ns: u64) -> Result<(), Refusal> {
    const LIMITS: u16 =
        account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS | account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS;
    if command.flags & LIMITS == LIMITS {
        return Err(Refusal::FlagsAreMutuallyExclusive);
    }
    if command.ledger == 0 || command.ledger > LEDGER_MAX {
        return Err(Refusal::LedgerMustNotBeZero);
    }
    if command.code == 0 {
        return Err(Refusal::CodeMustNotBeZero);
    }
    if command.amount != 0 && command.flags & LIMITS == 0 {
        return Err(Refusal::AllowanceNeedsALimit);
    }
    imported(command, command.flags & account_flags::IMPORTED != 0, now_ns)
}

fn transfer(command: &Command, now_ns: u64) -> Result<(), Refusal> {
    let has = |flags: u16| command.flags & flags != 0;
    let acts = has(ACTING);
    if exclude_each_other(command.flags) {
        return Err(Refusal::FlagsAreMutuallyExclusive);
    }
    // What acts on another transfer may leave out what that one says.
    if command.ledger > LEDGER_MAX || command.ledger == 0 && !acts {
        return Err(Refusal::LedgerMustNotBeZero);
    }
    if command.code == 0 && !acts {
        return Err(Refusal::CodeMustNotBeZero);
    }
    accounts(command, acts)?;
    if command.target != 0 && !acts {
        return Err(Refusal::TargetMustBeZero);
    }
    if command.target == 0 && acts {
        return Err(Refusal::TargetMustNotBeZero);
    }
    if command.target == command.id {
        return Err(Refusal::TargetMustDiffer);
    }
    if command.amount == 0 {
        return Err(Refusal::AmountMustNotBeZero);
    }
    if command.timeout_s > TIMEOUT_S_MAX || command.timeout_s != 0 && !has(transfer_flags::PENDING) {
        return Err(Refusal::TimeoutReservedForPending);
    }
    if has(CLOSING) && !has(transfer_flags::PENDING) {
        return Err(Refusal::ClosingMustBePending);
    }
    if has(transfer_flags::GROUP) {
        if !has(transfer_flags::POST_PENDING | transfer_flags::VOID_PENDING) {
            return Err(Refusal::GroupReservedForResolution);
        }
        if command.amount != AMOUNT_ALL {
            return Err(Refusal::GroupResolvesInFull);
        }
    }
    imported(command, has(transfer_flags::IMPORTED), now_ns)
}

/// At most one of pending, post, void and reverse; and what acts on another balances and closes nothing.
const fn exclude_each_other(flags: u16) -> bool {
    let kinds = flags & (ACTING | transfer_flags::PENDING);
    kinds.count_ones() > 1 || flags & ACTING != 0 && flags & (BALANCING | CLOSING) != 0
}

fn accounts(command: &Command, acts: bool) -> Result<(), Refusal> {
    let is_wrong = |id: u128| id == u128::MAX || id == 0 && !acts;
    if is_wrong(command.debit) {
        return Err(Refusal::DebitAccountMustNotBeZero);
    }
    if is_wrong(command.credit) {
        return Err(Refusal::CreditAccountMustNotBeZero);
    }
    if command.debit == command.credit && command.debit != 0 {
        return Err(Refusal::AccountsMustDiffer);
    }
    Ok(())
}

fn imported(command: &Command, is_imported: bool, now_ns: u64) -> Result<(), Refusal> {
    if !is_imported {
        return Ok(());
    }
    if command.effective_ns == 0 {
        return Err(Refusal::ImportedNeedsEffectiveAt);
    }
    if command.timeout_s != 0 {
        return Err(Refusal::ImportedTimeoutMustBeZero);
    }
    if command.effective_ns >= now_ns {
        return Err(Refusal::ImportedMustNotBeInTheFuture);
    }
    Ok(())
}
