//! Whatever a client can make the engine record, the journal can store: no number leaves its column.
//!
//! Records of extreme values are decided, sealed, read back and replayed; none of it may panic or differ.

mod random;

use std::collections::{HashMap, HashSet};

use pyledger_core::chain::Head;
use pyledger_core::engine::NOW_NS_MAX;
use pyledger_core::journal::Rows;
use pyledger_core::nouns::{
    EFFECTIVE_NS_MAX, LEDGER_MAX, Outcome, Row, TIMEOUT_S_MAX, Text, transfer_flags as flag,
};
use pyledger_core::replay::{self, Claimed};
use pyledger_core::{Engine, Limits, Old, Request, binary, journal, json, tables, uuid};
use random::Random;

const LIMITS: Limits = Limits { ledgers_max: 10, accounts_max: 100, holds_max: 1_000, window_ids: 1_000_000 };

/// An engine, its head, all that it ever recorded by id and by target, and an engine that only replays.
struct Shard {
    engine: Engine,
    head: Head,
    journal: HashMap<u128, Vec<Row>>,
    replayed: Engine,
}

impl Shard {
    fn new() -> Self {
        let (engine, replayed) = (Engine::new(LIMITS, 1), Engine::new(LIMITS, 2));
        Shard { engine, head: Head::GENESIS, journal: HashMap::new(), replayed }
    }

