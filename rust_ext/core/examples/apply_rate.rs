//! How many transfers a second `Engine::apply` decides, on one thread and without anything around it.
//!
//! `cargo run --release --example apply_rate [accounts] [ids]`: batches of 8,190 random transfers with new ids in
//! order of time, over 10,000 accounts and in a full window of two million ids, the default, unless told otherwise.

use std::time::{Duration, Instant};

use pyledger_core::nouns::{BATCH_ROWS_MAX, Command, CommandKind, Text};
use pyledger_core::{Engine, Limits, Old, Request};

const START_NS: u64 = 1_800_000_000_000_000_000;
const MS: u64 = 1_000_000;
const BATCHES: u64 = 1_000;
/// Beyond those that fill the window.
const WARM_UP_BATCHES: u64 = 50;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let accounts = arguments.next().unwrap_or(10_000);
    let window_ids = arguments.next().unwrap_or(2_000_000) as usize;
    let limits = Limits { ledgers_max: 10, accounts_max: 20_000_000, holds_max: 1_000_000, window_ids };
    let warm_up_batches = (window_ids / BATCH_ROWS_MAX) as u64 + WARM_UP_BATCHES;
    let mut engine = Engine::new(limits, 7);
    let mut state = 1;
    open(&mut engine, accounts);
    let mut rows: u32 = 0;
    let mut spent = Duration::ZERO;
    for batch in 0..warm_up_batches + BATCHES {
        let now_ns = START_NS + batch * MS;
        let request = transfers(now_ns, accounts, &mut state);
        assert!(engine.probe(&[&request]).ids.is_empty(), "a new id needs no lookup");
        let start = Instant::now();
        let decided = engine.apply(&[&request], now_ns, &Old::default());
        let elapsed = start.elapsed();
        assert!(decided.rows.iter().all(|row| row.status == 0));
        engine.commit();
        if batch >= warm_up_batches {
            rows += decided.rows.len() as u32;
            spent += elapsed;
        }
    }
    let rate = f64::from(rows) / spent.as_secs_f64();
    println!("{accounts} accounts: {:.2} million transfers a second through apply", rate / 1e6);
}

fn open(engine: &mut Engine, accounts: u64) {
    let asset = Text { start: 0, reference_bytes: 3, metadata_bytes: 0 };
    let ledger =
        Command { kind: CommandKind::Ledger, id: u128::MAX >> 1, code: 2, text: asset, ..command(1) };
    decide(engine, vec![ledger], b"EUR".to_vec());
    let commands: Vec<Command> = (1..=accounts)
        .map(|id| Command { kind: CommandKind::Account, code: 1, ..command(id.into()) })
        .collect();
    for chunk in commands.chunks(BATCH_ROWS_MAX) {
        decide(engine, chunk.to_vec(), Vec::new());
    }
}

fn decide(engine: &mut Engine, commands: Vec<Command>, text: Vec<u8>) {
    let request = Request { commands, text };
    let decided = engine.apply(&[&request], START_NS, &Old::default());
    assert!(decided.rows.len() == request.commands.len());
    engine.commit();
}

fn transfers(now_ns: u64, accounts: u64, state: &mut u64) -> Request {
    let commands = (0..BATCH_ROWS_MAX).map(|_| {
        let debit = random(state) % accounts;
        let credit = (debit + 1 + random(state) % (accounts - 1)) % accounts;
        let id = u128::from(now_ns / MS) << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(random(state) >> 2);
        Command {
            debit: u128::from(debit + 1),
            credit: u128::from(credit + 1),
            amount: 1 + u128::from(random(state) % 1_000),
            code: 1,
            ..command(id)
        }
    });
    Request { commands: commands.collect(), text: Vec::new() }
}

fn command(id: u128) -> Command {
    Command { ledger: 1, fingerprint: [1; 16], ..Command::blank(CommandKind::Transfer, 1, id) }
}

/// The next number of Marsaglia's xorshift.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
