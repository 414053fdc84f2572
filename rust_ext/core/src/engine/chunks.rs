//! A growing array that never moves what it holds, and a growing set of bits.
//!
//! A vector that doubles would need three times its memory for a moment, and stop the shard to copy.

use std::ops::{Index, IndexMut};

/// Elements of one chunk, as a power of two.
const CHUNK_BITS: u32 = 12;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Elements by slot, from 0.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Chunks<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Appends and returns the slot.
    pub(super) fn push(&mut self, element: T) -> u32 {
        let slot = self.len;
        if slot as usize >> CHUNK_BITS == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[slot as usize >> CHUNK_BITS].push(element);
        self.len += 1;
        slot
    }

    /// Removes the last element; its chunk stays for the next.
    pub(super) fn pop(&mut self) {
        self.len -= 1;
        let popped = self.chunks[self.len as usize >> CHUNK_BITS].pop();
        assert!(popped.is_some(), "chunks are full but for the last");
        while self.chunks.len() > (self.len as usize >> CHUNK_BITS) + 1 {
            self.chunks.pop();
        }
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize >> CHUNK_BITS][slot as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize >> CHUNK_BITS][slot as usize % CHUNK]
    }
}

/// A set of slots, a bit each.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(super) fn set(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (slot % 64);
    }

    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(word) = self.words.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn set_all(&mut self, other: &Self) {
        self.words.resize(self.words.len().max(other.words.len()), 0);
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// The first slots in order that are not before `start`, no more than `limit`; they are in the set no more.
    pub(super) fn drain_from(&mut self, start: u32, limit: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        for (place, word) in self.words.iter_mut().enumerate().skip(start as usize / 64) {
            while *word != 0 {
                if slots.len() == limit {
                    return slots;
                }
                slots.push(place as u32 * 64 + word.trailing_zeros());
                *word &= *word - 1;
            }
        }
        slots
    }
}
