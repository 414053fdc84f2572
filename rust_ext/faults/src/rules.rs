//! What the model asks of two accounts and of a target. Pure.

use pyledger_core::nouns::{Command, account_flags};
use pyledger_core::refusal::Refusal;

use crate::model::{Account, Event};

const MAX: u128 = u128::MAX;

/// The first of the table.
pub fn first(refusals: &[Refusal]) -> Result<(), Refusal> {
    refusals.iter().min().map_or(Ok(()), |&refusal| Err(refusal))
}

pub fn closed(debit: &Account, credit: &Account) -> Vec<Refusal> {
    let both = [(debit, Refusal::DebitAccountClosed), (credit, Refusal::CreditAccountClosed)];
    let closed = both.into_iter().filter(|(account, _)| account.flags & account_flags::CLOSED != 0);
    closed.map(|(_, refusal)| refusal).collect()
}

pub fn differs(command: &Command, debit: u128, credit: u128, target: &Event) -> Vec<Refusal> {
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| {
        if holds {
            no.push(refusal);
        }
    };
    when(command.debit != 0 && command.debit != debit, Refusal::TargetHasDifferentDebitAccount);
    when(command.credit != 0 && command.credit != credit, Refusal::TargetHasDifferentCreditAccount);
    when(command.ledger != 0 && command.ledger != target.ledger, Refusal::TargetHasDifferentLedger);
    when(command.code != 0 && command.code != target.code, Refusal::TargetHasDifferentCode);
    no
}

/// What 128 bits and the limits have against moving an amount.
pub fn too_much(debit: &Account, credit: &Account, amount: u128, is_pending: bool) -> Vec<Refusal> {
    let (d, c) = (debit.counters, credit.counters);
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| {
        if holds {
            no.push(refusal);
        }
    };
    when(is_pending && amount > MAX - d.debits_pending, Refusal::OverflowsDebitsPending);
    when(is_pending && amount > MAX - c.credits_pending, Refusal::OverflowsCreditsPending);
    when(amount > MAX - d.debits_posted, Refusal::OverflowsDebitsPosted);
    when(amount > MAX - c.credits_posted, Refusal::OverflowsCreditsPosted);
    let (debits, credits) = (d.debits_pending + d.debits_posted, c.credits_pending + c.credits_posted);
    when(amount > MAX - debits, Refusal::OverflowsDebits);
    when(amount > MAX - credits, Refusal::OverflowsCredits);
    let exceeds = |used: u128, opposite: u128, allowance: u128| match used.checked_add(amount) {
        Some(used) => used.saturating_sub(opposite) > allowance,
        None => false,
    };
    let limited = |account: &Account, flag: u16| account.flags & flag != 0;
    when(
        limited(debit, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            && exceeds(debits, d.credits_posted, debit.allowance),
        Refusal::ExceedsCredits,
    );
    when(
        limited(credit, account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            && exceeds(credits, c.debits_posted, credit.allowance),
        Refusal::ExceedsDebits,
    );
    no
}

/// What a balancing side has left.
pub fn room(opposite: u128, allowance: u128, used: u128) -> u128 {
    opposite.saturating_add(allowance).saturating_sub(used)
}
