//! Writes first inputs for the targets whose formats nobody guesses: `seeds DIRECTORY`, a directory a target in it.

use std::path::Path;

use pyledger_core::chain::Head;
use pyledger_core::{Engine, journal, tables};
use pyledger_fuzz::{NOW_NS, SHARD, books, decide, new_engine, transfers};

/// Transfers, a hold, its post and a reversal, as `transfers` reads them.
const COMMANDS: [[u8; 8]; 6] = [
    [0, 0, 1, 4, 0, 50, 0, 0],
    [2, 0, 1, 4, 0, 20, 2, 0],
    [4, 0, 0, 0, 1, 5, 0, 0],
    [0, 2, 0, 0, 0, 10, 0, 0],
    [3, 0, 4, 1, 0, 5, 1, 0],
    [2, 0, 1, 5, 0, 9, 3, 0],
];

const TRANSFER: &[u8] = br#"{"id":"00000000-0000-0000-0000-000000000009","debit_account_id":"00000000-0000-0000-0000-000000000001","credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"5","ledger":1,"code":1,"flags":["pending"],"timeout_s":9,"reference":"r","metadata":{"a":[1,"b",null]},"effective_at":"2026-11-21T10:00:00.5Z"}"#;

fn main() {
    let directory = std::env::args().nth(1).expect("a directory");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let place = Path::new(&directory).join(target);
        std::fs::create_dir_all(&place).expect("a directory can be made");
        std::fs::write(place.join(name), bytes).expect("a file can be written");
    };
    let commands = COMMANDS.concat();
    write("apply", "seed", &commands);
    write("undo", "seed", &[&[128], commands.as_slice()].concat());
    write("binary", "seed", &[0; 128]);
    write("json", "seed-one", &[&[3], TRANSFER].concat());
    let many = [br#"{"transfers":["#, TRANSFER, b"]}"].concat();
    write("json", "seed-many", &[&[4], many.as_slice()].concat());

    let mut engine = new_engine(1);
    let mut all = pyledger_core::Batch::default();
    for (place, request) in [books(), transfers(&commands)].iter().enumerate() {
        all = decide(&mut engine, &[request], NOW_NS + place as u64 * 1_000_000);
        engine.commit();
        if place == 0 {
            write("chain", "seed-books", &sealed(&all));
        }
    }
    write("chain", "seed-moves", &sealed(&all));
    let everything = pyledger_core::Request {
        commands: [books().commands, transfers(&commands).commands].concat(),
        text: books().text,
    };
    write("chain", "seed-all", &sealed(&decide(&mut new_engine(2), &[&everything], NOW_NS)));
    write("checkpoint", "seed", &checkpoint(&mut engine));
}

fn sealed(batch: &pyledger_core::Batch) -> Vec<u8> {
    journal::seal(SHARD, &Head::GENESIS, &batch.rows, &batch.text).expect("it has rows").copy
}

/// In the layout that the target reads.
fn checkpoint(engine: &mut Engine) -> Vec<u8> {
    let taken = engine.checkpoint();
    let ledgers = tables::encode_ledgers(SHARD, &taken.ledgers);
    let accounts = tables::encode_accounts(SHARD, &engine.checkpoint_accounts(usize::MAX));
    let sizes = [(ledgers.len() as u16).to_le_bytes(), (accounts.len() as u16).to_le_bytes()].concat();
    [sizes, ledgers, accounts, tables::encode_holds(SHARD, &engine.checkpoint_holds(usize::MAX))].concat()
}
