//! Applying a row that was decided before: outcomes are applied, nothing is decided again.
//!
//! Every number is checked on the way: what the row says of both accounts afterwards must be what its
//! amount makes of them. Whatever does not fit is corruption, said with the row's time and id.

use super::Engine;
use super::deciding::Chain;
use super::near::{self, Wanted};
use super::opening::account_of;
use super::transfer::hold_of;
use crate::nouns::{Counters, Row, RowKind, account_flags, transfer_flags};
use crate::refusal::Refusal;
use crate::state::{Corrupt, Hold, Ledger};
use crate::uuid;

/// Either the next step or what is wrong.
type Checked<T> = Result<T, &'static str>;

impl Engine {
    pub(super) fn replay_rows(&mut self, rows: &[Row], text: &[u8]) -> Result<(), (usize, Corrupt)> {
        assert!(self.frames.is_empty(), "nothing is replayed while a batch is uncommitted");
        let wanted =
            |row: &Row| Wanted { tenant: row.tenant, id: row.id, debit: row.debit, credit: row.credit };
        let (mut ahead, mut near) = (rows.iter().map(wanted), 0);
        for (place, row) in rows.iter().enumerate() {
            if place >= near {
                near += near::fetch(&self.books.accounts, &self.window, &mut ahead);
            }
            self.replay_checked(row, text).map_err(|what| {
                let what = format!("row {} of {} ns: {what}", uuid::string(row.id), row.recorded_ns);
                (place, Corrupt(what))
            })?;
        }
        Ok(())
    }

    fn replay_checked(&mut self, row: &Row, text: &[u8]) -> Checked<()> {
        if row.recorded_ns <= self.last_ns {
            return Err("it is not after the row before it");
        }
        if row.id == 0 || self.window.find(row.tenant, row.id).is_some() {
            return Err("its id was recorded before");
        }
        if row.status == 0 {
            self.replay_accepted(row, text)?;
        } else if !Refusal::from_number(row.status).is_some_and(Refusal::is_final) {
            return Err("its status is none that is recorded");
        }
        if row.flags & transfer_flags::LINKED == 0 || row.kind == RowKind::Expire {
            self.chain = Chain::None;
        } else if self.chain == Chain::None {
            self.chain = Chain::Open;
        }
        self.window.push(row.tenant, row.id, row.recorded_ns);
        self.window.evict(0);
        self.last_ns = row.recorded_ns;
        self.note_changes();
        Ok(())
    }

    fn replay_accepted(&mut self, row: &Row, text: &[u8]) -> Checked<()> {
        match row.kind {
            RowKind::Ledger => self.replay_ledger(row, text),
            RowKind::Account => self.replay_account(row),
            RowKind::Transfer | RowKind::Reverse => {
                self.replay_parties(row, |from, to| {
                    from.debits_posted = from.debits_posted.checked_add(row.amount)?;
                    to.credits_posted = to.credits_posted.checked_add(row.amount)?;
                    Some(())
                })?;
                self.replay_import(row)
            }
            RowKind::Pending => self.replay_pending(row),
            RowKind::Post | RowKind::Void | RowKind::Expire => self.replay_resolution(row),
        }
    }

    fn replay_ledger(&mut self, row: &Row, text: &[u8]) -> Checked<()> {
        if row.ledger == 0 || self.books.ledgers.find(row.tenant, row.ledger).is_some() {
            return Err("its ledger was opened before");
        }
        let from = row.text.start as usize;
        let asset = text.get(from..from + row.text.reference_bytes as usize).ok_or("its asset is missing")?;
        let asset = std::str::from_utf8(asset).map_err(|_| "its asset is not text")?;
        let ledger = Ledger {
            tenant: row.tenant,
            number: row.ledger,
            exponent: row.code,
            asset: asset.to_owned(),
            created_ns: row.recorded_ns,
            imported_ns: 0,
        };
        self.books.open_ledger(&mut self.log, ledger);
        Ok(())
    }

    fn replay_account(&mut self, row: &Row) -> Checked<()> {
        let ledger = self.books.ledgers.find(row.tenant, row.ledger).ok_or("its ledger does not exist")?;
        if self.books.accounts.find(row.tenant, row.id).is_some() {
            return Err("its account was opened before");
        }
        self.books.open_account(&mut self.log, account_of(row, row.recorded_ns));
        if row.flags & account_flags::IMPORTED != 0 {
            let imports = self.books.imports_to_change(&mut self.log, ledger);
            imports.imported_account_ns = imports.imported_account_ns.max(row.effective_ns);
        }
        Ok(())
    }

