//! What the engine asks of the journal, as Python passes it on to PostgreSQL.

use pyledger_core::{Lookups, uuid};

/// Tenants and ids, tenants and targets, tenants and ids of what is only looked for from a time on, and that time.
pub type Wanted = (Vec<u32>, Vec<String>, Vec<u32>, Vec<String>, Vec<u32>, Vec<String>, u64);

/// Pairs by position; `None` if nothing is wanted.
pub fn wanted(lookups: &Lookups) -> Option<Wanted> {
    if lookups.ids.is_empty() && lookups.targets.is_empty() && lookups.fresh_ids.is_empty() {
        return None;
    }
    let split = |pairs: &[(u32, u128)]| -> (Vec<u32>, Vec<String>) {
        pairs.iter().map(|(tenant, id)| (*tenant, uuid::string(*id))).unzip()
    };
    let (tenants, ids) = split(&lookups.ids);
    let (target_tenants, targets) = split(&lookups.targets);
    let (fresh_tenants, fresh_ids) = split(&lookups.fresh_ids);
    Some((tenants, ids, target_tenants, targets, fresh_tenants, fresh_ids, lookups.fresh_from_ns))
}
