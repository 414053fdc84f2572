//! Random days by the thousand, on every core, until so many operations are done or a day fails.
//!
//! A day is made of its seed alone. One that fails is cut down to a short list of rounds that still fails.
//! Guarded here besides: every refusal, every kind of row and every kind of outcome was seen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use pyledger_core::Limits;
use pyledger_core::nouns::{Outcome, RowKind};
use pyledger_core::refusal::Refusal;

use crate::asked::Round;
use crate::day::Day;
use crate::plan::Plan;
use crate::shrink::shrunk;

const ROUNDS_A_DAY: usize = 60;
/// Operations among which everything must have been seen: the rarest refusal comes every few thousand.
pub const COVERED_OPERATIONS: u64 = 300_000;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what a panic says instead of printing it.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
}

/// How often each refusal, row and outcome came.
#[derive(Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    fn merge(&mut self, other: Tally) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// Each with how often it came, most often first.
    pub fn counts(&self) -> Vec<(&str, u64)> {
        let mut counts: Vec<(&str, u64)> =
            self.0.iter().map(|(what, count)| (what.as_str(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// What should have come and did not. Nothing is archived in these days; `tests/retention` is where that is.
    pub fn never(&self) -> Vec<String> {
        let kinds = RowKind::ALL.iter().map(|kind| format!("{kind:?}"));
        let archived = [Refusal::IdArchived, Refusal::TransferArchived];
        let refusals = Refusal::ALL.iter().filter(|refusal| !archived.contains(refusal));
        let refusals = refusals.map(|refusal| refusal.code().to_owned());
        let outcomes = ["Recorded", "Repeated", "Replayed", "Refused"].map(str::to_owned);
        kinds.chain(refusals).chain(outcomes).filter(|what| !self.0.contains_key(what)).collect()
    }
}

/// A day that went wrong.
pub struct Failure {
    pub seed: u64,
    pub what: String,
    /// Operations until it was noticed, of all days.
    pub operations: u64,
    /// The shortest list of rounds found that fails.
    pub limits: Limits,
    pub rounds: Vec<Round>,
}

/// What all days came to.
pub struct Sum {
    pub days: u64,
    pub operations: u64,
    pub seconds: f64,
    pub tally: Tally,
    pub failure: Option<Failure>,
}

/// Runs days of the seeds `seed`, `seed + 1` and so on.
pub fn run(seed: u64, operations: u64, threads: usize) -> Sum {
    let began = Instant::now();
    let (days, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (tally, failure) = (Mutex::new(Tally::default()), Mutex::new(None));
    let work = || {
        let mut own = Tally::default();
        while !stop.load(Ordering::Relaxed) && done.load(Ordering::Relaxed) < operations {
            let seed = seed.wrapping_add(days.fetch_add(1, Ordering::Relaxed));
            let (limits, rounds, ended) = day(seed, &mut own, &done);
            if let Err(what) = ended {
                stop.store(true, Ordering::Relaxed);
                let operations = done.load(Ordering::Relaxed);
                let found = Failure { seed, what, operations, limits, rounds };
                failure.lock().expect("no thread dies").get_or_insert(found);
            }
        }
        tally.lock().expect("no thread dies").merge(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failure: Option<Failure> = failure.into_inner().expect("no thread dies");
    let seconds = began.elapsed().as_secs_f64();
    if let Some(failure) = &mut failure {
        failure.rounds = shrunk(failure.limits, std::mem::take(&mut failure.rounds));
    }
    let tally = tally.into_inner().expect("no thread dies");
    Sum { days: days.into_inner(), operations: done.into_inner(), seconds, tally, failure }
}

/// One day: its bounds, its rounds as far as it came, and how it ended.
fn day(seed: u64, tally: &mut Tally, done: &AtomicU64) -> (Limits, Vec<Round>, Result<(), String>) {
    let mut plan = Plan::new(seed);
    let limits = plan.limits();
    let mut rounds = Vec::new();
    let ended = caught(|| {
        let mut day = Day::new(limits);
        for _ in 0..ROUNDS_A_DAY {
            rounds.push(plan.next_round(day.next_expiry_ns()));
            let round = rounds.last().expect("just pushed");
            let asked = round.requests.iter().flatten();
            done.fetch_add(asked.clone().count() as u64, Ordering::Relaxed);
            let (heard, rows) = day.round(round);
            for (asked, (outcome, refusal)) in asked.zip(heard) {
                plan.heard(asked, refusal);
                tally.add(name(outcome).to_owned());
                tally.add(refusal.map_or("accepted", Refusal::code).to_owned());
            }
            for row in rows {
                tally.add(format!("{:?}", row.kind));
            }
        }
        day.end();
    });
    (limits, rounds, ended)
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Recorded(_) => "Recorded",
        Outcome::Repeated(_) => "Repeated",
        Outcome::Replayed(_) => "Replayed",
        Outcome::Refused(_) => "Refused",
    }
}

/// Runs it, and says what it panicked with.
pub fn caught(work: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| PANIC.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: u64 = 30_000;

    /// `PYLEDGER_SEED=n` begins with that day.
    #[test]
    fn the_engine_does_what_the_model_does() {
        keep_panics();
        let seed = std::env::var("PYLEDGER_SEED").map_or(1, |text| text.parse().expect("a number"));
        let sum = run(seed, OPERATIONS, 1);
        let failure = sum.failure.map(|failure| (failure.seed, failure.what, failure.rounds));
        assert!(failure.is_none(), "{failure:#?}");
        assert!(sum.tally.never().len() < 5, "{:?}", sum.tally.never());
    }
}
