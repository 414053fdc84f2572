//! Finding a slot by tenant and id, with a number an entry and no second copy of the id.
//!
//! Ids come from clients, so the hash is keyed by a seed that they do not know. The table is cut in
//! parts that grow one at a time: no command ever waits for the whole of it to be moved.

use hashbrown::HashTable;

/// Parts of one index; a part of ten million entries moves 40,000 numbers when it grows.
const PARTS: usize = 256;
/// Where the part's number stands in a hash: away from the low bits that choose the place in a part and
/// from the highest seven that tag it there.
const PART_SHIFT: u32 = 48;

/// What turns a tenant and an id into a hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    low: u64,
    high: u64,
    last: u64,
}

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self { low: spread(&mut state), high: spread(&mut state), last: spread(&mut state) | 1 }
    }

    pub(super) fn hash(self, tenant: u32, id: u128) -> u64 {
        let first = fold(id as u64 ^ self.low, (id >> 64) as u64 ^ self.high);
        fold(first ^ u64::from(tenant), self.last)
    }
}

/// The next number of the sequence known as `SplitMix64`.
fn spread(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// Slots by hash; what a slot stands for is compared by its owner.
#[derive(Debug)]
pub(super) struct SlotIndex {
    parts: Vec<HashTable<u32>>,
}

impl SlotIndex {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }

    /// Makes room for so many entries in all, so that no part has to be moved on the way there.
    pub(super) fn reserve(&mut self, entries: usize, rehash: impl Fn(u32) -> u64) {
        // No part is much fuller than the others, and a table's room is rounded up.
        let of_one = entries.div_ceil(PARTS);
        for part in &mut self.parts {
            part.reserve(of_one.saturating_sub(part.len()), |&slot| rehash(slot));
        }
    }

    pub(super) fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        self.parts[part(hash)].find(hash, |&slot| same(slot)).copied()
    }

    /// The caller knows that the key is not in it.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, rehash: impl Fn(u32) -> u64) {
        self.parts[part(hash)].insert_unique(hash, slot, |&slot| rehash(slot));
    }

    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let entry = self.parts[part(hash)].find_entry(hash, |&other| other == slot);
        entry.expect("an indexed slot is found again").remove();
    }
}

fn part(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}
