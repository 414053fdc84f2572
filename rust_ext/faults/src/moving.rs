//! What the model does with money: transfers, resolutions, reversals, expiries.
//!
//! Every refusal that applies is gathered, and the first of the table is the answer.

use std::rc::Rc;

use pyledger_core::nouns::{
    AMOUNT_ALL, Command, Counters, GROUP_HOLDS_MAX, REVERSALS_MAX, RowKind, account_flags, transfer_flags,
};
use pyledger_core::refusal::Refusal;

use crate::asked::{self, Asked, SECOND};
use crate::model::{Account, Answer, Event, Key, Model};
use crate::rules::{closed, differs, first, room, too_much};

impl Model {
    pub fn transfer(&mut self, mut event: Event) -> Answer {
        let command = event.asked.command;
        let (tenant, flags) = (command.tenant, command.flags);
        first(&self.unknown(&command))?;
        let (debit, credit) = self.two(tenant, command.debit, command.credit);
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
        if is_pending && self.holds.len() >= self.limits.holds_max {
            no.push(Refusal::HoldsFull);
        }
        first(&no)?;
        event.amount = amount;
        self.note_import(&command, command.ledger);
        let (held, moved) = if is_pending { (amount, 0) } else { (0, amount) };
        event.after = self.add(tenant, command.debit, command.credit, held, moved);
        if is_pending {
            if command.timeout_s != 0 {
                event.expires_ns = event.recorded_ns + u64::from(command.timeout_s) * SECOND;
            }
            self.holds.insert(event.recorded_ns, (tenant, command.id));
            self.close(&command, true);
        }
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
        let asked = event.asked;
        let command = asked.command;
        let key = (command.tenant, command.target);
        let is_post = event.kind == RowKind::Post;
        let hold = self.events.get(&key).ok_or(Refusal::PendingTransferNotFound)?.clone();
        if hold.kind != RowKind::Pending || hold.refusal.is_some() {
            return Err(Refusal::PendingTransferNotPending);
        }
        let mut no = differs(&command, hold.debit, hold.credit, &hold);
        let amount = if command.amount == AMOUNT_ALL { hold.amount } else { command.amount };
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
        let others = self.others(&command, key, &hold);
        first(&self.unresolvable(&event, &hold, &others))?;
        event.amount = amount;
        take_over(&mut event, &hold);
        event.after = self.release(key, event.kind, if is_post { amount } else { 0 });
        self.note_import(&command, hold.ledger);
        let recorded = self.record(event);
        for (key, hold) in others {
            let mut event = Event { is_own: true, ..self.event(&asked) };
            (event.asked.text, event.asked.command.target, event.amount) = (0, key.1, hold.amount);
            take_over(&mut event, &hold);
            event.after = self.release(key, event.kind, if is_post { hold.amount } else { 0 });
            self.note_import(&command, hold.ledger);
            self.record(event);
        }
        Ok(recorded)
    }

    /// The other holds of the group that a command resolves.
    fn others(&self, command: &Command, key: Key, hold: &Event) -> Vec<(Key, Rc<Event>)> {
        if command.flags & transfer_flags::GROUP == 0 || hold.chain == 0 {
            return Vec::new();
        }
        let same = self.open_holds().filter(|(other, each)| *other != key && each.chain == hold.chain);
        same.map(|(key, each)| (key, each.clone())).collect()
    }

    fn unresolvable(&self, event: &Event, hold: &Rc<Event>, others: &[(Key, Rc<Event>)]) -> Vec<Refusal> {
        let command = &event.asked.command;
        let mut no = Vec::new();
        let done_ns = event.recorded_ns + others.len() as u64;
        for each in [hold].into_iter().chain(others.iter().map(|(_, each)| each)) {
            if each.expires_ns != 0 && each.expires_ns <= done_ns {
                no.push(Refusal::PendingTransferExpired);
            }
            no.extend(self.imports(command, each.debit, each.credit));
            if event.kind == RowKind::Post {
                let (debit, credit) = self.two(command.tenant, each.debit, each.credit);
                no.extend(closed(debit, credit));
            }
        }
        if others.len() >= GROUP_HOLDS_MAX {
            no.push(Refusal::GroupTooLarge);
        }
        no
    }

