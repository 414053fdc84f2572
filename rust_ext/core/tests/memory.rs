//! What an account, an open hold and a remembered id cost, all in, by the allocator's own count.

use pyledger_core::nouns::{
    BATCH_ROWS_MAX, Command, CommandKind, Outcome, Text, account_flags, transfer_flags,
};
use pyledger_core::{Engine, Limits, Old, Request};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW_NS: u64 = 1_800_000_000_000_000_000;
const ACCOUNT_BYTES_MAX: usize = 200;
const HOLD_BYTES_MAX: usize = 200;
const ID_BYTES_MAX: usize = 40;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    // What was grown in place is neither an allocation nor a deallocation.
    let grown = isize::try_from(stats.bytes_allocated).expect("a size") + stats.bytes_reallocated
        - isize::try_from(stats.bytes_deallocated).expect("a size");
    usize::try_from(grown).expect("no less than nothing")
}

fn engine(accounts_max: usize, holds_max: usize, window_ids: usize) -> Engine {
    let mut engine = Engine::new(Limits { ledgers_max: 1, accounts_max, holds_max, window_ids }, 1);
    let text = Text { start: 0, reference_bytes: 3, metadata_bytes: 0 };
    let ledger =
        Command { kind: CommandKind::Ledger, amount: 0, debit: 0, credit: 0, text, ..command(1 << 90, 0) };
    send(&mut engine, &[ledger], b"EUR");
    engine
}

fn send(engine: &mut Engine, commands: &[Command], text: &[u8]) {
    for chunk in commands.chunks(BATCH_ROWS_MAX) {
        let request = Request { commands: chunk.to_vec(), text: text.to_vec() };
        let batch = engine.apply(&[&request], NOW_NS, &Old::default());
        assert!(batch.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Recorded(_))));
        assert!(batch.rows.iter().all(|row| row.status == 0));
        engine.commit();
    }
}

fn command(id: u128, flags: u16) -> Command {
    Command {
        debit: 1,
        credit: 2,
        amount: 1,
        ledger: 1,
        code: 1,
        flags,
        fingerprint: [7; 16],
        ..Command::blank(CommandKind::Transfer, 1, id)
    }
}

fn open_accounts(engine: &mut Engine, ids: std::ops::RangeInclusive<u128>) {
    let flags = account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS;
    let plain = Command { kind: CommandKind::Account, debit: 0, credit: 0, amount: 0, ..command(0, 0) };
    let accounts: Vec<Command> =
        ids.map(|id| Command { id, flags: if id > 2 { flags } else { 0 }, ..plain }).collect();
    send(engine, &accounts, b"");
}

/// One test, because the allocator counts for the whole process.
#[test]
fn memory_is_within_its_bounds() {
    // Sizes just after the tables have grown are the worst.
    for count in [230_000_usize, 400_000] {
        let mut engine = engine(1_000_000, 1, 1);
        open_accounts(&mut engine, 1..=100);
        let before = allocated();
        open_accounts(&mut engine, 101..=100 + count as u128);
        let each = (allocated() - before) / count;
        println!("{count} accounts: {each} bytes each");
        assert!(each <= ACCOUNT_BYTES_MAX, "{each}");
    }
    for count in [230_000_usize, 400_000] {
        let mut engine = engine(10, 1_000_000, 1);
        open_accounts(&mut engine, 1..=2);
        let linked = transfer_flags::PENDING | transfer_flags::LINKED;
        let holds = |from: u128, count: u128| -> Vec<Command> {
            let hold = |id| Command { timeout_s: 1_000, ..command(id, linked) };
            let mut holds: Vec<Command> = (from..from + count).map(hold).collect();
            // Each request closes its chain, the last of it as well.
            for chunk in holds.chunks_mut(BATCH_ROWS_MAX) {
                chunk.last_mut().expect("a hold").flags = transfer_flags::PENDING;
            }
            holds
        };
        // The undo log of a full batch is kept for the next one; it costs the same for any number of holds.
        let first = holds(1_000, BATCH_ROWS_MAX as u128);
        send(&mut engine, &first, b"");
        let all = holds(1 << 70, count as u128);
        let before = allocated();
        send(&mut engine, &all, b"");
        let each = (allocated() - before) / count;
        println!("{count} holds with timeouts in groups: {each} bytes each");
        assert!(each <= HOLD_BYTES_MAX, "{each}");
    }
    for count in [470_000_usize, 600_000] {
        let before = allocated();
        let mut engine = engine(10, 1, count);
        open_accounts(&mut engine, 1..=2);
        // Twice over, so that as many ids were let go.
        for round in 0..2 {
            let transfers: Vec<Command> =
                (0..count as u128).map(|id| command((round + 1) << 70 | id, 0)).collect();
            send(&mut engine, &transfers, b"");
        }
        let each = (allocated() - before) / count;
        println!("{count} ids: {each} bytes each");
        assert!(each <= ID_BYTES_MAX, "{each}");
    }
}
