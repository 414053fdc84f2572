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
    pub fn save(&mut self, checkpoint: &Checkpoint, accounts: &[(u32, Account)], head: Head, batches: usize) {
        assert_eq!(checkpoint.accounts, accounts.len(), "each account that it counts is given");
        for ledger in &checkpoint.ledgers {
            self.ledgers.insert((ledger.tenant, ledger.number), ledger.clone());
        }
        self.accounts.extend(accounts.iter().copied());
        for hold in &checkpoint.holds {
            self.holds.entry((hold.tenant, hold.id)).or_insert(*hold);
        }
        for key in &checkpoint.holds_removed {
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
