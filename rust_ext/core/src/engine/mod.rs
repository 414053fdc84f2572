//! The state machine: batches in, rows and outcomes out; a pure function of what it was given before.
//!
//! Its life: new, restored from a checkpoint, replayed from the journal, and then `probe`, `apply` and
//! `commit` for ever. A batch that was applied can be undone, to the byte, until it is committed. No hash
//! order, clock, float, thread or seed shows in anything that comes out.

mod accounts;
mod books;
mod chunks;
mod deciding;
mod digest;
mod dirty;
mod expiry;
mod history;
mod holds;
mod index;
mod ledgers;
mod linked;
mod moving;
mod near;
mod old;
mod opening;
mod own_id;
mod probe;
mod replay;
mod resolution;
mod restore;
mod reversal;
mod shape;
mod taking;
mod transfer;
mod window;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};

use crate::nouns::Row;
use crate::request::{Batch, Limits, Old, Request};
use crate::state::{Account, Checkpoint, Corrupt, Hold, Ledger};

use books::{Books, Log};
use deciding::{Chain, Deciding};
use dirty::Dirty;
use history::History;
use old::OldRows;
use window::Window;

/// The latest clock that leaves room for any timeout in the 63 bits of a stored time: in the year 2194.
pub const NOW_NS_MAX: u64 = i64::MAX as u64 - (crate::nouns::TIMEOUT_S_MAX as u64 + 1) * 1_000_000_000;

/// Every ledger, account and open hold of one shard, and a window of recent ids.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    books: Books,
    window: Window,
    history: History,
    /// When the last row was recorded.
    last_ns: u64,
    /// Uncommitted batches, oldest first.
    frames: VecDeque<Frame>,
    dirty: Dirty,
    /// An empty log that keeps its memory for the next batch or row.
    log: Log,
    /// The linked chain that a replay is in.
    chain: Chain,
}

/// What it takes to undo one batch.
#[derive(Debug)]
struct Frame {
    log: Log,
    ids: usize,
    last_ns_before: u64,
}

impl Engine {
    /// An empty engine. `seed` hardens its hash tables against chosen ids; no output depends on it.
    pub fn new(limits: Limits, seed: u64) -> Self {
        assert!(limits.accounts_max < u32::MAX as usize, "slots are 32 bits");
        assert!(limits.holds_max < u32::MAX as usize, "slots are 32 bits");
        let keys = index::Keys::new(seed);
        Self {
            limits,
            books: Books::new(keys),
            window: Window::new(keys, limits.window_ids),
            history: History::default(),
            last_ns: 0,
            frames: VecDeque::new(),
            dirty: Dirty::default(),
            log: Log::default(),
            chain: Chain::None,
        }
    }

    /// Decides a batch: first the holds that are due, then the commands in order.
    ///
    /// `old` is what `probe` asked for just before, read after every earlier batch was committed. If `probe`
    /// asked for nothing, earlier batches may still be uncommitted.
    pub fn apply(&mut self, requests: &[&Request], now_ns: u64, old: &Old) -> Batch {
        assert!(
            now_ns <= NOW_NS_MAX && self.last_ns < NOW_NS_MAX,
            "the clock is in this or the next century"
        );
        assert!(self.frames.is_empty() || old.rows.is_empty(), "old rows are read after all earlier commits");
        let mut deciding = Deciding {
            books: &mut self.books,
            limits: self.limits,
            old: OldRows::new(old),
            now_ns,
            last_ns: self.last_ns,
            ids_before: self.window.len(),
            window: &mut self.window,
            batch: Batch::default(),
            log: std::mem::take(&mut self.log),
            resolved: HashMap::new(),
            reversed: HashMap::new(),
            chain: Chain::None,
            missing: Cell::new(None),
            near: 0,
        };
        let commands: usize = requests.iter().map(|request| request.commands.len()).sum();
        deciding.batch.rows.reserve(commands);
        deciding.batch.outcomes.reserve(commands);
        deciding.expire_due();
        let mut ahead = requests.iter().flat_map(|request| &request.commands).map(deciding::wanted);
        for request in requests {
            deciding.request(request, &mut ahead);
        }
        let Deciding { mut batch, log, last_ns, missing, .. } = deciding;
        batch.missing = missing.get();
        assert!(batch.outcomes.len() == commands, "each command has its outcome");
        self.frames.push_back(Frame { log, ids: batch.rows.len(), last_ns_before: self.last_ns });
        self.last_ns = last_ns;
        batch
    }

    /// The oldest uncommitted batch is durable.
    pub fn commit(&mut self) {
        let mut frame = self.frames.pop_front().expect("a batch to commit");
        self.dirty.note(&frame.log);
        self.window.evict(self.frames.iter().map(|frame| frame.ids).sum());
        frame.log.changes.clear();
        frame.log.removed.clear();
        self.log = frame.log;
    }

