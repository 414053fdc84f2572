//! The state as one number, to compare two engines by.
//!
//! Slots, hash tables and seeds do not show: an engine that decided, one that replayed and one that was
//! restored have the same digest if they have the same books.

use sha2::{Digest, Sha256};

use super::Engine;
use crate::nouns::Counters;
use crate::state::{Account, Hold, Ledger};

impl Engine {
    /// SHA-256 over ledgers, accounts in order of creation, and holds in order of creation.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.books.ledgers.len() as u64).to_le_bytes());
        for entry in self.books.ledgers.sorted() {
            add_ledger(&mut hash, &entry.ledger);
            hash.update(entry.imported_account_ns.to_le_bytes());
        }
        hash.update(self.books.accounts.len().to_le_bytes());
        for slot in 0..self.books.accounts.len() {
            add_account(&mut hash, self.books.accounts.get(slot));
        }
        let mut holds: Vec<&Hold> = self.books.holds.iter().collect();
        holds.sort_unstable_by_key(|hold| hold.recorded_ns);
        hash.update((holds.len() as u64).to_le_bytes());
        for hold in holds {
            add_hold(&mut hash, hold);
        }
        hash.finalize().into()
    }

    /// SHA-256 over the books, the clock and the window: everything that decides anything.
    pub fn digest_all(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.digest());
        hash.update(self.last_ns.to_le_bytes());
        hash.update(self.window.floor_ms().map_or([0xff; 8], u64::to_le_bytes));
        hash.update((self.window.len() as u64).to_le_bytes());
        for (tenant, id) in self.window.iter() {
            hash.update(tenant.to_le_bytes());
            hash.update(id.to_le_bytes());
        }
        hash.finalize().into()
    }
}

fn add_ledger(hash: &mut Sha256, ledger: &Ledger) {
    let Ledger { tenant, number, exponent, asset, created_ns, imported_ns } = ledger;
    hash.update(tenant.to_le_bytes());
    hash.update(number.to_le_bytes());
    hash.update(exponent.to_le_bytes());
    hash.update((asset.len() as u64).to_le_bytes());
    hash.update(asset);
    hash.update(created_ns.to_le_bytes());
    hash.update(imported_ns.to_le_bytes());
}

fn add_account(hash: &mut Sha256, account: &Account) {
    let Account { id, counters, allowance, created_ns, effective_ns, tenant, ledger, code, flags } = account;
    let Counters { debits_pending, debits_posted, credits_pending, credits_posted } = counters;
    hash.update(tenant.to_le_bytes());
    for number in [id, debits_pending, debits_posted, credits_pending, credits_posted, allowance] {
        hash.update(number.to_le_bytes());
    }
    hash.update(created_ns.to_le_bytes());
    hash.update(effective_ns.to_le_bytes());
    hash.update(ledger.to_le_bytes());
    hash.update(code.to_le_bytes());
    hash.update(flags.to_le_bytes());
}

fn add_hold(hash: &mut Sha256, hold: &Hold) {
    let Hold { id, debit, credit, amount, group_id, recorded_ns, expires_ns, tenant, ledger, code, flags } =
        hold;
    for number in [id, debit, credit, amount, group_id] {
        hash.update(number.to_le_bytes());
    }
    hash.update(recorded_ns.to_le_bytes());
    hash.update(expires_ns.to_le_bytes());
    hash.update(tenant.to_le_bytes());
    hash.update(ledger.to_le_bytes());
    hash.update(code.to_le_bytes());
    hash.update(flags.to_le_bytes());
}
