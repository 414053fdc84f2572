//! The fault program's part in Rust, run by tests/faults; each subcommand prints one line of JSON.
//!
//! `oracle --seed S --operations N [--threads T]`: random days, the engine against a naive model.
//! `sameness --seed S --rows N [--hash-seed H]`: what this build makes of a journal, and of reading it twice.
//!
//! With the feature `planted` both take `--planted BUG`. Exit code 1 if something is wrong.

mod asked;
mod day;
mod journal;
mod model;
mod moving;
mod oracle;
mod plan;
mod rows;
mod rules;
mod sameness;
mod sealed;
mod shape;
mod shrink;
mod stored;
mod wishes;

use std::process::ExitCode;
use std::time::Instant;

use pyledger_core::json::write::string;

/// `--name value`, each once.
struct Options(Vec<String>);

impl Options {
    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name)
            .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let options = Options(words.collect());
    if let Some(bug) = options.text("--planted") {
        plant(bug);
    }
    match verb.as_str() {
        "oracle" => against_the_model(&options),
        "sameness" => as_it_is_built(&options),
        _ => {
            eprintln!("usage: pyledger-faults oracle|sameness --seed S [--operations N] [--rows N]");
            ExitCode::from(2)
        }
    }
}

#[cfg(feature = "planted")]
fn plant(bug: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    pyledger_core::planted::plant(bug, now.map_or(1, |now| now.as_nanos() as u64));
}

#[cfg(not(feature = "planted"))]
fn plant(bug: &str) {
    panic!("this build has no bugs, {bug} neither: it takes the feature planted");
}

fn against_the_model(options: &Options) -> ExitCode {
    oracle::keep_panics();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let operations = options.number("--operations", 1_000_000);
    let sum =
        oracle::run(options.number("--seed", 1), operations, options.number("--threads", cores) as usize);
    let mut wrong = Vec::new();
    if let Some(failure) = &sum.failure {
        wrong.push(format!("day {} after {} operations: {}", failure.seed, failure.operations, failure.what));
        wrong.push(format!("the shortest way there: {:?}", failure.limits));
        wrong.extend(failure.rounds.iter().map(|round| format!("{round:?}")));
    } else if sum.operations >= oracle::COVERED_OPERATIONS {
        wrong.extend(sum.tally.never().iter().map(|what| format!("{what} was never seen")));
    }
    let counts = sum.tally.counts();
    let counts: Vec<String> =
        counts.iter().map(|(what, count)| format!("{}: {count}", quoted(what))).collect();
    let lines: Vec<String> = wrong.iter().map(|line| quoted(&line.replace('\n', " "))).collect();
    println!(
        r#"{{"days": {}, "operations": {}, "seconds": {:.3}, "seen": {{{}}}, "wrong": [{}]}}"#,
        sum.days,
        sum.operations,
        sum.seconds,
        counts.join(", "),
        lines.join(", ")
    );
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    string(text, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

fn as_it_is_built(options: &Options) -> ExitCode {
    let began = Instant::now();
    let (seed, rows) = (options.number("--seed", 1), options.number("--rows", 100_000));
    let made = sameness::run(seed, rows, options.number("--hash-seed", 1));
    let digests = made.digests.map(|digest| format!(r#""{}""#, hex(&digest))).join(", ");
    println!(
        r#"{{"rows": {}, "seconds": {:.3}, "head": "{}", "digests": [{digests}]}}"#,
        made.rows,
        began.elapsed().as_secs_f64(),
        hex(&made.head.hash)
    );
    if made.digests == [made.digests[0]; 3] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
