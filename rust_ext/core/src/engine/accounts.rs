//! Every account, in the order in which they were opened, found by tenant and id.
//!
//! An account never moves and never goes; its slot is its place in that order. The accounts of a tenant
//! and of a ledger are chained, so that a page of them costs its own length and no more.

use std::collections::BTreeMap;
use std::hint::black_box;

use super::chunks::Chunks;
use super::index::{Keys, SlotIndex};
use crate::state::Account;

/// No slot: the end of a list.
const NONE: u32 = u32::MAX;
/// Stands in the key of a list for all ledgers of the tenant; no ledger has the number 0.
const ALL_LEDGERS: u32 = 0;

/// The next account of the same ledger and of the same tenant.
#[derive(Clone, Copy, Debug)]
struct Next {
    in_ledger: u32,
    in_tenant: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

/// What the two lists ended with before an account was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasts {
    in_ledger: u32,
    in_tenant: u32,
}

#[derive(Debug)]
pub(super) struct Accounts {
    rows: Chunks<Account>,
    next: Chunks<Next>,
    /// By tenant and ledger.
    lists: BTreeMap<(u32, u32), List>,
    index: SlotIndex,
    keys: Keys,
}

impl Accounts {
    pub(super) fn new(keys: Keys) -> Self {
        let index = SlotIndex::new();
        Self { rows: Chunks::new(), next: Chunks::new(), lists: BTreeMap::new(), index, keys }
    }

    pub(super) const fn len(&self) -> u32 {
        self.rows.len()
    }

    pub(super) fn find(&self, tenant: u32, id: u128) -> Option<u32> {
        self.index.find(self.keys.hash(tenant, id), |slot| {
            let account = &self.rows[slot];
            account.id == id && account.tenant == tenant
        })
    }

    /// Most likely what `find` would say, without a look at the account itself.
    pub(super) fn guess(&self, tenant: u32, id: u128) -> Option<u32> {
        self.index.find(self.keys.hash(tenant, id), |_| true)
    }

    /// Brings an account near.
    pub(super) fn fetch(&self, slot: u32) {
        let Account { id, counters, flags, .. } = &self.rows[slot];
        black_box((*id, counters.debits_pending, counters.credits_posted, *flags));
    }

    pub(super) fn get(&self, slot: u32) -> &Account {
        &self.rows[slot]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Account {
        &mut self.rows[slot]
    }

    /// Makes room for so many accounts in all.
    pub(super) fn reserve(&mut self, accounts: usize) {
        let Self { rows, index, keys, .. } = self;
        index.reserve(accounts, |slot| keys.hash(rows[slot].tenant, rows[slot].id));
    }

    /// Appends an account that is not there yet.
    pub(super) fn open(&mut self, account: Account) -> Lasts {
        let (tenant, ledger) = (account.tenant, account.ledger);
        assert!(ledger != ALL_LEDGERS, "an account has a ledger");
        let hash = self.keys.hash(tenant, account.id);
        let slot = self.rows.push(account);
        self.next.push(Next { in_ledger: NONE, in_tenant: NONE });
        let Self { rows, index, keys, .. } = self;
        index.insert(hash, slot, |slot| keys.hash(rows[slot].tenant, rows[slot].id));
        let in_ledger = self.append((tenant, ledger), slot);
        let in_tenant = self.append((tenant, ALL_LEDGERS), slot);
        if in_ledger != NONE {
            self.next[in_ledger].in_ledger = slot;
        }
        if in_tenant != NONE {
            self.next[in_tenant].in_tenant = slot;
        }
        Lasts { in_ledger, in_tenant }
    }

    /// Makes `slot` the last of a list and returns the last before it.
    fn append(&mut self, key: (u32, u32), slot: u32) -> u32 {
        let list = self.lists.entry(key).or_insert(List { first: slot, last: NONE });
        std::mem::replace(&mut list.last, slot)
    }

    /// Undoes the last `open`.
    pub(super) fn forget_last(&mut self, lasts: Lasts) {
        let slot = self.rows.len() - 1;
        let Account { id, tenant, ledger, .. } = self.rows[slot];
        self.index.remove(self.keys.hash(tenant, id), slot);
        self.shorten((tenant, ledger), lasts.in_ledger);
        self.shorten((tenant, ALL_LEDGERS), lasts.in_tenant);
        if lasts.in_ledger != NONE {
            self.next[lasts.in_ledger].in_ledger = NONE;
        }
        if lasts.in_tenant != NONE {
            self.next[lasts.in_tenant].in_tenant = NONE;
        }
        self.rows.pop();
        self.next.pop();
    }

    fn shorten(&mut self, key: (u32, u32), last: u32) {
        if last == NONE {
            self.lists.remove(&key);
        } else {
            self.lists.get_mut(&key).expect("a list with accounts").last = last;
        }
    }

    /// At most `limit` accounts after `after`; `None` if that is not one of them.
    pub(super) fn page(
        &self,
        tenant: u32,
        ledger: Option<u32>,
        after: Option<u128>,
        limit: usize,
    ) -> Option<Vec<&Account>> {
        let next = |slot: u32| match ledger {
            Some(_) => self.next[slot].in_ledger,
            None => self.next[slot].in_tenant,
        };
        let mut slot = match after {
            Some(id) => {
                let slot = self.find(tenant, id)?;
                if ledger.is_some_and(|ledger| ledger != self.rows[slot].ledger) {
                    return None;
                }
                next(slot)
            }
            None if ledger == Some(ALL_LEDGERS) => NONE,
            None => self.lists.get(&(tenant, ledger.unwrap_or(ALL_LEDGERS))).map_or(NONE, |list| list.first),
        };
        let mut page = Vec::new();
        while slot != NONE && page.len() < limit {
            page.push(&self.rows[slot]);
            slot = next(slot);
        }
        Some(page)
    }
}
