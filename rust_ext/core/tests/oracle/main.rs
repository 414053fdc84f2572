//! Random days: the engine against a model that was written apart from it and without its shortcuts.
//!
//! Every answer, every balance and every open hold must be the same. A failure prints the seed;
//! `PYLEDGER_SEED=n` replays it, `PYLEDGER_SEEDS=n` runs so many.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod moving;
mod plan;
mod rules;
mod shape;

use std::collections::BTreeMap;

use common::{Answer, Shard};
use model::{Event, Model};
use plan::Plan;
use pyledger_core::nouns::Command;
use pyledger_core::refusal::Refusal;
use pyledger_core::{Limits, Request};

const SEEDS: u64 = 75;
const BATCHES: usize = 200;
const HOLDS_MAX: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_engine_does_what_the_model_does() {
    let mut commands = 0;
    let mut refusals: BTreeMap<Option<Refusal>, usize> = BTreeMap::new();
    let seeds = match number("PYLEDGER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("PYLEDGER_SEEDS").unwrap_or(SEEDS) + 1,
    };
    for seed in seeds {
        println!("PYLEDGER_SEED={seed}");
        for (_, refusal) in day(seed) {
            commands += 1;
            *refusals.entry(refusal).or_default() += 1;
        }
    }
    println!("{commands} commands: {refusals:?}");
    // The plan must reach what it is there to test.
    let never: Vec<_> =
        Refusal::ALL.iter().filter(|&&refusal| !refusals.contains_key(&Some(refusal))).collect();
    let full =
        [Refusal::LedgersFull, Refusal::AccountsFull, Refusal::GroupTooLarge, Refusal::TooManyReversals];
    assert!(
        number("PYLEDGER_SEED").is_some() || never.iter().all(|&refusal| full.contains(refusal)),
        "{never:?}"
    );
}

fn day(seed: u64) -> Vec<(Command, Option<Refusal>)> {
    // A window of a few batches, so that most of what is old has to be looked up.
    let limits = Limits { holds_max: HOLDS_MAX, window_ids: 40, ..common::LIMITS };
    let mut shard = Shard::with(limits);
    let mut model = Model::new(HOLDS_MAX);
    let mut plan = Plan::new(seed);
    let mut done = Vec::new();
    for _ in 0..BATCHES {
        shard.now_ns = plan.next_clock(shard.now_ns);
        let requests = plan.requests(shard.now_ns);
        // A ledger's asset stands at the beginning of its request's text.
        let sent =
            requests.iter().map(|commands| Request { commands: commands.clone(), text: b"EUR".to_vec() });
        let answers = shard.requests(sent.collect());
        let expected = model.batch(&requests, shard.now_ns);
        let commands = requests.concat();
        assert_eq!((answers.len(), expected.len()), (commands.len(), commands.len()));
        for ((command, answer), expected) in commands.iter().zip(&answers).zip(&expected) {
            same(command, answer, expected);
            plan.heard(command, answer.refusal);
            done.push((*command, answer.refusal));
        }
        same_books(&shard, &model);
    }
    done
}

fn same(command: &Command, answer: &Answer, expected: &Result<Event, Refusal>) {
    let refusal = match expected {
        Ok(event) => event.refusal,
        Err(refusal) => Some(*refusal),
    };
    assert_eq!(answer.refusal, refusal, "{command:?}");
    let Ok(event) = expected else {
        assert_eq!(answer.row, None, "{command:?}");
        return;
    };
    let row = answer.row();
    assert_eq!((row.id, row.tenant, row.kind), (command.id, command.tenant, event.kind));
    assert_eq!((row.recorded_ns, row.amount), (event.recorded_ns, event.amount), "{command:?}");
    assert_eq!((row.debit_after, row.credit_after), event.after, "{command:?}");
    if event.refusal.is_none() {
        let moved = (event.debit, event.credit, event.ledger, event.code);
        assert_eq!((row.debit, row.credit, row.ledger, row.code), moved, "{command:?}");
    }
}

fn same_books(shard: &Shard, model: &Model) {
    assert_eq!(shard.engine.last_ns(), model.last_ns);
    assert_eq!(shard.engine.accounts(), model.accounts.len());
    for (&(tenant, id), account) in &model.accounts {
        let found = shard.engine.account(tenant, id).expect("an account");
        assert_eq!((found.counters, found.flags), (account.counters, account.flags), "{tenant} {id}");
    }
    let holds = model.open_holds();
    assert_eq!(shard.engine.holds(), holds.len());
    for ((tenant, id), hold) in holds {
        assert_eq!(shard.engine.hold(tenant, id).expect("a hold").amount, hold.amount);
    }
}
