//! What changed since the last checkpoint.
//!
//! Only what is committed or replayed is marked, so that a mark never has to be undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::books::{Books, Change, Log};
use super::chunks::Bits;
use crate::nouns::Counters;
use crate::state::{Account, Checkpoint};

#[derive(Debug, Default)]
pub(super) struct Dirty {
    ledgers: BTreeSet<u32>,
    accounts: Bits,
    /// Slots of holds opened since.
    holds: Bits,
    /// Slots of holds that a checkpoint may contain.
    holds_stored: Bits,
    /// Holds that a checkpoint may contain and that are open no more.
    holds_removed: Vec<(u32, u128)>,
    taking: Taking,
}

/// The accounts of the last checkpoint taken. There may be millions, so they are given away piece by piece while
/// batches go on; what one of those changes before its turn is kept as it was.
#[derive(Debug, Default)]
struct Taking {
    accounts: Bits,
    /// Of these, the ones still to give.
    left: Bits,
    /// No slot before it is left.
    next: u32,
    /// What is left and was changed: flags and counters when the checkpoint was taken. In small maps by slot, for one
    /// that grows would stop the shard to move millions; each goes when its turn is over.
    before: BTreeMap<u32, HashMap<u32, (u16, Counters)>>,
}

/// Slots of one map of `Taking::before`, as a power of two.
const BEFORE_BITS: u32 = 12;

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
                    if self.taking.left.contains(slot) {
                        let before = self.taking.before.entry(slot >> BEFORE_BITS).or_default();
                        before.entry(slot).or_insert((flags, counters));
                    }
                }
                Change::HoldAdded { slot, .. } => self.holds.set(slot),
                Change::HoldRemoved { slot } => {
                    let (hold, _) = removed.next().expect("a removed hold is kept");
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

    /// Everything marked, as it is now; leaves nothing marked. The accounts are still to be given.
    pub(super) fn take(&mut self, books: &Books, last_ns: u64) -> Checkpoint {
        let ledgers = std::mem::take(&mut self.ledgers);
        let mut ledgers: Vec<_> =
            ledgers.into_iter().map(|slot| books.ledgers.get(slot).ledger.clone()).collect();
        ledgers.sort_unstable_by_key(|ledger| (ledger.tenant, ledger.number));
        let mut accounts = std::mem::take(&mut self.accounts);
        accounts.set_all(&self.taking.accounts); // of one that nobody settled
        self.taking = Taking { left: accounts.clone(), accounts, ..Taking::default() };
        let mut holds = Vec::new();
        for slot in self.holds.drain() {
            // What was opened and is gone again leaves a vacant slot.
            if let Some(hold) = books.holds.open_at(slot) {
                self.holds_stored.set(slot);
                holds.push(*hold);
            }
        }
        holds.sort_unstable_by_key(|hold| hold.recorded_ns);
        let mut holds_removed = std::mem::take(&mut self.holds_removed);
        holds_removed.sort_unstable();
        holds_removed.dedup();
        Checkpoint { last_ns, ledgers, accounts: self.taking.accounts.len(), holds, holds_removed }
    }

    /// The next accounts of what was taken, in the order of their slots, as they were then; none once all are given.
    pub(super) fn give(&mut self, books: &Books, limit: usize) -> Vec<(u32, Account)> {
        let Taking { left, next, before, .. } = &mut self.taking;
        let slots = left.drain_from(*next, limit);
        *next = slots.last().copied().unwrap_or(*next);
        let as_taken = |slot: u32| {
            let mut account = *books.accounts.get(slot);
            if let Some((flags, counters)) =
                before.get_mut(&(slot >> BEFORE_BITS)).and_then(|some| some.remove(&slot))
                && !planted!("checkpoint_mixes_moments")
            {
                account.flags = flags;
                account.counters = counters;
            }
            (slot, account)
        };
        let given = slots.into_iter().map(as_taken).collect();
        *before = before.split_off(&(*next >> BEFORE_BITS));
        given
    }

    /// What was taken is stored.
    pub(super) fn forget(&mut self) {
        self.taking = Taking::default();
    }

    /// Marks again what was taken. It may have been stored all the same, so its holds still count as such,
    /// and will be deleted when they are gone.
    pub(super) fn give_back(&mut self, books: &Books, checkpoint: &Checkpoint) {
        for ledger in &checkpoint.ledgers {
            let slot = books.ledgers.find(ledger.tenant, ledger.number);
            self.ledgers.insert(slot.expect("a ledger never goes"));
        }
        self.accounts.set_all(&self.taking.accounts);
        self.forget();
        for hold in &checkpoint.holds {
            if let Some(slot) = books.holds.find(hold.tenant, hold.id) {
                self.holds.set(slot);
            }
        }
        self.holds_removed.extend_from_slice(&checkpoint.holds_removed);
    }
}
