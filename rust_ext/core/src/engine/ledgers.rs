//! Every ledger, by tenant and number, with how far its imported past has come.

use std::collections::BTreeMap;

use crate::state::Ledger;

#[derive(Debug)]
pub(super) struct Ledgers {
    rows: Vec<Entry>,
    by_number: BTreeMap<(u32, u32), u32>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ledger: Ledger,
    /// When its last imported account was opened. Not in a checkpoint: it is the latest of the accounts'.
    pub(super) imported_account_ns: u64,
}

impl Ledgers {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), by_number: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn find(&self, tenant: u32, number: u32) -> Option<u32> {
        self.by_number.get(&(tenant, number)).copied()
    }

    pub(super) fn get(&self, slot: u32) -> &Entry {
        &self.rows[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.rows[slot as usize]
    }

    /// Appends a ledger that is not there yet and returns its slot.
    pub(super) fn open(&mut self, ledger: Ledger) -> u32 {
        let slot = self.rows.len() as u32;
        let before = self.by_number.insert((ledger.tenant, ledger.number), slot);
        assert!(before.is_none(), "a ledger is opened once");
        self.rows.push(Entry { ledger, imported_account_ns: 0 });
        slot
    }

    /// Undoes the last `open`.
    pub(super) fn forget_last(&mut self) {
        let entry = self.rows.pop().expect("a ledger to forget");
        self.by_number.remove(&(entry.ledger.tenant, entry.ledger.number));
    }

    /// In order of tenant and number.
    pub(super) fn sorted(&self) -> impl Iterator<Item = &Entry> {
        self.by_number.values().map(|&slot| self.get(slot))
    }

    /// At most `limit` ledgers of a tenant with numbers above `after`.
    pub(super) fn page(&self, tenant: u32, after: Option<u32>, limit: usize) -> Vec<&Ledger> {
        let first = match after {
            Some(u32::MAX) => return Vec::new(),
            Some(number) => number + 1,
            None => 0,
        };
        let range = self.by_number.range((tenant, first)..=(tenant, u32::MAX));
        range.take(limit).map(|(_, &slot)| &self.get(slot).ledger).collect()
    }
}