    fn run(&mut self, request: &Request, now_ns: u64) -> Vec<Outcome> {
        let wanted = self.engine.probe(&[request]);
        let ids: HashSet<u128> = wanted.ids.iter().chain(&wanted.targets).map(|(_, id)| *id).collect();
        let found = ids.iter().filter_map(|id| self.journal.get(id)).flatten();
        let mut old: Vec<Row> = found.map(|row| Row { text: Text::default(), ..*row }).collect();
        old.sort_by_key(|row| row.recorded_ns);
        old.dedup_by_key(|row| row.recorded_ns);
        let batch = self.engine.apply(&[request], now_ns, &Old { rows: old, ..Old::default() });
        self.engine.commit();
        for row in &batch.rows {
            self.journal.entry(row.id).or_default().push(*row);
            self.journal.entry(row.target).or_default().push(*row);
        }
        if let Some(sealed) = journal::seal(0, &self.head, &batch.rows, &batch.text) {
            let claim = Claimed { link: sealed.link, hash: sealed.head.hash };
            let replayed = replay::batches(&mut self.replayed, 0, self.head, &sealed.copy, &[claim]);
            assert_eq!(replayed, Ok((sealed.head, batch.rows.len() as u64)));
            assert_eq!(self.replayed.digest(), self.engine.digest());
            let mut rows = Rows::new(&sealed.copy).expect("a stream");
            while rows.next(&mut Vec::new()).expect("what was written").is_some() {}
            self.head = sealed.head;
        }
        batch.outcomes
    }
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// A usual transfer, hold, resolution or reversal, in which each field may be extreme or impossible instead.
fn record(random: &mut Random, id: u128) -> [u8; 128] {
    let kinds =
        [0, flag::PENDING, flag::POST_PENDING, flag::VOID_PENDING, flag::REVERSE, flag::BALANCING_DEBIT];
    let bits = [flag::LINKED, flag::GROUP, flag::IMPORTED, flag::CLOSING_CREDIT, flag::ALL + 1, 1 << 15];
    let kind = pick(random, &kinds);
    let acts = kind & (flag::POST_PENDING | flag::VOID_PENDING | flag::REVERSE) != 0;
    let debit = 1 + u128::from(random.below(4));
    let accounts = if acts { [0, 0] } else { [debit, debit % 4 + 1] };
    let amount = if acts { u128::MAX } else { u128::from(random.below(100)) + 1 };
    let target = if acts { id - u128::from(random.below(30)) } else { 0 };
    let usual = u128::from(!acts);
    let mut odd =
        |usual: u128, extremes: &[u128]| if random.below(12) == 0 { pick(random, extremes) } else { usual };
    let ids = [0, u128::MAX, 99, 1, 2];
    let mut record = [0; 128];
    record[0..16].copy_from_slice(&odd(id, &[0, u128::MAX, id - 1, 1]).to_le_bytes());
    record[16..32].copy_from_slice(&odd(accounts[0], &ids).to_le_bytes());
    record[32..48].copy_from_slice(&odd(accounts[1], &ids).to_le_bytes());
    let amounts = [0, u128::MAX, u128::MAX - 1, 1 << 64, 1 << 127, 1 << 126];
    record[48..64].copy_from_slice(&odd(amount, &amounts).to_le_bytes());
    record[64..80].copy_from_slice(&odd(target, &[0, u128::MAX, id, id - 5]).to_le_bytes());
    let times = [1, 1_000, u128::from(EFFECTIVE_NS_MAX), u128::from(EFFECTIVE_NS_MAX - 1)];
    record[80..88].copy_from_slice(&(odd(0, &times) as u64).to_le_bytes());
    let longest = u128::from(TIMEOUT_S_MAX);
    let timeout = if kind == flag::PENDING { id % 2 * longest } else { 0 };
    record[88..92].copy_from_slice(&(odd(timeout, &[1, longest, longest + 1]) as u32).to_le_bytes());
    let last = u128::from(LEDGER_MAX);
    record[92..96].copy_from_slice(&(odd(usual, &[0, 1, last, last + 1, last * 2]) as u32).to_le_bytes());
    record[96..98].copy_from_slice(&(odd(usual * 65_535, &[0, 1]) as u16).to_le_bytes());
    let extra = odd(0, &bits.map(u128::from)) as u16;
    record[98..100].copy_from_slice(&(kind | extra).to_le_bytes());
    record[127] = odd(0, &[0, 0, 1]) as u8;
    record
}

#[test]
fn nothing_that_is_recorded_leaves_its_column() {
    let mut shard = Shard::new();
    let mut random = Random::new(5);
    let ledgers = json::ledger(br#"{"id":1,"asset":"EUR","exponent":38}"#, 1).expect("a ledger");
    shard.run(&ledgers, 1);
    let last = format!(r#"{{"id":{LEDGER_MAX},"asset":"ABCDEFGHIJKLMNOP","exponent":0}}"#);
    shard.run(&json::ledger(last.as_bytes(), i32::MAX as u32).expect("a ledger"), 2);
    let flags =
        ["[]", r#"["debits_must_not_exceed_credits"]"#, r#"["credits_must_not_exceed_debits"]"#, "[]"];
    for (id, flags) in (1..).zip(flags) {
        let allowance = if flags == "[]" { "0" } else { "340282366920938463463374607431768211454" };
        let id = uuid::string(id);
        let body =
            format!(r#"{{"id":"{id}","ledger":1,"code":65535,"flags":{flags},"allowance":"{allowance}"}}"#);
        shard.run(&json::account(body.as_bytes(), 1, None).expect("an account"), 3);
    }
    let mut accepted = 0;
    for round in 0..3_000_u64 {
        let records: Vec<u8> =
            (0..10).flat_map(|place| record(&mut random, 1_000 + u128::from(round * 10 + place))).collect();
        let request = binary::transfers(&records, 1).expect("a whole number of records");
        let now_ns = if round < 2_900 { 10_000 + round } else { NOW_NS_MAX - 1_000_000 + round };
        let outcomes = shard.run(&request, now_ns);
        accepted += outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Recorded(_))).count();
    }
    assert!(accepted > 5_000, "too little was recorded to prove anything: {accepted}");
    shard.engine.checkpoint();
    let given = shard.engine.checkpoint_holds(usize::MAX);
    let copy = tables::encode_holds(0, &given);
    let mut holds = Vec::new();
    let count = tables::decode_holds(0, &copy, |hold| {
        holds.push(hold);
        Ok(())
    });
    assert_eq!((count, holds), (Ok(given.len()), given));
}
