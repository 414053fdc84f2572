//! Loading a checkpoint: ledgers, then accounts, then holds, then the clock.
//!
//! Nothing is taken on trust that can be checked: slots without a gap, references, the open holds against
//! the pending counters, and the trial balance of every ledger.

use std::collections::BTreeMap;

use super::Engine;
use super::replay::sums_fit;
use crate::nouns::{Counters, account_flags};
use crate::state::{Account, Corrupt, Hold, Ledger};
use crate::uuid;

impl Engine {
    /// Loads a ledger of a checkpoint, in any order. For a new engine, before anything else.
    pub fn restore_ledger(&mut self, ledger: Ledger) -> Result<(), Corrupt> {
        let name = format!("ledger {} of tenant {}", ledger.number, ledger.tenant);
        if ledger.number == 0 || self.books.ledgers.find(ledger.tenant, ledger.number).is_some() {
            return Err(Corrupt(format!("{name}: it is there twice, or has no number")));
        }
        self.books.ledgers.open(ledger);
        Ok(())
    }

    /// Makes room for the accounts of a checkpoint, should there be so many.
    pub fn restore_room(&mut self, accounts: usize) {
        self.books.accounts.reserve(accounts.min(self.limits.accounts_max));
    }

    /// Loads an account of a checkpoint, in order of slots, after the ledgers.
    pub fn restore_account(&mut self, slot: u32, account: Account) -> Result<(), Corrupt> {
        let corrupt = |what: &str| Corrupt(format!("account {}: {what}", uuid::string(account.id)));
        if slot != self.books.accounts.len() {
            return Err(corrupt("its slot does not follow the one before it"));
        }
        let Some(ledger) = self.books.ledgers.find(account.tenant, account.ledger) else {
            return Err(corrupt("its ledger does not exist"));
        };
        if account.id == 0 || self.books.accounts.find(account.tenant, account.id).is_some() {
            return Err(corrupt("it is there twice, or has no id"));
        }
        if !sums_fit(&account.counters) {
            return Err(corrupt("a balance passes 128 bits"));
        }
        self.books.accounts.open(account);
        if account.flags & account_flags::IMPORTED != 0 {
            let entry = self.books.ledgers.get_mut(ledger);
            entry.imported_account_ns = entry.imported_account_ns.max(account.effective_ns);
        }
        Ok(())
    }

    /// Loads a hold of a checkpoint, after the accounts, in any order.
    pub fn restore_hold(&mut self, hold: Hold) -> Result<(), Corrupt> {
        let corrupt = |what: &str| Corrupt(format!("hold {}: {what}", uuid::string(hold.id)));
        if hold.id == 0 || self.books.holds.find(hold.tenant, hold.id).is_some() {
            return Err(corrupt("it is there twice, or has no id"));
        }
        let find = |id: u128| self.books.accounts.find(hold.tenant, id);
        let is_of_ledger = |slot: u32| self.books.accounts.get(slot).ledger == hold.ledger;
        if !find(hold.debit).is_some_and(is_of_ledger) || !find(hold.credit).is_some_and(is_of_ledger) {
            return Err(corrupt("its accounts do not exist in its ledger"));
        }
        let (slot, _) = self.books.holds.add(hold);
        self.dirty.note_stored(slot);
        Ok(())
    }

    /// Ends the loading: checks the whole, and says when its last row was recorded. What was recorded up to
    /// then is unknown to the window of ids, so the journal is asked for them.
    pub fn restore_done(&mut self, last_ns: u64) -> Result<(), Corrupt> {
        assert!(self.last_ns == 0 && self.window.len() == 0, "only a new engine is loaded");
        self.check_pending()?;
        self.check_trial_balance()?;
        self.last_ns = last_ns;
        if last_ns != 0 {
            self.window.missed(last_ns);
        }
        Ok(())
    }

    /// The open holds of an account make its pending counters.
    fn check_pending(&self) -> Result<(), Corrupt> {
        let accounts = &self.books.accounts;
        let mut held: BTreeMap<u32, (u128, u128)> = BTreeMap::new();
        for hold in self.books.holds.iter() {
            let find = |id: u128| accounts.find(hold.tenant, id).expect("checked when it was loaded");
            // A sum that wraps around cannot hide: the counters themselves fit in 128 bits.
            let debits = &mut held.entry(find(hold.debit)).or_default().0;
            *debits = debits.wrapping_add(hold.amount);
            let credits = &mut held.entry(find(hold.credit)).or_default().1;
            *credits = credits.wrapping_add(hold.amount);
        }
        for slot in 0..accounts.len() {
            let Account { id, counters, .. } = accounts.get(slot);
            let (debits, credits) = held.get(&slot).copied().unwrap_or_default();
            if (debits, credits) != (counters.debits_pending, counters.credits_pending) {
                let id = uuid::string(*id);
                return Err(Corrupt(format!("account {id}: its holds do not make its pending balances")));
            }
        }
        Ok(())
    }

    /// In every ledger debits equal credits, held and moved. Sums may wrap around on both sides alike.
    fn check_trial_balance(&self) -> Result<(), Corrupt> {
        let mut balances: BTreeMap<(u32, u32), Counters> = BTreeMap::new();
        for slot in 0..self.books.accounts.len() {
            let Account { tenant, ledger, counters, .. } = self.books.accounts.get(slot);
            let sum = balances.entry((*tenant, *ledger)).or_default();
            sum.debits_pending = sum.debits_pending.wrapping_add(counters.debits_pending);
            sum.debits_posted = sum.debits_posted.wrapping_add(counters.debits_posted);
            sum.credits_pending = sum.credits_pending.wrapping_add(counters.credits_pending);
            sum.credits_posted = sum.credits_posted.wrapping_add(counters.credits_posted);
        }
        for ((tenant, ledger), sum) in balances {
            if sum.debits_pending != sum.credits_pending || sum.debits_posted != sum.credits_posted {
                let what = "its debits do not equal its credits";
                return Err(Corrupt(format!("ledger {ledger} of tenant {tenant}: {what}")));
            }
        }
        Ok(())
    }
}
