//! The ladder of a reversal: money moved back, never more than was moved.
//!
//! What earlier batches reversed comes from the journal, what this one did is kept while it is decided.

use super::books::Change;
use super::deciding::Deciding;
use super::moving::{self, Move};
use super::resolution::{Target, inherit, same_as_target};
use crate::nouns::{AMOUNT_ALL, Command, REVERSALS_MAX, Row, RowKind};
use crate::refusal::Refusal;

/// What was moved back of one transfer, and in how many parts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reversed {
    pub(super) amount: u128,
    pub(super) parts: usize,
}

impl Deciding<'_> {
    pub(super) fn reverse(&mut self, command: &Command, row: &mut Row, text: &[u8]) -> Result<u32, Refusal> {
        let target = self.transfer_to_reverse(command)?;
        let (from, to) = (target.credit, target.debit);
        inherit(row, from, to, &target);
        same_as_target(command, from, to, &target)?;
        let before = self.reversed_of(command.tenant, command.target);
        let left = target.amount - before.amount;
        let amount = if command.amount == AMOUNT_ALL { left } else { command.amount };
        if amount > left || left == 0 {
            return Err(Refusal::ExceedsReversibleAmount);
        }
        if before.parts >= REVERSALS_MAX {
            return Err(Refusal::TooManyReversals);
        }
        let find = |id: u128| self.books.accounts.find(command.tenant, id);
        let debit = find(from).expect("the account of a recorded transfer exists");
        let credit = find(to).expect("the account of a recorded transfer exists");
        let imported_into = self.imported_into(command, debit, credit)?;
        let accounts = &self.books.accounts;
        let wish = Move { amount, flags: command.flags, is_pending: false };
        let moved = moving::amount_between(accounts.get(debit), accounts.get(credit), &wish)?;
        // Nothing can fail below.
        assert!(moved == amount, "a reversal does not balance");
        row.amount = amount;
        self.change_parties(debit, credit, row, |from, to| {
            from.counters.debits_posted += amount;
            to.counters.credits_posted += amount;
        });
        self.note_import(imported_into, row.effective_ns);
        let reversed = self.reversed.entry((command.tenant, command.target)).or_default();
        reversed.amount += planted!("reversal_sum_not_kept" => 0; amount);
        reversed.parts += 1;
        let (tenant, target) = (command.tenant, command.target);
        self.log.changes.push(Change::Reversed { tenant, target, amount });
        Ok(self.record(row, text))
    }

    fn transfer_to_reverse(&self, command: &Command) -> Result<Target, Refusal> {
        let row = self.find_row(command.tenant, command.target)?.ok_or(Refusal::ReversedTransferNotFound)?;
        if row.status != 0 || !matches!(row.kind, RowKind::Transfer | RowKind::Post) {
            return Err(Refusal::TransferNotReversible);
        }
        let Row { debit, credit, amount, ledger, code, .. } = row;
        Ok(Target { debit, credit, amount, ledger, code })
    }

    /// What was moved back of a transfer so far.
    fn reversed_of(&self, tenant: u32, target: u128) -> Reversed {
        let mut reversed = self.reversed.get(&(tenant, target)).copied().unwrap_or_default();
        for row in self.old.acting_on(tenant, target).filter(|row| row.kind == RowKind::Reverse) {
            reversed.amount += row.amount;
            reversed.parts += 1;
        }
        reversed
    }
}
