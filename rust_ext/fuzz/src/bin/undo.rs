//! Two batches, taken back together: the state is what it was, and deciding again decides the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_fuzz::{NOW_NS, decide, engine_with_books, transfers};

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, rest)) = bytes.split_first() else { return };
    let (first, _) = rest.split_at(rest.len() * cut as usize / 256 / 8 * 8);
    let (first, both) = (transfers(first), transfers(rest));
    let mut engine = engine_with_books();
    let before = engine.digest_all();
    let once = decide(&mut engine, &[&first], NOW_NS);
    engine.undo();
    assert_eq!(engine.digest_all(), before);
    assert_eq!(decide(&mut engine, &[&first], NOW_NS), once);
    // Its ids are known to the window and not in a journal: the second batch is only to be taken back.
    engine.undo();
    decide(&mut engine, &[&both], NOW_NS + 3_000_000_000);
    engine.undo();
    assert_eq!(engine.digest_all(), before);
});
