//! What is known of the ids in partitions of the journal that are over, beyond the window.
//!
//! It only ever says where an id need not be looked for, and nothing of what the engine decides depends on it: a row
//! that is not there cannot be found.

use std::sync::Arc;

use super::Engine;
use crate::filter::{self, Filter};

/// Filters of all ids that were recorded before `until_ns`.
#[derive(Debug, Default)]
pub(super) struct History {
    filters: Vec<Arc<Filter>>,
    pub(super) until_ns: u64,
}

impl History {
    /// False only if the id was not recorded before `until_ns`.
    pub(super) fn may_have(&self, tenant: u32, id: u128) -> bool {
        let hash = filter::hash(tenant, id);
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.may_have_hash(hash))
    }
}

impl Engine {
    /// Learns filters of all ids that were recorded before `until_ns`, instead of those that it knew. As long as it may
    /// record before that itself, it knows nothing.
    pub fn know(&mut self, filters: Vec<Arc<Filter>>, until_ns: u64) {
        let known = self.last_ns + 1 >= until_ns;
        self.history = if known { History { filters, until_ns } } else { History::default() };
    }
}
