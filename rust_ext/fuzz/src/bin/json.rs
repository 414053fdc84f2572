//! Bodies in JSON: every decoder takes any bytes, and what it takes is within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyledger_core::json::{self, Action};
use pyledger_core::nouns::{BATCH_ROWS_MAX, METADATA_BYTES_MAX, REFERENCE_BYTES_MAX};

const TARGET: &str = "00000000-0000-0000-0000-000000000007";

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, body)) = bytes.split_first() else { return };
    let key = (which & 8 != 0).then_some("key-1");
    let decoded = match which & 7 {
        0 => json::ledger(body, 1),
        1 => json::account(body, 1, key),
        2 => json::accounts(body, 1),
        3 => json::transfer(body, 1, key),
        4 => json::transfers(body, 1),
        5 => json::resolution(body, 1, Action::Post, TARGET, key),
        6 => json::resolution(body, 1, Action::Void, TARGET, key),
        _ => json::resolution(body, 1, Action::Reverse, TARGET, key),
    };
    json::depth::of(body);
    if let Ok(text) = std::str::from_utf8(body) {
        // What is canonical stays as it is.
        if let Some(canonical) = json::canonical_metadata(text) {
            assert_eq!(json::canonical_metadata(&canonical), Some(canonical));
        }
    }
    let Ok(request) = decoded else { return };
    assert!((1..=BATCH_ROWS_MAX).contains(&request.commands.len()));
    for command in &request.commands {
        let text = command.text;
        assert!(text.reference_bytes as usize <= REFERENCE_BYTES_MAX);
        assert!(text.metadata_bytes as usize <= METADATA_BYTES_MAX);
        assert!(std::str::from_utf8(&request.text[text.start as usize..][..text.bytes()]).is_ok());
    }
});