    pub fn reverse(&mut self, mut event: Event) -> Answer {
        let command = event.asked.command;
        let key = (command.tenant, command.target);
        let moved = self.events.get(&key).ok_or(Refusal::ReversedTransferNotFound)?.clone();
        if !matches!(moved.kind, RowKind::Transfer | RowKind::Post) || moved.refusal.is_some() {
            return Err(Refusal::TransferNotReversible);
        }
        let (from, to) = (moved.credit, moved.debit);
        let mut no = differs(&command, from, to, &moved);
        let left = moved.amount - moved.reversed;
        let amount = if command.amount == AMOUNT_ALL { left } else { command.amount };
        if amount == 0 || amount > left {
            no.push(Refusal::ExceedsReversibleAmount);
        }
        if moved.reversals >= REVERSALS_MAX {
            no.push(Refusal::TooManyReversals);
        }
        no.extend(self.imports(&command, from, to));
        let (debit, credit) = self.two(command.tenant, from, to);
        no.extend(closed(debit, credit));
        no.extend(too_much(debit, credit, amount, false));
        first(&no)?;
        take_over(&mut event, &moved);
        (event.debit, event.credit, event.amount) = (from, to, amount);
        self.note_import(&command, moved.ledger);
        let transfer = Rc::make_mut(self.events.get_mut(&key).expect("the transfer"));
        transfer.reversed += amount;
        transfer.reversals += 1;
        event.after = self.add(command.tenant, from, to, 0, amount);
        Ok(self.record(event))
    }

    pub fn expire(&mut self, key: Key) {
        let hold = self.events[&key].clone();
        let mut asked: Asked = asked::transfer(key.0, 0);
        (asked.command.target, asked.command.amount) = (key.1, hold.amount);
        let mut event = Event { is_own: true, kind: RowKind::Expire, ..self.event(&asked) };
        take_over(&mut event, &hold);
        event.after = self.release(key, RowKind::Expire, 0);
        self.record(event);
    }

    fn two(&self, tenant: u32, debit: u128, credit: u128) -> (&Account, &Account) {
        (&self.accounts[&(tenant, debit)], &self.accounts[&(tenant, credit)])
    }

    /// Adds to what is held and to what was moved, and returns what both accounts hold then.
    fn add(
        &mut self,
        tenant: u32,
        debit: u128,
        credit: u128,
        held: u128,
        moved: u128,
    ) -> (Counters, Counters) {
        let from = &mut self.accounts.get_mut(&(tenant, debit)).expect("a debit account").counters;
        from.debits_pending += held;
        from.debits_posted += moved;
        let after = *from;
        let to = &mut self.accounts.get_mut(&(tenant, credit)).expect("a credit account").counters;
        to.credits_pending += held;
        to.credits_posted += moved;
        (after, *to)
    }

    fn close(&mut self, hold: &Command, is_closed: bool) {
        for (flag, id) in
            [(transfer_flags::CLOSING_DEBIT, hold.debit), (transfer_flags::CLOSING_CREDIT, hold.credit)]
        {
            if hold.flags & flag != 0 {
                let flags = &mut self.accounts.get_mut(&(hold.tenant, id)).expect("an account").flags;
                *flags &= !account_flags::CLOSED;
                *flags |= if is_closed { account_flags::CLOSED } else { 0 };
            }
        }
    }

    fn imports(&self, command: &Command, debit: u128, credit: u128) -> Vec<Refusal> {
        let mut no = Vec::new();
        if command.flags & transfer_flags::IMPORTED != 0 {
            let at = command.effective_ns;
            let (debit, credit) = self.two(command.tenant, debit, credit);
            if at <= self.ledgers[&(command.tenant, debit.ledger)].transfers_ns {
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
            let imports = self.ledgers.get_mut(&(command.tenant, ledger)).expect("a ledger");
            imports.transfers_ns = command.effective_ns;
        }
    }

    /// Ends a hold: takes it out of what is held, and moves a part of it.
    fn release(&mut self, key: Key, by: RowKind, moved: u128) -> (Counters, Counters) {
        let hold = Rc::make_mut(self.events.get_mut(&key).expect("a hold"));
        hold.closed_by = Some(by);
        let Event { asked, debit, credit, amount, recorded_ns, .. } = *hold;
        self.holds.remove(&recorded_ns);
        for (id, is_debit) in [(debit, true), (credit, false)] {
            let counters = &mut self.accounts.get_mut(&(key.0, id)).expect("an account").counters;
            *(if is_debit { &mut counters.debits_pending } else { &mut counters.credits_pending }) -= amount;
        }
        if by != RowKind::Post {
            self.close(&asked.command, false);
        }
        self.add(key.0, debit, credit, 0, moved)
    }
}

/// What a row takes over from the one that it acts on.
fn take_over(event: &mut Event, target: &Event) {
    (event.debit, event.credit) = (target.debit, target.credit);
    (event.ledger, event.code) = (target.ledger, target.code);
}
