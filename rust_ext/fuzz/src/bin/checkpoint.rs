//! Checkpoint tables of any bytes: they load or are refused, and what loads adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_core::tables;
use pyledger_fuzz::{SHARD, new_engine};

/// The tables stand one after the other, the sizes of the first two before them.
const SIZES_BYTES: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() < SIZES_BYTES {
        return;
    }
    let (sizes, rest) = bytes.split_at(SIZES_BYTES);
    let size = |at: usize| u16::from_le_bytes([sizes[at], sizes[at + 1]]) as usize;
    let (ledgers, rest) = rest.split_at(size(0).min(rest.len()));
    let (accounts, holds) = rest.split_at(size(2).min(rest.len()));
    let mut engine = new_engine(1);
    let loaded = tables::decode_ledgers(SHARD, ledgers, |ledger| engine.restore_ledger(ledger)).is_ok()
        && tables::decode_accounts(SHARD, accounts, |(slot, each)| engine.restore_account(slot, each))
            .is_ok()
        && tables::decode_holds(SHARD, holds, |hold| engine.restore_hold(hold)).is_ok();
    if loaded && engine.restore_done(1).is_ok() {
        let digest = engine.digest();
        engine.checkpoint();
        assert_eq!(engine.digest(), digest);
    }
});
