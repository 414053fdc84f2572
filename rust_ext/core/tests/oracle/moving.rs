//! What the model does with money: transfers, resolutions, reversals.
//!
//! Every refusal that applies is gathered, and the first of the table is the answer.

use pyledger_core::nouns::{Command, Counters, RowKind, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

use crate::model::{Answer, Event, Key, Model};
use crate::rules::{closed, differs, first, room, too_much};

const SECOND: u64 = 1_000_000_000;
const MAX: u128 = u128::MAX;

impl Model {
    pub fn transfer(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let (tenant, flags) = (command.tenant, command.flags);
        first(&self.unknown(&command))?;
        let (debit, credit) =
            (&self.accounts[&(tenant, command.debit)], &self.accounts[&(tenant, command.credit)]);
        let mut no = Vec::new();
        if debit.ledger != credit.ledger {
            no.push(Refusal::AccountsMustShareTheLedger);
        }
        if debit.ledger != command.ledger || credit.ledger != command.ledger {
            no.push(Refusal::TransferMustShareTheLedger);
        }
        let is_pending = flags & transfer_flags::PENDING != 0;
        no.extend(self.imports(&command, command.debit, command.credit));
        no.extend(closed(debit, credit));
        let mut amount = command.amount;
        let (d, c) = (debit.counters, credit.counters);
        if flags & transfer_flags::BALANCING_DEBIT != 0 {
            amount = amount.min(room(d.credits_posted, debit.allowance, d.debits_pending + d.debits_posted));
            no.extend((amount == 0).then_some(Refusal::ExceedsCredits));
        }
        if flags & transfer_flags::BALANCING_CREDIT != 0 {
            amount =
                amount.min(room(c.debits_posted, credit.allowance, c.credits_pending + c.credits_posted));
            no.extend((amount == 0).then_some(Refusal::ExceedsDebits));
        }
        no.extend(too_much(debit, credit, amount, is_pending));
        if is_pending && self.open_holds().len() >= self.holds_max {
            no.push(Refusal::HoldsFull);
        }
        first(&no)?;
        event.amount = amount;
        if is_pending && command.timeout_s != 0 {
            event.expires_ns = event.recorded_ns + u64::from(command.timeout_s) * SECOND;
        }
        self.note_import(&command, command.ledger);
        let (debit, credit) = self.two(tenant, command.debit, command.credit);
        if is_pending {
            debit.debits_pending += amount;
            credit.credits_pending += amount;
        } else {
            debit.debits_posted += amount;
            credit.credits_posted += amount;
        }
        event.after = (*debit, *credit);
        self.close(&command, true);
        Ok(self.record(event))
    }

    fn unknown(&self, command: &Command) -> Vec<Refusal> {
        let mut no = Vec::new();
        let mut when = |holds: bool, refusal: Refusal| {
            if holds {
                no.push(refusal);
            }
        };
        let tenant = command.tenant;
        when(!self.ledgers.contains_key(&(tenant, command.ledger)), Refusal::LedgerNotFound);
        when(!self.accounts.contains_key(&(tenant, command.debit)), Refusal::DebitAccountNotFound);
        when(!self.accounts.contains_key(&(tenant, command.credit)), Refusal::CreditAccountNotFound);
        no
    }

    pub fn resolve(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let key = (command.tenant, command.target);
        let is_post = event.kind == RowKind::Post;
        let hold = self.events.get(&key).ok_or(Refusal::PendingTransferNotFound)?.clone();
        if hold.kind != RowKind::Pending || hold.refusal.is_some() {
            return Err(Refusal::PendingTransferNotPending);
        }
        let mut no = differs(&command, hold.debit, hold.credit, &hold);
        let amount = if command.amount == MAX { hold.amount } else { command.amount };
        let mut when = |holds: bool, refusal: Refusal| {
            if holds {
                no.push(refusal);
            }
        };
        when(is_post && amount > hold.amount, Refusal::ExceedsPendingAmount);
        when(!is_post && amount != hold.amount, Refusal::PendingTransferHasDifferentAmount);
        when(hold.closed_by == Some(RowKind::Post), Refusal::PendingTransferAlreadyPosted);
        when(hold.closed_by == Some(RowKind::Void), Refusal::PendingTransferAlreadyVoided);
        when(hold.closed_by == Some(RowKind::Expire), Refusal::PendingTransferExpired);
        first(&no)?;
        let members = self.members(&command, key, &hold);
        first(&self.unresolvable(&event, &members))?;
        event.amount = amount;
        (event.debit, event.credit, event.ledger, event.code) =
            (hold.debit, hold.credit, hold.ledger, hold.code);
        for (place, (each, hold)) in members.iter().enumerate() {
            let amount = if place == 0 { amount } else { hold.amount };
            let after = self.release(*each, event.kind, if is_post { amount } else { 0 });
            self.note_import(&command, hold.ledger);
            if place == 0 {
                event.after = after;
                event = self.record(event);
            } else {
                self.last_ns = self.next_ns();
            }
        }
        Ok(event)
    }

    fn members(&self, command: &Command, key: Key, hold: &Event) -> Vec<(Key, Event)> {
        let mut members = vec![(key, hold.clone())];
        if command.flags & transfer_flags::GROUP != 0 && hold.chain != 0 {
            let others = self.open_holds().into_iter();
            members.extend(others.filter(|(other, each)| *other != key && each.chain == hold.chain));
        }
        members
    }

    fn unresolvable(&self, event: &Event, members: &[(Key, Event)]) -> Vec<Refusal> {
        let command = &event.command;
        let mut no = Vec::new();
        let done_ns = event.recorded_ns + members.len() as u64 - 1;
        for (_, each) in members {
            if each.expires_ns != 0 && each.expires_ns <= done_ns {
                no.push(Refusal::PendingTransferExpired);
            }
            no.extend(self.imports(command, each.debit, each.credit));
            if event.kind == RowKind::Post {
                let find = |id: u128| &self.accounts[&(command.tenant, id)];
                no.extend(closed(find(each.debit), find(each.credit)));
            }
        }
        if members.len() > 64 {
            no.push(Refusal::GroupTooLarge);
        }
        no
    }

    pub fn reverse(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let key = (command.tenant, command.target);
        let moved = self.events.get(&key).ok_or(Refusal::ReversedTransferNotFound)?.clone();
        if !matches!(moved.kind, RowKind::Transfer | RowKind::Post) || moved.refusal.is_some() {
            return Err(Refusal::TransferNotReversible);
        }
        let (from, to) = (moved.credit, moved.debit);
        let mut no = differs(&command, from, to, &moved);
        let left = moved.amount - moved.reversed;
        let amount = if command.amount == MAX { left } else { command.amount };
        if amount == 0 || amount > left {
            no.push(Refusal::ExceedsReversibleAmount);
        }
        if moved.reversals >= 64 {
            no.push(Refusal::TooManyReversals);
        }
        no.extend(self.imports(&command, from, to));
        let (debit, credit) =
            (&self.accounts[&(command.tenant, from)], &self.accounts[&(command.tenant, to)]);
        no.extend(closed(debit, credit));
        no.extend(too_much(debit, credit, amount, false));
        first(&no)?;
        (event.debit, event.credit, event.ledger, event.code) = (from, to, moved.ledger, moved.code);
        event.amount = amount;
        self.note_import(&command, moved.ledger);
        let transfer = self.events.get_mut(&key).expect("the transfer");
        transfer.reversed += amount;
        transfer.reversals += 1;
        let (debit, credit) = self.two(command.tenant, from, to);
        debit.debits_posted += amount;
        credit.credits_posted += amount;
        event.after = (*debit, *credit);
        Ok(self.record(event))
    }

    fn two(&mut self, tenant: u32, debit: u128, credit: u128) -> (&mut Counters, &mut Counters) {
        let mut debits = None;
        let mut credits = None;
        for (&key, account) in &mut self.accounts {
            if key == (tenant, debit) {
                debits = Some(&mut account.counters);
            } else if key == (tenant, credit) {
                credits = Some(&mut account.counters);
            }
        }
        (debits.expect("a debit account"), credits.expect("a credit account"))
    }

    fn close(&mut self, hold: &Command, closed: bool) {
        for (flag, id) in
            [(transfer_flags::CLOSING_DEBIT, hold.debit), (transfer_flags::CLOSING_CREDIT, hold.credit)]
        {
            if hold.flags & flag != 0 {
                let flags = &mut self.accounts.get_mut(&(hold.tenant, id)).expect("an account").flags;
                *flags =
                    if closed { *flags | account_flags::CLOSED } else { *flags & !account_flags::CLOSED };
            }
        }
    }

    fn imports(&self, command: &Command, debit: u128, credit: u128) -> Vec<Refusal> {
        let mut no = Vec::new();
        if command.flags & transfer_flags::IMPORTED != 0 {
            let at = command.effective_ns;
            let debit = &self.accounts[&(command.tenant, debit)];
            let credit = &self.accounts[&(command.tenant, credit)];
            if at <= self.ledgers[&(command.tenant, debit.ledger)].1 {
                no.push(Refusal::ImportedMustNotRegress);
            }
            if at <= debit.opened_ns {
                no.push(Refusal::ImportedMustPostdateDebitAccount);
            }
            if at <= credit.opened_ns {
                no.push(Refusal::ImportedMustPostdateCreditAccount);
            }
        }
        no
    }

    fn note_import(&mut self, command: &Command, ledger: u32) {
        if command.flags & transfer_flags::IMPORTED != 0 {
            self.ledgers.get_mut(&(command.tenant, ledger)).expect("a ledger").1 = command.effective_ns;
        }
    }

    /// Takes a hold out of the pending counters and moves a part of it.
    pub fn release(&mut self, key: Key, by: RowKind, moved: u128) -> (Counters, Counters) {
        let hold = self.events.get_mut(&key).expect("a hold");
        hold.closed_by = Some(by);
        let Event { command, debit, credit, amount, .. } = *hold;
        let (debit, credit) = self.two(key.0, debit, credit);
        debit.debits_pending -= amount;
        credit.credits_pending -= amount;
        debit.debits_posted += moved;
        credit.credits_posted += moved;
        let after = (*debit, *credit);
        if by != RowKind::Post {
            self.close(&command, false);
        }
        after
    }
}
