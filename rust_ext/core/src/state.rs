//! The nouns of the state: ledgers, accounts, holds, and what a checkpoint keeps of them.
//!
//! Everything here follows from the journal alone; a checkpoint only saves the time of replaying it.

use crate::nouns::Counters;

/// One asset of one tenant; transfers stay within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Whose.
    pub tenant: u32,
    /// The number that clients name it by.
    pub number: u32,
    /// Digits behind the decimal point of the asset.
    pub exponent: u16,
    /// The asset's code.
    pub asset: String,
    /// When it was recorded, in nanoseconds since 1970.
    pub created_ns: u64,
    /// When its last imported transfer happened; 0 if there is none.
    pub imported_ns: u64,
}

/// One account: what never changes, its four counters, and whether it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Unique per tenant over all kinds.
    pub id: u128,
    /// What was held and moved.
    pub counters: Counters,
    /// By how much the limited side may exceed the other.
    pub allowance: u128,
    /// When it was recorded, in nanoseconds since 1970.
    pub created_ns: u64,
    /// As given when it was opened, or 0.
    pub effective_ns: u64,
    /// Whose.
    pub tenant: u32,
    /// Its ledger's number.
    pub ledger: u32,
    /// The client's own kind of account.
    pub code: u16,
    /// By `account_flags`.
    pub flags: u16,
}

/// One open hold: a pending transfer neither posted nor voided nor expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The pending transfer's id.
    pub id: u128,
    /// Debit account.
    pub debit: u128,
    /// Credit account.
    pub credit: u128,
    /// What is held.
    pub amount: u128,
    /// The id of the first hold of its linked chain, itself included; 0 if it was not linked.
    pub group_id: u128,
    /// When it was recorded, in nanoseconds since 1970.
    pub recorded_ns: u64,
    /// From when on it cannot be posted or voided; 0 for never.
    pub expires_ns: u64,
    /// Whose.
    pub tenant: u32,
    /// Its ledger's number.
    pub ledger: u32,
    /// As in the transfer.
    pub code: u16,
    /// As in the transfer.
    pub flags: u16,
}

/// What changed since the last checkpoint. Storing it twice must do no harm: ledgers and accounts replace
/// what is stored, holds are added if missing, removed ones deleted if there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// When the last row that it includes was recorded.
    pub last_ns: u64,
    /// New or changed, by tenant and number.
    pub ledgers: Vec<Ledger>,
    /// How many accounts are new or changed. `Engine::checkpoint_accounts` gives them.
    pub accounts: usize,
    /// How many holds were opened since. `Engine::checkpoint_holds` gives them.
    pub holds: usize,
    /// How many holds are open no more that an earlier one may contain. `Engine::checkpoint_removed` gives them.
    pub holds_removed: usize,
}

/// What was read back is not what was written. An engine that said so is to be thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt(pub String);

impl std::fmt::Display for Corrupt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Corrupt {}
