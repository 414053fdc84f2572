//! The state machine: batches in, rows and outcomes out.

use crate::nouns::Row;
use crate::request::{Batch, Limits, Lookups, Old, Request};
use crate::state::{Account, Checkpoint, Corrupt, Hold, Ledger};

/// Every ledger, account and open hold, and a window of recent ids.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
}

#[allow(unused_variables, clippy::unused_self, clippy::todo)]
impl Engine {
    /// An empty engine. `seed` hardens its hash tables; no output depends on it.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self { limits }
    }
    /// What must be read from the journal before `apply`.
    pub fn probe(&self, requests: &[&Request]) -> Lookups {
        todo!()
    }
    /// Decides a batch.
    pub fn apply(&mut self, requests: &[&Request], now_ns: u64, old: &Old) -> Batch {
        todo!()
    }
    /// The oldest uncommitted batch is durable.
    pub fn commit(&mut self) {
        todo!()
    }
    /// Forgets all uncommitted batches.
    pub fn undo(&mut self) {
        todo!()
    }
    /// Batches applied and neither committed nor undone.
    pub fn uncommitted(&self) -> usize {
        todo!()
    }
    /// Applies a journal row; never decides.
    pub fn replay(&mut self, row: &Row, text: &[u8]) -> Result<(), Corrupt> {
        todo!()
    }
    /// SHA-256 over ledgers, accounts and holds: the same after deciding, replaying and restoring.
    pub fn digest(&self) -> [u8; 32] {
        todo!()
    }
    /// SHA-256 over everything that can decide anything, window and clock included.
    pub fn digest_all(&self) -> [u8; 32] {
        todo!()
    }
    /// When the last row was recorded.
    pub fn last_ns(&self) -> u64 {
        todo!()
    }
    /// When the next hold expires.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        todo!()
    }
    /// Ledgers, accounts and open holds.
    pub fn ledgers(&self) -> usize {
        todo!()
    }
    /// Accounts.
    pub fn accounts(&self) -> usize {
        todo!()
    }
    /// Open holds.
    pub fn holds(&self) -> usize {
        todo!()
    }
    /// A ledger by number.
    pub fn ledger(&self, tenant: u32, number: u32) -> Option<&Ledger> {
        todo!()
    }
    /// An account by id.
    pub fn account(&self, tenant: u32, id: u128) -> Option<&Account> {
        todo!()
    }
    /// An account by slot: its place in the order of creation, from 0.
    pub fn account_at(&self, slot: u32) -> Option<&Account> {
        todo!()
    }
    /// An open hold by id.
    pub fn hold(&self, tenant: u32, id: u128) -> Option<&Hold> {
        todo!()
    }
    /// At most `limit` ledgers of a tenant by number, those after `after`.
    pub fn ledgers_page(&self, tenant: u32, after: Option<u32>, limit: usize) -> Vec<&Ledger> {
        todo!()
    }
    /// At most `limit` accounts in order of creation, those after `after`; `None` if `after` is not among them.
    pub fn accounts_page(
        &self,
        tenant: u32,
        ledger: Option<u32>,
        after: Option<u128>,
        limit: usize,
    ) -> Option<Vec<&Account>> {
        todo!()
    }
    /// What changed since the last checkpoint. No batch may be uncommitted.
    pub fn checkpoint(&mut self) -> Checkpoint {
        todo!()
    }
    /// It was not stored: the next one contains its changes again.
    pub fn checkpoint_failed(&mut self, checkpoint: &Checkpoint) {
        todo!()
    }
    /// Loads a ledger of a checkpoint; ledgers first.
    pub fn restore_ledger(&mut self, ledger: Ledger) -> Result<(), Corrupt> {
        todo!()
    }
    /// Loads an account of a checkpoint; in order of slots.
    pub fn restore_account(&mut self, slot: u32, account: Account) -> Result<(), Corrupt> {
        todo!()
    }
    /// Loads a hold of a checkpoint; after the accounts, in any order.
    pub fn restore_hold(&mut self, hold: Hold) -> Result<(), Corrupt> {
        todo!()
    }
    /// Ends the loading: checks holds and trial balances, and sets the clock. Also starts an engine without
    /// a checkpoint (`last_ns` 0).
    pub fn restore_done(&mut self, last_ns: u64) -> Result<(), Corrupt> {
        todo!()
    }
}
