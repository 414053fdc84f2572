//! The ladder of a transfer: what moves money now, and what holds it.
//!
//! What it asks of the two accounts stands in `moving.rs`, because a reversal asks the same.

use super::deciding::Deciding;
use super::moving::{self, Move};
use crate::nouns::{Command, Row, account_flags, transfer_flags};
use crate::refusal::Refusal;
use crate::state::{Account, Hold};

const NS_PER_S: u64 = 1_000_000_000;

impl Deciding<'_> {
    pub(super) fn transfer(&mut self, command: &Command, row: &mut Row, text: &[u8]) -> Result<u32, Refusal> {
        let (debit, credit) = self.parties(command)?;
        let imported_into = self.imported_into(command, debit, credit)?;
        let accounts = &self.books.accounts;
        let is_pending = command.flags & transfer_flags::PENDING != 0;
        let moved = moving::amount_between(
            accounts.get(debit),
            accounts.get(credit),
            &Move { amount: command.amount, flags: command.flags, is_pending },
        )?;
        if is_pending && self.books.holds.len() >= self.limits.holds_max {
            return Err(Refusal::HoldsFull);
        }
        // Nothing can fail below.
        row.amount = moved;
        self.change_parties(debit, credit, row, |from, to| {
            if is_pending {
                from.counters.debits_pending += moved;
                to.counters.credits_pending += moved;
            } else {
                from.counters.debits_posted += moved;
                to.counters.credits_posted += moved;
            }
            if command.flags & transfer_flags::CLOSING_DEBIT != 0 {
                from.flags |= account_flags::CLOSED;
            }
            if command.flags & transfer_flags::CLOSING_CREDIT != 0 {
                to.flags |= account_flags::CLOSED;
            }
        });
        self.note_import(imported_into, row.effective_ns);
        if is_pending {
            let group_id = self.chain.group_of(row.id);
            let hold = hold_of(row, self.next_ns(), group_id);
            self.books.add_hold(&mut self.log, hold);
        }
        Ok(self.record(row, text))
    }

    /// The two accounts, if they and the ledger exist and belong together.
    fn parties(&self, command: &Command) -> Result<(u32, u32), Refusal> {
        let accounts = &self.books.accounts;
        let debit = accounts.find(command.tenant, command.debit);
        let credit = accounts.find(command.tenant, command.credit);
        let is_of_ledger = |slot: u32| accounts.get(slot).ledger == command.ledger;
        // An account in the ledger proves the ledger, and spares looking it up.
        if !debit.is_some_and(is_of_ledger)
            && self.books.ledgers.find(command.tenant, command.ledger).is_none()
        {
            return Err(Refusal::LedgerNotFound);
        }
        let debit = debit.ok_or(Refusal::DebitAccountNotFound)?;
        let credit = credit.ok_or(Refusal::CreditAccountNotFound)?;
        if accounts.get(debit).ledger != accounts.get(credit).ledger {
            return Err(Refusal::AccountsMustShareTheLedger);
        }
        if !is_of_ledger(debit) {
            return Err(Refusal::TransferMustShareTheLedger);
        }
        Ok((debit, credit))
    }

    /// The ledger whose imported past a transfer goes on, if it is an imported one; its accounts are in one.
    pub(super) fn imported_into(
        &self,
        command: &Command,
        debit: u32,
        credit: u32,
    ) -> Result<Option<u32>, Refusal> {
        if command.flags & transfer_flags::IMPORTED == 0 {
            return Ok(None);
        }
        let (debit, credit) = (self.books.accounts.get(debit), self.books.accounts.get(credit));
        let ledger = self.books.ledgers.find(debit.tenant, debit.ledger).expect("an account's ledger exists");
        if command.effective_ns <= self.books.ledgers.get(ledger).ledger.imported_ns {
            return Err(Refusal::ImportedMustNotRegress);
        }
        if command.effective_ns <= opened_ns(debit) {
            return Err(Refusal::ImportedMustPostdateDebitAccount);
        }
        if command.effective_ns <= opened_ns(credit) {
            return Err(Refusal::ImportedMustPostdateCreditAccount);
        }
        Ok(Some(ledger))
    }

    /// Advances the imported past of a ledger.
    pub(super) fn note_import(&mut self, ledger: Option<u32>, effective_ns: u64) {
        if let Some(ledger) = ledger {
            self.books.imports_to_change(&mut self.log, ledger).ledger.imported_ns = effective_ns;
        }
    }

    /// Changes both accounts and writes what they are then into the row.
    pub(super) fn change_parties(
        &mut self,
        debit: u32,
        credit: u32,
        row: &mut Row,
        change: impl FnOnce(&mut Account, &mut Account),
    ) {
        assert!(debit != credit, "two accounts");
        let mut from = *self.books.account_to_change(&mut self.log, debit);
        let mut to = *self.books.account_to_change(&mut self.log, credit);
        change(&mut from, &mut to);
        row.debit_after = from.counters;
        row.credit_after = to.counters;
        *self.books.accounts.get_mut(debit) = from;
        *self.books.accounts.get_mut(credit) = to;
    }
}

/// When an account was opened, by the dates that imported transfers are held against.
fn opened_ns(account: &Account) -> u64 {
    if account.flags & account_flags::IMPORTED != 0 { account.effective_ns } else { account.created_ns }
}

/// The hold that a pending row opens.
pub(super) fn hold_of(row: &Row, recorded_ns: u64, group_id: u128) -> Hold {
    let timeout_ns = u64::from(row.timeout_s) * NS_PER_S;
    Hold {
        id: row.id,
        debit: row.debit,
        credit: row.credit,
        amount: row.amount,
        group_id,
        recorded_ns,
        expires_ns: if timeout_ns == 0 { 0 } else { recorded_ns + timeout_ns },
        tenant: row.tenant,
        ledger: row.ledger,
        code: row.code,
        flags: row.flags,
    }
}
