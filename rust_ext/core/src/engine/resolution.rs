//! The ladder of a post and a void: what becomes of a hold, or of all holds of a linked group.
//!
//! A hold is resolved once, in full or in part, and whatever is not posted is released. A group is resolved
//! as one: every hold is looked at before the first one changes.

use super::deciding::Deciding;
use super::moving;
use super::own_id;
use crate::nouns::{AMOUNT_ALL, Command, GROUP_HOLDS_MAX, Row, RowKind, Text, account_flags, transfer_flags};
use crate::refusal::Refusal;
use crate::state::Hold;

/// What is known of the transfer that a command acts on.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) debit: u128,
    pub(super) credit: u128,
    pub(super) amount: u128,
    pub(super) ledger: u32,
    pub(super) code: u16,
}

/// A hold as a command finds it.
enum Found {
    Open(u32),
    /// Posted, voided or expired: the kind of the row that did it.
    Gone(RowKind),
}

impl Deciding<'_> {
    pub(super) fn resolve(&mut self, command: &Command, row: &mut Row, text: &[u8]) -> Result<u32, Refusal> {
        let (target, found) = self.hold_to_resolve(command)?;
        inherit(row, target.debit, target.credit, &target);
        same_as_target(command, target.debit, target.credit, &target)?;
        let amount = if command.amount == AMOUNT_ALL { target.amount } else { command.amount };
        if row.kind == RowKind::Post && amount > target.amount {
            return Err(Refusal::ExceedsPendingAmount);
        }
        if row.kind == RowKind::Void && amount != target.amount {
            return Err(Refusal::PendingTransferHasDifferentAmount);
        }
        let slot = match found {
            Found::Open(slot) => slot,
            Found::Gone(RowKind::Post) => return Err(Refusal::PendingTransferAlreadyPosted),
            Found::Gone(RowKind::Void) => return Err(Refusal::PendingTransferAlreadyVoided),
            Found::Gone(_) => return Err(Refusal::PendingTransferExpired),
        };
        let is_group = command.flags & transfer_flags::GROUP != 0;
        let slots = if is_group { self.books.holds.group(slot) } else { vec![slot] };
        // A row each, a nanosecond apart: no hold is resolved at or after the moment it expires.
        let done_ns = self.next_ns() + slots.len() as u64 - 1;
        let refusals = slots.iter().filter_map(|&slot| self.resolvable(command, slot, done_ns).err());
        let too_large = (slots.len() > GROUP_HOLDS_MAX).then_some(Refusal::GroupTooLarge);
        if let Some(refusal) = refusals.chain(too_large).min() {
            return Err(refusal);
        }
        // Nothing can fail below.
        row.amount = amount;
        self.close_hold(slot, row);
        let recorded = self.record(row, text);
        for other in slots.into_iter().filter(|&other| other != slot) {
            let mut row = self.row_of_member(command, row, other);
            self.close_hold(other, &mut row);
            self.record(&row, text);
        }
        Ok(recorded)
    }

    /// Finds the hold: open, resolved earlier in this batch, or in the journal.
    fn hold_to_resolve(&self, command: &Command) -> Result<(Target, Found), Refusal> {
        let key = (command.tenant, command.target);
        if let Some(slot) = self.books.holds.find(command.tenant, command.target) {
            return Ok((target_of(self.books.holds.get(slot)), Found::Open(slot)));
        }
        if let Some(&place) = self.resolved.get(&key) {
            let (hold, by) = &self.log.removed[place as usize];
            return Ok((target_of(hold), Found::Gone(*by)));
        }
        let row = self.find_row(key.0, key.1)?.ok_or(Refusal::PendingTransferNotFound)?;
        if row.kind != RowKind::Pending || row.status != 0 {
            return Err(Refusal::PendingTransferNotPending);
        }
        let gone = self.old.acting_on(key.0, key.1).map(|row| row.kind);
        let by = gone.filter(|kind| matches!(kind, RowKind::Post | RowKind::Void | RowKind::Expire)).last();
        let Some(by) = by else {
            self.missing.set(Some(key));
            return Err(Refusal::PendingTransferNotFound);
        };
        let Row { debit, credit, amount, ledger, code, .. } = row;
        Ok((Target { debit, credit, amount, ledger, code }, Found::Gone(by)))
    }

    /// What time, the imported past and closed accounts have against resolving one hold.
    fn resolvable(&self, command: &Command, slot: u32, done_ns: u64) -> Result<(), Refusal> {
        let hold = self.books.holds.get(slot);
        if hold.expires_ns != 0
            && planted!("expiry_off_by_one" => hold.expires_ns < done_ns; hold.expires_ns <= done_ns)
        {
            return Err(Refusal::PendingTransferExpired);
        }
        let (debit, credit) = self.parties_of(hold);
        self.imported_into(command, debit, credit)?;
        if command.flags & transfer_flags::POST_PENDING == 0 {
            return Ok(());
        }
        moving::not_closed(self.books.accounts.get(debit), self.books.accounts.get(credit))
    }

    pub(super) fn parties_of(&self, hold: &Hold) -> (u32, u32) {
        let find = |id: u128| self.books.accounts.find(hold.tenant, id).expect("a hold's accounts exist");
        (find(hold.debit), find(hold.credit))
    }

    /// The row of a further hold of a group; its id is the ledger's own.
    fn row_of_member(&self, command: &Command, first: &Row, slot: u32) -> Row {
        let hold = self.books.holds.get(slot);
        Row {
            id: own_id::of_group_member(command.tenant, command.id, hold.id, self.next_ns()),
            debit: hold.debit,
            credit: hold.credit,
            amount: hold.amount,
            target: hold.id,
            ledger: hold.ledger,
            code: hold.code,
            fingerprint: [0; 16],
            text: Text::default(),
            ..*first
        }
    }

    /// Takes a hold out of both accounts and moves `row.amount` of it if the row is a post.
    pub(super) fn close_hold(&mut self, slot: u32, row: &mut Row) {
        let hold = self.remove_hold(slot, row.kind);
        let (debit, credit) = self.parties_of(&hold);
        let moved = row.amount;
        assert!(moved <= hold.amount, "no more than was held");
        // Nothing unlocks a closed account but the end of the hold that closed it.
        let is_post = row.kind == RowKind::Post;
        self.change_parties(debit, credit, row, |from, to| {
            let released = planted!("part_keeps_its_rest" => moved; hold.amount);
            from.counters.debits_pending -= released;
            to.counters.credits_pending -= released;
            if is_post {
                from.counters.debits_posted += moved;
                to.counters.credits_posted += moved;
                return;
            }
            if hold.flags & transfer_flags::CLOSING_DEBIT != 0 {
                from.flags &= !account_flags::CLOSED;
            }
            if hold.flags & transfer_flags::CLOSING_CREDIT != 0 {
                to.flags &= !account_flags::CLOSED;
            }
        });
        if row.flags & transfer_flags::IMPORTED != 0 {
            let ledger = self.books.ledgers.find(hold.tenant, hold.ledger);
            self.note_import(ledger, row.effective_ns);
        }
    }
}

