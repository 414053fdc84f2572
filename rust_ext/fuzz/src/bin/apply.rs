//! Commands of a small world: what is decided replays from its sealed bytes into the same books.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_core::chain::Head;
use pyledger_core::journal;
use pyledger_core::replay::{self, Claimed};
use pyledger_fuzz::{NOW_NS, SHARD, books, decide, new_engine, transfers};

fuzz_target!(|bytes: &[u8]| {
    let (mut engine, mut replica) = (new_engine(1), new_engine(2));
    let (mut head, mut now_ns) = (Head::GENESIS, NOW_NS);
    for request in [books(), transfers(bytes)] {
        let batch = decide(&mut engine, &[&request], now_ns);
        engine.commit();
        now_ns += 2_000_000_000;
        if let Some(sealed) = journal::seal(SHARD, &head, &batch.rows, &batch.text) {
            let claims = [Claimed { link: sealed.link, hash: sealed.head.hash }];
            let read = replay::batches(&mut replica, SHARD, head, &sealed.copy, &claims);
            head = read.expect("what was decided replays").0;
        }
    }
    assert_eq!(engine.digest(), replica.digest());
});
