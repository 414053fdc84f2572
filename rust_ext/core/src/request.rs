//! What goes into the engine and what comes out of it, batch by batch.
//!
//! A request is never split over two batches, so neither is a chain of it. Texts stay in one buffer a
//! request and one a batch; rows and commands point into them.

use crate::nouns::{Command, Outcome, Row};

/// One request's commands, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The commands, all of one tenant.
    pub commands: Vec<Command>,
    /// Their texts.
    pub text: Vec<u8>,
}

/// Rows read back from the journal for one batch, in any order: all that `Lookups` asked for and that
/// exist, read after every batch before this one was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Old {
    /// The rows.
    pub rows: Vec<Row>,
    /// Their texts.
    pub text: Vec<u8>,
    /// Tenants and ids of rows that were recorded and are in an archive: of those asked for by id the ones whose row is
    /// not here, of those to resolve or reverse the ones of which not all is here that acted on them.
    pub archived: Vec<(u32, u128)>,
}

/// What must be read from the journal before a batch can be applied: tenant and id each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Ids that were or may have been recorded: the row with that id is wanted.
    pub ids: Vec<(u32, u128)>,
    /// Ids that may have been recorded, but not before `fresh_from_ns`: the same of them.
    pub fresh_ids: Vec<(u32, u128)>,
    /// Where to look for those.
    pub fresh_from_ns: u64,
    /// Transfers to resolve or reverse: the row with that id, and accepted rows whose target it is.
    pub targets: Vec<(u32, u128)>,
}

/// A batch as decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What to append to the journal, in order.
    pub rows: Vec<Row>,
    /// Their texts.
    pub text: Vec<u8>,
    /// One for each command of all requests, in order.
    pub outcomes: Vec<Outcome>,
    /// Tenant and id of a row that was recorded and that `Old` lacks: the batch must not be used.
    pub missing: Option<(u32, u128)>,
}

/// The bounds of one engine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ledgers of all tenants.
    pub ledgers_max: usize,
    /// Accounts of all tenants.
    pub accounts_max: usize,
    /// Open holds of all tenants.
    pub holds_max: usize,
    /// Recently recorded ids that the engine knows without asking the journal.
    pub window_ids: usize,
}