/// Fills in what the command left out.
pub(super) const fn inherit(row: &mut Row, debit: u128, credit: u128, target: &Target) {
    if row.debit == 0 {
        row.debit = debit;
    }
    if row.credit == 0 {
        row.credit = credit;
    }
    if row.ledger == 0 {
        row.ledger = target.ledger;
    }
    if row.code == 0 {
        row.code = target.code;
    }
}

/// What a command does not leave out must be as it is.
pub(super) const fn same_as_target(
    command: &Command,
    debit: u128,
    credit: u128,
    target: &Target,
) -> Result<(), Refusal> {
    if command.debit != 0 && command.debit != debit {
        return Err(Refusal::TargetHasDifferentDebitAccount);
    }
    if command.credit != 0 && command.credit != credit {
        return Err(Refusal::TargetHasDifferentCreditAccount);
    }
    if command.ledger != 0 && command.ledger != target.ledger {
        return Err(Refusal::TargetHasDifferentLedger);
    }
    if command.code != 0 && command.code != target.code {
        return Err(Refusal::TargetHasDifferentCode);
    }
    Ok(())
}

const fn target_of(hold: &Hold) -> Target {
    let Hold { debit, credit, amount, ledger, code, .. } = *hold;
    Target { debit, credit, amount, ledger, code }
}