    fn replay_pending(&mut self, row: &Row) -> Checked<()> {
        if self.books.holds.find(row.tenant, row.id).is_some() {
            return Err("its hold is open already");
        }
        let (debit, credit) = self.replay_parties(row, |from, to| {
            from.debits_pending = from.debits_pending.checked_add(row.amount)?;
            to.credits_pending = to.credits_pending.checked_add(row.amount)?;
            Some(())
        })?;
        if row.flags & transfer_flags::CLOSING_DEBIT != 0 {
            self.books.accounts.get_mut(debit).flags |= account_flags::CLOSED;
        }
        if row.flags & transfer_flags::CLOSING_CREDIT != 0 {
            self.books.accounts.get_mut(credit).flags |= account_flags::CLOSED;
        }
        if row.flags & transfer_flags::LINKED != 0 && self.chain == Chain::None {
            self.chain = Chain::Open;
        }
        let group_id = self.chain.group_of(row.id);
        let recorded_ns = planted!("clock_in_replay" => crate::planted::now_ns(); row.recorded_ns);
        self.books.add_hold(&mut self.log, hold_of(row, recorded_ns, group_id));
        self.replay_import(row)
    }

    fn replay_resolution(&mut self, row: &Row) -> Checked<()> {
        let slot = self.books.holds.find(row.tenant, row.target).ok_or("its hold is not open")?;
        let hold = *self.books.holds.get(slot);
        if (hold.debit, hold.credit, hold.ledger) != (row.debit, row.credit, row.ledger) {
            return Err("its accounts are not those of its hold");
        }
        let is_post = row.kind == RowKind::Post;
        if row.amount > hold.amount || row.amount < hold.amount && !is_post {
            return Err("its amount is not what its hold allows");
        }
        let (debit, credit) = self.replay_parties(row, |from, to| {
            from.debits_pending = from.debits_pending.checked_sub(hold.amount)?;
            to.credits_pending = to.credits_pending.checked_sub(hold.amount)?;
            if is_post {
                from.debits_posted = from.debits_posted.checked_add(row.amount)?;
                to.credits_posted = to.credits_posted.checked_add(row.amount)?;
            }
            Some(())
        })?;
        self.books.remove_hold(&mut self.log, slot, row.kind);
        if !is_post {
            self.reopen(&hold, debit, credit);
        }
        self.replay_import(row)
    }

    fn reopen(&mut self, hold: &Hold, debit: u32, credit: u32) {
        if hold.flags & transfer_flags::CLOSING_DEBIT != 0 {
            self.books.accounts.get_mut(debit).flags &= !account_flags::CLOSED;
        }
        if hold.flags & transfer_flags::CLOSING_CREDIT != 0 {
            self.books.accounts.get_mut(credit).flags &= !account_flags::CLOSED;
        }
    }

    /// Changes both accounts and compares them with what the row says of them.
    fn replay_parties(
        &mut self,
        row: &Row,
        change: impl FnOnce(&mut Counters, &mut Counters) -> Option<()>,
    ) -> Checked<(u32, u32)> {
        let find = |id: u128| self.books.accounts.find(row.tenant, id);
        let debit = find(row.debit).ok_or("its debit account does not exist")?;
        let credit = find(row.credit).ok_or("its credit account does not exist")?;
        let ledger_of = |slot: u32| self.books.accounts.get(slot).ledger;
        if debit == credit || ledger_of(debit) != row.ledger || ledger_of(credit) != row.ledger {
            return Err("its accounts are not two of its ledger");
        }
        let mut from = self.books.accounts.get(debit).counters;
        let mut to = self.books.accounts.get(credit).counters;
        change(&mut from, &mut to).ok_or("its amount is not one that its accounts allow")?;
        if from != row.debit_after || to != row.credit_after {
            return Err("the balances that it states are not those that its amount makes");
        }
        if !sums_fit(&from) || !sums_fit(&to) {
            return Err("a balance passes 128 bits");
        }
        self.books.account_to_change(&mut self.log, debit).counters = from;
        self.books.account_to_change(&mut self.log, credit).counters = to;
        Ok((debit, credit))
    }

    fn replay_import(&mut self, row: &Row) -> Checked<()> {
        if row.flags & transfer_flags::IMPORTED == 0 || row.kind == RowKind::Expire {
            return Ok(());
        }
        let ledger = self.books.ledgers.find(row.tenant, row.ledger).ok_or("its ledger does not exist")?;
        let entry = self.books.imports_to_change(&mut self.log, ledger);
        entry.ledger.imported_ns = entry.ledger.imported_ns.max(row.effective_ns);
        Ok(())
    }

    /// Marks what the log says was changed, for the next checkpoint, and empties the log.
    fn note_changes(&mut self) {
        let log = std::mem::take(&mut self.log);
        self.dirty.note(&log);
        self.log = log;
        self.log.changes.clear();
        self.log.removed.clear();
    }
}

/// Posted and pending together fit in 128 bits on either side.
pub(super) fn sums_fit(counters: &Counters) -> bool {
    counters.debits_pending.checked_add(counters.debits_posted).is_some()
        && counters.credits_pending.checked_add(counters.credits_posted).is_some()
}
