//! What two accounts allow to move between them. Pure: two accounts and a wish in, an amount or a refusal out.
//!
//! The invariant: on either side of an account, posted and pending together fit in 128 bits. It makes every
//! later post of a hold safe without another check.

use crate::nouns::{Counters, account_flags, transfer_flags};
use crate::refusal::Refusal;
use crate::state::Account;

/// What is wished for. The amount is the upper bound where the flags say that it balances.
pub(super) struct Move {
    pub(super) amount: u128,
    pub(super) flags: u16,
    pub(super) is_pending: bool,
}

/// What can move from `debit` to `credit`, or why nothing can.
pub(super) fn amount_between(debit: &Account, credit: &Account, wish: &Move) -> Result<u128, Refusal> {
    not_closed(debit, credit)?;
    let amount = balanced(debit, credit, wish)?;
    fits(&debit.counters, &credit.counters, amount, wish.is_pending)?;
    if is_limited(debit, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS) && exceeds(amount, debit_room(debit))
    {
        return Err(Refusal::ExceedsCredits);
    }
    if is_limited(credit, account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS)
        && exceeds(amount, credit_room(credit))
    {
        return Err(Refusal::ExceedsDebits);
    }
    assert!(amount > 0, "something moves");
    Ok(amount)
}

pub(super) const fn not_closed(debit: &Account, credit: &Account) -> Result<(), Refusal> {
    if debit.flags & account_flags::CLOSED != 0 {
        return Err(Refusal::DebitAccountClosed);
    }
    if credit.flags & account_flags::CLOSED != 0 {
        return Err(Refusal::CreditAccountClosed);
    }
    Ok(())
}

/// The amount, cut to what the balancing sides have left.
fn balanced(debit: &Account, credit: &Account, wish: &Move) -> Result<u128, Refusal> {
    let mut amount = wish.amount;
    if wish.flags & transfer_flags::BALANCING_DEBIT != 0 {
        amount = amount.min(debit_room(debit));
        if amount == 0 {
            return Err(Refusal::ExceedsCredits);
        }
    }
    if wish.flags & transfer_flags::BALANCING_CREDIT != 0 {
        amount = amount.min(credit_room(credit));
        if amount == 0 {
            return Err(Refusal::ExceedsDebits);
        }
    }
    Ok(amount)
}

/// No counter and no sum of two passes 128 bits.
fn fits(debit: &Counters, credit: &Counters, amount: u128, is_pending: bool) -> Result<(), Refusal> {
    let overflows = |counter: u128| counter.checked_add(amount).is_none();
    if is_pending && overflows(debit.debits_pending) {
        return Err(Refusal::OverflowsDebitsPending);
    }
    if is_pending && overflows(credit.credits_pending) {
        return Err(Refusal::OverflowsCreditsPending);
    }
    // A hold may be posted in full one day, so it too must fit among what is posted.
    if overflows(debit.debits_posted) {
        return Err(Refusal::OverflowsDebitsPosted);
    }
    if overflows(credit.credits_posted) {
        return Err(Refusal::OverflowsCreditsPosted);
    }
    if overflows(debit.debits_pending + debit.debits_posted) {
        return Err(Refusal::OverflowsDebits);
    }
    let credits = credit.credits_pending + credit.credits_posted;
    if planted!("sum_wraps" => credits.wrapping_add(amount) == 0; overflows(credits)) {
        return Err(Refusal::OverflowsCredits);
    }
    Ok(())
}

const fn is_limited(account: &Account, flag: u16) -> bool {
    account.flags & flag != 0
}

fn exceeds(amount: u128, room: u128) -> bool {
    planted!("limit_off_by_one" => amount >= room; amount > room)
}

/// By how much the account's debits can still grow: credits posted and allowance, less all debits.
fn debit_room(account: &Account) -> u128 {
    let Counters { debits_pending, debits_posted, credits_posted, .. } = account.counters;
    room(credits_posted, account.allowance, debits_pending + debits_posted)
}

/// By how much the account's credits can still grow: debits posted and allowance, less all credits.
fn credit_room(account: &Account) -> u128 {
    let Counters { credits_pending, credits_posted, debits_posted, .. } = account.counters;
    room(debits_posted, account.allowance, credits_pending + credits_posted)
}

/// `opposite + allowance - used`, 0 if negative. A sum past 128 bits may stop at the largest number: what is
/// used and what is asked for do not pass it either.
const fn room(opposite: u128, allowance: u128, used: u128) -> u128 {
    opposite.saturating_add(allowance).saturating_sub(used)
}
