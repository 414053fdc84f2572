//! What survives the engine's process: the tables of the last checkpoint, and the batches after it.

use std::collections::BTreeMap;

use pyledger_core::chain::Head;
use pyledger_core::replay::{self, Claimed};
use pyledger_core::state::{Account, Checkpoint, Hold, Ledger};
use pyledger_core::{Engine, Limits, tables};

pub const SHARD: u16 = 7;

/// One committed batch as PostgreSQL gives it back.
pub struct Stored {
    pub copy: Vec<u8>,
    pub claimed: Claimed,
}

/// What the engine gave of a checkpoint, piece by piece.
#[derive(Default)]
pub struct Given {
    accounts: Vec<(u32, Account)>,
    holds: Vec<Hold>,
    removed: Vec<(u32, u128)>,
}

impl Given {
    /// Takes at most so many more rows of one kind; false if there are none.
    pub fn add(&mut self, engine: &mut Engine, limit: usize) -> bool {
        let accounts = engine.checkpoint_accounts(limit);
        let holds = if accounts.is_empty() { engine.checkpoint_holds(limit) } else { Vec::new() };
        let is_last = accounts.is_empty() && holds.is_empty();
        let removed = if is_last { engine.checkpoint_removed(limit) } else { &[] };
        let any = !is_last || !removed.is_empty();
        self.removed.extend(removed);
        self.accounts.extend(accounts);
        self.holds.extend(holds);
        any
    }
}

#[derive(Default)]
pub struct Disk {
    ledgers: BTreeMap<(u32, u32), Ledger>,
    accounts: BTreeMap<u32, Account>,
    holds: BTreeMap<(u32, u128), Hold>,
    head: Option<Head>,
    later: Vec<Stored>,
}

impl Disk {
    pub fn append(&mut self, stored: Stored) {
        self.later.push(stored);
    }

    /// How many batches there are after the last checkpoint.
    pub fn later(&self) -> usize {
        self.later.len()
    }

    /// Stores what changed, as the statements that merge a checkpoint do. It includes the first `batches` of those
    /// after the last one, as far as `head`.
    pub fn save(&mut self, checkpoint: &Checkpoint, given: &Given, head: Head, batches: usize) {
        let counted = [checkpoint.accounts, checkpoint.holds, checkpoint.holds_removed];
        let lengths = [given.accounts.len(), given.holds.len(), given.removed.len()];
        assert_eq!(counted, lengths, "each account and hold that it counts is given");
        for ledger in &checkpoint.ledgers {
            self.ledgers.insert((ledger.tenant, ledger.number), ledger.clone());
        }
        self.accounts.extend(given.accounts.iter().copied());
        for hold in &given.holds {
            self.holds.entry((hold.tenant, hold.id)).or_insert(*hold);
        }
        for key in &given.removed {
            self.holds.remove(key);
        }
        self.head = Some(head);
        self.later.drain(..batches);
    }

    /// A new engine that has read all of it, through the bytes of COPY.
    pub fn load(&self, limits: Limits, seed: u64) -> Engine {
        let mut engine = Engine::new(limits, seed);
        let head = self.head.unwrap_or(Head::GENESIS);
        if self.head.is_some() {
            let ledgers: Vec<Ledger> = self.ledgers.values().cloned().collect();
            let accounts: Vec<(u32, Account)> =
                self.accounts.iter().map(|(slot, each)| (*slot, *each)).collect();
            let mut holds: Vec<Hold> = self.holds.values().copied().collect();
            holds.sort_unstable_by_key(|hold| hold.recorded_ns);
            let copy = tables::encode_ledgers(SHARD, &ledgers);
            let loaded = tables::decode_ledgers(SHARD, &copy, |ledger| engine.restore_ledger(ledger));
            assert_eq!(loaded, Ok(ledgers.len()), "the ledgers load");
            let copy = tables::encode_accounts(SHARD, &accounts);
            let loaded =
                tables::decode_accounts(SHARD, &copy, |(slot, each)| engine.restore_account(slot, each));
            assert_eq!(loaded, Ok(accounts.len()), "the accounts load");
            let copy = tables::encode_holds(SHARD, &holds);
            let loaded = tables::decode_holds(SHARD, &copy, |hold| engine.restore_hold(hold));
            assert_eq!(loaded, Ok(holds.len()), "the holds load");
            engine.restore_done(head.last_ns).expect("what was loaded adds up");
        }
        self.later.iter().fold(head, |head, stored| read_on(&mut engine, head, stored));
        engine
    }
}

/// Replays one batch, chain and root checked.
pub fn read_on(engine: &mut Engine, head: Head, stored: &Stored) -> Head {
    let claims = [stored.claimed];
    match replay::batches(engine, SHARD, head, &stored.copy, &claims) {
        Ok((after, _)) => after,
        Err(corrupt) => panic!("what was decided does not replay: {corrupt}"),
    }
}
