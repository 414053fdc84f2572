//! What the model finds wrong with a command by itself: all of it, in no order.

use pyledger_core::nouns::{
    ASSET_BYTES_MAX, Command, CommandKind, EFFECTIVE_NS_MAX, ID_AHEAD_MS_MAX, LEDGER_MAX, TIMEOUT_S_MAX,
    account_flags, transfer_flags,
};
use pyledger_core::refusal::Refusal;

use crate::asked::{Asked, TEXTS};

const MAX: u128 = u128::MAX;
const POST: u16 = transfer_flags::POST_PENDING;
const VOID: u16 = transfer_flags::VOID_PENDING;
const PENDING: u16 = transfer_flags::PENDING;
const REVERSE: u16 = transfer_flags::REVERSE;
const GROUP: u16 = transfer_flags::GROUP;

/// Everything that is wrong with a command by itself.
pub fn malformed(asked: &Asked, now_ns: u64) -> Vec<Refusal> {
    let command = &asked.command;
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| {
        if holds {
            no.push(refusal);
        }
    };
    let Command { kind, id, flags, .. } = *command;
    let (version, variant, clock_ms) = (id >> 76 & 0xf, id >> 62 & 3, u128::from(now_ns / 1_000_000));
    let is_transfer = kind == CommandKind::Transfer;
    let other_fields =
        command.debit != 0 || command.credit != 0 || command.target != 0 || command.timeout_s != 0;
    let all = if is_transfer { transfer_flags::ALL } else { account_flags::ALL };
    when(
        command.reserved
            || flags & !all != 0
            || !is_transfer && other_fields
            || command.effective_ns > EFFECTIVE_NS_MAX
            || id >> 96 == 0xffff_ffff && (version, variant) == (8, 2)
            || kind == CommandKind::Ledger && !is_bare_ledger(asked),
        Refusal::ReservedFieldUsed,
    );
    when(id == 0, Refusal::IdMustNotBeZero);
    when(id == MAX, Refusal::IdMustNotBeMax);
    let ahead = u128::from(ID_AHEAD_MS_MAX);
    when((version, variant) == (7, 2) && id >> 80 > clock_ms + ahead, Refusal::IdFromTheFuture);
    let acts = is_transfer && flags & (POST | VOID | REVERSE) != 0;
    when(command.ledger > LEDGER_MAX || command.ledger == 0 && !acts, Refusal::LedgerMustNotBeZero);
    if kind == CommandKind::Ledger {
        when(command.code > 38, Refusal::ExponentOutOfRange);
        return no;
    }
    when(command.code == 0 && !acts, Refusal::CodeMustNotBeZero);
    let imported = if is_transfer { transfer_flags::IMPORTED } else { account_flags::IMPORTED };
    if flags & imported != 0 {
        when(command.effective_ns == 0, Refusal::ImportedNeedsEffectiveAt);
        when(command.timeout_s != 0, Refusal::ImportedTimeoutMustBeZero);
        when(command.effective_ns >= now_ns, Refusal::ImportedMustNotBeInTheFuture);
    }
    if kind == CommandKind::Account {
        let limits = flags & 0b110;
        when(limits == 0b110, Refusal::FlagsAreMutuallyExclusive);
        when(limits == 0 && command.amount != 0, Refusal::AllowanceNeedsALimit);
        return no;
    }
    no.extend(malformed_transfer(command));
    no
}

/// A ledger has a number, an exponent and an asset, and nothing else.
fn is_bare_ledger(asked: &Asked) -> bool {
    let Command { flags, amount, effective_ns, .. } = asked.command;
    let asset_bytes = TEXTS[asked.text as usize].0.len();
    flags == 0 && amount == 0 && effective_ns == 0 && (1..=ASSET_BYTES_MAX).contains(&asset_bytes)
}

fn malformed_transfer(command: &Command) -> Vec<Refusal> {
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| {
        if holds {
            no.push(refusal);
        }
    };
    let Command { id, flags, .. } = *command;
    let acting = flags & (POST | VOID | REVERSE);
    let acts = acting != 0;
    let closes = flags & (transfer_flags::CLOSING_DEBIT | transfer_flags::CLOSING_CREDIT) != 0;
    let balances = flags & (transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT) != 0;
    when((acting | flags & PENDING).count_ones() > 1, Refusal::FlagsAreMutuallyExclusive);
    when(acts && (closes || balances), Refusal::FlagsAreMutuallyExclusive);
    when(command.amount == MAX && !acts && !balances, Refusal::ReservedFieldUsed);
    when(command.debit == MAX || command.debit == 0 && !acts, Refusal::DebitAccountMustNotBeZero);
    when(command.credit == MAX || command.credit == 0 && !acts, Refusal::CreditAccountMustNotBeZero);
    when(command.debit == command.credit && command.debit != 0, Refusal::AccountsMustDiffer);
    when(command.target != 0 && !acts, Refusal::TargetMustBeZero);
    when(command.target == 0 && acts, Refusal::TargetMustNotBeZero);
    when(command.target == id, Refusal::TargetMustDiffer);
    when(command.amount == 0, Refusal::AmountMustNotBeZero);
    let is_pending = flags & PENDING != 0;
    when(
        command.timeout_s > TIMEOUT_S_MAX || command.timeout_s != 0 && !is_pending,
        Refusal::TimeoutReservedForPending,
    );
    when(closes && !is_pending, Refusal::ClosingMustBePending);
    let is_group = flags & GROUP != 0;
    when(is_group && flags & (POST | VOID) == 0, Refusal::GroupReservedForResolution);
    when(is_group && command.amount != MAX, Refusal::GroupResolvesInFull);
    no
}
