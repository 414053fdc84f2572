//! What a checkpoint has of one table. There may be millions, so they are given away piece by piece while batches go on.
//!
//! Guarded here: each is given once, and as it was when the checkpoint was taken, whatever was committed since.

use std::collections::{BTreeMap, HashMap};

use super::chunks::Bits;

/// Slots of one map of `Taking::before`, as a power of two.
const BEFORE_BITS: u32 = 12;

/// Rows by slot; what changes of one is a `T`.
#[derive(Debug)]
pub(super) struct Taking<T> {
    /// Whatever is to be in the next checkpoint, should this one fail.
    pub(super) all: Bits,
    /// What is still to be given.
    left: Bits,
    /// No slot before it is left.
    next: u32,
    /// What is left and was changed: as it was when the checkpoint was taken. In small maps by slot, for one that grows
    /// would stop the shard to move millions; each goes when its turn is over.
    before: BTreeMap<u32, HashMap<u32, T>>,
}

impl<T> Default for Taking<T> {
    fn default() -> Self {
        Self::new(Bits::default())
    }
}

impl<T> Taking<T> {
    pub(super) fn new(slots: Bits) -> Self {
        Taking { left: slots.clone(), all: slots, next: 0, before: BTreeMap::new() }
    }

    /// A row is not any more what it was before.
    pub(super) fn keep(&mut self, slot: u32, before: T) {
        if self.left.contains(slot) {
            self.before.entry(slot >> BEFORE_BITS).or_default().entry(slot).or_insert(before);
        }
    }

    /// The next rows in the order of their slots, made of what they were before they changed, if they did.
    pub(super) fn give<R>(&mut self, limit: usize, made: impl Fn(u32, Option<T>) -> Option<R>) -> Vec<R> {
        let slots = self.left.drain_from(self.next, limit);
        self.next = slots.last().copied().unwrap_or(self.next);
        let as_taken = |slot: u32| {
            let before = self.before.get_mut(&(slot >> BEFORE_BITS)).and_then(|some| some.remove(&slot));
            made(slot, before.filter(|_| !planted!("checkpoint_mixes_moments")))
        };
        let given = slots.into_iter().filter_map(as_taken).collect();
        self.before = self.before.split_off(&(self.next >> BEFORE_BITS));
        given
    }
}