    /// Forgets all uncommitted batches.
    pub fn undo(&mut self) {
        while let Some(Frame { mut log, ids, last_ns_before }) = self.frames.pop_back() {
            while let Some(change) = log.changes.pop() {
                self.books.revert(change, &mut log.removed);
            }
            for _ in 0..ids {
                self.window.pop();
            }
            self.last_ns = last_ns_before;
            self.log = log;
        }
    }

    /// Batches applied and neither committed nor undone.
    pub fn uncommitted(&self) -> usize {
        self.frames.len()
    }

    /// Applies a row of the journal, the next after the last; never decides. `text` is what its texts
    /// point into.
    pub fn replay(&mut self, row: &Row, text: &[u8]) -> Result<(), Corrupt> {
        self.replay_all(std::slice::from_ref(row), text).map_err(|(_, corrupt)| corrupt)
    }

    /// Applies rows of the journal like `replay`; says which one is corrupt, from 0.
    pub fn replay_all(&mut self, rows: &[Row], text: &[u8]) -> Result<(), (usize, Corrupt)> {
        self.replay_rows(rows, text)
    }

    /// What changed since the last checkpoint. No batch may be uncommitted.
    pub fn checkpoint(&mut self) -> Checkpoint {
        assert!(self.frames.is_empty(), "a checkpoint contains what is committed");
        self.dirty.take(&self.books, self.last_ns)
    }

    /// The next accounts of the checkpoint, no more than `limit`, each with its slot: its place in the order of
    /// creation over all tenants, from 0. They are as they were when it was taken, whatever was committed since;
    /// none once all are given. No batch may be uncommitted.
    pub fn checkpoint_accounts(&mut self, limit: usize) -> Vec<(u32, Account)> {
        assert!(self.frames.is_empty(), "what is uncommitted may be undone");
        self.dirty.give_accounts(&self.books, limit)
    }

    /// The next holds of the checkpoint that were opened before it and not in an earlier one, like the accounts.
    pub fn checkpoint_holds(&mut self, limit: usize) -> Vec<Hold> {
        assert!(self.frames.is_empty(), "what is uncommitted may be undone");
        self.dirty.give_holds(&self.books, limit)
    }

    /// Tenant and id of the next holds that an earlier checkpoint may contain and that were open no more.
    pub fn checkpoint_removed(&mut self, limit: usize) -> &[(u32, u128)] {
        self.dirty.give_removed(limit)
    }

    /// It was stored, or is given up for good.
    pub fn checkpoint_done(&mut self) {
        self.dirty.forget();
    }

    /// It was not stored: the next one contains its changes again.
    pub fn checkpoint_failed(&mut self, checkpoint: &Checkpoint) {
        self.dirty.give_back(&self.books, checkpoint);
    }

    /// When the last row was recorded, in nanoseconds since 1970; 0 before the first.
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// When the next hold expires; an `apply` at or after it records that.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.books.holds.next_expiry_ns()
    }

    /// How many ledgers there are.
    pub fn ledgers(&self) -> usize {
        self.books.ledgers.len()
    }

    /// How many accounts there are.
    pub fn accounts(&self) -> usize {
        self.books.accounts.len() as usize
    }

    /// How many holds are open.
    pub fn holds(&self) -> usize {
        self.books.holds.len()
    }

    /// A ledger by number.
    pub fn ledger(&self, tenant: u32, number: u32) -> Option<&Ledger> {
        let slot = self.books.ledgers.find(tenant, number)?;
        Some(&self.books.ledgers.get(slot).ledger)
    }

    /// An account by id.
    pub fn account(&self, tenant: u32, id: u128) -> Option<&Account> {
        self.books.accounts.find(tenant, id).map(|slot| self.books.accounts.get(slot))
    }

    /// An account by slot: its place in the order of creation over all tenants, from 0.
    pub fn account_at(&self, slot: u32) -> Option<&Account> {
        (slot < self.books.accounts.len()).then(|| self.books.accounts.get(slot))
    }

    /// An open hold by id.
    pub fn hold(&self, tenant: u32, id: u128) -> Option<&Hold> {
        self.books.holds.find(tenant, id).map(|slot| self.books.holds.get(slot))
    }

    /// At most `limit` ledgers of a tenant in order of number, those above `after`.
    pub fn ledgers_page(&self, tenant: u32, after: Option<u32>, limit: usize) -> Vec<&Ledger> {
        self.books.ledgers.page(tenant, after, limit)
    }

    /// At most `limit` accounts of a tenant, or of one of its ledgers, in order of creation, those after
    /// `after`; `None` if that is not among them.
    pub fn accounts_page(
        &self,
        tenant: u32,
        ledger: Option<u32>,
        after: Option<u128>,
        limit: usize,
    ) -> Option<Vec<&Account>> {
        self.books.accounts.page(tenant, ledger, after, limit)
    }
}
