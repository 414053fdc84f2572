//! Every open hold: found by tenant and id, in order of expiry, and by linked group.
//!
//! Slots are used again, last freed first; each change can be taken back exactly, in reverse order. All
//! orders follow from when a hold was recorded, never from its slot.

use std::collections::{BTreeMap, BTreeSet};

use super::chunks::Chunks;
use super::index::{Keys, SlotIndex};
use crate::nouns::GROUP_HOLDS_MAX;
use crate::state::Hold;

#[derive(Debug)]
pub(super) struct Holds {
    /// A vacant slot has the id 0.
    rows: Chunks<Hold>,
    vacant: Vec<u32>,
    index: SlotIndex,
    /// Slots by when their holds expire.
    expiry: BTreeSet<(u64, u32)>,
    /// Linked holds by when they were recorded: those of one group stand side by side.
    groups: BTreeMap<u64, u32>,
    keys: Keys,
}

impl Holds {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            rows: Chunks::new(),
            vacant: Vec::new(),
            index: SlotIndex::new(),
            expiry: BTreeSet::new(),
            groups: BTreeMap::new(),
            keys,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() as usize - self.vacant.len()
    }

    pub(super) fn find(&self, tenant: u32, id: u128) -> Option<u32> {
        let is_it = |slot: u32| self.rows[slot].id == id && self.rows[slot].tenant == tenant;
        planted!("tenant_not_checked" => (0..self.rows.len()).find(|&slot| self.rows[slot].id == id);
            self.index.find(self.keys.hash(tenant, id), is_it))
    }

    pub(super) fn get(&self, slot: u32) -> &Hold {
        &self.rows[slot]
    }

    /// The hold in a slot, unless it is vacant.
    pub(super) fn open_at(&self, slot: u32) -> Option<&Hold> {
        Some(&self.rows[slot]).filter(|hold| hold.id != 0)
    }

    /// Adds a hold that is not there yet. Returns its slot and whether the slot is new.
    pub(super) fn add(&mut self, hold: Hold) -> (u32, bool) {
        assert!(hold.id != 0, "0 marks a vacant slot");
        let (slot, grown) = match self.vacant.pop() {
            Some(slot) => (slot, false),
            None => (self.rows.push(VACANT), true),
        };
        self.put(slot, hold);
        (slot, grown)
    }

    /// Undoes the last `add`.
    pub(super) fn undo_add(&mut self, slot: u32, grown: bool) {
        self.take(slot);
        if grown {
            self.rows.pop();
        } else {
            self.vacant.push(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Hold {
        self.vacant.push(slot);
        self.take(slot)
    }

    /// Undoes the last `remove`.
    pub(super) fn undo_remove(&mut self, slot: u32, hold: Hold) {
        let last = self.vacant.pop();
        assert!(last == Some(slot), "removals are undone in reverse order");
        self.put(slot, hold);
    }

    fn put(&mut self, slot: u32, hold: Hold) {
        assert!(self.rows[slot].id == 0, "a hold takes a vacant slot");
        if hold.expires_ns != 0 {
            self.expiry.insert((hold.expires_ns, slot));
        }
        if hold.group_id != 0 {
            self.groups.insert(hold.recorded_ns, slot);
        }
        self.rows[slot] = hold;
        let Self { rows, index, keys, .. } = self;
        let rehash = |slot: u32| keys.hash(rows[slot].tenant, rows[slot].id);
        index.insert(keys.hash(hold.tenant, hold.id), slot, rehash);
    }

    fn take(&mut self, slot: u32) -> Hold {
        let hold = std::mem::replace(&mut self.rows[slot], VACANT);
        assert!(hold.id != 0, "only an open hold is taken");
        self.index.remove(self.keys.hash(hold.tenant, hold.id), slot);
        if hold.expires_ns != 0 {
            self.expiry.remove(&(hold.expires_ns, slot));
        }
        if hold.group_id != 0 {
            self.groups.remove(&hold.recorded_ns);
        }
        hold
    }

    /// When the first hold expires.
    pub(super) fn next_expiry_ns(&self) -> Option<u64> {
        self.expiry.first().map(|&(expires_ns, _)| expires_ns)
    }

    /// The hold that expires first, if that is not after `now_ns`. Of several in the same nanosecond the one
    /// recorded first; they are at least a second apart by that, so never many.
    pub(super) fn first_due(&self, now_ns: u64) -> Option<u32> {
        let first_ns = self.next_expiry_ns().filter(|&expires_ns| expires_ns <= now_ns)?;
        let same = self.expiry.range((first_ns, 0)..=(first_ns, u32::MAX)).map(|&(_, slot)| slot);
        same.min_by_key(|&slot| self.rows[slot].recorded_ns)
    }

    /// The open holds of a hold's group in order of creation; of a group that is too large only as many as
    /// it takes to see that, from the one asked for on first.
    pub(super) fn group(&self, slot: u32) -> Vec<u32> {
        let Hold { group_id, tenant, recorded_ns, .. } = self.rows[slot];
        if group_id == 0 {
            return vec![slot];
        }
        let same = |&(_, &other): &(&u64, &u32)| {
            self.rows[other].group_id == group_id && self.rows[other].tenant == tenant
        };
        let from = self.groups.range(recorded_ns..).take_while(same);
        let mut slots: Vec<u32> = from.take(GROUP_HOLDS_MAX + 1).map(|(_, &other)| other).collect();
        let before = self.groups.range(..recorded_ns).rev().take_while(same);
        slots.extend(before.take(GROUP_HOLDS_MAX + 1 - slots.len()).map(|(_, &other)| other));
        slots.sort_unstable_by_key(|&other| {
            let hold = &self.rows[other];
            planted!("hash_order_in_the_journal" => self.keys.hash(hold.tenant, hold.id); hold.recorded_ns)
        });
        slots
    }

    /// All open holds, in order of slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        (0..self.rows.len()).filter_map(|slot| self.open_at(slot))
    }
}

const VACANT: Hold = Hold {
    id: 0,
    debit: 0,
    credit: 0,
    amount: 0,
    group_id: 0,
    recorded_ns: 0,
    expires_ns: 0,
    tenant: 0,
    ledger: 0,
    code: 0,
    flags: 0,
};
