//! Journals of any bytes: rows decode or are refused; hashed honestly, they replay or are called corrupt.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_core::chain::{self, Head, Link};
use pyledger_core::journal::{self, Rows};
use pyledger_core::merkle;
use pyledger_core::replay::{self, Claimed};
use pyledger_fuzz::{SHARD, new_engine};

fuzz_target!(|bytes: &[u8]| {
    let mut text = Vec::new();
    let _ = journal::decode_record(bytes, &mut text);
    let Ok(mut stream) = Rows::new(bytes) else { return };
    let (mut leaves, mut rows) = (Vec::new(), Vec::new());
    while let Ok(Some((stored, leaf))) = stream.next(&mut text) {
        leaves.push(leaf);
        rows.push(stored.row);
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let link = Link {
        seq: 1,
        rows: rows.len() as u32,
        first_ns: first.recorded_ns,
        last_ns: last.recorded_ns,
        root: merkle::root(&leaves),
    };
    let claims = [Claimed { link, hash: chain::hash(&Head::GENESIS.hash, SHARD, &link) }];
    let mut engine = new_engine(1);
    if replay::batches(&mut engine, SHARD, Head::GENESIS, bytes, &claims).is_ok() {
        engine.digest();
    }
});
