//! What changed since the last checkpoint.
//!
//! Only what is committed or replayed is marked, so that a mark never has to be undone.

use std::collections::BTreeSet;

use super::books::{Books, Change, Log};
use super::chunks::Bits;
use super::taking::Taking;
use crate::nouns::Counters;
use crate::state::{Account, Checkpoint, Hold};

#[derive(Debug, Default)]
pub(super) struct Dirty {
    ledgers: BTreeSet<u32>,
    accounts: Bits,
    /// Slots of holds opened since that are open.
    holds: Bits,
    /// Slots of holds that a checkpoint may contain.
    holds_stored: Bits,
    /// Holds that a checkpoint may contain and that are open no more.
    holds_removed: Vec<(u32, u128)>,
    /// The last checkpoint taken: flags and counters of accounts, and holds.
    taking_accounts: Taking<(u16, Counters)>,
    taking_holds: Taking<Hold>,
    /// Of that checkpoint, and how many of them were given.
    taking_removed: (Vec<(u32, u128)>, usize),
}

impl Dirty {
    /// Marks what a committed batch or a replayed row changed.
    pub(super) fn note(&mut self, log: &Log) {
        let mut removed = log.removed.iter();
        for change in &log.changes {
            match *change {
                Change::LedgerOpened { slot } | Change::Imported { ledger: slot, .. } => {
                    self.ledgers.insert(slot);
                }
                Change::AccountOpened { slot, .. } => self.accounts.set(slot),
                Change::Counted { slot, flags, counters } => {
                    self.accounts.set(slot);
                    self.taking_accounts.keep(slot, (flags, counters));
                }
                Change::HoldAdded { slot, .. } => self.holds.set(slot),
                Change::HoldRemoved { slot } => {
                    let (hold, _) = removed.next().expect("a removed hold is kept");
                    self.holds.clear(slot);
                    self.taking_holds.keep(slot, *hold);
                    self.taking_holds.all.clear(slot);
                    if self.holds_stored.contains(slot) {
                        self.holds_stored.clear(slot);
                        if planted!("checkpoint_keeps_a_hold") {
                            continue;
                        }
                        self.holds_removed.push((hold.tenant, hold.id));
                    }
                }
                Change::Reversed { .. } => {}
            }
        }
    }

    /// A hold was loaded from a checkpoint.
    pub(super) fn note_stored(&mut self, slot: u32) {
        self.holds_stored.set(slot);
    }

    /// Everything marked, as it is now; leaves nothing marked. All but the ledgers is still to be given.
    pub(super) fn take(&mut self, books: &Books, last_ns: u64) -> Checkpoint {
        let ledgers = std::mem::take(&mut self.ledgers);
        let mut ledgers: Vec<_> =
            ledgers.into_iter().map(|slot| books.ledgers.get(slot).ledger.clone()).collect();
        ledgers.sort_unstable_by_key(|ledger| (ledger.tenant, ledger.number));
        self.unsettled(); // where nobody said what became of the one before
        let holds = std::mem::take(&mut self.holds);
        self.holds_stored.set_all(&holds);
        self.taking_accounts = Taking::new(std::mem::take(&mut self.accounts));
        self.taking_holds = Taking::new(holds);
        self.taking_removed = (std::mem::take(&mut self.holds_removed), 0);
        Checkpoint {
            last_ns,
            ledgers,
            accounts: self.taking_accounts.all.len(),
            holds: self.taking_holds.all.len(),
            holds_removed: self.taking_removed.0.len(),
        }
    }

    /// The next accounts of what was taken, in the order of their slots, as they were then; none once all are given.
    pub(super) fn give_accounts(&mut self, books: &Books, limit: usize) -> Vec<(u32, Account)> {
        self.taking_accounts.give(limit, |slot, before| {
            let mut account = *books.accounts.get(slot);
            if let Some((flags, counters)) = before {
                (account.flags, account.counters) = (flags, counters);
            }
            Some((slot, account))
        })
    }

    /// The next holds of what was taken, those that are gone by now included; none once all are given.
    pub(super) fn give_holds(&mut self, books: &Books, limit: usize) -> Vec<Hold> {
        self.taking_holds.give(limit, |slot, before| before.or_else(|| books.holds.open_at(slot).copied()))
    }

    /// The next of the holds that were gone when it was taken; none once all are given.
    pub(super) fn give_removed(&mut self, limit: usize) -> &[(u32, u128)] {
        let (removed, given) = &mut self.taking_removed;
        let from = std::mem::replace(given, removed.len().min(given.saturating_add(limit)));
        &removed[from..*given]
    }

    /// What was taken is stored.
    pub(super) fn forget(&mut self) {
        self.taking_accounts = Taking::default();
        self.taking_holds = Taking::default();
        self.taking_removed = (Vec::new(), 0);
    }

    /// Marks again what was taken. It may have been stored all the same, so its holds still count as such,
    /// and will be deleted when they are gone.
    pub(super) fn give_back(&mut self, books: &Books, checkpoint: &Checkpoint) {
        for ledger in &checkpoint.ledgers {
            let slot = books.ledgers.find(ledger.tenant, ledger.number);
            self.ledgers.insert(slot.expect("a ledger never goes"));
        }
        self.unsettled();
        self.forget();
    }

    fn unsettled(&mut self) {
        self.accounts.set_all(&self.taking_accounts.all);
        self.holds.set_all(&self.taking_holds.all);
        let mut removed = std::mem::take(&mut self.taking_removed.0);
        if removed.len() > self.holds_removed.len() {
            std::mem::swap(&mut removed, &mut self.holds_removed);
        }
        self.holds_removed.append(&mut removed);
    }
}
