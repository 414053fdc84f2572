//! Bodies of records: any bytes decode or are refused, and whatever decodes can be decided and undone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_core::binary;
use pyledger_fuzz::{NOW_NS, decide, engine_with_books};

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = binary::transfers(bytes, 1) else { return };
    let mut engine = engine_with_books();
    let before = engine.digest_all();
    decide(&mut engine, &[&request], NOW_NS);
    engine.undo();
    assert_eq!(engine.digest_all(), before);
});
