//! The ids recorded last: what lets the engine answer most commands without asking the journal.
//!
//! It never says "new" of an id that was recorded. Of ids that it has let go, or that were recorded before
//! it was there, it remembers the latest time in a `UUIDv7`: a `UUIDv7` with a later time is none of them, and
//! for any other id the journal must be asked. Ids of uncommitted batches are never let go.

use std::collections::VecDeque;
use std::hint::black_box;

use super::index::{Keys, SlotIndex};
use crate::nouns::ID_AHEAD_MS_MAX;

/// Ids of uncommitted batches that fit beside a full window before it has to grow.
const UNCOMMITTED_IDS: usize = 16_384;
/// Of one in so many ids it is kept when it was recorded: half of the smallest window that a server has.
const MARK_IDS: u32 = 4_096;
const NS_PER_MS: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Window {
    ids: VecDeque<u128>,
    tenants: VecDeque<u32>,
    /// The number of the first; numbers count ids and wrap around.
    first: u32,
    index: SlotIndex,
    keys: Keys,
    ids_max: usize,
    /// No id of a later time was let go; `None` while nothing was.
    floor_ms: Option<u64>,
    /// Numbers of ids and when they were recorded, oldest first.
    marks: VecDeque<(u32, u64)>,
}

impl Window {
    pub(super) fn new(keys: Keys, ids_max: usize) -> Self {
        assert!(ids_max < u32::MAX as usize / 2, "ids are numbered by 32 bits");
        let capacity = ids_max + UNCOMMITTED_IDS;
        let mut index = SlotIndex::new();
        index.reserve(capacity, |_| unreachable!("it is empty"));
        Self {
            ids: VecDeque::with_capacity(capacity),
            tenants: VecDeque::with_capacity(capacity),
            first: 0,
            index,
            keys,
            ids_max,
            floor_ms: None,
            marks: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Where the id stands, from 0 for the oldest.
    pub(super) fn find(&self, tenant: u32, id: u128) -> Option<usize> {
        let place = |number: u32| number.wrapping_sub(self.first) as usize;
        let same = |number: u32| self.ids[place(number)] == id && self.tenants[place(number)] == tenant;
        self.index.find(self.keys.hash(tenant, id), same).map(place)
    }

    /// Brings near what `find` and `push` will look at.
    pub(super) fn fetch(&self, tenant: u32, id: u128) {
        black_box(self.index.find(self.keys.hash(tenant, id), |_| true));
    }

    /// False only if the id was never recorded.
    pub(super) fn may_know(&self, tenant: u32, id: u128) -> bool {
        let let_go = match self.floor_ms {
            Some(floor_ms) => {
                uuid7_ms(id).is_none_or(|ms| planted!("window_off_by_one" => ms < floor_ms; ms <= floor_ms))
            }
            None => false,
        };
        let_go || self.find(tenant, id).is_some()
    }

    /// Adds an id that is not in it, and was recorded after all that are.
    pub(super) fn push(&mut self, tenant: u32, id: u128, recorded_ns: u64) {
        let number = self.first.wrapping_add(self.ids.len() as u32);
        if number.is_multiple_of(MARK_IDS) {
            self.marks.push_back((number, recorded_ns));
        }
        self.ids.push_back(id);
        self.tenants.push_back(tenant);
        let Self { ids, tenants, first, index, keys, .. } = self;
        index.insert(keys.hash(tenant, id), number, |number| {
            let place = number.wrapping_sub(*first) as usize;
            keys.hash(tenants[place], ids[place])
        });
    }

    /// Forgets the newest, as if it had never come.
    pub(super) fn pop(&mut self) {
        let id = self.ids.pop_back().expect("an id to forget");
        let tenant = self.tenants.pop_back().expect("as many tenants as ids");
        let number = self.first.wrapping_add(self.ids.len() as u32);
        self.index.remove(self.keys.hash(tenant, id), number);
        if self.marks.back().is_some_and(|mark| mark.0 == number) {
            self.marks.pop_back();
        }
    }

    /// Lets the oldest go until, beside the `uncommitted` newest, it is within its bound.
    pub(super) fn evict(&mut self, uncommitted: usize) {
        while self.ids.len() > self.ids_max + uncommitted {
            let id = self.ids.pop_front().expect("more than none");
            let tenant = self.tenants.pop_front().expect("as many tenants as ids");
            self.index.remove(self.keys.hash(tenant, id), self.first);
            if self.marks.front().is_some_and(|mark| mark.0 == self.first) {
                self.marks.pop_front();
            }
            self.first = self.first.wrapping_add(1);
            self.floor_ms = self.floor_ms.max(Some(uuid7_ms(id).unwrap_or(0)));
        }
    }

    /// Ids were recorded up to `last_ns` that it never saw.
    pub(super) fn missed(&mut self, last_ns: u64) {
        let latest_ms = last_ns / NS_PER_MS + ID_AHEAD_MS_MAX;
        self.floor_ms = self.floor_ms.max(Some(latest_ms));
    }

    /// All that it let go, or never saw, was recorded before that; as far as it knows.
    pub(super) fn begins_ns(&self) -> u64 {
        if self.floor_ms.is_none() { 0 } else { self.marks.front().map_or(u64::MAX, |mark| mark.1) }
    }

    pub(super) const fn floor_ms(&self) -> Option<u64> {
        self.floor_ms
    }

    /// Tenant and id, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u128)> {
        self.tenants.iter().copied().zip(self.ids.iter().copied())
    }
}

/// True if the time inside a `UUIDv7` is further ahead of the ledger's clock than the window allows.
pub(super) fn is_ahead(id: u128, now_ns: u64) -> bool {
    uuid7_ms(id).is_some_and(|ms| ms > now_ns / NS_PER_MS + ID_AHEAD_MS_MAX)
}

/// The time inside a `UUIDv7`, in milliseconds since 1970.
fn uuid7_ms(id: u128) -> Option<u64> {
    let is_version_7 = (id >> 76) & 0xf == 7 && (id >> 62) & 0b11 == 0b10;
    is_version_7.then_some((id >> 80) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around() {
        let mut window = Window::new(Keys::new(1), 100);
        window.first = u32::MAX - 150;
        for id in 1..=1_000_u128 {
            window.push(1, id, id as u64);
            window.push(2, id, id as u64);
            window.pop();
            window.evict(0);
            assert_eq!(window.find(1, id), Some(window.len() - 1));
            assert_eq!(window.find(2, id), None);
            let oldest = id.saturating_sub(99).max(1);
            assert_eq!((window.find(1, oldest), window.find(1, oldest - 1)), (Some(0), None));
        }
        assert!(window.first < 1_000 && window.len() == 100);
    }

    #[test]
    fn the_floor_is_the_latest_time_let_go() {
        let id = |ms: u128, number: u128| ms << 80 | 0x7 << 76 | 0b10 << 62 | number;
        let mut window = Window::new(Keys::new(1), 1);
        window.push(1, 5, 1);
        assert!(!window.may_know(1, 6) && window.may_know(1, 5));
        for ms in [900, 300, 400] {
            window.push(1, id(ms, 0), 1);
            window.evict(0);
        }
        assert_eq!(window.floor_ms(), Some(900));
        assert!(window.may_know(1, 6) && window.may_know(1, id(900, 1)) && !window.may_know(1, id(901, 1)));
        // Of the tenant it need not have been.
        assert!(window.may_know(2, id(400, 0)));
    }

    #[test]
    fn what_was_let_go_was_recorded_before_the_window_begins() {
        let mut window = Window::new(Keys::new(1), 10_000);
        window.first = u32::MAX - 20_479;
        for number in 0..60_000_u64 {
            window.push(1, u128::from(number), 10 * number);
            window.push(2, u128::from(number), 10 * number);
            window.pop();
            window.evict(0);
            let oldest = number.saturating_sub(9_999);
            let begins_ns = window.begins_ns();
            if number < 10_000 {
                assert_eq!(begins_ns, 0);
            } else {
                assert!((10 * oldest..=10 * (oldest + u64::from(MARK_IDS))).contains(&begins_ns));
            }
        }
        let mut missed = Window::new(Keys::new(1), 10_000);
        missed.missed(5_000_000);
        assert_eq!(missed.begins_ns(), u64::MAX);
        missed.push(1, 5, 5_000_001);
        assert_eq!(missed.begins_ns(), 5_000_001);
    }
}
