//! The books: ledgers, accounts and holds, and how each change to them is written down and taken back.
//!
//! Whatever changes them goes through here, so that no change lacks its undo. Changes are taken back in
//! reverse order and leave the books exactly as they were.

use super::accounts::{Accounts, Lasts};
use super::holds::Holds;
use super::index::Keys;
use super::ledgers::{Entry, Ledgers};
use crate::nouns::{Counters, RowKind};
use crate::state::{Account, Hold, Ledger};

#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledgers: Ledgers,
    pub(super) accounts: Accounts,
    pub(super) holds: Holds,
}

/// One change, with what it takes to undo it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    LedgerOpened {
        slot: u32,
    },
    AccountOpened {
        slot: u32,
        lasts: Lasts,
    },
    /// An account's counters and flags were these.
    Counted {
        slot: u32,
        flags: u16,
        counters: Counters,
    },
    /// A ledger's imported past had come as far as this.
    Imported {
        ledger: u32,
        transfer_ns: u64,
        account_ns: u64,
    },
    HoldAdded {
        slot: u32,
        grown: bool,
    },
    /// The hold is the last of `Log::removed`.
    HoldRemoved {
        slot: u32,
    },
    /// In this batch, so much of a transfer was reversed.
    Reversed {
        tenant: u32,
        target: u128,
        amount: u128,
    },
}

/// The changes of one batch, in order.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) changes: Vec<Change>,
    /// The holds of all `HoldRemoved`, with the row that removed them.
    pub(super) removed: Vec<(Hold, RowKind)>,
}

impl Books {
    pub(super) fn new(keys: Keys) -> Self {
        Self { ledgers: Ledgers::new(), accounts: Accounts::new(keys), holds: Holds::new(keys) }
    }

    /// Takes back the newest change.
    pub(super) fn revert(&mut self, change: Change, removed: &mut Vec<(Hold, RowKind)>) {
        match change {
            Change::LedgerOpened { .. } => self.ledgers.forget_last(),
            Change::AccountOpened { lasts, .. } => self.accounts.forget_last(lasts),
            Change::Counted { slot, flags, counters } => {
                let account = self.accounts.get_mut(slot);
                account.flags = flags;
                account.counters = counters;
            }
            Change::Imported { ledger, transfer_ns, account_ns } => {
                let entry = self.ledgers.get_mut(ledger);
                entry.ledger.imported_ns = transfer_ns;
                if !planted!("undo_misses_a_field") {
                    entry.imported_account_ns = account_ns;
                }
            }
            Change::HoldAdded { slot, grown } => self.holds.undo_add(slot, grown),
            Change::HoldRemoved { slot } => {
                let (hold, _) = removed.pop().expect("a removed hold is kept");
                self.holds.undo_remove(slot, hold);
            }
            Change::Reversed { .. } => {}
        }
    }

    pub(super) fn open_ledger(&mut self, log: &mut Log, ledger: Ledger) {
        let slot = self.ledgers.open(ledger);
        log.changes.push(Change::LedgerOpened { slot });
    }

    pub(super) fn open_account(&mut self, log: &mut Log, account: Account) {
        let slot = self.accounts.len();
        let lasts = self.accounts.open(account);
        log.changes.push(Change::AccountOpened { slot, lasts });
    }

    /// Writes an account down as it is; the caller changes it next.
    pub(super) fn account_to_change(&mut self, log: &mut Log, slot: u32) -> &mut Account {
        let account = self.accounts.get_mut(slot);
        log.changes.push(Change::Counted { slot, flags: account.flags, counters: account.counters });
        account
    }

    /// Writes a ledger's imported past down as it is; the caller changes it next.
    pub(super) fn imports_to_change(&mut self, log: &mut Log, slot: u32) -> &mut Entry {
        let entry = self.ledgers.get_mut(slot);
        let (transfer_ns, account_ns) = (entry.ledger.imported_ns, entry.imported_account_ns);
        log.changes.push(Change::Imported { ledger: slot, transfer_ns, account_ns });
        entry
    }

    pub(super) fn add_hold(&mut self, log: &mut Log, hold: Hold) {
        let (slot, grown) = self.holds.add(hold);
        log.changes.push(Change::HoldAdded { slot, grown });
    }

    pub(super) fn remove_hold(&mut self, log: &mut Log, slot: u32, by: RowKind) -> Hold {
        let hold = self.holds.remove(slot);
        log.changes.push(Change::HoldRemoved { slot });
        log.removed.push((hold, by));
        hold
    }
}
