//! Once, over restarts and sealed partitions: whatever the filters say, and wherever they end, an id that was ever
//! recorded is never taken for a new one.

mod common;
mod random;

use std::sync::Arc;

use common::{MS, Shard, TENANT, uuid7};
use pyledger_core::filter::Filter;
use pyledger_core::nouns::{Command, Row};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Engine, Limits, Request};
use random::Random;

const TRIALS: u64 = 12;
const STEPS: u64 = 60;
const ASKED_AGAIN: u64 = 20;

/// A shard, the filters of its partitions that are over, and what was sent.
struct Trial {
    dice: Random,
    bank: Shard,
    limits: Limits,
    filters: Vec<Arc<Filter>>,
    until_ns: u64,
    sent: Vec<Command>,
    /// New ids that were looked for from the filters' end on only.
    spared: usize,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut dice = Random::new(seed);
        let window_ids = [3, 100, 4_100][dice.below(3) as usize];
        let limits = Limits { window_ids, ..common::LIMITS };
        let mut bank = Shard::with(limits);
        bank.open_ledger(1);
        for id in [3, 4] {
            bank.open_account(id, 0, 0);
        }
        Trial { dice, bank, limits, filters: Vec::new(), until_ns: 0, sent: Vec::new(), spared: 0 }
    }

    /// As clients make them: in order of time, with times of their own, and at random.
    fn new_id(&mut self) -> u128 {
        let number = u128::from(self.dice.next() >> 2);
        let now_ms = self.bank.now_ns / MS;
        match self.dice.below(4) {
            0 => uuid7(now_ms, number),
            1 => uuid7(now_ms - self.dice.below(5_000), number),
            2 => uuid7(now_ms + self.dice.below(5_000), number),
            _ => u128::from(self.dice.next()) << 64 & !(0xf << 76) | 0x4 << 76 | number,
        }
    }

    fn post(&mut self) {
        let count = 1 + self.dice.below(300);
        let mut commands = Vec::new();
        for _ in 0..count {
            let id = self.new_id();
            commands.push(Command { id, ..self.bank.transfer(3, 4, 1) });
        }
        let lookups = self.bank.engine.probe(&[&request(&commands)]);
        self.spared += lookups.fresh_ids.len();
        assert!(self.bank.many(&commands).iter().all(|answer| answer.refusal.is_none() && !answer.is_replay));
        self.sent.extend(commands);
    }

    /// Ends a partition somewhere after the last one: its rows are in a filter, and its end is anywhere up to the next row.
    fn seal(&mut self) {
        let rows = &self.bank.journal.rows;
        let from = rows.partition_point(|row| row.recorded_ns < self.until_ns);
        let to = from + self.dice.below((rows.len() - from) as u64 + 1) as usize;
        let last_ns = if to == 0 { self.until_ns } else { rows[to - 1].recorded_ns + 1 };
        let next_ns = rows.get(to).map_or(last_ns, |row| row.recorded_ns);
        let until_ns = last_ns.max(self.until_ns) + self.dice.below(next_ns.saturating_sub(last_ns) + 1);
        // Room for a few or for all: a filter that is too full only says yes too often.
        let mut filter = Filter::new((to - from) as u64 / (1 + self.dice.below(8)));
        for Row { tenant, id, .. } in &rows[from..to] {
            filter.insert(*tenant, *id);
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).expect("what was stored");
        self.filters.push(Arc::new(filter));
        self.until_ns = until_ns;
        self.teach();
    }

    fn teach(&mut self) {
        self.bank.engine.know(self.filters.clone(), self.until_ns);
    }

    /// From a checkpoint of any moment, and the rows after it.
    fn restart(&mut self) {
        let journal = &self.bank.journal;
        let at = self.dice.below(journal.rows.len() as u64 + 1) as usize;
        let mut before = Engine::new(self.limits, self.dice.next());
        let mut engine = Engine::new(self.limits, self.dice.next());
        for row in &journal.rows[..at] {
            before.replay(row, &journal.text).expect("it replays");
        }
        let stored = before.checkpoint();
        for ledger in stored.ledgers {
            engine.restore_ledger(ledger).expect("a ledger");
        }
        for (slot, account) in before.checkpoint_accounts(stored.accounts) {
            engine.restore_account(slot, account).expect("an account");
        }
        engine.restore_done(stored.last_ns).expect("a state");
        for row in &journal.rows[at..] {
            engine.replay(row, &journal.text).expect("it replays");
        }
        assert_eq!(engine.digest(), self.bank.engine.digest());
        self.bank.engine = engine;
        if self.dice.below(2) == 0 {
            self.teach();
        }
    }

    /// Some of all that was ever sent, again: as it was, and with another amount.
    fn ask_again(&mut self) {
        let before = self.bank.counters(4);
        let mut commands = Vec::new();
        for _ in 0..ASKED_AGAIN.min(self.sent.len() as u64) {
            let again = self.sent[self.dice.below(self.sent.len() as u64) as usize];
            let first = self.bank.journal.find(TENANT, again.id).expect("it was recorded");
            let lookups = self.bank.engine.probe(&[&request(&[again])]);
            let asked = !lookups.ids.is_empty()
                || !lookups.fresh_ids.is_empty() && first.recorded_ns >= lookups.fresh_from_ns;
            assert!(asked, "recorded at {}, filters until {}", first.recorded_ns, self.until_ns);
            commands.extend([again, Command { amount: 2, ..again }]);
        }
        let answers = self.bank.many(&commands);
        for (answers, again) in answers.chunks(2).zip(commands.chunks(2)) {
            assert!(answers[0].is_replay);
            assert_eq!(answers[0].row().id, again[0].id);
            assert_eq!(answers[1].refusal, Some(Refusal::IdempotencyConflict));
        }
        assert_eq!(self.bank.counters(4), before);
    }
}

fn request(commands: &[Command]) -> Request {
    Request { commands: commands.to_vec(), text: Vec::new() }
}

#[test]
fn an_id_of_any_partition_is_never_new() {
    let mut spared = 0;
    for seed in 0..TRIALS {
        println!("seed {seed}");
        let mut trial = Trial::new(seed);
        for _ in 0..STEPS {
            match trial.dice.below(8) {
                0 => trial.seal(),
                1 => trial.restart(),
                2 => trial.bank.now_ns += trial.dice.below(10_000) * MS,
                _ => trial.post(),
            }
            trial.ask_again();
        }
        assert_eq!(trial.bank.counters(4).credits_posted, trial.sent.len() as u128);
        spared += trial.spared;
    }
    assert!(spared > 5_000, "{spared}: the filters have something to say");
}
