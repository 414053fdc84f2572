//! The rows read back from the journal for a batch, found by id and by what they act on.

use crate::nouns::Row;
use crate::request::Old;

#[derive(Debug)]
pub(super) struct OldRows<'a> {
    rows: &'a [Row],
    /// Places of all rows, by tenant and id.
    by_id: Vec<u32>,
    /// Places of accepted rows with a target, by tenant, target and time.
    by_target: Vec<u32>,
    /// Tenants and ids of what was archived, in order.
    archived: Vec<(u32, u128)>,
}

impl<'a> OldRows<'a> {
    pub(super) fn new(old: &'a Old) -> Self {
        let rows = &old.rows;
        let mut by_id: Vec<u32> = (0..rows.len() as u32).collect();
        by_id.sort_unstable_by_key(|&place| id_key(&rows[place as usize]));
        let acts = |&place: &u32| rows[place as usize].target != 0 && rows[place as usize].status == 0;
        let mut by_target: Vec<u32> = by_id.iter().copied().filter(acts).collect();
        // A row may come twice, once for its id and once for its target; it acted once.
        by_target.sort_unstable_by_key(|&place| time_key(&rows[place as usize]));
        by_target.dedup_by_key(|place| rows[*place as usize].recorded_ns);
        let mut archived = old.archived.clone();
        archived.sort_unstable();
        Self { rows, by_id, by_target, archived }
    }

    /// Whether it was recorded, and is in an archive with what acted on it.
    pub(super) fn is_archived(&self, tenant: u32, id: u128) -> bool {
        self.archived.binary_search(&(tenant, id)).is_ok()
    }

    pub(super) fn get(&self, place: u32) -> &'a Row {
        &self.rows[place as usize]
    }

    pub(super) fn find(&self, tenant: u32, id: u128) -> Option<u32> {
        let found = self.by_id.binary_search_by_key(&(tenant, id), |&place| id_key(self.get(place)));
        found.ok().map(|at| self.by_id[at])
    }

    /// The accepted rows whose target it is, in order of time.
    pub(super) fn acting_on(&self, tenant: u32, target: u128) -> impl Iterator<Item = &'a Row> {
        let from = self.by_target.partition_point(|&place| target_key(self.get(place)) < (tenant, target));
        let rows = self.by_target[from..].iter().map(|&place| self.get(place));
        rows.take_while(move |row| target_key(row) == (tenant, target))
    }
}

fn id_key(row: &Row) -> (u32, u128) {
    (row.tenant, row.id)
}

fn target_key(row: &Row) -> (u32, u128) {
    (row.tenant, row.target)
}

fn time_key(row: &Row) -> (u32, u128, u64) {
    (row.tenant, row.target, row.recorded_ns)
}
